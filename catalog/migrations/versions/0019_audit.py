"""The audit's seals, how far it was handed on, and a small index by time."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "audit_seal",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("through_id", sa.BigInteger(), nullable=False),
        sa.Column("record_ids", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("digests", sa.LargeBinary(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_seal")),
    )
    op.execute(
        "create trigger append_only before update or delete or truncate on audit_seal "
        "for each statement execute function refuse_change()"
    )
    op.create_table(
        "audit_forward",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("record_id", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_audit_forward")),
    )
    # Rows come in the order of time: a BRIN answers a range of dates and costs an insert next to nothing.
    op.create_index(
        "ix_audit_event_recorded_at",
        "audit_event",
        ["recorded_at"],
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
    )
    op.create_index("ix_audit_event_caller_id", "audit_event", ["caller", "id"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_audit_event_caller_id", table_name="audit_event")
    op.drop_index("ix_audit_event_recorded_at", table_name="audit_event")
    op.drop_table("audit_forward")
    op.drop_table("audit_seal")
