"""What `catalog.seed` has PostgreSQL write: results drawn from their numbers, and what stands behind some of them.

`hashint8extended` of a result's number and the seed is all the chance there is: the same seed, the same city.
"""

from typing import Final

# Squares make some items many times more common than others, as they are.
RESULTS: Final = """
insert into result (id, person_id, study_id, hospital_id, item_code, laterality, body_part, exam_time,
                    confidence, rule, explanation, explanation_en)
overriding system value
select n, who, case when i.imaging and who % 100 < :in_full_percent then n end, s.hospital_id, i.code,
       case when i.paired then (array['L', 'R', 'B'])[1 + (chance >> 40) % 3] end,
       case when i.spans then (array['KNEE', 'ANKLE', 'ELBOW'])[1 + (chance >> 44) % 3] end,
       cast(:first as timestamptz) + make_interval(secs => n * :step_seconds),
       'high', 'seed', '合成数据', 'synthetic'
from (
    select n, 1 + (hashint8extended(n, :seed) & 9223372036854775807) % :people as who,
           hashint8extended(n, :seed + 1) & 9223372036854775807 as chance
    from generate_series(cast(:from_number as bigint), cast(:to_number as bigint)) n
) drawn
join seed_item i on i.place = (((chance & 65535) * (chance & 65535)) * :items) >> 32
join seed_slot s on s.place = (chance >> 16) % :slots
"""

# Studies, reports, versions and observations bear the number of their result.
IN_FULL: Final = (
    """
    create temporary table seed_full on commit drop as
    select r.id, r.person_id, r.hospital_id, r.exam_time, p.name, p.birth_date, p.sex, i.code, i.imaging, i.name_zh,
           i.modality, i.unit, i.loinc, i.category, '2.25.3' || lpad(cast(r.id as text), 14, '0') as uid,
           'P' || r.person_id as patient_id
    from result r join person p on p.id = r.person_id join seed_item i on i.code = r.item_code
    where r.person_id % 100 < :in_full_percent and p.id % 100 < :in_full_percent
    """,
    """
    insert into alias (hospital_id, kind, number, person_id, state, source)
    select distinct hospital_id, 'PatientID', patient_id, person_id, 'linked', 'registration' from seed_full
    """,
    """
    insert into study (id, uid, hospital_id, person_id, identity, patient_id, patient_name, name_rule, birth_date, sex,
                       accession_number, exam_time, exam_time_source, modalities, description, facts, series_count,
                       instance_count, size_bytes, revision, first_received_at, last_received_at)
    overriding system value
    select id, uid, hospital_id, person_id, 'linked', patient_id, name, 'declared', birth_date, sex, 'A' || id, exam_time,
           'StudyDate', array[modality], name_zh, '{}', 2, 200, 100000000, 1, exam_time, exam_time
    from seed_full where imaging
    """,
    """
    insert into report (id, hospital_id, number, category, study_id, study_uid, accession_number, patient_id,
                        patient_name, birth_date, sex, person_id, claimed_person_id, identity, standing_version_id,
                        standing_number, version_count)
    overriding system value
    select id, hospital_id, 'R' || id, category, case when imaging then id end, case when imaging then uid else '' end,
           case when imaging then 'A' || id else '' end, patient_id, name, birth_date, sex, person_id, person_id,
           'linked', id, 1, 1
    from seed_full
    """,
    """
    insert into report_version (id, report_id, status, reported_at, received_at, source, digest, title, findings,
                                conclusion, author, caller)
    overriding system value
    select id, id, 'final', exam_time + interval '2 hours', exam_time + interval '3 hours', 'fhir',
           sha256(convert_to(cast(id as text), 'UTF8')), name_zh, '合成数据,未见异常', '未见异常(合成)', '', 'huren seed'
    from seed_full
    """,
    """
    insert into observation (report_id, report_version_id, result_id, key, local_codes, loinc_codes, name, value, unit,
                             reference_range, method, flag, status, observed_at)
    select id, id, id, code, array[code], case when loinc = '' then array[]::text[] else array[loinc] end, name_zh,
           cast(1 + id % 100 as text), unit, '', '', '', 'final', exam_time
    from seed_full where not imaging
    """,
)

# The database counts on after the numbers that were given here.
SEQUENCES: Final = """
select setval(pg_get_serial_sequence('person', 'id'), (select max(id) from person)),
       setval(pg_get_serial_sequence('result', 'id'), (select max(id) from result)),
       setval(pg_get_serial_sequence('study', 'id'), (select coalesce(max(id), 1) from study)),
       setval(pg_get_serial_sequence('report', 'id'), (select coalesce(max(id), 1) from report)),
       setval(pg_get_serial_sequence('report_version', 'id'), (select coalesce(max(id), 1) from report_version))
"""
