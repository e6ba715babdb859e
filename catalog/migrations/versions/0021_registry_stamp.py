"""A stamp of the registry, new with every change to it; the index of results by study leaves out those without."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_TABLES = ("region", "hospital", "qc_evaluation", "price", "item_list")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "registry_stamp",
        sa.Column("only_row", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("stamp", sa.Uuid(), nullable=False),
        sa.CheckConstraint("only_row", name=op.f("ck_registry_stamp_only_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_registry_stamp")),
    )
    op.execute("insert into registry_stamp (stamp) values (gen_random_uuid())")
    op.execute(_STAMP)
    for table in _TABLES:
        # Deferred to the commit: the row all writers share is then the last thing any of them locks.
        op.execute(
            f"create constraint trigger stamp_registry after insert or update or delete on {table}"
            " deferrable initially deferred for each row execute function stamp_registry()"
        )
    op.drop_index("ix_result_study_id", "result")
    op.create_index(
        "ix_result_study_id", "result", ["study_id"], postgresql_where=sa.text("study_id is not null")
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_result_study_id", "result")
    op.create_index("ix_result_study_id", "result", ["study_id"])
    for table in _TABLES:
        op.execute(f"drop trigger stamp_registry on {table}")
    op.execute("drop function stamp_registry()")
    op.drop_table("registry_stamp")


# Once a transaction is enough, however many rows it wrote.
_STAMP = """
create function stamp_registry() returns trigger language plpgsql as $$
begin
  if current_setting('huren.registry_stamped', true) is distinct from pg_current_xact_id()::text then
    update registry_stamp set stamp = gen_random_uuid();
    perform set_config('huren.registry_stamped', pg_current_xact_id()::text, true);
  end if;
  return null;
end $$
"""
