"""Every route called with thousands of bodies nobody thought of (FAULTS A1): nothing is answered with a 5xx.

The cases come from the service's own description, as it allows them and as it does not; where that says no more of a
body than that it is JSON (FHIR, CDS Hooks), from its example, spoiled. Callers are those the route takes, of a
hospital that is known and of one that is not, and one without a token. `make soak` takes 20,000 cases, `make test`
2,000.
"""

import asyncio
import copy
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from exchange.auth import ACCESS, PUBLIC
from exchange.settings import ExchangeSettings
from exchange.tokens import HOSPITAL_ROLES
from tests.cds_client import BASE, CdsClient
from tests.exchange.conftest import Service, cds, service
from tests.faults.in_process import Answer, call
from tests.faults.run_record import RunRecord
from tests.faults.scale import scaled
from tests.packs import ct
from tests.stowing import HEADERS, STUDIES, body_of, part10

pytestmark = pytest.mark.long

CASES = scaled(2_000, 20_000)
MARGIN: Final = 1.05  # a few routes have nothing to vary
__all__ = ["cds", "service"]  # fixtures of the service's own tests
MODES = (
    (GenerationMode.POSITIVE, 0.75),
    (GenerationMode.NEGATIVE, 0.25),
)  # the latter cost three times as much
KINDS = (
    "application/problem+json",
    "application/fhir+json",
    "application/dicom+json",
    "application/json",
    "",
)
WITHOUT_TOKEN = (400, 401, 404, 405, 413, 414, 431)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def settings() -> ExchangeSettings:
    return ExchangeSettings(
        check_seconds=20, cds_seconds=20, public_url=BASE, pace_per_second=0, pace_system_per_second=0
    )


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


class Fuzz:
    """Counts what is answered, and keeps what must not be."""

    def __init__(self, service: Service, cds: CdsClient, runner: asyncio.Runner, run_seed: int) -> None:
        self.seen: Counter[int] = Counter()
        self.faults: list[str] = []
        self._service, self._cds, self._runner, self._seed = service, cds, runner, run_seed

    def run(self, operation: Any, mode: GenerationMode, cases: int) -> None:
        """Call one route with so many cases."""
        route = (operation.method.upper(), operation.path)
        callers = [*self._headers(route), {}]

        @seed(self._seed)
        @hypothesis_settings(
            max_examples=cases,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(
            case=operation.as_strategy(generation_mode=mode),
            junk=JUNK,
            random=st.randoms(use_true_random=False),
        )
        def one(case: Any, junk: Any, random: Random) -> None:
            sent = dict(callers[self.seen.total() % len(callers)])
            if sent and route[1].startswith("/cds-services/"):
                sent["Authorization"] = f"Bearer {self._cds.token(case.formatted_path)}"
            prepared = requests.Request(**case.as_transport_kwargs(base_url=BASE, headers=sent)).prepare()
            body = prepared.body or b""
            body = body.encode() if isinstance(body, str) else body
            if (example := example_of(operation)) is not None and random.random() < 0.8:
                body = json.dumps(spoiled(example, junk, random)).encode()
            if route[1].startswith(STUDIES) and route[0] == "POST" and random.random() < 0.8:
                prepared.headers.update(HEADERS)
                body = spoiled_upload(random)
            answer = self._runner.run(ask(self._service.client.app, prepared, body))
            self._judge(route, answer, f"{case.path_parameters} {case.query} {body!r:.300}", bare=not sent)

        with suppress(Unsatisfiable):  # where there is nothing to vary, nothing can be wrong with it
            one()

    def _judge(self, route: tuple[str, str], answer: Answer, asked: str, *, bare: bool) -> None:
        self.seen[answer.status] += 1
        kind = dict(answer.headers).get(b"content-type", b"").decode().partition(";")[0]
        if answer.status >= 500:
            self.faults.append(f"{route}: {answer.status} {asked}")
        if bare and route not in PUBLIC and answer.status not in WITHOUT_TOKEN:
            self.faults.append(f"{route}: {answer.status} without a token")
        kinds = ("text/html",) if route[1].startswith("/look/") else KINDS
        if answer.status >= 400 and kind not in kinds:
            self.faults.append(f"{route}: {answer.status} is no problem")

    def _headers(self, route: tuple[str, str]) -> list[dict[str, str]]:
        roles = sorted(ACCESS[route].roles) if route in ACCESS else []
        held = [(role, hospital) for role in roles for hospital in ("B", "nowhere")]
        keys = [
            (role, hospital if role in HOSPITAL_ROLES else "") for role, hospital in held or [("doctor", "A")]
        ]
        return [
            {"Authorization": f"Bearer {self._service.token(*key)}", "Idempotency-Key": "k"} for key in keys
        ]


@schemathesis.serializer("multipart/related")
def related(_context: Any, value: Any) -> bytes:
    """A body that only calls itself a multipart."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


async def ask(app: Any, prepared: requests.PreparedRequest, body: bytes) -> Answer:
    """Send a prepared request into the application."""
    url = urlsplit(str(prepared.url))
    headers = {**prepared.headers, "content-length": str(len(body))} if body else dict(prepared.headers)
    headers = {name.lower(): value for name, value in headers.items() if name.lower() != "host"}
    return await call(app, str(prepared.method), unquote(url.path), url.query, headers, body)


def example_of(operation: Any) -> Any:
    """Return the example of a JSON body of which the description says no more."""
    contents = operation.definition.raw.get("requestBody", {}).get("content", {})
    for kind, shown in contents.items():
        if "json" in kind and shown["schema"] == {"type": "object"}:
            return shown.get("example")
    return None


def spoiled(example: Any, junk: Any, random: Random) -> Any:
    """Return a copy in which one value, at any depth, is another or is gone."""
    whole = copy.deepcopy(example)
    inner = whole
    while True:
        key = random.choice(sorted(inner) if isinstance(inner, dict) else range(len(inner)))
        if not inner[key] or not isinstance(inner[key], dict | list) or random.random() < 0.2:
            break
        inner = inner[key]
    if random.random() < 0.2:
        del inner[key]
    else:
        inner[key] = junk
    return whole


def spoiled_upload(random: Random) -> bytes:
    """A multipart of two files in which a stretch is gone, is another, or comes twice."""
    body = body_of(part10(ct("2.25.9001", number)) for number in (1, 2))
    at, size = random.randrange(len(body)), random.choice((1, 2, 8, 60, 700))
    there = body[at : at + size]
    return body[:at] + random.choice((b"", random.randbytes(size), 2 * there)) + body[at + size :]


def test_no_case_is_answered_with_a_fault_of_the_service(
    service: Service, cds: CdsClient, runner: asyncio.Runner, record: RunRecord
) -> None:
    schema = schemathesis.openapi.from_dict(service.client.app.openapi())  # type: ignore[attr-defined]
    operations = [found.ok() for found in schema.get_all_operations()]
    fuzz = Fuzz(service, cds, runner, record.seed)
    for operation in operations:
        for mode, share in MODES:
            fuzz.run(operation, mode, -int(-CASES * MARGIN * share // len(operations)))
    told = {f"status_{status}": count for status, count in sorted(fuzz.seen.items())}
    record.note(operations=len(operations), cases=fuzz.seen.total(), **told)
    assert fuzz.faults == []
    assert fuzz.seen.total() >= CASES
    assert fuzz.seen[200] > 0
