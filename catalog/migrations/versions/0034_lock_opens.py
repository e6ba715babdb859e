"""Locking people opens them as the books do, in the one statement: who decides waits for two fewer."""

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute(_lock(_AS_THE_BOOKS))


def downgrade() -> None:
    """Take back."""
    op.execute(_lock("perform open_people(asked);"))


_AS_THE_BOOKS = """
  acting = acting_role();
  perform set_config('huren.role', 'bookkeeping', true);
  perform open_people(asked);
  perform set_config('huren.role', coalesce(acting, ''), true);
"""


def _lock(opening: str) -> str:
    """Return the function as 0027 made it, but for how it opens."""
    return f"""
    create or replace function lock_people(asked bigint[]) returns bigint[] language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp as $$
    declare locked bigint[] = '{{}}'; wanted bigint[]; acting text;
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
      {opening}
      return locked;
    end $$
    """  # noqa: S608 (of constants)
