"""Sixteen doctors who decide at once: on one and the same sum of the books, and each on one of his own."""

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Any

import psycopg

from catalog.seed_people import number_of
from tests.benchmarks.seeded_api import Served

WRITERS = 16
SECONDS_BETWEEN = 0.5  # of one writer: no hand is quicker, and no city has so many
_HAD_LATELY = """
    select person_id, item_code from result
     where exam_time > now() - interval '60 days' and hospital_id <> all(%(askers)s) and status = 'active'
       and item_code = any(%(items)s)
     order by id desc limit %(count)s
"""


@dataclass(frozen=True)
class Ready:
    """A check that was answered with a candidate, and waits for its decision."""

    bearer: str
    check_id: str
    order_id: str
    result_id: str

    def request(self) -> tuple[str, str, str, dict[str, str]]:
        """Return the HTTP request of the decision to recognise."""
        body = {"order_id": self.order_id, "action": "recognise", "result_id": self.result_id}
        headers = {
            "Authorization": f"Bearer {self.bearer}",
            "Content-Type": "application/json",
            "Idempotency-Key": self.order_id,
        }
        return "POST", f"/v1/checks/{self.check_id}/decisions", json.dumps(body), headers


def ready(city: Served, hospitals: Sequence[str], items: Sequence[str], count: int, run: str) -> list[Ready]:
    """Ask about so many people who had one of the items lately; what has a candidate waits for its decision."""
    with psycopg.connect(city.database_url) as connection:
        askers = connection.execute("select id from hospital where code = any(%s)", [list(hospitals)])
        values = {"askers": [each for (each,) in askers], "items": list(items), "count": count * 3}
        found = connection.execute(_HAD_LATELY, values).fetchall()
    asked = [
        (hospitals[number % len(hospitals)], person_id, item, f"{run}-{number}")
        for number, (person_id, item) in enumerate(found)
    ]
    with ThreadPoolExecutor(4) as pool:
        answered = pool.map(lambda each: _asked(city, *each), asked)
        return [each for each in answered if each is not None][:count]


def _asked(city: Served, hospital: str, person_id: int, item: str, order_id: str) -> Ready | None:
    # A doctor of his own for every twenty: nobody asks or decides so often that he must wait.
    subject = f"dr {order_id.rpartition('-')[0]} {int(order_id.rpartition('-')[2]) // 20}"
    bearer = city.key.issue(subject=subject, role="doctor", hospital=hospital, lifetime=timedelta(hours=2))
    body = {
        "patient": {"id_type": "01", "id_number": number_of(person_id - 1)},
        "orders": [{"order_id": order_id, "item_code": item}],
        "urgency": "routine",
    }
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", city.port, timeout=30)) as connection:
        status, answer = _sent(connection, ("POST", "/v1/checks", json.dumps(body), headers))
    assert status == 200, answer
    candidates = answer["orders"][0]["candidates"]
    return Ready(bearer, answer["check_id"], order_id, candidates[0]["result_id"]) if candidates else None


def decided(
    city: Served, waiting: Sequence[Ready], *, seconds_between: float = SECONDS_BETWEEN
) -> list[float]:
    """Have 16 writers decide, each so many seconds after his last; return each one's milliseconds, in order.

    They count from when it was due: who was held up by the one before has waited too.
    """
    began = time.monotonic() + 0.2

    def write(writer: int) -> Iterator[float]:
        due = began + seconds_between * writer / WRITERS
        with closing(http.client.HTTPConnection("127.0.0.1", city.port, timeout=30)) as connection:
            for each in waiting[writer::WRITERS]:
                time.sleep(max(0.0, due - time.monotonic()))
                status, answer = _sent(connection, each.request())
                yield (time.monotonic() - due) * 1000
                assert status == 200, answer
                assert answer["action"] == "recognise"
                due += seconds_between

    with ThreadPoolExecutor(WRITERS) as pool:
        return sorted(chain.from_iterable(pool.map(lambda writer: list(write(writer)), range(WRITERS))))


def _sent(
    connection: http.client.HTTPConnection, request: tuple[str, str, str, dict[str, str]]
) -> tuple[int, dict[str, Any]]:
    connection.request(*request)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())
