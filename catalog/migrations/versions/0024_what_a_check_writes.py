"""What a check writes names hospital, person and check without locking them; answers are kept as they are up to a page.

A foreign key locks the row it names. Every check of a city names a few hundred hospitals: each of those rows is
locked by many transactions at once, and each lock is written to the log and to a multixact. Each check names another
person: the page of that row is written again for the lock alone. Neither hospitals nor people are ever removed or
numbered anew instead, which is what the keys were for; that the hospital is the caller's own, row level security says of
each row. An answer of a few kB costs more to compress at order time than the space is worth. And a check that showed
somebody is itself the reason to see him: access_grant said so a second time.
"""

from itertools import product

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

KEYS = (
    ("audit_event", "hospital"),
    ("audit_event", "person"),
    ("monthly", "hospital"),
    ("order_check", "hospital"),
    ("order_check", "person"),
    ("ordered_item", "hospital"),
    ("ordered_item", "person"),
    ("report_shown", "hospital"),
    ("report_shown", "person"),
)
FIRST_CHECK = "fk_ordered_item_first_check_id_order_check"  # written in one statement, and append-only
STAYING = ("hospital", "person")
TRIGGERS = (
    ("keeps_its_row", "delete", "row"),
    ("keeps_its_number", "update of id", "row"),
    ("keeps_every_row", "truncate", "statement"),
)


def upgrade() -> None:
    """Apply."""
    for table, named in KEYS:
        op.drop_constraint(op.f(f"fk_{table}_{named}_id_{named}"), table, type_="foreignkey")
    op.drop_constraint(op.f(FIRST_CHECK), "ordered_item", type_="foreignkey")
    op.execute(_KEEP_ROW)
    for (name, what, each), table in product(TRIGGERS, STAYING):
        op.execute(
            f"create trigger {name} before {what} on {table} for each {each} execute function keep_row()"
        )
    op.execute("alter table order_check set (toast_tuple_target = 8160)")
    op.add_column("order_check", sa.Column("disclosed", sa.Boolean(), nullable=False, server_default="false"))
    op.execute("alter table order_check disable trigger user")
    op.execute("update order_check set disclosed = true where given->>'patient' is not null")
    op.execute("alter table order_check enable trigger user")
    op.alter_column("order_check", "disclosed", server_default=None)
    op.execute("delete from access_grant where basis = 'check'")


def downgrade() -> None:
    """Take back."""
    op.execute(
        "insert into access_grant (subject, hospital_id, person_id, basis, reason, granted_at, expires_at) "
        "select caller, hospital_id, person_id, 'check', '', asked_at, expires_at from order_check where disclosed "
        "on conflict do nothing"
    )
    op.drop_column("order_check", "disclosed")
    op.execute("alter table order_check reset (toast_tuple_target)")
    for (name, _, _), table in product(TRIGGERS, STAYING):
        op.execute(f"drop trigger {name} on {table}")
    op.execute("drop function keep_row()")
    op.create_foreign_key(op.f(FIRST_CHECK), "ordered_item", "order_check", ["first_check_id"], ["id"])
    for table, named in KEYS:
        name = op.f(f"fk_{table}_{named}_id_{named}")
        op.create_foreign_key(name, table, named, [f"{named}_id"], ["id"])


_KEEP_ROW = """
create function keep_row() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and new.id = old.id then
    return new;
  end if;
  raise exception 'a % is never removed', tg_table_name using errcode = 'integrity_constraint_violation';
end $$
"""
