"""FAULTS A13 and A17: ten thousand answers of a busy day, held against the audit and against the books.

Decisions are sent again, sent twice, sent by a hospital they do not concern, undone and made anew, and two hospitals
use the same order numbers. Whatever said something of a patient left one record, and each examination that was
avoided is counted once.
"""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import select

from catalog.db import transaction
from catalog.tables import AuditEvent
from tests.city import id_number
from tests.exchange.conftest import Service, service, settings
from tests.exchange.direct import ask
from tests.faults.run_record import RunRecord
from tests.faults.scale import scaled

pytestmark = pytest.mark.long

__all__ = ["service", "settings"]
PEOPLE, ORDERS_EACH, AT_ONCE = 40, 6, 4
# what is done with an order next, of a hundred times
KINDS = {"read": 50, "turn": 4, "replay": 25, "other_body": 3, "second": 5, "foreign": 7, "foreign_read": 6}


@dataclass
class Order:
    """One order of hospital B, and what stands of it."""

    number: str
    check_id: str
    result_id: str
    standing_fen: int | None = None
    sent: list[tuple[str, dict[str, Any], Any]] = field(default_factory=list)  # key, body and answer

    @property
    def path(self) -> str:
        return f"/v1/checks/{self.check_id}"


@dataclass
class Day:
    """The answers of a day: how many records each must have left, and what the books must say."""

    service: Service
    chance: Random
    expected: dict[str, int] = field(default_factory=dict)
    books: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    async def ask(
        self, path: str, status: int, records: int, body: Any = None, key: str = "", hospital: str = "B"
    ) -> Any:
        """Ask as a caller of this request alone."""
        name = f"d{len(self.expected)}"
        self.expected[name] = records
        token = self.service.key.issue(
            subject=name, role="doctor", hospital=hospital, lifetime=timedelta(hours=1)
        )
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        method, content = ("GET", b"") if body is None else ("POST", json.dumps(body).encode())
        found, answer = await ask(self.service.client.app, method, path, headers, content)
        assert found == status, (path, body, hospital, answer)
        return json.loads(answer)

    async def open(self, person: int, hospital: str) -> list[Order]:
        """Ask before several orders for a person."""
        numbers = [f"{person}-{number}" for number in range(ORDERS_EACH)]
        body = {
            "patient": {"id_number": id_number(2 * person)},
            "orders": [{"order_id": number, "item_code": "CT07"} for number in numbers],
        }
        check = await self.ask("/v1/checks", 200, 1, body, hospital=hospital)
        shown = [each["candidates"][0]["result_id"] for each in check["orders"]]
        return [Order(number, check["check_id"], found) for number, found in zip(numbers, shown, strict=True)]

    async def next(self, order: Order) -> None:
        """Do one thing with an order."""
        (kind,) = self.chance.choices(list(KINDS), list(KINDS.values()))
        if (kind == "second" and order.standing_fen is None) or (
            kind in ("replay", "other_body") and not order.sent
        ):
            kind = "turn"
        self.kinds[kind] += 1
        await getattr(self, kind)(order)

    def body(self, order: Order, action: str) -> dict[str, Any]:
        result = {"result_id": order.result_id} if action == "recognise" else {}
        return {"order_id": order.number, "action": action, **result}

    async def decide(self, order: Order, action: str, hospital: str = "B") -> Any:
        body, key = self.body(order, action), f"k{len(self.expected)}"
        answer = await self.ask(f"{order.path}/decisions", 200, 1, body, key, hospital)
        order.sent.append((key, body, answer))
        return answer

    async def turn(self, order: Order) -> None:
        """Recognise, or undo what stands."""
        if order.standing_fen is None:
            order.standing_fen = (await self.decide(order, "recognise"))["saving_fen"]
            self.books["saved_fen"] += order.standing_fen
        else:
            await self.decide(order, "undo")
            self.books["undone"] += 1
            self.books["reversed_fen"] += order.standing_fen
            order.standing_fen = None

    async def read(self, order: Order) -> None:
        await self.ask(order.path, 200, 1)

    async def replay(self, order: Order) -> None:
        """The same again says what was said, does nothing and leaves no second record."""
        key, body, answer = self.chance.choice(order.sent)
        assert await self.ask(f"{order.path}/decisions", 200, 0, body, key) == answer

    async def other_body(self, order: Order) -> None:
        key, body, _ = self.chance.choice(order.sent)
        other = self.body(order, "undo" if body["action"] == "recognise" else "recognise")
        await self.ask(f"{order.path}/decisions", 409, 0, other, key)

    async def second(self, order: Order) -> None:
        body, key = self.body(order, "recognise"), f"k{len(self.expected)}"
        await self.ask(f"{order.path}/decisions", 409, 0, body, key)

    async def foreign(self, order: Order) -> None:
        """C takes up an order of B, with a key of B's too."""
        keys = [f"k{len(self.expected)}", *(key for key, _, _ in order.sent)]
        body = self.body(order, "recognise")
        await self.ask(f"{order.path}/decisions", 404, 0, body, self.chance.choice(keys), "C")

    async def foreign_read(self, order: Order) -> None:
        await self.ask(order.path, 404, 0, hospital="C")


def test_ten_thousand_answers_leave_the_records_they_must_and_count_each_avoided_examination_once(
    service: Service, record: RunRecord
) -> None:
    """A13 and A17."""
    service.city.hospital("C", tier=2, region="500107")
    for person in range(2, PEOPLE + 1):
        service.city.study("A", 2 * person)
    day = Day(service, record.chance)
    orders, others = asyncio.run(spend(day, scaled(10_000, 100_000)))
    record.note(answers=len(day.expected), **day.kinds)
    assert len(day.expected) >= 10_000
    assert kept(service) == {name: records for name, records in day.expected.items() if records}
    standing = [order.standing_fen for order in orders if order.standing_fen is not None]
    assert min(standing) > 0
    expected = day.books | {"recognised": len(standing), "net_fen": sum(standing)}
    assert figures(service) == {"B": expected, "C": counted_once(others)}
    assert service.call("POST", "/v1/savings/verify", role="regulator").json()["agrees"]
    assert recomputed(service) == {"B": sum(standing), "C": counted_once(others)["net_fen"]}


async def spend(day: Day, answers: int) -> tuple[list[Order], list[Any]]:
    """Let B decide on all orders, side by side, and C on its own of the same numbers; return B's orders, C's answers."""
    orders = [order for person in range(1, PEOPLE + 1) for order in await day.open(person, "B")]
    own = [order for person in range(1, 4) for order in await day.open(person, "C")]
    others = [await day.decide(order, "recognise", "C") for order in own]

    async def work(mine: list[Order]) -> None:
        while len(day.expected) < answers:
            await day.next(day.chance.choice(mine))

    await asyncio.gather(*(work(orders[each::AT_ONCE]) for each in range(AT_ONCE)))
    return orders, others


def kept(service: Service) -> Counter[str]:
    """The records in the audit, by who asked."""
    with transaction(service.city.catalogue.engine) as session:
        callers = session.scalars(
            select(AuditEvent.caller).where(AuditEvent.caller.regexp_match("^d[0-9]+$"))
        )
        return Counter(callers)


def counted_once(decisions: list[Any]) -> dict[str, int]:
    saved = sum(each["saving_fen"] for each in decisions)
    return {
        "saved_fen": saved,
        "reversed_fen": 0,
        "undone": 0,
        "recognised": len(decisions),
        "net_fen": saved,
    }


def figures(service: Service) -> dict[str, dict[str, int]]:
    """The report of the regulator, by hospital."""
    rows = service.call("GET", "/v1/savings?group_by=hospital", role="regulator").json()["rows"]
    wanted = ("saved_fen", "reversed_fen", "undone", "recognised", "net_fen")
    return {row["hospital"]: {name: row[name] for name in wanted} for row in rows}


def recomputed(service: Service) -> dict[str, int]:
    """What stands by the audit alone: each recognition's saving, less those that were undone."""
    with transaction(service.city.catalogue.engine) as session:
        query = select(AuditEvent.action, AuditEvent.hospital_id, AuditEvent.detail).where(
            AuditEvent.action.in_(["decision.recognise", "decision.undo"])
        )
        events = session.execute(query).tuples().all()
    undone = {detail["undoes_id"] for action, _, detail in events if action == "decision.undo"}
    net: Counter[int] = Counter()
    for action, hospital_id, detail in events:
        if action == "decision.recognise" and detail["decision_id"] not in undone:
            net[hospital_id or 0] += detail["saving_fen"]
    return dict(zip("BC", (net[each] for each in sorted(net)), strict=True))
