"""Examinations that repeated what was there already."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "repeat",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("result_id", sa.BigInteger(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("item_code", sa.Text(), nullable=False),
        sa.Column("exam_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("business_date", sa.Date(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("prior_result_id", sa.BigInteger(), nullable=False),
        sa.Column("prior_hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("own_hospital", sa.Boolean(), nullable=False),
        sa.Column("emergency", sa.Boolean(), nullable=False),
        sa.Column("check_id", sa.Uuid(), nullable=True),
        sa.Column("order_number", sa.Text(), nullable=True),
        sa.Column("decision_id", sa.BigInteger(), nullable=True),
        sa.Column("price_fen", sa.BigInteger(), nullable=False),
        sa.Column("price_id", sa.BigInteger(), nullable=True),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repeat")),
        sa.CheckConstraint(_KIND, name=op.f("ck_repeat_kind")),
        *(_reference(column, table) for column, table in _REFERENCES),
    )
    op.create_index("uq_repeat_result_id", "repeat", ["result_id"], unique=True, postgresql_where=_STANDS)
    op.create_index("ix_repeat_person_id", "repeat", ["person_id"], postgresql_where=_STANDS)
    op.create_index("ix_repeat_business_date", "repeat", ["business_date"])
    op.execute(_WITHDRAWN_REPORT)
    op.execute("grant select on withdrawn_report to huren_api, huren_worker")


def downgrade() -> None:
    """Take back."""
    op.execute("drop view withdrawn_report")
    op.drop_table("repeat")


def _reference(column: str, table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{table}.id"], name=op.f(f"fk_repeat_{column}_{table}"))


_STANDS = sa.text("superseded_at is null")
_KIND = (
    "kind in ('no_check', 'no_answer', 'recognised_and_done', 'refused', 'lawfully_repeated', 'not_visible')"
)
_REFERENCES = (
    ("result_id", "result"),
    ("person_id", "person"),
    ("hospital_id", "hospital"),
    ("prior_result_id", "result"),
    ("prior_hospital_id", "hospital"),
    ("check_id", "order_check"),
    ("decision_id", "decision"),
    ("price_id", "price"),
)
# It runs with its owner's rights, so it says itself to whom it shows anything: the recount of whoever sees figures.
_WITHDRAWN_REPORT = """
create view withdrawn_report with (security_barrier) as
    select report.study_id
    from report join report_version on report_version.report_id = report.id
    where report.study_id is not null and report_version.status in ('cancelled', 'entered-in-error')
      and ((select sees_figures()) or (select acting_role()) = 'reviewer' and exists (
          select from decision join result on result.id = decision.result_id
          where result.study_id = report.study_id and decision.hospital_id = (select acting_hospital())))
"""
