"""Versions of the item list, the review queue, curators' answers, and re-mapping jobs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Studies from before get their fingerprint when they are mapped again (`huren items remap`)."""
    op.create_table(
        "item_list",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("region_code", sa.Text(), sa.ForeignKey("region.code")),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("title_zh", sa.Text(), nullable=False),
        sa.Column("title_en", sa.Text(), nullable=False),
        sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("known_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("imported_by", sa.Text(), nullable=False),
        # Two unnamed keys on the same first column would be given the same name.
        sa.UniqueConstraint(
            "region_code", "version", name="uq_item_list_version", postgresql_nulls_not_distinct=True
        ),
        sa.UniqueConstraint(
            "region_code", "effective_from", name="uq_item_list_start", postgresql_nulls_not_distinct=True
        ),
    )
    op.create_table(
        "item",
        sa.Column("list_id", sa.BigInteger(), sa.ForeignKey("item_list.id"), primary_key=True),
        sa.Column("code", sa.Text(), primary_key=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("fields", postgresql.JSONB(), nullable=False),
    )
    op.create_table(
        "mapping_answer",
        sa.Column("hospital_id", sa.BigInteger(), sa.ForeignKey("hospital.id"), primary_key=True),
        sa.Column("fingerprint", sa.Text(), primary_key=True),
        sa.Column("items", postgresql.JSONB(), nullable=False),
        sa.Column("answered_by", sa.Text(), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "remap_job",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("state", sa.Text(), nullable=False, server_default="running"),
        sa.Column("cursor", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("last_study_id", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("studies", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("changed", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("state in ('running', 'done')", name="state"),
    )
    op.create_index(
        "uq_remap_job_running",
        "remap_job",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
    )
    _create_review_task()
    op.add_column("study", sa.Column("fingerprint", sa.Text()))
    op.create_index("ix_study_hospital_fingerprint", "study", ["hospital_id", "fingerprint"])
    # A reason that was gone used to be kept as JSON's null, which counts as a reason.
    op.execute("update study set unmapped_reason = null where unmapped_reason = 'null'::jsonb")
    op.add_column("result", sa.Column("explanation_en", sa.Text(), nullable=False, server_default=""))


def _create_review_task() -> None:
    op.create_table(
        "review_task",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), sa.ForeignKey("hospital.id"), nullable=False),
        sa.Column("study_id", sa.BigInteger(), sa.ForeignKey("study.id")),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, server_default="open"),
        sa.Column("answer", postgresql.JSONB()),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("decided_by", sa.Text()),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("state in ('open', 'decided', 'dropped')", name="state"),
        sa.CheckConstraint("(state = 'open') = (decided_at is null)", name="decided"),
    )
    op.create_index(
        "uq_review_task_open",
        "review_task",
        ["kind", "hospital_id", "subject"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("ix_review_task_study_id", "review_task", ["study_id"])


def downgrade() -> None:
    """Take back."""
    op.drop_column("result", "explanation_en")
    op.drop_index("ix_study_hospital_fingerprint", table_name="study")
    op.drop_column("study", "fingerprint")
    for table in ("review_task", "remap_job", "mapping_answer", "item", "item_list"):
        op.drop_table(table)
