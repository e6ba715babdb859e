"""Hospitals' patient numbers that are identity documents; `huren keys seal` moves those of before here."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "sealed_number",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("number_hash", sa.LargeBinary(), nullable=False),
        sa.Column("number_cipher", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_sealed_number_hospital_id_hospital")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sealed_number")),
        sa.UniqueConstraint("hospital_id", "number_hash", name=op.f("uq_sealed_number_hospital_id")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("sealed_number")
