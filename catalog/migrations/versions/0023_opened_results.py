"""What a check looks up, as one view: policies of six tables within each other cost it more than the look-up itself."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute(_SEES_ALL)
    op.execute(_VIEW)
    op.execute("grant select on opened_result to huren_api, huren_worker")


def downgrade() -> None:
    """Take back."""
    op.execute("drop view opened_result")
    op.execute("drop function sees_all()")


_VERSION = """report.id as report_id, report.standing_number,
           report.version_count, version.id as version_id, version.status as version_status, version.reported_at,
           version.digest, version.received_at, version.title, version.conclusion, version.attachment_count"""
# Whom no policy binds: the owner, and workers by a policy of their own.
_SEES_ALL = """
create function sees_all() returns bool language sql stable parallel safe as $$
  select not row_security_active('public.result') or pg_has_role(current_user, 'huren_worker', 'usage')
$$
"""
# As the policies of study and report: what is the hospital's own, or of a person the transaction has opened.
_OPENED = "any ((select opened_people())::bigint[])"
_OWN = "hospital_id = (select acting_hospital())"
_ALL = "(select sees_all())"
_STUDY_SEEN = f"(study.{_OWN} or study.person_id = {_OPENED} or {_ALL})"
_REPORT_SEEN = f"(report.{_OWN} or report.person_id = {_OPENED} or study.person_id = {_OPENED} or {_ALL})"

# It runs with its owner's rights, so nothing in it may show more than the policies of its tables do. Of a study it
# has the standing version of each report, of a laboratory value each version that gives it. A report whose person is
# in doubt, or another than the study's, is none of the study's.
_VIEW = f"""
create view opened_result with (security_barrier) as
    select result.person_id, result.id, result.study_id, result.hospital_id, result.item_code, result.laterality,
           result.body_part, result.exam_time, result.status, study.uid, study.description, study.patient_name,
           study.modalities, study.series_count, study.instance_count, study.images_complete, study.settles_at,
           study.quality_flagged, study.count_short, study.uid_conflict, study.withdrawn, said.*
    from result
    left join study on study.id = result.study_id and {_STUDY_SEEN}
    left join lateral (
        select {_VERSION}, null as name, null::text[] as local_codes, null::text[] as loinc_codes, null as value,
               null as unit, null as reference_range, null as method, null as flag, null as value_status,
               null::timestamptz as observed_at
        from report
        join report_version version on version.id = report.standing_version_id
        left join person mine on mine.id = report.person_id
        left join person theirs on theirs.id = study.person_id
        where report.study_id = study.id and {_REPORT_SEEN}
          and (report.identity = 'unlinked'
               or coalesce(mine.group_id, mine.id) = coalesce(theirs.group_id, theirs.id))
        union all
        select {_VERSION}, observation.name, observation.local_codes, observation.loinc_codes, observation.value,
               observation.unit, observation.reference_range, observation.method, observation.flag,
               observation.status, observation.observed_at
        from observation
        join report_version version on version.id = observation.report_version_id
        join report on report.id = observation.report_id
        where observation.result_id = result.id and result.study_id is null and {_REPORT_SEEN}
    ) said on true
    where (result.person_id = {_OPENED} or {_ALL}) and result.status in ('active', 'withdrawn')
"""  # noqa: S608 (of constants)
