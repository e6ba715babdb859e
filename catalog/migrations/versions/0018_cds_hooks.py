"""CDS Hooks: clients, tokens already used, cards and feedback."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0018"
down_revision = "0016"
branch_labels = None
depends_on = None
NOW = sa.text("now()")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "cds_client",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("iss", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), server_default="", nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("jwks", JSONB(), nullable=False),
        sa.Column("jku", sa.Text(), server_default="", nullable=False),
        sa.Column("code_systems", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_cds_client_hospital_id_hospital")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cds_client")),
        sa.UniqueConstraint("iss", "tenant", name=op.f("uq_cds_client_iss")),
    )
    op.create_table(
        "cds_nonce",
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"], ["cds_client.id"], name=op.f("fk_cds_nonce_client_id_cds_client")
        ),
        sa.PrimaryKeyConstraint("client_id", "jti", name=op.f("pk_cds_nonce")),
    )
    op.create_index("ix_cds_nonce_expires_at", "cds_nonce", ["expires_at"])
    op.create_table(
        "cds_card",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.BigInteger(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("check_id", sa.Uuid(), nullable=False),
        sa.Column("order_number", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("suggestions", JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"], ["cds_client.id"], name=op.f("fk_cds_card_client_id_cds_client")
        ),
        sa.ForeignKeyConstraint(
            ["check_id"], ["order_check.id"], name=op.f("fk_cds_card_check_id_order_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cds_card")),
    )
    op.create_index("ix_cds_card_check_id", "cds_card", ["check_id"])
    op.create_table(
        "cds_feedback",
        sa.Column("card_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text()),
        sa.Column("decision_id", sa.BigInteger()),
        sa.Column("code", sa.Text()),
        sa.Column("outcome_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint("outcome in ('accepted', 'overridden')", name=op.f("ck_cds_feedback_outcome")),
        sa.ForeignKeyConstraint(["card_id"], ["cds_card.id"], name=op.f("fk_cds_feedback_card_id_cds_card")),
        sa.ForeignKeyConstraint(
            ["decision_id"], ["decision.id"], name=op.f("fk_cds_feedback_decision_id_decision")
        ),
        sa.PrimaryKeyConstraint("card_id", "digest", name=op.f("pk_cds_feedback")),
    )


def downgrade() -> None:
    """Take back."""
    for table in ("cds_feedback", "cds_card", "cds_nonce", "cds_client"):
        op.drop_table(table)
