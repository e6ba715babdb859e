"""Citations, stated purposes, webhooks."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    _decide_by("'recognise', 'override', 'undo', 'cite'")
    op.add_column("monthly", sa.Column("cited", sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "stated_purpose",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("person_id", sa.BigInteger()),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("stated_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_stated_purpose_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_stated_purpose_person_id_person")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stated_purpose")),
    )
    op.create_index("ix_stated_purpose_person_id", "stated_purpose", ["person_id"])
    _guard_purposes()
    _create_webhooks()


def downgrade() -> None:
    """Take back; refused by the database while there are citations."""
    op.drop_table("webhook_delivery")
    op.drop_table("webhook")
    op.drop_table("stated_purpose")
    op.execute("drop function purpose_only_erases()")
    op.drop_column("monthly", "cited")
    _decide_by("'recognise', 'override', 'undo'")


def _decide_by(actions: str) -> None:
    name = op.f("ck_decision_action")
    op.drop_constraint(name, "decision", type_="check")
    op.create_check_constraint(name, "decision", f"action in ({actions})")


def _guard_purposes() -> None:
    """An erasure may empty the reason, which is free text, and nothing else."""
    op.execute(
        "create trigger append_only before delete or truncate on stated_purpose "
        "for each statement execute function refuse_change()"
    )
    op.execute(
        """
        create function purpose_only_erases() returns trigger language plpgsql as $$
        begin
          if current_setting('huren.erasure', true) = 'on' and new.reason = ''
             and to_jsonb(new) - 'reason' = to_jsonb(old) - 'reason' then
            return new;
          end if;
          raise exception 'stated_purpose is append-only' using errcode = 'integrity_constraint_violation';
        end $$
        """
    )
    op.execute(
        "create trigger erasure_only before update on stated_purpose "
        "for each row execute function purpose_only_erases()"
    )


def _create_webhooks() -> None:
    op.create_table(
        "webhook",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_webhook_hospital_id_hospital")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook")),
    )
    op.create_index("ix_webhook_hospital_id", "webhook", ["hospital_id"])
    op.create_table(
        "webhook_delivery",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("webhook_id", sa.BigInteger(), nullable=False),
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", _TIME, nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("delivered_at", _TIME),
        sa.CheckConstraint(
            "state in ('queued', 'delivered', 'dead')", name=op.f("ck_webhook_delivery_state")
        ),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhook.id"], name=op.f("fk_webhook_delivery_webhook_id_webhook")
        ),
        sa.ForeignKeyConstraint(
            ["notice_id"], ["notice.id"], name=op.f("fk_webhook_delivery_notice_id_notice")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_delivery")),
        sa.UniqueConstraint("webhook_id", "notice_id", name=op.f("uq_webhook_delivery_webhook_id")),
    )
    op.create_index(
        "ix_webhook_delivery_queued",
        "webhook_delivery",
        ["webhook_id", "notice_id"],
        postgresql_where=sa.text("state = 'queued'"),
    )
