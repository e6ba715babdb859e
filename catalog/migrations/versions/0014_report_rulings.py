"""Rulings on single reports, tombstones of erased reports, news for whoever was shown a result and has not decided."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "report_ruling",
        sa.Column("report_id", sa.BigInteger(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("ruling", sa.Text(), nullable=False),
        sa.CheckConstraint("ruling in ('accepted', 'rejected')", name=op.f("ck_report_ruling_ruling")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_report_ruling_report_id_report")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_report_ruling_person_id_person")),
        sa.PrimaryKeyConstraint("report_id", "person_id", name=op.f("pk_report_ruling")),
    )
    op.create_index("ix_report_ruling_person_id", "report_ruling", ["person_id"])
    op.add_column("identity_event", sa.Column("report_id", sa.BigInteger()))
    op.create_foreign_key(
        op.f("fk_identity_event_report_id_report"), "identity_event", "report", ["report_id"], ["id"]
    )
    op.create_table(
        "erased_report",
        sa.Column("number_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("erasure_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["erasure_id"], ["erasure.id"], name=op.f("fk_erased_report_erasure_id_erasure")
        ),
        sa.PrimaryKeyConstraint("number_sha256", name=op.f("pk_erased_report")),
    )
    op.alter_column("notice", "decision_id", nullable=True)
    op.add_column("notice", sa.Column("check_id", sa.Uuid()))
    op.add_column("notice", sa.Column("order_number", sa.Text()))
    op.create_foreign_key(
        op.f("fk_notice_check_id_order_check"), "notice", "order_check", ["check_id"], ["id"]
    )
    op.create_check_constraint(
        op.f("ck_notice_about"),
        "notice",
        "(decision_id is null) = (check_id is not null and order_number is not null)",
    )
    op.create_index("ix_order_check_person_id", "order_check", ["person_id", "expires_at"])


def downgrade() -> None:
    """Take back; news about undecided orders has no place in the older tables."""
    op.drop_index("ix_order_check_person_id")
    op.execute("delete from notice where decision_id is null")
    op.drop_constraint(op.f("ck_notice_about"), "notice")
    op.drop_column("notice", "order_number")
    op.drop_column("notice", "check_id")
    op.alter_column("notice", "decision_id", nullable=False)
    op.drop_table("erased_report")
    op.drop_column("identity_event", "report_id")
    op.drop_table("report_ruling")
