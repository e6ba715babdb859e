"""Operators keep accounts over HTTP, and see how the exchange runs: by one function, in numbers alone."""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; the policies follow from catalog.row_security with every migration."""
    op.create_index(
        "ix_audit_event_refused",
        "audit_event",
        ["id"],
        postgresql_where=sa.text("action = 'association_refused'"),
    )
    op.create_index(
        "ix_webhook_delivery_dead",
        "webhook_delivery",
        ["webhook_id"],
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.execute(_RUNNING)
    op.execute("revoke execute on function running_state(timestamptz) from public")
    op.execute("grant execute on function running_state(timestamptz) to huren_api")


def downgrade() -> None:
    """Take back."""
    op.execute("drop function running_state(timestamptz)")
    op.drop_index("ix_webhook_delivery_dead", "webhook_delivery")
    op.drop_index("ix_audit_event_refused", "audit_event")


# Each count has a bound: what piles up costs no more to look at than what does not.
_RUNNING = """
    create function running_state(since timestamptz) returns jsonb language sql stable security definer
    set search_path = pg_catalog, public, pg_temp as $$
    with sealed as (
        select number, sealed_at, through_id, head from audit_seal order by number desc limit 1
    ), refused as (
        select detail ->> 'calling_ae' as ae_title, detail ->> 'reason' as reason,
               sum((detail ->> 'count')::bigint) as count, max(recorded_at) as last_at
        from (select detail, recorded_at from audit_event
              where action = 'association_refused' order by id desc limit 5000) newest
        where recorded_at > since group by 1, 2
    ), open_commitments as (
        select hospital_id, state, count(*) as count, min(requested_at) as oldest_at
        from (select hospital_id, state, requested_at from commitment
              where state in ('queued', 'answered') or (state = 'given_up' and next_attempt_at > since)
              limit 10000) bounded group by 1, 2
    )
    select jsonb_build_object(
        'seal', (select jsonb_build_object('number', number, 'sealed_at', sealed_at, 'through_id', through_id,
                                           'head', encode(head, 'hex')) from sealed),
        'unsealed', (select count(*) from (select from audit_event
            where id > coalesce((select through_id from sealed), 0) limit 100000) bounded),
        'oldest_unsealed_at', (select recorded_at from audit_event
            where id > coalesce((select through_id from sealed), 0) order by id limit 1),
        'refused', coalesce((select jsonb_agg(jsonb_build_object(
            'ae_title', ae_title, 'reason', reason, 'count', count, 'last_at', last_at)
            order by last_at desc) from refused), '[]'),
        'commitments', coalesce((select jsonb_agg(jsonb_build_object(
            'hospital_id', hospital_id, 'state', state, 'count', count, 'oldest_at', oldest_at))
            from open_commitments), '[]'))
    where acting_role() = 'operator'
    $$
"""
