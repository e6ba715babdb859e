"""Completeness and quality: what packs say of it, what studies wait for, what curators look at."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply. Studies flagged before stay flagged: their packs say that something in them was."""
    op.add_column("study", sa.Column("settles_at", _TIME))
    op.add_column("study", sa.Column("count_short", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("pack", sa.Column("completeness", postgresql.JSONB()))
    op.create_table(
        "arrival_part",
        sa.Column("association", sa.Text(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("study_ids", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("noted_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_arrival_part_hospital_id_hospital")
        ),
        sa.PrimaryKeyConstraint("association", "part", name=op.f("pk_arrival_part")),
    )
    _create_quality_task()
    op.execute(
        'update pack set completeness = \'{"flawed": ["earlier"]}\' from study'
        " where study.id = pack.study_id and study.quality_flagged and pack.role = 'archive'"
    )
    op.execute(
        "insert into quality_task (study_id, kind, evidence, due_at)"
        " select id, 'flawed', '{earlier}', last_received_at from study where quality_flagged"
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("quality_task")
    op.drop_table("arrival_part")
    op.drop_column("pack", "completeness")
    for column in ("count_short", "settles_at"):
        op.drop_column("study", column)


def _create_quality_task() -> None:
    op.create_table(
        "quality_task",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.BigInteger()),
        sa.Column("evidence", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("decided_by", sa.Text()),
        sa.Column("decided_at", _TIME),
        sa.Column("note", sa.Text()),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind in ('image_quality', 'flawed', 'unreadable', 'missing_slices', 'count_short')",
            name=op.f("ck_quality_task_kind"),
        ),
        sa.CheckConstraint(
            "state in ('open', 'confirmed', 'dismissed', 'resolved')", name=op.f("ck_quality_task_state")
        ),
        sa.CheckConstraint(
            "(kind = 'image_quality') = (decision_id is not null)", name=op.f("ck_quality_task_decision")
        ),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_quality_task_study_id_study")),
        sa.ForeignKeyConstraint(
            ["decision_id"], ["decision.id"], name=op.f("fk_quality_task_decision_id_decision")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quality_task")),
        sa.UniqueConstraint("decision_id", name=op.f("uq_quality_task_decision_id")),
    )
    op.create_index("ix_quality_task_state", "quality_task", ["state", "id"])
    op.create_index(
        "uq_quality_task_study_kind",
        "quality_task",
        ["study_id", "kind"],
        unique=True,
        postgresql_where=sa.text("decision_id is null"),
    )
