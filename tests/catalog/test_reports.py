"""Reports and their versions: once, in order, joined with their study, told to those who relied on them."""

from dataclasses import replace
from datetime import date, timedelta
from itertools import permutations
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import select, text

from catalog import recount, registry, report_views, reports, savings
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import Conflict, HurenError, InvalidInput, NotFound
from catalog.identity import Demographics
from catalog.records import ReportStatus
from catalog.tables import AuditEvent, Study
from catalog.tables_reports import Report, ReportVersion
from tests.city import City, id_number
from tests.reports import IMAGING, notices, of_person, take, versions

CT07 = {"order_number": "1", "item_code": "CT07"}
A_DAY = timedelta(days=1)


def first(check: dict[str, Any]) -> dict[str, Any]:
    candidate: dict[str, Any] = check["orders"][0]["candidates"][0]
    return candidate


def reasons(candidate: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in candidate["reasons"]]


@pytest.fixture
def pair(city: City) -> tuple[City, Caller, str]:
    """Hospital A did a chest CT seven days ago; hospital B asks."""
    city.hospital("A")
    doctor = city.hospital("B", tier=2, region="500107")
    uid = city.study("A", AccessionNumber="ACC-1")
    return city, doctor, uid


def test_the_conclusion_is_shown_labelled_as_the_issuers_opinion_for_reference_only(pair: Any) -> None:
    city, doctor, uid = pair
    take(city, "A", IMAGING, StudyInstanceUID=uid)
    found = first(city.check(doctor, [CT07]))
    assert found["verdict"] == "recognisable"
    report = found["report"]
    assert (report["conclusion"], report["label"]) == ("未见明显异常。", "原诊断意见,仅供参考")
    assert (report["status"], report["version"], report["versions"]) == ("final", 1, 1)
    assert report["reported_at"] == "2026-06-24T12:00:00+08:00"


def test_the_object_of_recognition_is_the_images_so_a_study_without_a_report_is_recognisable(
    pair: Any,
) -> None:
    city, doctor, _ = pair
    found = first(city.check(doctor, [CT07]))
    assert (found["verdict"], found["report"]) == ("recognisable", None)


def test_the_same_version_again_changes_nothing(pair: Any) -> None:
    city, _, uid = pair
    one = take(city, "A", IMAGING, StudyInstanceUID=uid)
    again = take(city, "A", IMAGING, StudyInstanceUID=uid)
    assert (one.made, again.made) == (True, False)
    assert one.version_id == again.version_id
    assert len(versions(city)) == 1


def test_a_preliminary_report_after_a_final_one_does_not_replace_it(pair: Any) -> None:
    city, doctor, uid = pair
    take(city, "A", IMAGING, StudyInstanceUID=uid)
    late = {"status": ReportStatus.PRELIMINARY, "reported_at": IMAGING.reported_at + A_DAY}
    take(city, "A", IMAGING, conclusion="待审", **late)
    assert first(city.check(doctor, [CT07]))["report"]["status"] == "final"


def test_only_a_preliminary_report_makes_the_prior_reference_only(pair: Any) -> None:
    city, doctor, uid = pair
    take(city, "A", IMAGING, StudyInstanceUID=uid, status=ReportStatus.PRELIMINARY)
    assert reasons(first(city.check(doctor, [CT07]))) == ["report_not_final"]


HISTORY = (
    (ReportStatus.PRELIMINARY, 0, "初步"),
    (ReportStatus.FINAL, 1, "终审"),
    (ReportStatus.CORRECTED, 2, "更正"),
    (ReportStatus.APPENDED, 3, "补充"),
)


def test_versions_keep_their_order_whatever_order_they_arrive_in(pair: Any) -> None:
    city, _, _ = pair
    for number, arrival in enumerate(permutations(HISTORY)):
        for status, days, said in arrival:
            take(
                city,
                "A",
                IMAGING,
                number=f"R-{number}",
                status=status,
                reported_at=IMAGING.reported_at + days * A_DAY,
                conclusion=said,
                PatientID="A-2",
            )
    with transaction(city.catalogue.engine) as session:
        found = session.execute(
            select(Report.standing_number, Report.version_count, ReportVersion.conclusion).join(
                ReportVersion, ReportVersion.id == Report.standing_version_id
            )
        ).all()
    assert len(found) == 24
    assert {tuple(row) for row in found} == {(4, 4, "补充")}


def test_at_one_report_time_a_withdrawal_beats_what_it_withdraws_in_either_order(pair: Any) -> None:
    city, doctor, uid = pair
    withdrawn = replace(IMAGING, status=ReportStatus.ENTERED_IN_ERROR)
    take(city, "A", withdrawn, StudyInstanceUID=uid)
    take(city, "A", IMAGING, StudyInstanceUID=uid)
    assert reasons(first(city.check(doctor, [CT07]))) == ["withdrawn"]


def test_a_report_is_found_by_accession_number_within_its_hospital_only(pair: Any) -> None:
    city, doctor, _ = pair
    take(city, "B", IMAGING, AccessionNumber="ACC-1")
    assert first(city.check(doctor, [CT07]))["report"] is None
    take(city, "A", IMAGING, AccessionNumber="ACC-1")
    assert first(city.check(doctor, [CT07]))["report"]["conclusion"] == "未见明显异常。"


def test_a_report_waits_for_its_study_and_joins_it_when_it_comes(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    take(city, "A", IMAGING, AccessionNumber="ACC-9")
    take(city, "A", IMAGING, number="R-2", StudyInstanceUID="2.25.77", conclusion="按 UID")
    city.study("A", AccessionNumber="ACC-9")
    assert first(city.check(doctor, [CT07]))["report"]["conclusion"] == "未见明显异常。"
    city.study("A", StudyInstanceUID="2.25.77", days_ago=1)
    assert first(city.check(doctor, [CT07]))["report"]["conclusion"] == "按 UID"


def test_an_accession_number_used_for_two_studies_joins_neither(pair: Any) -> None:
    city, _, _ = pair
    city.study("A", AccessionNumber="ACC-1", days_ago=1)
    take(city, "A", IMAGING, AccessionNumber="ACC-1")
    with transaction(city.catalogue.engine) as session:
        report = session.scalars(select(Report)).one()
        assert (report.study_id, report.reasons) == (None, ["accession_ambiguous"])


def test_a_report_of_another_patient_is_not_joined_with_the_study_it_names(pair: Any) -> None:
    city, doctor, uid = pair
    take(city, "A", IMAGING, StudyInstanceUID=uid, **of_person(4, name="王建国"), PatientID="A-4")
    assert first(city.check(doctor, [CT07]))["report"] is None
    other = city.check(doctor, [CT07], person=4, demographics=Demographics())
    assert (other["answer"], other["orders"][0]["candidates"]) == ("incomplete", [])


def test_a_study_uid_of_another_hospital_is_not_joined(pair: Any) -> None:
    city, doctor, uid = pair
    take(city, "B", IMAGING, StudyInstanceUID=uid)
    assert first(city.check(doctor, [CT07]))["report"] is None


def test_a_report_links_the_study_of_its_accession_number_to_its_person(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A", None, AccessionNumber="ACC-1", PatientID="MRN-1")
    assert not city.check(doctor, [CT07])["orders"][0]["candidates"]
    take(city, "A", IMAGING, AccessionNumber="ACC-1", **of_person(2), PatientID="MRN-1")
    assert first(city.check(doctor, [CT07]))["report"]["status"] == "final"


@pytest.mark.parametrize("report_first", [True, False])
def test_a_report_with_a_document_alone_links_its_study_whichever_comes_first(
    city: City, report_first: bool
) -> None:
    city.hospital("A")
    doctor = city.hospital("B")

    def report() -> None:
        take(city, "A", IMAGING, AccessionNumber="ACC-1", **of_person(2))

    if report_first:
        report()
    city.study("A", None, AccessionNumber="ACC-1", PatientID="MRN-1")
    if not report_first:
        report()
    assert first(city.check(doctor, [CT07]))["report"]["status"] == "final"


def test_a_report_number_never_passes_from_one_patient_to_another(pair: Any) -> None:
    city, _, uid = pair
    take(city, "A", IMAGING, StudyInstanceUID=uid, PatientID="A-2", **of_person(2))
    with pytest.raises(Conflict) as other_id:
        take(city, "A", IMAGING, PatientID="A-3", conclusion="另一人")
    with pytest.raises(Conflict) as other_person:
        take(city, "A", IMAGING, conclusion="另一人", **of_person(4))
    assert {other_id.value.code, other_person.value.code} == {"report_of_another_patient"}


def test_a_report_that_names_neither_patient_nor_study_is_refused(pair: Any) -> None:
    city, _, _ = pair
    with pytest.raises(InvalidInput) as refused:
        take(city, "A", IMAGING)
    assert refused.value.code == "subject_required"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"number": " "}, "number_required"),
        ({"number": "x" * 200}, "too_long"),
        ({"conclusion": "x" * 70_000}, "too_long"),
        ({"findings": "a\x00b"}, "control_characters"),
        ({"StudyInstanceUID": "../../etc"}, "study_uid_invalid"),
        ({"reported_at": IMAGING.reported_at + timedelta(days=400)}, "report_time_in_future"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(pair: Any, changes: dict[str, Any], code: str) -> None:
    city, _, _ = pair
    with pytest.raises(HurenError) as refused:
        take(city, "A", IMAGING, **({"PatientID": "A-2"} | changes))
    assert refused.value.code == code


def test_a_withdrawn_report_changes_tomorrows_checks_and_none_of_yesterdays_figures(pair: Any) -> None:
    city, doctor, uid = pair
    take(city, "A", IMAGING, StudyInstanceUID=uid)
    yesterday = city.check(doctor, [CT07])
    city.decide(doctor, yesterday, "1", "recognise")

    def figures() -> Any:
        with transaction(city.catalogue.engine) as session:
            return savings.report(
                session, city.catalogue.items, first=date(2026, 1, 1), last=date(2026, 12, 1)
            ), recount.verify(session)

    before = figures()
    city.now += A_DAY
    error = {"status": ReportStatus.ENTERED_IN_ERROR, "reported_at": city.now, "conclusion": ""}
    take(city, "A", IMAGING, **error)
    after_report, after_recount = figures()
    assert after_report["total"] == before[0]["total"]
    assert after_recount["agrees"]
    assert notices(city) == ["report_withdrawn"]
    tomorrow = first(city.check(doctor, [CT07 | {"order_number": "2"}]))
    assert (tomorrow["verdict"], reasons(tomorrow)) == ("reference", ["withdrawn"])
    assert tomorrow["report"]["conclusion"] is None


def test_a_hospital_withdraws_its_report_by_whatever_channel(pair: Any) -> None:
    city, doctor, uid = pair
    take(city, "A", IMAGING, StudyInstanceUID=uid, source="fhir")
    error = {"status": ReportStatus.ENTERED_IN_ERROR, "reported_at": city.now, "conclusion": ""}
    take(city, "A", IMAGING, source="hl7", **error)
    assert reasons(first(city.check(doctor, [CT07]))) == ["withdrawn"]


def test_a_withdrawal_between_check_and_decision_is_answered_with_the_news(pair: Any) -> None:
    city, doctor, uid = pair
    take(city, "A", IMAGING, StudyInstanceUID=uid)
    asked = city.check(doctor, [CT07])
    take(city, "A", IMAGING, status=ReportStatus.CANCELLED, reported_at=city.now)
    with pytest.raises(Conflict) as refused:
        city.decide(doctor, asked, "1", "recognise")
    assert refused.value.code == "prior_withdrawn"


def test_a_correction_is_told_to_whoever_relied_on_the_report_and_to_nobody_else(pair: Any) -> None:
    city, doctor, uid = pair
    take(city, "A", IMAGING, StudyInstanceUID=uid)
    correction = replace(IMAGING, status=ReportStatus.CORRECTED, conclusion="右肺下叶结节。")
    take(city, "A", correction, reported_at=IMAGING.reported_at + A_DAY)
    assert notices(city) == []
    asked = city.check(doctor, [CT07])
    city.decide(doctor, asked, "1", "recognise")
    take(city, "A", correction, reported_at=IMAGING.reported_at + 2 * A_DAY)
    assert notices(city) == ["report_corrected"]
    city.decide(doctor, asked, "1", "undo")
    take(city, "A", correction, reported_at=IMAGING.reported_at + 3 * A_DAY)
    assert notices(city) == ["report_corrected"]


def test_an_older_version_that_arrives_late_is_kept_and_no_news(pair: Any) -> None:
    city, doctor, uid = pair
    take(city, "A", IMAGING, StudyInstanceUID=uid, status=ReportStatus.CORRECTED)
    city.decide(doctor, city.check(doctor, [CT07]), "1", "recognise")
    take(city, "A", IMAGING, reported_at=IMAGING.reported_at - A_DAY, conclusion="旧")
    assert (len(versions(city)), notices(city)) == (2, [])


def test_a_report_is_read_only_by_whom_a_check_has_shown_it_and_every_reading_is_audited(pair: Any) -> None:
    city, doctor, uid = pair
    report_id = take(city, "A", IMAGING, StudyInstanceUID=uid).report_id
    with pytest.raises(NotFound):
        report_views.read(city.catalogue, doctor, report_id)
    city.check(doctor, [CT07])
    stranger = city.hospital("C")
    with pytest.raises(NotFound):
        report_views.read(city.catalogue, stranger, report_id)
    read = report_views.read(city.catalogue, doctor, report_id)
    assert read["versions"][0]["findings"] == "双肺纹理清晰。"
    assert read["label"] == "原诊断意见,仅供参考"
    with transaction(city.catalogue.engine) as session:
        actions = list(session.scalars(select(AuditEvent.action)))
    assert actions.count("report.read") == 1


def test_a_report_is_no_longer_read_once_its_person_opts_out_or_was_another(pair: Any) -> None:
    city, doctor, uid = pair
    report_id = take(city, "A", IMAGING, StudyInstanceUID=uid).report_id
    city.check(doctor, [CT07])
    with transaction(city.catalogue.engine) as session:
        session.scalars(select(Study)).one().person_id = None
    with pytest.raises(NotFound):
        report_views.read(city.catalogue, doctor, report_id)


def test_a_study_that_arrives_while_its_report_is_being_kept_waits_and_finds_it(city: City) -> None:
    city.hospital("A")
    study = Thread(target=city.study, args=("A",), kwargs={"AccessionNumber": "ACC-1"})
    with transaction(city.catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, "A")
        caller = Caller("test channel", "hospital_system", "A")
        reports.take(session, city.catalogue, caller, hospital, replace(IMAGING, AccessionNumber="ACC-1"))
        study.start()
        while study.is_alive() and not waits_for_a_lock(city):
            study.join(0.01)
    study.join()
    with transaction(city.catalogue.engine) as session:
        assert session.scalars(select(Report)).one().study_id is not None


def waits_for_a_lock(city: City) -> bool:
    with transaction(city.catalogue.engine) as session:
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        return bool(session.scalar(text(waiting)))


def test_no_name_or_number_of_a_patient_stands_in_what_a_report_writes_to_the_audit(pair: Any) -> None:
    city, _, uid = pair
    take(city, "A", IMAGING, StudyInstanceUID=uid, **of_person(2, name="林晓渝"), PatientID="A-2")
    with transaction(city.catalogue.engine) as session:
        written = str([event.detail for event in session.scalars(select(AuditEvent))])
    assert id_number(2) not in written
    assert "林晓渝" not in written
