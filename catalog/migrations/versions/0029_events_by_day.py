"""Figures of a past moment and by day: when each order became a reminder, in which department, and what came late.

Checks come in the order of their days, so that a summary of each range of pages leads to the orders of a month; the
indexes of what came late hold nothing of what came in time.
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

LATE = {
    "ix_ledger_late": "ledger (business_date, posted_at) "
    "where (posted_at at time zone 'Asia/Shanghai')::date > business_date",
    "ix_ordered_item_late": "ordered_item (business_date, reminded_at) "
    "where (reminded_at at time zone 'Asia/Shanghai')::date > business_date",
    "ix_decision_undone_late": "decision (checked_at) "
    "where action = 'undo' and (checked_at at time zone 'Asia/Shanghai')::date < business_date",
}


def upgrade() -> None:
    """Apply."""
    op.add_column("ordered_item", sa.Column("department", sa.Text(), nullable=False, server_default=""))
    op.add_column("ordered_item", sa.Column("reminded_at", sa.DateTime(timezone=True)))
    op.execute(_FIRST_ASKED)
    op.alter_column("ordered_item", "department", server_default=None)
    op.create_index("ix_decision_business_date", "decision", ["business_date"])
    op.create_index(
        "ix_ordered_item_business_date",
        "ordered_item",
        ["business_date"],
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
    )
    op.create_index("ix_monthly_unpriced", "monthly", ["month"], postgresql_where=sa.text("unpriced <> 0"))
    for name, on in LATE.items():
        op.execute(f"create index {name} on {on}")


def downgrade() -> None:
    """Take back."""
    for name in (*LATE, "ix_monthly_unpriced", "ix_ordered_item_business_date", "ix_decision_business_date"):
        op.execute(f"drop index {name}")
    op.drop_column("ordered_item", "reminded_at")
    op.drop_column("ordered_item", "department")


_FIRST_ASKED = """
update ordered_item set department = first.department, reminded_at = case when reminder then (
    select min(c.asked_at) from order_check c
    where c.person_id = ordered_item.person_id and c.hospital_id = ordered_item.hospital_id
      and c.number >= first.number
      and exists (select from jsonb_array_elements(c.given -> 'orders') o, jsonb_array_elements(o -> 'candidates') k
                  where o ->> 'order_id' = ordered_item.order_number and k ->> 'verdict' = 'recognisable')) end
from order_check first where first.id = ordered_item.first_check_id
"""
