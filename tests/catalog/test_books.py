"""The report equals the recount, whatever happened in whatever order."""

from collections.abc import Callable
from datetime import date, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from catalog import ledger, recount, registry, savings, withdrawals
from catalog.db import transaction
from catalog.errors import HurenError
from tests.city import City

ITEMS = {"CT07": "胸部CT平扫", "CT09": "胸部CT增强", "CT01": "头颅CT平扫"}
RUNS = count(1)

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("check"),
            st.sampled_from("ABC"),
            st.integers(1, 4),
            st.sampled_from([*ITEMS]),
            st.booleans(),
        ),
        st.tuples(st.just("recognise"), st.integers(0, 9), st.integers(0, 2)),
        st.tuples(st.just("override"), st.integers(0, 9), st.sampled_from(["1", "4", "98"])),
        st.tuples(st.just("undo"), st.integers(0, 9)),
        st.tuples(
            st.just("study"), st.sampled_from("ABC"), st.sampled_from([*ITEMS.values()]), st.integers(0, 40)
        ),
        st.tuples(st.just("wait"), st.integers(0, 60)),
        st.tuples(st.just("withdraw"), st.integers(0, 5)),
    ),
    min_size=4,
    max_size=25,
)


class Life:
    """One person's random history among three hospitals, beside everybody else's before."""

    def __init__(self, city: City, run: int) -> None:
        self.city = city
        self.run = run
        self.person = 2 * run % 998
        self.checks: list[tuple[Any, dict[str, Any], str]] = []
        self.studies: list[str] = []
        self.senders: list[str] = []
        self.doctors = {code: city.doctors[code] for code in "ABC"}
        self.do_study("A", "胸部CT平扫", 3)
        self.do_study("B", "胸部CT增强", 9)
        self.do_check("B", 1, "CT07", False)

    def do_check(self, hospital: str, number: int, item: str, urgent: bool) -> None:
        order = f"{self.run}-{number}"
        answer = self.city.check(
            self.doctors[hospital],
            [{"order_number": order, "item_code": item}],
            person=self.person,
            urgency="emergency" if urgent else "routine",
        )
        self.checks.append((self.doctors[hospital], answer, order))

    def do_recognise(self, index: int, candidate: int) -> None:
        doctor, answer, order = self.checks[index % len(self.checks)]
        candidates = answer["orders"][0]["candidates"]
        result = candidates[candidate % len(candidates)]["result_id"]
        self.city.decide(doctor, answer, order, "recognise", result_id=result)

    def do_override(self, index: int, reason: str) -> None:
        doctor, answer, order = self.checks[index % len(self.checks)]
        self.city.decide(doctor, answer, order, "override", reason_code=reason, explained_to_patient=True)

    def do_undo(self, index: int) -> None:
        doctor, answer, order = self.checks[index % len(self.checks)]
        self.city.decide(doctor, answer, order, "undo")

    def do_study(self, hospital: str, description: str, days_ago: int) -> None:
        patient_id = f"{hospital}-{self.run}"
        uid = self.city.study(
            hospital, self.person, days_ago=days_ago, StudyDescription=description, PatientID=patient_id
        )
        self.studies.append(uid)
        self.senders.append(hospital)

    def do_wait(self, hours: int) -> None:
        self.city.now += timedelta(hours=hours)

    def do_withdraw(self, index: int) -> None:
        place = index % len(self.studies)
        withdrawals.withdraw_study(
            self.city.catalogue, self.doctors[self.senders[place]], self.studies[place], "录入错误"
        )


@pytest.fixture
def busy_city(city: City) -> City:
    """A city of three hospitals; only A and B are evaluated."""
    for code in "ABC":
        city.doctors[code] = city.hospital(code, tier=3 if code == "A" else 2, marked=code != "C")
    return city


@settings(
    max_examples=25,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=steps)
def test_the_report_equals_the_recount_for_random_sequences_of_events(
    busy_city: City, history: list[tuple[Any, ...]]
) -> None:
    life = Life(busy_city, next(RUNS))
    for name, *arguments in history:
        act: Callable[..., None] = getattr(life, f"do_{name}")
        try:
            act(*arguments)
        except (HurenError, ZeroDivisionError):
            continue  # what is refused must have changed nothing, which the recount sees
    with transaction(busy_city.catalogue.engine) as session:
        found = recount.verify(session)
        report = savings.report(
            session, busy_city.catalogue.items, first=date(2026, 1, 1), last=date(2099, 12, 1)
        )
    assert found["agrees"], found
    assert report["total"]["net_fen"] == found["net_fen"]
    assert report["total"]["net_fen"] == sum(row["net_fen"] for row in report["rows"])


def test_two_that_count_on_the_same_sums_in_another_order_do_not_stand_in_each_others_way(city: City) -> None:
    city.hospital("B", tier=2)
    with transaction(city.catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, "B")
    day = date(2026, 6, 30)
    ours, theirs = (
        ledger.Account.of(hospital.id, item, day, own_hospital=False, emergency=False)
        for item in ("CT07", "CT09")
    )
    with transaction(city.catalogue.engine) as one, transaction(city.catalogue.engine) as other:
        ledger.add_to_months(one, {ours: {"cited": 1}})
        ledger.add_to_months(other, {theirs: {"cited": 1}})
        ledger.add_to_months(one, {theirs: {"cited": 2}}, {ours: {"cited": 4}})
        ledger.add_to_months(other, {ours: {"cited": 8}})
    with transaction(city.catalogue.engine) as session:
        kept = dict(session.execute(text("select item_code, cited from monthly")).tuples().all())
    assert kept == {"CT07": 13, "CT09": 3}
