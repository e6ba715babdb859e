"""People: every claim on a number, what curators decide, notices, erasures."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.Identity(always=True)
_TEXTS = postgresql.ARRAY(sa.Text())
_TIME = sa.DateTime(timezone=True)
_NOW = sa.text("now()")


def upgrade() -> None:
    """Apply."""
    op.add_column("person", sa.Column("group_id", sa.BigInteger()))
    op.create_index("ix_person_group_id", "person", ["group_id"])
    op.create_index("ix_study_hospital_accession", "study", ["hospital_id", "accession_number"])
    _widen_alias()
    _add_claims()
    _add_events()
    _add_erasures()
    _let_erasures_through()


def downgrade() -> None:
    """Take back: of several claims on one number the first stays."""
    for table in ("order_check", "decision"):
        op.execute(f"drop trigger erasure_only on {table}")
    op.execute("drop function change_only_erases()")
    op.execute(_REFUSE.format(exception=""))
    for table in ("erased_study", "erasure", "notice", "identity_event", "study_claim"):
        op.drop_table(table)
    op.drop_constraint("ck_result_status", "result")
    op.execute("update result set status = 'superseded' where status = 'erased'")
    op.create_check_constraint("status", "result", "status in ('active', 'superseded', 'withdrawn')")
    op.add_column("identity_hold", sa.Column("state", sa.Text(), nullable=False, server_default="open"))
    op.execute(
        "delete from alias a where kind <> 'PatientID' or exists (select 1 from alias b"
        " where (b.hospital_id, b.kind, b.number) = (a.hospital_id, a.kind, a.number) and b.id < a.id)"
    )
    op.drop_constraint("pk_alias", "alias")
    for constraint in ("ck_alias_kind", "ck_alias_state", "ck_alias_ruling"):
        op.drop_constraint(constraint, "alias")
    for column in ("id", "kind", "source", "reasons", "ruling"):
        op.drop_column("alias", column)
    op.alter_column("alias", "number", new_column_name="patient_id")
    op.create_primary_key("pk_alias", "alias", ["hospital_id", "patient_id"])
    op.drop_index("ix_study_hospital_accession", "study")
    op.drop_index("ix_person_group_id", "person")
    op.drop_column("person", "group_id")


def _widen_alias() -> None:
    op.alter_column("alias", "patient_id", new_column_name="number")
    op.add_column("alias", sa.Column("id", sa.BigInteger(), _ID, nullable=False))
    op.add_column("alias", sa.Column("kind", sa.Text(), nullable=False, server_default="PatientID"))
    op.add_column("alias", sa.Column("source", sa.Text(), nullable=False, server_default="registration"))
    op.add_column("alias", sa.Column("reasons", _TEXTS, nullable=False, server_default="{}"))
    op.add_column("alias", sa.Column("ruling", sa.Text()))
    op.alter_column("alias", "kind", server_default=None)
    op.alter_column("alias", "source", server_default=None)
    op.execute("update alias set reasons = '{alias_doubtful}' where state = 'doubtful'")
    op.drop_constraint("pk_alias", "alias")
    op.create_primary_key("pk_alias", "alias", ["hospital_id", "kind", "number", "person_id"])
    op.create_unique_constraint("uq_alias_id", "alias", ["id"])
    op.create_check_constraint("kind", "alias", "kind in ('PatientID', 'AccessionNumber')")
    op.create_check_constraint("state", "alias", "state in ('linked', 'doubtful', 'unlinked')")
    op.create_check_constraint("ruling", "alias", "ruling in ('accepted', 'rejected')")


def _add_claims() -> None:
    op.create_table(
        "study_claim",
        sa.Column("study_id", sa.BigInteger(), sa.ForeignKey("study.id"), nullable=False),
        sa.Column("person_id", sa.BigInteger(), sa.ForeignKey("person.id"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reasons", _TEXTS, nullable=False, server_default="{}"),
        sa.Column("ruling", sa.Text()),
        sa.Column("created_at", _TIME, nullable=False, server_default=_NOW),
        sa.CheckConstraint("ruling in ('accepted', 'rejected')", name="ruling"),
        sa.PrimaryKeyConstraint("study_id", "person_id"),
    )
    op.create_index("ix_study_claim_person_id", "study_claim", ["person_id"])
    op.execute(
        "insert into study_claim (study_id, person_id, source)"
        " select s.id, s.person_id, 'header' from study s where s.person_id is not null and not exists ("
        " select 1 from alias a where (a.hospital_id, a.number, a.person_id)"
        " = (s.hospital_id, s.patient_id, s.person_id))"
    )
    op.execute(
        "insert into study_claim (study_id, person_id, source, reasons)"
        " select study_id, person_id, 'header', reasons from identity_hold where state = 'open'"
        " on conflict do nothing"
    )
    op.execute("delete from identity_hold where state <> 'open'")
    op.drop_column("identity_hold", "state")


def _add_events() -> None:
    op.create_table(
        "identity_event",
        sa.Column("id", sa.BigInteger(), _ID, primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), sa.ForeignKey("person.id"), nullable=False),
        sa.Column("other_person_id", sa.BigInteger(), sa.ForeignKey("person.id")),
        sa.Column("alias_id", sa.BigInteger()),
        sa.Column("study_id", sa.BigInteger(), sa.ForeignKey("study.id")),
        sa.Column("undoes_id", sa.BigInteger(), sa.ForeignKey("identity_event.id"), unique=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.CheckConstraint("kind in ('merge', 'accept', 'reject', 'undo', 'opt_out', 'opt_in')", name="kind"),
    )
    op.create_index("ix_identity_event_person_id", "identity_event", ["person_id"])
    op.execute(
        "create trigger append_only before update or delete or truncate on identity_event "
        "for each statement execute function refuse_change()"
    )
    op.create_table(
        "notice",
        sa.Column("id", sa.BigInteger(), _ID, primary_key=True),
        sa.Column("hospital_id", sa.BigInteger(), sa.ForeignKey("hospital.id"), nullable=False),
        sa.Column("decision_id", sa.BigInteger(), sa.ForeignKey("decision.id"), nullable=False),
        sa.Column("result_id", sa.BigInteger(), sa.ForeignKey("result.id"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("read_at", _TIME),
        sa.Column("read_by", sa.Text()),
    )
    op.create_index("ix_notice_hospital_id", "notice", ["hospital_id", "id"])


def _add_erasures() -> None:
    op.drop_constraint("ck_result_status", "result")
    op.create_check_constraint(
        "status", "result", "status in ('active', 'superseded', 'withdrawn', 'erased')"
    )
    op.create_table(
        "erasure",
        sa.Column("id", sa.BigInteger(), _ID, primary_key=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("studies", sa.BigInteger(), nullable=False),
        sa.Column("objects", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("object_keys", _TEXTS, nullable=False),
        sa.Column("state", sa.Text(), nullable=False, server_default="open"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("done_at", _TIME),
        sa.CheckConstraint("state in ('open', 'done')", name="state"),
    )
    op.create_table(
        "erased_study",
        sa.Column("uid_sha256", sa.LargeBinary(), primary_key=True),
        sa.Column("erasure_id", sa.BigInteger(), sa.ForeignKey("erasure.id"), nullable=False),
    )


_REFUSE = """
    create or replace function refuse_change() returns trigger language plpgsql as $$
    begin
      {exception}
      raise exception '% is append-only', tg_table_name using errcode = 'integrity_constraint_violation';
    end $$
"""
_ERASING = """
      if tg_op = 'UPDATE' and tg_table_name in ('order_check', 'decision')
         and current_setting('huren.erasure', true) = 'on' then
        return null;
      end if;
"""


def _let_erasures_through() -> None:
    """An erasure may empty what names the patient, `order_check.given` and `decision.reason_text`, and nothing else."""
    op.execute(_REFUSE.format(exception=_ERASING))
    op.execute(
        """
        create function change_only_erases() returns trigger language plpgsql as $$
        begin
          if to_jsonb(old) - tg_argv[0] <> to_jsonb(new) - tg_argv[0] then
            raise exception '% is append-only', tg_table_name using errcode = 'integrity_constraint_violation';
          end if;
          return new;
        end $$
        """
    )
    for table, column in (("order_check", "given"), ("decision", "reason_text")):
        op.execute(
            f"create trigger erasure_only before update on {table} "
            f"for each row execute function change_only_erases('{column}')"
        )
