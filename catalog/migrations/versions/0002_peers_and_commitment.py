"""Certificates and listening addresses of peers; storage commitments."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("peer", sa.Column("certificates", sa.ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.add_column("peer", sa.Column("host", sa.Text()))
    op.add_column("peer", sa.Column("port", sa.Integer()))
    op.create_table(
        "commitment",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("TransactionUID", sa.Text(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("calling_ae", sa.Text(), nullable=False),
        sa.Column("referenced", postgresql.JSONB(), nullable=False),
        sa.Column("failed", postgresql.JSONB()),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "next_attempt_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("reported_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(
            "state in ('queued', 'answered', 'reported', 'given_up')", name=op.f("ck_commitment_state")
        ),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_commitment_hospital_id_hospital")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment")),
        sa.UniqueConstraint("hospital_id", "TransactionUID", name=op.f("uq_commitment_hospital_id")),
    )
    op.create_index("ix_commitment_due", "commitment", ["state", "next_attempt_at"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("commitment")
    for column in ("port", "host", "certificates"):
        op.drop_column("peer", column)
