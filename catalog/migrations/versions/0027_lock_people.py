"""Everybody merged with somebody is locked in one statement: a decision waits for no second."""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute(_LOCK)
    op.execute("revoke execute on function lock_people(bigint[]) from public")
    op.execute("grant execute on function lock_people(bigint[]) to huren_api, huren_worker")


def downgrade() -> None:
    """Take back."""
    op.execute("drop function lock_people(bigint[])")


# Somebody may have joined the group while this waited, so it is looked at again until all of it is locked. Whom it
# locks it shows to nobody: open_people says who may see them.
_LOCK = """
create function lock_people(asked bigint[]) returns bigint[] language plpgsql security definer
set search_path = pg_catalog, public, pg_temp as $$
declare locked bigint[] = '{}'; wanted bigint[];
begin
  loop
    select array_agg(distinct other.id) into wanted
    from unnest(asked) one
    join lateral (
        select person.id from person where person.id = one
        union select person.id from person
        where person.group_id = (select mine.group_id from person mine where mine.id = one)
    ) other on true;
    exit when wanted is null or wanted <@ locked;
    perform from person where id = any(wanted) order by id for no key update;
    locked = wanted;
  end loop;
  perform open_people(asked);
  return locked;
end $$
"""
