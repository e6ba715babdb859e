"""Roles without rights of their own, and the functions that say for whom a transaction works (catalog.scope)."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; the policies follow from catalog.row_security with every migration."""
    for role in ("huren_api", "huren_worker"):
        op.execute(_ROLE.format(role=role))
    op.execute(_STAMP.format(security="security definer set search_path = pg_catalog, public, pg_temp"))
    for function in _FUNCTIONS:
        op.execute(function)
    op.execute(_ASKED_ABOUT)
    for signature in _OPENING:
        op.execute(f"revoke execute on function {signature} from public")
        op.execute(f"grant execute on function {signature} to huren_api, huren_worker")
    op.execute(_CLOSE.format(verb="revoke"))


def downgrade() -> None:
    """Take back; the roles stay, other databases of the server may use them."""
    op.execute(_CLOSE.format(verb="grant").replace(" from public", " to public"))
    for signature in (*_OPENING, *_ACTING):
        op.execute(f"drop function {signature} cascade")  # and the policies that ask it
    op.execute(
        "do $$ declare t regclass; begin for t in select oid from pg_class where relrowsecurity "
        "and relnamespace = 'public'::regnamespace loop "
        "execute format('alter table %s disable row level security', t); end loop; end $$"
    )
    op.execute("drop owned by huren_api, huren_worker")
    op.execute(_STAMP.format(security=""))


# Roles belong to the whole server: another database, or whoever looks after it, may have made them already.
_ROLE = """
do $$ begin
  if not exists (select from pg_roles where rolname = '{role}') then
    create role {role} nologin;
  end if;
exception
  when duplicate_object or unique_violation then null;  -- another database was migrated at this moment
  when insufficient_privilege then
    raise exception 'the role {role} is missing: have it made by CREATE ROLE {role} NOLOGIN';
end $$
"""

# Whoever changes the registry need not be allowed to write its stamp.
_STAMP = """
create or replace function stamp_registry() returns trigger language plpgsql {security} as $$
begin
  if current_setting('huren.registry_stamped', true) is distinct from pg_current_xact_id()::text then
    update registry_stamp set stamp = gen_random_uuid();
    perform set_config('huren.registry_stamped', pg_current_xact_id()::text, true);
  end if;
  return null;
end $$
"""

_CLOSE = """
do $$ begin
  execute format('{verb} temporary on database %I from public', current_database());
end $$
"""

_ACTING = ("acting_role()", "acting_hospital()", "opened_people()", "act_for(text, text)")
_OPENING = (
    "open_people(bigint[])",
    "open_number(text, bytea[])",
    "owner_of(text, text)",
    "is_theirs(bigint[])",
    "asked_about(text, bytea[])",
)
# What is missing or malformed is null, and null is nobody's.
_FUNCTIONS = (
    """
    create function acting_role() returns text language sql stable parallel safe as $$
      select nullif(current_setting('huren.role', true), '')
    $$
    """,
    """
    create function acting_hospital() returns bigint language sql stable parallel safe as $$
      select case when current_setting('huren.hospital', true) ~ '^[0-9]{1,18}$'
                  then current_setting('huren.hospital', true)::bigint end
    $$
    """,
    """
    create function opened_people() returns bigint[] language sql stable parallel safe as $$
      select case when current_setting('huren.people', true) ~ '^[{][0-9]{1,18}(,[0-9]{1,18})*[}]$'
                       and current_setting('huren.hospital', true) ~ '^[0-9]{1,18}$'
                  then current_setting('huren.people', true)::bigint[] end
    $$
    """,
    """
    create function act_for(acting text, hospital_code text) returns void language plpgsql
    set search_path = pg_catalog, public, pg_temp as $$
    begin
      perform set_config('huren.role', acting, true),
              set_config('huren.people', '', true),
              set_config('huren.hospital',
                         coalesce((select id::text from hospital where code = hospital_code), ''), true);
    end $$
    """,
    # What a hospital already has of somebody: a grant, a check, a number, an examination, a report.
    """
    create function is_theirs(everybody bigint[]) returns bool language sql stable security definer
    set search_path = pg_catalog, public, pg_temp as $$
      select everybody && opened_people()
        or exists (select from access_grant where person_id = any(everybody) and hospital_id = acting_hospital()
                   and revoked_at is null)
        or exists (select from order_check where person_id = any(everybody) and hospital_id = acting_hospital())
        or exists (select from alias where person_id = any(everybody) and hospital_id = acting_hospital())
        or exists (select from study where person_id = any(everybody) and hospital_id = acting_hospital())
        or exists (select from result where person_id = any(everybody) and hospital_id = acting_hospital())
        or exists (select from report where person_id = any(everybody) and hospital_id = acting_hospital())
    $$
    """,
    # Everybody merged with them too: a person and those merged with him are one human being. Of somebody a hospital
    # has nothing of, it learns his number and no more; the exchange's books and offices above hospitals see all.
    """
    create function open_people(asked bigint[]) returns bigint[] language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp as $$
    declare one bigint; everybody bigint[]; found bigint[] = '{}';
    begin
      foreach one in array asked loop
        select array_agg(distinct other.id) into everybody
        from person mine join person other on other.id = mine.id or other.group_id = mine.group_id
        where mine.id = one;
        if acting_hospital() is null or acting_role() = 'bookkeeping' or is_theirs(everybody) then
          found = found || everybody;
        end if;
      end loop;
      perform set_config('huren.people',
        (select coalesce(array_agg(distinct id)::text, '') from unnest(opened_people() || found) id), true);
      return found;
    end $$
    """,
    # The number of the person that somebody means; to see more of him he must be opened.
    """
    create function owner_of(kind text, wanted text) returns bigint language sql stable security definer
    set search_path = pg_catalog, public, pg_temp as $$
      select case kind
        when 'person' then (select id from person where id = wanted::bigint)
        when 'study' then (select person_id from study where id = wanted::bigint)
        when 'uid' then (select person_id from study where uid = wanted)
        when 'result' then (select person_id from result where id = wanted::bigint)
        when 'report' then (select coalesce(study.person_id, report.person_id)
                            from report left join study on study.id = report.study_id
                            where report.id = wanted::bigint)
      end
    $$
    """,
    # Whoever can hash a number with the vault's key has been told the number.
    """
    create function open_number(of_type text, digests bytea[]) returns bigint language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp as $$
    declare found bigint;
    begin
      select id into found from person where id_type = of_type and number_hash = any(digests) order by id limit 1;
      if found is not null then
        perform set_config('huren.people',
          (select array_agg(distinct id)::text from unnest(opened_people() || found) id), true);
        perform open_people(array[found]);
      end if;
      return found;
    end $$
    """,
)

# The first look-up of every check, in one statement: it opens the person to the rest of the transaction.
_ASKED_ABOUT = """
create function asked_about(of_type text, digests bytea[])
returns table (stamp uuid, id bigint, name text, birth_date date, sex text, ids bigint[], opted_out bool, held bool)
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
#variable_conflict use_column
begin
  select registry_stamp.stamp, found.id, found.name, found.birth_date, found.sex, everybody.ids, everybody.opted_out,
         exists (select from identity_hold where person_id = any(everybody.ids))
         or exists (select from alias where person_id = any(everybody.ids) and state = 'doubtful')
         or exists (select from report_hold where person_id = any(everybody.ids))
  into stamp, id, name, birth_date, sex, ids, opted_out, held
  from registry_stamp
  left join lateral (
      select id, group_id, name, birth_date, sex from person
      where id_type = of_type and number_hash = any(digests) order by id limit 1
  ) found on true
  left join lateral (
      select array_agg(id) as ids, bool_or(opted_out) as opted_out from person
      where id = found.id or group_id = found.group_id
  ) everybody on true;
  perform set_config('huren.people', coalesce(ids::text, ''), true);
  return next;
end $$
"""
