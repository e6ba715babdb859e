"""Questions about figures, as the database answers a regulator: what raises one, what does not, and what it says."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text

from catalog import questions
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.embedded import Services
from catalog.errors import InvalidInput
from catalog.plausibility import Thresholds
from catalog.scope import Scope, acting_as
from tests.city import City, serving

JUNE = date(2026, 6, 1)
REGULATOR = Caller("regulator", "regulator")
_DECIDED = text("""
    with made as (
        insert into decision (check_id, hospital_id, order_number, person_id, item_code, action, beyond_duty,
                              own_hospital, emergency, checked_at, decided_at, business_date, caller)
        select gen_random_uuid(), hospital.id, :caller || n, 1000 * hospital.id + n, 'CT07', :action, false, :own,
               false, at - make_interval(secs => :seconds), at, cast(at as date), :caller
        from hospital cross join generate_series(1, :count) n
        cross join lateral (select cast(:month as timestamp) + make_interval(days => 1, mins => :apart * n) as at) t
        where code = :hospital
        returning id, hospital_id, person_id, action, decided_at
    )
    insert into audit_event (action, caller, role, hospital_id, person_id, detail, recorded_at)
    select 'decision.' || action, :caller, :role, hospital_id, person_id, jsonb_build_object('decision_id', id),
           decided_at
    from made
""")
_VIEWED = text("""
    insert into audit_event (action, caller, role, hospital_id, person_id, recorded_at)
    select :action, 'dr', 'doctor', (select id from hospital where code = :by), person_id + :other,
           decided_at + make_interval(mins => :minutes)
    from decision join hospital on hospital.id = hospital_id where code = :hospital order by decision.id limit :count
""")
_MONTH = text("""
    insert into monthly (hospital_id, item_code, month, own_hospital, emergency, reminders, beyond_duty, saved_fen,
                         reversed_fen)
    select id, 'CT07', :month, false, false, :reminders, :beyond, :saved, :reversed from hospital where code = :hospital
""")


class Books:
    """Writes decisions, viewings and monthly sums past the rules, and asks as a regulator."""

    def __init__(self, city: City, served: Catalogue) -> None:
        self._city, self._served = city, served
        for place in range(6):
            city.hospital(f"H{place}")

    def write(self, statement: Any, **values: Any) -> None:
        with transaction(self._city.catalogue.engine) as session:
            session.execute(text("set local session_replication_role = replica"))  # no keys, no triggers
            session.execute(statement, values)

    def decided(self, hospital: str, count: int, **more: Any) -> None:
        usual = {"caller": "dr", "role": "doctor", "action": "recognise", "own": False, "seconds": 90}
        values = usual | {"apart": 60, "month": JUNE, "hospital": hospital, "count": count} | more
        self.write(_DECIDED, **values)

    def viewed(self, hospital: str, count: int, **more: Any) -> None:
        usual = {"action": "report.read", "by": hospital, "other": 0, "minutes": -1}
        self.write(_VIEWED, **{**usual, "hospital": hospital, "count": count, **more})

    def month(self, hospital: str, month: date, saved: int, reminders: int = 100, **more: int) -> None:
        values = {"hospital": hospital, "month": month, "saved": saved, "reminders": reminders}
        self.write(_MONTH, **{"beyond": 0, "reversed": 0, **values, **more})

    def ask(self, thresholds: Thresholds | None = None, *, as_: Caller = REGULATOR, **more: Any) -> Any:
        catalogue = acting_as(self._served, Scope.of(as_))
        with transaction(catalogue.engine) as session:
            usual = {"first": JUNE, "last": JUNE}
            return questions.ask(session, catalogue.items, thresholds or Thresholds(), **usual | more)

    def kinds(self, *args: Any, **more: Any) -> list[tuple[str, str]]:
        return [(each["kind"], each["hospital"]) for each in self.ask(*args, **more)["questions"]]


@pytest.fixture
def books(city: City, services: Services) -> Iterator[Books]:
    served = serving(city.catalogue, services)
    yield Books(city, served)
    served.engine.dispose()


def looked_at(books: Books, *, by_the_last: int = 0) -> None:
    """Of 25 recognitions the first five hospitals look at 20, the last at fewer."""
    for place in range(6):
        books.decided(f"H{place}", 25)
        books.viewed(f"H{place}", 20 if place < 5 else by_the_last)


def test_a_hospital_that_recognises_unseen_what_its_peers_look_at_is_asked(books: Books) -> None:
    looked_at(books)
    (asked,) = books.ask()["questions"]
    assert (asked["question_id"], asked["kind"]) == ("unviewed:H5:CT07:2026-06", "unviewed")
    assert asked["seen"] == {"unit": "share", "value": 1.0, "count": 25, "of": 25, "emergencies": 0}
    assert asked["expected"] == {"usual": 0.2, "at_most": 0.4, "compared_with": "tier", "compared": 6}
    assert asked["entries"] == "/v1/savings/entries?from=2026-06&to=2026-06&hospital=H5&item=CT07"
    assert len(asked["decisions"]) == 20
    assert "25 次(100%)" in asked["question"]
    assert "H5医院" in asked["question_en"]


@pytest.mark.parametrize(
    "look",
    [
        {"minutes": 1},  # after the decision
        {"minutes": -60 * 24 * 8},  # too long before
        {"by": "H0"},  # another hospital
        {"other": 500},  # another patient
        {"action": "check"},  # the answer shows itself
    ],
)
def test_what_is_no_look_at_this_patient_by_this_hospital_before_it_counts_as_none(
    books: Books, look: dict[str, Any]
) -> None:
    looked_at(books)
    books.viewed("H5", 25, **look)
    assert books.kinds() == [("unviewed", "H5")]


@pytest.mark.parametrize(
    "action", ["report.read", "results.search", "imaging_study.search", "observation.read", "check.sheet"]
)
def test_any_look_before_it_counts(books: Books, action: str) -> None:
    looked_at(books)
    books.viewed("H5", 25, action=action, minutes=-60 * 24 * 6)
    assert books.kinds() == []


def test_a_look_at_somebody_merged_with_the_patient_counts(books: Books) -> None:
    looked_at(books)
    books.write(
        text("""
            insert into person (id, id_type, number_hash, number_cipher, name, sex, group_id)
            overriding system value
            select person_id + other, '01', int8send(person_id + other), '', '', 'unknown', person_id
            from decision join hospital on hospital.id = hospital_id cross join (values (0), (500)) each (other)
            where code = 'H5'
        """)
    )
    books.viewed("H5", 25, other=500)
    assert books.kinds() == []


def test_what_a_hospital_did_itself_or_undid_is_not_asked_about(books: Books) -> None:
    looked_at(books, by_the_last=20)
    books.decided("H5", 60, own=True, caller="own")
    assert books.kinds() == []
    books.decided("H5", 60, caller="undone")
    assert books.kinds() == [("unviewed", "H5")]
    books.write(
        text("""
            insert into decision (check_id, hospital_id, order_number, person_id, item_code, action, undoes_id,
                                  checked_at, decided_at, business_date, caller)
            select check_id, hospital_id, order_number, person_id, item_code, 'undo', id, checked_at, decided_at,
                   business_date, caller
            from decision where caller = 'undone'
        """)
    )
    assert books.kinds() == []


def test_few_recognitions_and_few_peers_raise_nothing(books: Books) -> None:
    for place in range(4):
        books.decided(f"H{place}", 25)
        books.viewed(f"H{place}", 25 if place else 0)
    books.decided("H5", 19)
    assert books.kinds() == []
    assert books.kinds(Thresholds(least_peers=4)) == [("unviewed", "H0")]


def test_decisions_faster_than_anybody_reads_are_asked_about_in_bulk(books: Books) -> None:
    books.decided("H0", 11, seconds=4)
    books.decided("H0", 9, seconds=6, caller="other")
    books.decided("H1", 20, seconds=6)
    books.decided("H2", 19, seconds=1)
    (asked,) = books.ask()["questions"]
    assert (asked["kind"], asked["hospital"], asked["seen"]["count"]) == ("fast", "H0", 11)
    assert asked["expected"]["compared_with"] == "setting"
    assert "5 秒" in asked["question"]
    assert books.kinds(Thresholds(fast_seconds=7)) == [("fast", "H0"), ("fast", "H1")]


def test_one_doctors_burst_is_asked_about_and_he_is_not_named(books: Books) -> None:
    books.decided("H0", 30, apart=0, caller="dr.wang")
    books.decided("H0", 30, caller="dr.li")  # an hour apart
    books.decided("H1", 19, apart=0, caller="dr.zhao")
    books.decided("H2", 40, apart=0, caller="his-h2", role="hospital_system")
    books.decided("H3", 21, apart=0, caller="dr.sun", action="override")
    found = [each for each in books.ask()["questions"] if each["kind"] == "burst"]
    assert [(each["hospital"], each["seen"]["value"], each["seen"]["of"]) for each in found] == [
        ("H0", 30, 30),
        ("H3", 21, 21),
    ]
    assert found[0]["item"] is None
    assert found[0]["question_id"] == f"burst:H0:{found[0]['decisions'][0]}:2026-06"
    assert "dr." not in str(found)


def test_a_window_slides_over_the_whole_month(books: Books) -> None:
    books.decided("H0", 40, apart=1)
    within = Thresholds(burst_decisions=6)
    (burst,) = [each for each in books.ask(within)["questions"] if each["kind"] == "burst"]
    assert burst["seen"]["value"] == 6  # minutes 0 to 5, both ends
    assert len(burst["decisions"]) == 6
    assert [kind for kind, _ in books.kinds(replace(within, burst_decisions=7))] == []


def test_savings_far_above_those_of_peers_are_asked_about(books: Books) -> None:
    for place in range(5):
        books.month(f"H{place}", JUNE, 1_000_000 + place * 10_000)
    books.month("H5", JUNE, 4_000_000, reversed=1_000_000)
    (asked,) = books.ask()["questions"]
    assert (asked["kind"], asked["hospital"]) == ("savings_above_peers", "H5")
    assert asked["seen"] == {
        "unit": "fen_per_reminder",
        "value": 30000.0,
        "count": 3_000_000,
        "of": 100,
        "emergencies": None,
    }
    assert asked["expected"]["usual"] == 10250.0
    assert "300.00 元" in asked["question"]
    assert books.kinds(Thresholds(money_ratio=3)) == []


def test_savings_far_above_those_of_the_months_before_are_asked_about(books: Books) -> None:
    for month in (2, 3, 4, 5):
        books.month("H0", date(2026, month, 1), 1_000_000 + month)
    books.month("H0", JUNE, 2_000_000)
    assert books.kinds() == [("savings_above_history", "H0")]
    assert books.kinds(first=date(2026, 5, 1), last=date(2026, 5, 1)) == []


def test_a_hospital_that_saves_beyond_its_duty_alone_is_no_smaller_a_question(books: Books) -> None:
    for place in range(5):
        books.month(f"H{place}", JUNE, 1_000_000)
    books.month("H5", JUNE, 500_000, reminders=0, beyond=25)
    assert books.kinds() == [("savings_above_peers", "H5")]


def test_pages_follow_each_other_in_an_order_that_is_always_the_same(books: Books) -> None:
    looked_at(books)
    books.decided("H4", 30, apart=0, caller="dr.wang", seconds=1)
    books.decided("H5", 30, apart=0, caller="dr.wang", month=date(2026, 5, 1))
    whole = books.ask(first=date(2026, 5, 1))
    ids = [each["question_id"] for each in whole["questions"]]
    assert [each.split(":")[0] for each in ids] == ["burst", "burst", "fast", "unviewed", "unviewed"]
    assert (whole["total"], whole["next"]) == (5, None)
    page = books.ask(first=date(2026, 5, 1), offset=2, limit=2)
    assert ([each["question_id"] for each in page["questions"]], page["next"]) == (ids[2:4], 4)
    own = books.ask(first=date(2026, 5, 1), hospital="H4")["questions"]
    assert {each["hospital"] for each in own} == {"H4"}


def test_a_range_is_bounded(books: Books) -> None:
    books.ask(first=date(2025, 7, 1))
    for first in (date(2025, 6, 1), date(2026, 7, 1)):
        with pytest.raises(InvalidInput):
            books.ask(first=first)


def test_a_hospitals_own_auditor_is_asked_of_his_hospital_alone(books: Books) -> None:
    for place in range(2):
        books.decided(f"H{place}", 30, apart=0)
    assert books.kinds(as_=Caller("privacy", "auditor", "H1")) == [("burst", "H1")]
    assert books.kinds(as_=Caller("dr", "doctor", "ZZ")) == []
