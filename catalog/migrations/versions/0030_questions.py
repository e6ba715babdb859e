"""Investigations, the only way from a figure to a name; and what says that a prior was looked at."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    _create_investigations()
    op.execute(
        "create trigger append_only before delete or truncate on investigation "
        "for each statement execute function refuse_change()"
    )
    for statement in (_STANDS, _TRIGGER, _OPENED, _OPEN, _INVESTIGATED, _VIEWING):
        op.execute(statement)
    op.execute("revoke execute on function open_investigation(bigint, text, timestamptz) from public")
    op.execute("grant execute on function open_investigation(bigint, text, timestamptz) to huren_api")
    op.execute("grant select on investigated to huren_api")
    op.execute("grant select on viewing to huren_api, huren_worker")


def downgrade() -> None:
    """Take back."""
    op.execute("drop view investigated, viewing")
    op.execute("drop function open_investigation(bigint, text, timestamptz)")
    op.execute("drop function opened_investigation()")
    op.drop_table("investigation")
    op.execute("drop function investigation_stands()")


def _create_investigations() -> None:
    op.create_table(
        "investigation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("item_code", sa.Text(), nullable=False),
        sa.Column("first_month", sa.Date(), nullable=False),
        sa.Column("last_month", sa.Date(), nullable=False),
        sa.Column("decision_id", sa.BigInteger()),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("closed_at", _TIME),
        sa.Column("verdict", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.Column("reviewed_by", sa.Text()),
        sa.Column("reviewed_at", _TIME),
        sa.CheckConstraint("first_month <= last_month", name=op.f("ck_investigation_months")),
        sa.CheckConstraint("opened_at < expires_at", name=op.f("ck_investigation_time")),
        sa.CheckConstraint("verdict in ('justified', 'unjustified')", name=op.f("ck_investigation_verdict")),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_investigation_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(
            ["decision_id"], ["decision.id"], name=op.f("fk_investigation_decision_id_decision")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_investigation")),
    )
    op.create_index("ix_investigation_decision_id", "investigation", ["decision_id"])


# Why and how far it was opened is never changed; it ends once, and has one verdict. An erasure empties free text.
_STANDS = """
create function investigation_stands() returns trigger language plpgsql as $$
begin
  if (new.id, new.opened_by, new.hospital_id, new.item_code, new.first_month, new.last_month, new.opened_at,
      new.expires_at) is distinct from
     (old.id, old.opened_by, old.hospital_id, old.item_code, old.first_month, old.last_month, old.opened_at,
      old.expires_at)
     or new.decision_id is distinct from old.decision_id
     or new.reason <> old.reason
        and (new.reason <> '' or current_setting('huren.erasure', true) is distinct from 'on')
     or old.closed_at is not null and new.closed_at is distinct from old.closed_at
     or old.verdict is not null and new.verdict is distinct from old.verdict
  then
    raise exception 'an investigation ends or is reviewed; nothing else of it changes'
      using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$
"""
_TRIGGER = """
create trigger stands before update on investigation for each row execute function investigation_stands()
"""
_OPENED = """
create function opened_investigation() returns bigint language sql stable parallel safe as $$
  select case when current_setting('huren.investigation', true) ~ '^[0-9]{1,18}$'
              then current_setting('huren.investigation', true)::bigint end
$$
"""
# For the transaction, and for whoever opened it alone.
_OPEN = """
create function open_investigation(wanted bigint, by text, moment timestamptz) returns bool language plpgsql
set search_path = pg_catalog, public, pg_temp as $$
declare found bool;
begin
  select true into found from investigation
  where id = wanted and opened_by = by and opened_at <= moment and expires_at > moment and closed_at is null
    and acting_role() = 'regulator';
  perform set_config('huren.investigation', case when found then wanted::text else '' end, true);
  return coalesce(found, false);
end $$
"""
# Runs with its owner's rights, so it says itself to whom, and of which entries, it shows anything.
_INVESTIGATED = """
create view investigated with (security_barrier) as
    select investigation.id as investigation_id, ledger.id as entry_id, decision.id as decision_id,
           decision.caller as decided_by, order_check.caller as asked_by, person.id as person_id, person.id_type,
           person.number_cipher, person.name, person.sex, person.birth_date
    from investigation
    join ledger on ledger.hospital_id = investigation.hospital_id and ledger.item_code = investigation.item_code
     and ledger.business_date >= investigation.first_month
     and ledger.business_date < investigation.last_month + interval '1 month'
     and (investigation.decision_id is null or ledger.decision_id = investigation.decision_id)
    join decision on decision.id = ledger.decision_id
    join order_check on order_check.id = decision.check_id
    join person on person.id = decision.person_id
    where investigation.id = (select opened_investigation()) and (select acting_role()) = 'regulator'
      and investigation.closed_at is null
"""
# What opened a report, images or a history of somebody: not the answer to a check, which shows itself.
_VIEWING = """
create view viewing with (security_barrier) as
    select id, recorded_at, action, hospital_id, person_id
    from audit_event
    where action in ('report.read', 'report.attachment', 'report.search', 'imaging_study.read',
                     'imaging_study.search', 'observation.read', 'observation.search', 'results.search',
                     'check.sheet')
      and ((select sees_figures())
           or (select acting_role()) = 'reviewer' and hospital_id = (select acting_hospital()))
"""
