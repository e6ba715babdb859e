"""Laboratory items: each value is a result for the same rules, with its own versions."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from catalog import lab_results, recount, registry
from catalog.context import Caller
from catalog.db import transaction
from catalog.items import load_item_list
from catalog.lab_codes import map_codes
from catalog.records import ReportStatus
from catalog.report_records import LOINC, Coding
from catalog.tables import LedgerEntry, Result
from catalog.tables_reports import Observation
from tests.city import City
from tests.reports import LABORATORY, POTASSIUM, count, evaluate_laboratory, notices, of_person, take

LB14 = {"order_number": "1", "item_code": "LB14"}
A_DAY = timedelta(days=1)
ITEMS = load_item_list()


def first(check: dict[str, Any]) -> dict[str, Any]:
    candidate: dict[str, Any] = check["orders"][0]["candidates"][0]
    return candidate


def reasons(candidate: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in candidate["reasons"]]


def changed(value: str, status: ReportStatus, days: int) -> dict[str, Any]:
    return {
        "values": (replace(POTASSIUM, value=value, status=status),),
        "status": status,
        "reported_at": LABORATORY.reported_at + days * A_DAY,
    }


@pytest.fixture
def pair(city: City) -> tuple[City, Caller]:
    """Hospital A measured potassium two days ago; hospital B asks."""
    city.hospital("A")
    evaluate_laboratory(city, "A")
    doctor = city.hospital("B", tier=2, region="500107")
    take(city, "A", LABORATORY, **of_person(2), PatientID="P-2")
    return city, doctor


def test_a_laboratory_value_is_shown_with_value_unit_range_method_and_flag(pair: Any) -> None:
    city, doctor = pair
    found = first(city.check(doctor, [LB14]))
    assert (found["verdict"], found["images"], found["saving_fen"] > 0) == ("recognisable", None, True)
    value = found["report"]["values"][0]
    assert {key: value[key] for key in ("value", "unit", "reference_range", "method")} == {
        "value": "4.1",
        "unit": "mmol/L",
        "reference_range": "3.5-5.3",
        "method": "离子选择电极法",
    }


@pytest.mark.parametrize(
    "item", [item for item in ITEMS if item.category == "laboratory"], ids=lambda i: i.code
)
def test_every_laboratory_item_is_found_by_its_loinc_code(item: Any) -> None:
    assert map_codes(ITEMS, {}, [], [item.loinc]).item_code == item.code


def test_the_list_has_forty_five_laboratory_items() -> None:
    assert sum(item.category == "laboratory" for item in ITEMS) == 45


@pytest.mark.parametrize(
    ("local", "loinc", "item", "reason"),
    [
        (["K"], [], "LB14", None),
        (["K"], ["2823-3"], "LB14", None),
        (["K"], ["2951-2"], None, "codes_contradict"),
        (["?"], ["1-8"], None, "not_on_list"),
        (["CT"], [], None, "not_on_list"),
        (["NONE"], ["2823-3"], None, "said_unlisted"),
        (["NONE", "K"], [], None, "codes_contradict"),
    ],
)
def test_local_codes_go_before_loinc_and_a_contradiction_maps_to_nothing(
    local: list[str], loinc: list[str], item: str | None, reason: str | None
) -> None:
    found = map_codes(ITEMS, {"K": "LB14", "CT": "CT07", "NONE": ""}, local, loinc)
    assert (found.item_code, found.unmapped_reason) == (item, reason)


def test_a_value_whose_code_is_mapped_later_becomes_a_result_then(pair: Any) -> None:
    city, doctor = pair
    own = replace(POTASSIUM, key="NA", codings=(Coding("", "NA-1", "钠"),))
    take(city, "A", LABORATORY, number="L-2", values=(own,), PatientID="P-2")
    assert not city.check(doctor, [{"order_number": "2", "item_code": "LB15"}])["orders"][0]["candidates"]
    with transaction(city.catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, "A")
        row = {"code": "NA-1", "name": "钠", "item_code": "LB15", "laterality": None, "body_part": None}
        registry.map_local_codes(session, hospital, [row])
        assert lab_results.remap(session, city.catalogue, hospital.id) == 1
        assert lab_results.remap(session, city.catalogue, hospital.id) == 0
    assert (
        first(city.check(doctor, [{"order_number": "3", "item_code": "LB15"}]))["verdict"] == "recognisable"
    )


def test_a_corrected_value_is_a_new_version_of_the_same_result_and_told_to_who_relied_on_it(
    pair: Any,
) -> None:
    city, doctor = pair
    before = first(city.check(doctor, [LB14]))
    city.decide(doctor, city.check(doctor, [LB14]), "1", "recognise")
    take(city, "A", LABORATORY, **changed("6.2", ReportStatus.CORRECTED, 1))
    after = first(city.check(doctor, [LB14 | {"order_number": "2"}]))
    assert after["result_id"] == before["result_id"]
    assert after["report"]["values"][0]["value"] == "6.2"
    assert notices(city) == ["report_corrected"]


def test_a_value_that_is_said_again_unchanged_is_no_news(pair: Any) -> None:
    city, doctor = pair
    city.decide(doctor, city.check(doctor, [LB14]), "1", "recognise")
    take(city, "A", LABORATORY, **changed("4.1", ReportStatus.CORRECTED, 1))
    assert notices(city) == []


def test_a_rerun_of_the_same_message_makes_nothing_new(pair: Any) -> None:
    city, _ = pair
    take(city, "A", LABORATORY, PatientID="P-2")
    assert (count(city, Observation), count(city, Result)) == (1, 1)


def test_a_preliminary_value_is_reference_only_because_a_laboratory_result_is_its_report(pair: Any) -> None:
    city, doctor = pair
    own = replace(POTASSIUM, status=ReportStatus.PRELIMINARY, codings=(Coding(LOINC, "2951-2"),))
    take(city, "A", LABORATORY, number="L-2", values=(own,), PatientID="P-2")
    found = first(city.check(doctor, [{"order_number": "2", "item_code": "LB15"}]))
    assert reasons(found) == ["report_not_final"]


def test_an_order_that_the_laboratory_only_received_is_no_examination(pair: Any) -> None:
    city, _ = pair
    own = replace(POTASSIUM, status=ReportStatus.REGISTERED, value="")
    take(city, "A", LABORATORY, number="L-2", values=(own,), PatientID="P-2")
    assert count(city, Result) == 1


def test_an_own_laboratory_result_after_a_recognition_reverses_its_saving_and_a_withdrawal_reinstates_it(
    pair: Any,
) -> None:
    city, doctor = pair
    city.decide(doctor, city.check(doctor, [LB14]), "1", "recognise")
    city.now += A_DAY
    own = {"number": "B-1", "reported_at": city.now, **of_person(2), "PatientID": "B-2"}
    take(city, "B", LABORATORY, **own, values=(replace(POTASSIUM, observed_at=city.now),))
    take(
        city,
        "B",
        LABORATORY,
        number="B-1",
        status=ReportStatus.ENTERED_IN_ERROR,
        reported_at=city.now + A_DAY / 24,
        values=(),
    )
    with transaction(city.catalogue.engine) as session:
        assert list(session.scalars(select(LedgerEntry.kind).order_by(LedgerEntry.id))) == [
            "saving",
            "reversal",
            "reinstatement",
        ]
        assert recount.verify(session)["agrees"]


def test_a_report_that_waits_for_its_patient_is_found_once_he_is_linked(city: City) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    take(city, "A", LABORATORY, PatientID="MRN-7")
    assert not city.check(doctor, [LB14])["orders"][0]["candidates"]
    city.link(Caller("his", "hospital_system", "A"), "MRN-7", 2)
    assert first(city.check(doctor, [LB14]))["report"]["values"][0]["value"] == "4.1"


def test_a_patient_number_that_two_people_claim_takes_its_laboratory_results_from_both(pair: Any) -> None:
    city, doctor = pair
    city.link(Caller("his", "hospital_system", "A"), "P-2", 4)
    answer = city.check(doctor, [LB14])
    assert (answer["answer"], answer["orders"][0]["candidates"]) == ("incomplete", [])
