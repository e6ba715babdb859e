"""Who calls: clients and their keys, grants to see a person, accounts and sessions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NOTICE_RULES = {
    "cause": "num_nonnulls(decision_id, check_id, grant_id) = 1",
    "order": "(check_id is null) = (order_number is null)",
    "result": "(result_id is null) = (grant_id is not null)",
}


def upgrade() -> None:
    """Apply."""
    _create_clients()
    _create_grants()
    _create_accounts()
    op.alter_column("notice", "result_id", nullable=True)
    op.add_column("notice", sa.Column("grant_id", sa.BigInteger()))
    op.create_foreign_key("fk_notice_grant_id_access_grant", "notice", "access_grant", ["grant_id"], ["id"])
    op.drop_constraint(op.f("ck_notice_about"), "notice")
    for name, rule in _NOTICE_RULES.items():
        op.create_check_constraint(op.f(f"ck_notice_{name}"), "notice", rule)


def downgrade() -> None:
    """Take back."""
    op.execute("delete from notice where grant_id is not null")
    for name in _NOTICE_RULES:
        op.drop_constraint(op.f(f"ck_notice_{name}"), "notice")
    op.drop_column("notice", "grant_id")
    op.alter_column("notice", "result_id", nullable=False)
    op.create_check_constraint(
        op.f("ck_notice_about"),
        "notice",
        "(decision_id is null) = (check_id is not null and order_number is not null)",
    )
    for table in (
        "sign_in_failure",
        "account_session",
        "account_link",
        "account",
        "break_glass_review",
        "access_grant",
        "revoked_token",
        "client_assertion",
        "client",
    ):
        op.drop_table(table)


def _create_clients() -> None:
    op.create_table(
        "client",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger()),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("keys", postgresql.JSONB(), nullable=False),
        sa.Column("active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_client_hospital_id_hospital")
        ),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_client")),
    )
    op.create_table(
        "client_assertion",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"], ["client.client_id"], name=op.f("fk_client_assertion_client_id_client")
        ),
        sa.PrimaryKeyConstraint("client_id", "jti", name=op.f("pk_client_assertion")),
    )
    op.create_index("ix_client_assertion_expires_at", "client_assertion", ["expires_at"])
    op.create_table(
        "revoked_token",
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("revoked_by", sa.Text(), nullable=False),
        sa.Column("revoked_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_revoked_token")),
    )


def _create_grants() -> None:
    op.create_table(
        "access_grant",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("granted_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("revoked_at", _TIME),
        sa.CheckConstraint(
            "basis in ('check', 'purpose', 'break_glass')", name=op.f("ck_access_grant_basis")
        ),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_access_grant_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_access_grant_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_grant")),
    )
    op.create_index("ix_access_grant_person", "access_grant", ["person_id", "hospital_id", "expires_at"])
    op.create_table(
        "break_glass_review",
        sa.Column("grant_id", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("reviewed_by", sa.Text(), nullable=False),
        sa.Column("reviewed_at", _TIME, nullable=False),
        sa.CheckConstraint(
            "verdict in ('justified', 'unjustified')", name=op.f("ck_break_glass_review_verdict")
        ),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["access_grant.id"], name=op.f("fk_break_glass_review_grant_id_access_grant")
        ),
        sa.PrimaryKeyConstraint("grant_id", name=op.f("pk_break_glass_review")),
    )


def _create_accounts() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger()),
        sa.Column("password_hash", sa.Text()),
        sa.Column("totp_cipher", sa.LargeBinary()),
        sa.Column("totp_confirmed", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("totp_step", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.CheckConstraint("name = lower(name)", name=op.f("ck_account_name")),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_account_hospital_id_hospital")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
    )
    for table in ("account_link", "account_session"):
        own = (
            [
                sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
                sa.Column("seen_at", _TIME, nullable=False),
            ]
            if table == "account_session"
            else []
        )
        op.create_table(
            table,
            sa.Column("digest", sa.LargeBinary(), nullable=False),
            sa.Column("account_id", sa.BigInteger(), nullable=False),
            *own,
            sa.Column("expires_at", _TIME, nullable=False),
            sa.ForeignKeyConstraint(
                ["account_id"], ["account.id"], name=op.f(f"fk_{table}_account_id_account")
            ),
            sa.PrimaryKeyConstraint("digest", name=op.f(f"pk_{table}")),
        )
        op.create_index(f"ix_{table}_account_id", table, ["account_id"])
    op.create_index("ix_account_session_expires_at", "account_session", ["expires_at"])
    op.create_table(
        "sign_in_failure",
        sa.Column("name_digest", sa.LargeBinary(), nullable=False),
        sa.Column("source_digest", sa.LargeBinary(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("failed_at", _TIME, nullable=False),
        sa.Column("locked_until", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name_digest", "source_digest", name=op.f("pk_sign_in_failure")),
    )
    op.create_index("ix_sign_in_failure_failed_at", "sign_in_failure", ["failed_at"])
