"""What hospitals bring and how it is used, by month: the figures, what they are counted from, and what makes them stale.

A statement that changes examinations notes their months, whatever its way: the months are counted again from what then
stands. Each note is a row of its own, so that nobody waits for another's.
"""

from itertools import product

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0030"
branch_labels = None
depends_on = None

_COUNTERS = (
    *("studies", "images_complete", "reported", "reports", "matched"),
    *("results", "linked", "marked", "shown", "viewed"),
)
# Rows before, rows after; the same statement may stand for many rows.
_VERBS = {
    "insert": ("new_rows",),
    "update": ("old_rows", "new_rows"),
    "delete": ("old_rows",),
}
_NOTED = ("result", "study", "report")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "result_shown",
        sa.Column("result_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("audit_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("shown_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("viewed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("result_id", "audit_id", name=op.f("pk_result_shown")),
    )
    op.create_index(
        "ix_result_shown_viewed_at",
        "result_shown",
        ["viewed_at"],
        postgresql_where=sa.text("viewed_at is not null"),
    )
    op.create_table(
        "audit_read",
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("through_id", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("reader", name=op.f("pk_audit_read")),
    )
    op.execute("insert into audit_read (reader) values ('viewings')")
    op.create_table(
        "supply_changed",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_supply_changed")),
    )
    op.create_index("ix_supply_changed_month", "supply_changed", ["month"])
    op.create_table(
        "supply_month",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settles_at", sa.DateTime(timezone=True)),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_supply_month")),
    )
    op.create_table(
        "supply",
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("item_code", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in _COUNTERS),
        *(sa.Column(name, sa.ARRAY(sa.Integer()), nullable=False) for name in ("arrival", "viewing")),
        sa.CheckConstraint("level in ('hospital', 'category', 'item')", name=op.f("ck_supply_level")),
        sa.PrimaryKeyConstraint(
            *("level", "month", "hospital_id", "category", "item_code"), name=op.f("pk_supply")
        ),
    )
    for table in ("result", "study"):
        op.create_index(
            f"ix_{table}_exam_time",
            table,
            ["exam_time"],
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
        )
    for table, (verb, rows) in product(_NOTED, _VERBS.items()):
        _note_changes(table, verb, rows)
    op.execute(_OF_EVALUATION)
    op.execute(
        "create trigger note_supply after insert or update or delete on qc_evaluation"
        " for each row execute function note_supply_of_evaluation()"
    )
    op.execute(_WHAT_STANDS)


def downgrade() -> None:
    """Take back."""
    op.execute("drop trigger note_supply on qc_evaluation")
    op.execute("drop function note_supply_of_evaluation()")
    for table, verb in product(_NOTED, _VERBS):
        op.execute(f"drop trigger note_supply_{verb} on {table}")
        op.execute(f"drop function note_supply_{table}_{verb}()")
    for table in ("result", "study"):
        op.drop_index(f"ix_{table}_exam_time", table)
    for table in ("supply", "supply_month", "supply_changed", "audit_read", "result_shown"):
        op.drop_table(table)


def _note_changes(table: str, verb: str, rows: tuple[str, ...]) -> None:
    months = (
        " union ".join(f"select {_MONTH.format(rows=each)}" for each in rows) if table != "report" else ""
    )
    changed = months or " union ".join(_OF_REPORT.format(rows=each) for each in rows)
    op.execute(f"""
        create function note_supply_{table}_{verb}() returns trigger language plpgsql security definer
        set search_path = pg_catalog, public, pg_temp as $$
        begin
          insert into supply_changed (month) {changed};
          return null;
        end $$
    """)
    told = " ".join(f"{each[:3]} table as {each}" for each in rows)
    op.execute(
        f"create trigger note_supply_{verb} after {verb} on {table} referencing {told}"
        f" for each statement execute function note_supply_{table}_{verb}()"
    )


_MONTH = "date_trunc('month', exam_time at time zone 'Asia/Shanghai')::date from {rows}"
# One that has found its study is counted with it, one that has not in the month of the version that stands.
_OF_REPORT = """
select date_trunc('month', coalesce(study.exam_time, version.reported_at) at time zone 'Asia/Shanghai')::date
from {rows} noted left join study on study.id = noted.study_id
left join report_version version on version.id = noted.standing_version_id
where coalesce(study.exam_time, version.reported_at) is not null
"""
# A failed one ends marks from its first day on, for good.
_OF_EVALUATION = """
create function note_supply_of_evaluation() returns trigger language plpgsql security definer
set search_path = pg_catalog, public, pg_temp as $$
begin
  insert into supply_changed (month)
  select month from (select month from supply_month union select month from supply_changed) kept
  where month >= date_trunc('month', least(old.valid_from, new.valid_from))::date;
  return null;
end $$
"""
# What was there before is counted once the figures are first kept.
_WHAT_STANDS = """
insert into supply_changed (month)
select distinct date_trunc('month', exam_time at time zone 'Asia/Shanghai')::date from
(select exam_time from result union all select exam_time from study) done
"""
