"""What stands behind a figure, without names: examinations, digests of their packs, and the audit of decisions."""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_monthly_month", "monthly", ["month"])
    for statement in (_SEES_FIGURES, _EXAMINED, _PACK_DIGEST, _AUDITED_ACT, _MERGED):
        op.execute(statement)
    op.execute("grant select on examined, pack_digest, audited_act, merged to huren_api, huren_worker")


def downgrade() -> None:
    """Take back."""
    op.execute("drop view examined, pack_digest, audited_act, merged")
    op.execute("drop function sees_figures()")
    op.drop_index("ix_monthly_month", "monthly")


# Offices of the whole exchange; a hospital's own reviewer is told by the hospital of each row instead.
_SEES_FIGURES = """
create function sees_figures() returns bool language sql stable parallel safe as $$
  select acting_role() = any ('{regulator,auditor}'::text[]) or sees_all()
$$
"""
# The views run with their owner's rights, so each says itself to whom it shows anything.
_ALL = "(select sees_figures())"
_REVIEWS = "(select acting_role()) = 'reviewer'"
_OWN = f"{_REVIEWS} and hospital_id = (select acting_hospital())"
_DECIDED_ON = (
    f"{_REVIEWS} and exists (select from decision where decision.result_id = result.id"
    " and decision.hospital_id = (select acting_hospital()))"
)
_EXAMINED = f"""
create view examined with (security_barrier) as
    select result.id, result.person_id, result.hospital_id, result.item_code, result.laterality, result.body_part,
           result.exam_time, result.status, result.created_at, result.study_id, study.uid
    from result left join study on study.id = result.study_id
    where {_ALL} or {_REVIEWS} and result.hospital_id = (select acting_hospital()) or {_DECIDED_ON}
"""  # noqa: S608 (of constants)
_PACK_DIGEST = f"""
create view pack_digest with (security_barrier) as
    select pack.study_id, pack.id, pack.sha256, pack.size_bytes, pack.instance_count, pack.received_at
    from pack
    where pack.role = 'archive' and ({_ALL} or exists (
        select from result where result.study_id = pack.study_id
        and ({_REVIEWS} and result.hospital_id = (select acting_hospital()) or {_DECIDED_ON})))
"""  # noqa: S608 (of constants)
_AUDITED_ACT = f"""
create view audited_act with (security_barrier) as
    select id, recorded_at, action, role, hospital_id, person_id, (detail ->> 'check_id')::uuid as check_id,
           (detail ->> 'decision_id')::bigint as decision_id, (detail ->> 'saving_fen')::bigint as saving_fen,
           (detail ->> 'undoes_id')::bigint as undoes_id
    from audit_event
    where (action = 'check' or action like 'decision.%') and ({_ALL} or {_OWN})
"""  # noqa: S608 (of constants)
# Of people only which numbers are one human being, as a curator ruled.
_MERGED = f"""
create view merged with (security_barrier) as
    select mine.id as person_id, other.id as other_id
    from person mine join person other on other.group_id = mine.group_id and other.id <> mine.id
    where {_ALL} or {_REVIEWS}
"""  # noqa: S608 (of constants)
