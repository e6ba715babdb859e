"""Hospitals' systems open our pages for their users, and a doctor's checks of a day are listed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "launch",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        *_right(),
        sa.Column("lang", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_launch_hospital_id_hospital")
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_launch")),
        sa.UniqueConstraint("id", name=op.f("uq_launch_id")),
    )
    op.create_index("ix_launch_expires_at", "launch", ["expires_at"])
    op.alter_column("account_session", "account_id", existing_type=sa.BigInteger(), nullable=True)
    op.create_table(
        "launched_session",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        *_right(),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["digest"],
            ["account_session.digest"],
            name=op.f("fk_launched_session_digest_account_session"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_launched_session_hospital_id_hospital")
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_launched_session")),
    )
    op.create_index("ix_order_check_caller", "order_check", ["hospital_id", "caller", "asked_at", "number"])


def downgrade() -> None:
    """Take back; who came by a launch must come again."""
    op.drop_index("ix_order_check_caller", "order_check")
    op.drop_table("launched_session")
    op.execute("delete from account_session where account_id is null")
    op.alter_column("account_session", "account_id", existing_type=sa.BigInteger(), nullable=False)
    op.drop_table("launch")


def _right() -> list[sa.Column[object]]:
    """Return the columns that say for whom a session speaks, and by what right."""
    return [
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("launched_by", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
    ]
