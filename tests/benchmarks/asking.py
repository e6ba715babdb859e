"""What doctors of a seeded city ask: three orders each, at least one of them for something the person had done."""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from catalog.seed_people import number_of
from exchange.tokens import TokenKey
from tests.cds_client import SIGN, CdsClient, call, order

HOSPITALS = [f"S3{number:04d}" for number in range(1, 41)] + [f"S2{number:04d}" for number in range(1, 41)]
ASKED = ("CT07", "MR01", "XR01", "CT01", "LB01", "LB20")


@dataclass(frozen=True)
class Question:
    """A check, and the results of the person that stand in the database for the items asked."""

    hospital: str
    body: dict[str, Any]
    person_id: int
    known: frozenset[int]


def questions(database_url: str, people: int, in_full_percent: int, count: int) -> list[Question]:
    """Draw people, every second of them one whose results have their studies and reports."""
    chance = random.Random(7)
    drawn = []
    while len(drawn) < count:
        person_id = chance.randrange(1, people + 1)
        if len(drawn) % 2 == 0:
            person_id = person_id // 100 * 100 + chance.randrange(in_full_percent)
        if 1 <= person_id <= people:
            drawn.append(person_id)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "select person_id, id, item_code, laterality, body_part from result where person_id = any(%s)",
            [drawn],
        ).fetchall()
    done: dict[int, list[tuple[Any, ...]]] = {}
    for person_id, *result in rows:
        done.setdefault(person_id, []).append(tuple(result))
    return [
        _question(person_id, done.get(person_id, []), chance, number)
        for number, person_id in enumerate(drawn)
    ]


def _question(person_id: int, done: list[tuple[Any, ...]], chance: random.Random, number: int) -> Question:
    wanted = [(code, side, part) for _, code, side, part in chance.sample(done, min(2, len(done)))]
    wanted += [(code, None, None) for code in chance.sample(ASKED, 3 - len(wanted))]
    orders = [
        {"order_id": f"BENCH-{number}-{place}", "item_code": code, "laterality": side, "body_part": part}
        for place, (code, side, part) in enumerate(wanted)
    ]
    body = {
        "patient": {"id_type": "01", "id_number": number_of(person_id - 1)},
        "orders": orders,
        "department": "呼吸内科",
        "urgency": "routine",
    }
    known = frozenset(each[0] for each in done if (each[1], each[2], each[3]) in wanted)
    return Question(HOSPITALS[number % len(HOSPITALS)], body, person_id, known)


def messages(asked: Iterable[Question], key: TokenKey, marker: str = "") -> list[str]:
    """Return the HTTP requests; `marker` makes the order numbers of one run its own."""
    tokens: dict[str, str] = {}
    found = []
    for question in asked:
        if question.hospital not in tokens:
            tokens[question.hospital] = token(key, question.hospital)
        body = json.dumps(question.body, ensure_ascii=False).replace("BENCH-", f"BENCH{marker}-")
        found.append(_message("POST", "/v1/checks", tokens[question.hospital], body))
    return found


def cds_messages(asked: Iterable[Question], client: CdsClient) -> list[str]:
    """Return calls of an ordering system that speaks CDS Hooks, each with a token of its own."""
    path = f"/cds-services/{SIGN}"
    calls = (json.dumps(cds_call(question), ensure_ascii=False) for question in asked)
    return [_message("POST", path, client.token(path), body) for body in calls]


def cds_call(question: Question, marker: str = "") -> dict[str, Any]:
    """Return the same question as an order-sign call."""
    document = {"system": "urn:huren:id-type:01", "value": question.body["patient"]["id_number"]}
    patient = {"resourceType": "Patient", "id": "p1", "identifier": [document]}
    asked = question.body["orders"]
    drafts = [order(f"CDS{marker}-{each['order_id']}", each["item_code"]) for each in asked]
    return call(*drafts, prefetch={"patient": patient})


def trivial_messages(key: TokenKey, path: str) -> list[str]:
    """Return requests of an authenticated route that discloses nothing."""
    return [_message("GET", path, token(key, hospital), "") for hospital in HOSPITALS]


def token(key: TokenKey, hospital: str) -> str:
    """Return a doctor's token."""
    return key.issue(subject="bench", role="doctor", hospital=hospital, lifetime=timedelta(hours=8))


def _message(method: str, path: str, bearer: str, body: str) -> str:
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {bearer}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n"
    return f"{head}\r\n{body}"
