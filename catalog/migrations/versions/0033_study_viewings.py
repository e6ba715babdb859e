"""Who looks at which study: a viewing is audited once, however many frames it fetches."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "study_viewing",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hospital_id", "subject", "study_id", name=op.f("pk_study_viewing")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("study_viewing")
