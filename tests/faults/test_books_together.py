"""FAULTS A17: whatever eight clients do to the books at once, in whatever order: sums = ledger = recount, and nothing counts twice.

Checks, decisions, undos, resends, changes of price, late examinations, withdrawals and their ends, on few patients and
few orders, so that they meet.
"""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import count
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from catalog import decisions, ledger_entries, recount, registry, savings, withdrawals
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import Conflict, Expired, InvalidInput, NotFound
from catalog.pricing import PriceRow
from tests.catalog.conftest import city
from tests.city import City
from tests.faults.run_record import RunRecord
from tests.faults.scale import scaled

__all__ = ["city"]
pytestmark = pytest.mark.long
CLIENTS = 8
STEPS = scaled(50, 1_000)
HOSPITALS = "ABC"
PEOPLE = (2, 4)
ITEMS = {"CT07": "胸部CT平扫", "CT09": "胸部CT增强", "CT01": "头颅CT平扫"}
ORDERS = 40
RECENT = 20  # what is still open for a decision
# What a client may be told; a deadlock, or an answer that cannot be given, is none of them.
TOLD = (Conflict, Expired, InvalidInput, NotFound)


@dataclass
class Ward:
    """What the clients share: the city, what has been asked, what was sent, and what was done."""

    city: City
    numbers: Any = field(default_factory=lambda: count(1))
    asked: list[tuple[Caller, dict[str, Any], str]] = field(default_factory=list)
    sent: list[tuple[Caller, str, decisions.DecisionRequest, str]] = field(default_factory=list)
    studies: list[tuple[str, str]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Client:
    """One of those who act at once; each choice is the seed's."""

    def __init__(self, ward: Ward, chance: Random) -> None:
        self.ward, self.chance = ward, chance
        self.ways = [
            *[self.check] * 5,
            *[self.recognise] * 6,
            *[self.override] * 2,
            *[self.undo] * 3,
            *[self.resend] * 3,
            *[self.examine] * 3,
            *[self.withdraw] * 2,
            self.restore,
            self.price,
            self.wait,
        ]

    def act(self, steps: int) -> None:
        """Do so many things, each refused for a good reason or done."""
        for _ in range(steps):
            way = self.chance.choice(self.ways)
            try:
                way()
                outcome = way.__name__
            except TOLD as error:
                outcome = f"{way.__name__}: {type(error).__name__}"
            except IndexError:
                continue  # nothing was asked, sent or done yet
            with self.ward.lock:
                self.ward.done[outcome] += 1

    def check(self) -> None:
        doctor = self.ward.city.doctors[self.chance.choice(HOSPITALS)]
        order = f"{doctor.hospital_code}-{self.chance.randrange(ORDERS)}"
        asked = [{"order_number": order, "item_code": self.chance.choice([*ITEMS])}]
        urgency = self.chance.choice(["routine", "emergency"])
        answer = self.ward.city.check(doctor, asked, self.chance.choice(PEOPLE), urgency=urgency)
        if answer["orders"][0]["candidates"]:
            self.ward.asked.append((doctor, answer, order))

    def recognise(self) -> None:
        doctor, answer, order = self.chance.choice(self.ward.asked[-RECENT:])
        shown = self.chance.choice(answer["orders"][0]["candidates"])
        self.decide(doctor, answer, decisions.DecisionRequest(order, "recognise", shown["result_id"]))

    def override(self) -> None:
        doctor, answer, order = self.chance.choice(self.ward.asked[-RECENT:])
        reason = self.chance.choice(["1", "4", "98"])
        request = decisions.DecisionRequest(order, "override", reason_code=reason, explained_to_patient=True)
        self.decide(doctor, answer, request)

    def undo(self) -> None:
        doctor, answer, order = self.chance.choice(self.ward.asked[-RECENT:])
        self.decide(doctor, answer, decisions.DecisionRequest(order, "undo"))

    def resend(self) -> None:
        """Send again what was sent, as a client does that did not hear the answer."""
        doctor, check_id, request, key = self.chance.choice(self.ward.sent)
        decisions.decide(self.ward.city.catalogue, doctor, check_id, request, idempotency_key=key)  # type: ignore[arg-type]

    def decide(self, doctor: Caller, answer: dict[str, Any], request: decisions.DecisionRequest) -> None:
        sent = (doctor, answer["check_id"], request, f"k{next(self.ward.numbers)}")
        self.ward.sent.append(sent)
        twice = 2 if self.chance.random() < 0.2 else 1
        with ThreadPoolExecutor(twice) as pool:
            both = [
                pool.submit(
                    decisions.decide,
                    self.ward.city.catalogue,
                    doctor,
                    answer["check_id"],
                    request,
                    idempotency_key=sent[3],
                )
                for _ in range(twice)
            ]
        assert both[0].result() == both[-1].result()

    def examine(self) -> None:
        """An examination is done, or one done days ago becomes known."""
        code = self.chance.choice(HOSPITALS)
        uid = f"2.25.{10**6 + next(self.ward.numbers)}"
        self.ward.city.study(
            code,
            self.chance.choice(PEOPLE),
            days_ago=self.chance.choice([0, 0, 1, 5]),
            StudyInstanceUID=uid,
            PatientID=f"{code}-{uid}",
            StudyDescription=self.chance.choice([*ITEMS.values()]),
        )
        self.ward.studies.append((code, uid))

    def withdraw(self) -> None:
        code, uid = self.chance.choice(self.ward.studies)
        withdrawals.withdraw_study(self.ward.city.catalogue, self.ward.city.doctors[code], uid, "录入错误")

    def restore(self) -> None:
        code, uid = self.chance.choice(self.ward.studies)
        withdrawals.restore_study(self.ward.city.catalogue, self.ward.city.doctors[code], uid, "已更正")

    def price(self) -> None:
        """A hospital's price is other from some day on."""
        row = PriceRow(
            scope_kind="hospital",
            scope=self.chance.choice(HOSPITALS),
            item_code=self.chance.choice([*ITEMS]),
            price_fen=self.chance.randrange(1, 90_000),
            valid_from=date(2026, 1, 1) + timedelta(days=self.chance.randrange(365)),
            valid_to=None,
            row_id="",
        )
        with transaction(self.ward.city.catalogue.engine) as session:
            registry.add_prices(session, [row], source="test")

    def wait(self) -> None:
        with self.ward.lock:
            self.ward.city.now += timedelta(hours=self.chance.randrange(1, 4))


@pytest.fixture
def ward(city: City) -> Ward:
    """Three evaluated hospitals, and something that each patient had done before."""
    found = Ward(city)
    for code in HOSPITALS:
        city.doctors[code] = city.hospital(code, tier=3 if code == "A" else 2)
        for person in PEOPLE:
            found.studies.append((code, city.study(code, person, days_ago=3)))
    return found


@pytest.mark.parametrize("turn", range(2))
def test_eight_clients_at_once_leave_books_that_agree(ward: Ward, record: RunRecord, turn: int) -> None:
    clients = [Client(ward, Random(f"{record.seed}-{turn}-{number}")) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(client.act, STEPS) for client in clients]:
            done.result()
    record.note(turn=turn, **{name.replace(": ", "_"): number for name, number in sorted(ward.done.items())})
    assert {"check", "recognise", "undo", "resend", "examine", "withdraw", "override"} <= set(ward.done)
    with transaction(ward.city.catalogue.engine) as session:
        found = recount.verify(session)
        report = savings.report(
            session, ward.city.catalogue.items, first=date(2026, 1, 1), last=date(2027, 12, 1)
        )
        whole = {"first": date(2026, 1, 1), "last": date(2027, 12, 1)}
        entries = ledger_entries.page(session, ward.city.catalogue.items, **whole, limit=100_000)["entries"]
        twice = session.execute(
            text(
                "select order_number from decision d where action = 'recognise'"
                " and not exists (select from decision u where u.undoes_id = d.id)"
                " group by hospital_id, order_number having count(*) > 1"
            )
        ).all()
    assert (found["differing"], found["faults"]) == ([], [])
    assert twice == []
    ledger_fen = sum(entry["amount_fen"] for entry in entries)
    assert report["total"]["net_fen"] == found["net_fen"] == ledger_fen
    assert ledger_fen == sum(row["net_fen"] for row in report["rows"])
    assert every_yuan_is_explained(ward.city, entries) == ledger_fen


def every_yuan_is_explained(city: City, entries: list[dict[str, Any]]) -> int:
    """Return what the chains behind the entries come to, each looked at once."""
    net_fen: dict[str, int] = {}
    with transaction(city.catalogue.engine) as session:
        for entry in entries:
            chain = ledger_entries.explain(session, city.catalogue.items, int(entry["entry_id"]))
            assert chain["verdict"] is not None
            assert chain["prior"] is not None
            price_fen = chain["price"]["price_fen"] if chain["price"] else 0
            assert chain["net_fen"] in (0, price_fen)
            if chain["net_fen"] == 0 and price_fen:
                assert {each["cause"] for each in chain["entries"]} & {"undo", "examination"}
            net_fen[chain["decision"]["decision_id"]] = chain["net_fen"]
    return sum(net_fen.values())
