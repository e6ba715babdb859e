"""What curators decide about conflicts, withdrawals and certificates, and indexes under the counts of their queues."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0039"
down_revision = "0036"
branch_labels = None
depends_on = None

_INDEXES = (
    ("ix_study_unmapped", "study", ["id"], "unmapped_reason is not null"),
    ("ix_study_withdrawn", "study", ["id"], "withdrawn"),
    ("ix_alias_doubtful", "alias", ["id"], "state = 'doubtful'"),
    ("ix_conflict_state", "conflict", ["state", "id"], None),
    ("ix_review_task_state", "review_task", ["state", "kind", "id"], None),
    (
        "ix_review_task_description",
        "review_task",
        [sa.text("(details #>> '{facts,study_description}')")],
        None,
    ),
)
_COLUMNS = (
    ("study", sa.Column("withdrawn_at", sa.DateTime(timezone=True))),
    ("study", sa.Column("withdrawn_reason", sa.Text())),
    ("conflict", sa.Column("decided_by", sa.Text())),
    ("conflict", sa.Column("decided_at", sa.DateTime(timezone=True))),
    ("conflict", sa.Column("note", sa.Text())),
    ("peer", sa.Column("certificate_ends", JSONB(), server_default="{}", nullable=False)),
)


def upgrade() -> None:
    """Apply."""
    for table, column in _COLUMNS:
        op.add_column(table, column)
    for name, table, columns, where in _INDEXES:
        op.create_index(name, table, columns, postgresql_where=sa.text(where) if where else None)


def downgrade() -> None:
    """Take back."""
    for name, table, _, _ in _INDEXES:
        op.drop_index(name, table)
    for table, column in _COLUMNS:
        op.drop_column(table, column.name)
