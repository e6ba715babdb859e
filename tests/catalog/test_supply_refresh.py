"""Counting what has changed comes to the same as counting everything, and the mark is that of the recognition's rule."""

import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from catalog import qc, registry, report_views, sharing, supply_refresh, withdrawals
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import HurenError
from catalog.identity import Demographics
from catalog.records import Institution, Prior
from catalog.rules import hr_marks
from tests.city import City
from tests.reports import IMAGING, LABORATORY, document, of_person, take

CURATOR = Caller("c", "curator")
JUNE = date(2026, 6, 1)


def kept(city: City) -> dict[str, Any]:
    """Return all that is kept, without when it was counted."""
    with transaction(city.catalogue.engine) as session:
        return {
            table: sorted(str(tuple(row)) for row in session.execute(text(f"select * from {table}")))  # noqa: S608
            for table in ("supply", "result_shown")
        }


class Days:
    """What hospitals and doctors do from day to day, drawn by chance."""

    def __init__(self, city: City, chance: random.Random) -> None:
        self.city, self.chance = city, chance
        self.doctors = {code: city.hospital(code, marked=code != "C") for code in "ABC"}
        self.studies: list[tuple[str, str]] = []
        self.reports: list[int] = []

    def act(self) -> None:
        """Do something; what cannot be done at this moment is not."""
        acts: list[Callable[[], Any]] = [
            *(
                self.study,
                self.study,
                self.report,
                self.laboratory,
                self.check,
                self.check,
                self.read,
                self.read,
            ),
            *(self.withdraw, self.restore, self.link, self.evaluate, self.opt_out, self.arrive_late),
        ]
        with suppress(HurenError):
            self.chance.choice(acts)()

    def person(self) -> int:
        return self.chance.choice((2, 4, 6))

    def study(self, days_ago: float = 3) -> None:
        code = self.chance.choice("ABC")
        known = self.chance.choice((self.person(), None))
        number = known or self.person()  # without a document the hospital's own number says who it may be
        uid = self.city.study(code, known, days_ago=days_ago, PatientID=f"P{number}")
        self.studies.append((code, uid))

    def arrive_late(self) -> None:
        self.study(days_ago=self.chance.choice((35, 70)))

    def report(self) -> None:
        code, uid = self.chance.choice([*self.studies, ("A", "2.25.404")])
        status = self.chance.choice(
            (IMAGING.status.FINAL, IMAGING.status.PRELIMINARY, IMAGING.status.CANCELLED)
        )
        number = f"R{self.chance.randrange(6)}-{uid}"
        reported_at = self.city.now + timedelta(seconds=self.chance.randrange(1000))
        taken = take(
            self.city,
            code,
            IMAGING,
            number=number,
            StudyInstanceUID=uid,
            status=status,
            reported_at=reported_at,
        )
        self.reports.append(taken.report_id)

    def laboratory(self) -> None:
        number = f"L{self.chance.randrange(3)}"
        self.reports.append(
            take(self.city, "A", LABORATORY, number=number, **of_person(self.person())).report_id
        )

    def check(self) -> None:
        doctor = self.doctors[self.chance.choice("ABC")]
        order = {
            "order_number": str(self.city.count),
            "item_code": self.chance.choice(("CT07", "CT07", "LB01")),
        }
        self.city.check(doctor, [order], self.person())

    def read(self) -> None:
        doctor = self.doctors[self.chance.choice("ABC")]
        report_views.read(self.city.catalogue, doctor, self.chance.choice(self.reports or [1]))

    def withdraw(self) -> None:
        code, uid = self.chance.choice(self.studies or [("A", "2.25.404")])
        withdrawals.withdraw_study(self.city.catalogue, Caller("s", "hospital_system", code), uid, "错")

    def restore(self) -> None:
        code, uid = self.chance.choice(self.studies or [("A", "2.25.404")])
        withdrawals.restore_study(self.city.catalogue, Caller("s", "hospital_system", code), uid, "对")

    def link(self) -> None:
        code = self.chance.choice("ABC")
        person = self.person()
        self.city.link(Caller("s", "hospital_system", code), f"P{person}", person)

    def evaluate(self) -> None:
        ids = qc.add(
            self.city.catalogue,
            CURATOR,
            hospital_code=self.chance.choice("ABC"),
            targets=[self.chance.choice(("CT07", "imaging", "CT"))],
            scope="50",
            valid_from=self.city.now.date() - timedelta(days=self.chance.randrange(60)),
            valid_to=self.city.now.date() + timedelta(days=5),
            passed=self.chance.random() < 0.6,
        )
        if self.chance.random() < 0.5:
            qc.end(self.city.catalogue, CURATOR, ids[0], self.city.now.date())

    def opt_out(self) -> None:
        wish = self.chance.choice((True, False))
        sharing.set_sharing(
            self.city.catalogue, CURATOR, document(self.person()), Demographics(), shared=wish
        )


@pytest.mark.parametrize("seed", range(4))
def test_counting_what_has_changed_comes_to_what_counting_everything_does(city: City, seed: int) -> None:
    chance = random.Random(seed)
    days = Days(city, chance)
    for _ in range(4):
        for _ in range(20):
            days.act()
        city.now += timedelta(hours=chance.choice((1, 30)))
        supply_refresh.refresh(city.catalogue)
    one_by_one = kept(city)
    assert one_by_one["supply"]
    assert one_by_one["result_shown"]
    supply_refresh.refresh(city.catalogue, everything=True)
    assert kept(city) == one_by_one


def test_the_mark_is_that_of_the_rule_a_check_goes_by(city: City) -> None:
    """Eighty hospitals with evaluations drawn by chance; each examined something on a day of June."""
    chance = random.Random(7)
    items = city.catalogue.items
    expected = {}
    for number in range(80):
        code = f"H{number}"
        city.hospital(code, marked=False)
        item = chance.choice(("CT07", "CT08", "MR01", "LB01"))
        exam_time = datetime(2026, 6, 1, tzinfo=UTC) + timedelta(hours=chance.randrange(24 * 29))
        with transaction(city.catalogue.engine) as session:
            for _ in range(chance.randrange(1, 5)):
                first = date(2026, 5, 20) + timedelta(days=chance.randrange(40))
                of_item = chance.random() < 0.5
                registry.add_evaluation(
                    session,
                    items,
                    hospital_code=code,
                    item=item if of_item else None,
                    group=None if of_item else chance.choice(("imaging", "CT", "laboratory")),
                    scope=chance.choice(("50", "50", "50", "500103")),
                    valid_from=first,
                    valid_to=first + timedelta(days=chance.randrange(40)),
                    passed=chance.random() < 0.6,
                )
            hospital = registry.hospital_by_code(session, code)
            session.execute(
                text("""insert into result (hospital_id, item_code, exam_time, confidence, rule, explanation)
                        values (:hospital, :item, :at, 'high', 'x', '')"""),
                {"hospital": hospital.id, "item": item, "at": exam_time},
            )
            evaluations = registry.evaluations(session, [hospital.id]).get(hospital.id, ())
            done = items.get(item)
            assert done is not None
            prior = Prior(
                *("1", item, done.category, False, Institution(code, code, 3), exam_time),
                evaluations=evaluations,
                item_groups=done.groups,
            )
            expected[hospital.id] = int(bool(hr_marks(prior)))
    supply_refresh.refresh(city.catalogue)
    with transaction(city.catalogue.engine) as session:
        found = session.execute(
            text("select hospital_id, marked from supply where level = 'hospital'")
        ).tuples()
        assert dict(found.all()) == expected
    assert 10 < sum(expected.values()) < 70


def test_an_evaluation_recorded_later_counts_its_months_again(city: City) -> None:
    city.hospital("A", marked=False)
    city.study("A")
    city.study("A", 4, days_ago=40)
    assert supply_refresh.refresh(city.catalogue) == [JUNE, date(2026, 5, 1)]
    given = {"hospital_code": "A", "targets": ["CT07"], "scope": "50", "valid_to": date(2026, 12, 31)}
    qc.add(city.catalogue, CURATOR, **given, valid_from=JUNE, passed=True)
    assert supply_refresh.refresh(city.catalogue) == [JUNE]
    with transaction(city.catalogue.engine) as session:
        assert session.scalar(text("select sum(marked) from supply where level = 'item'")) == 1


def test_two_who_count_at_once_do_not_wait_for_each_other(city: City) -> None:
    city.hospital("A")
    city.study("A")
    with transaction(city.catalogue.engine) as session:
        session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": supply_refresh.LOCK})
        assert supply_refresh.refresh(city.catalogue) == []
    assert supply_refresh.refresh(city.catalogue) == [JUNE]
