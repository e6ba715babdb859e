"""Peers that take storage commitment reports over TLS."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("peer", sa.Column("tls", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    """Take back."""
    op.drop_column("peer", "tls")
