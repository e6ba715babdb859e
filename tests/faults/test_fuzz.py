"""Every route called with thousands of bodies nobody thought of (FAULTS A1): nothing is answered with a 5xx.

The cases come from the service's own description, as it allows them and as it does not; callers are one with the
right role, one without a token and one of another hospital. `make soak` takes 20,000 cases, `make test` 2,000.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from exchange.auth import ACCESS, PUBLIC
from exchange.settings import ExchangeSettings
from tests.exchange.conftest import Service, service
from tests.exchange.served import Served, served
from tests.faults.run_record import RunRecord
from tests.faults.scale import scaled

CASES = scaled(2_000, 20_000)
__all__ = ["service"]  # the fixture of the service's own tests
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@pytest.fixture
def settings() -> ExchangeSettings:
    return ExchangeSettings(check_seconds=20, pace_per_second=0)


@pytest.fixture
def http(service: Service) -> Iterator[Served]:
    with served(service.client.app) as running:
        yield running


def test_no_case_is_answered_with_a_fault_of_the_service(
    service: Service, http: Served, record: RunRecord
) -> None:
    schema = schemathesis.openapi.from_dict(service.client.app.openapi())  # type: ignore[attr-defined]
    operations = [found.ok() for found in schema.get_all_operations()]
    each = -(-CASES // len(operations))
    seen: Counter[int] = Counter()
    faults: list[str] = []
    for operation in operations:
        for mode in MODES:
            fuzz(service, f"http://127.0.0.1:{http.port}", operation, mode, each, seen, faults, record.seed)
    record.note(
        operations=len(operations), cases=seen.total(), **{f"status_{k}": n for k, n in sorted(seen.items())}
    )
    assert faults == []
    assert seen.total() >= CASES
    assert seen[200] > 0


def fuzz(
    service: Service,
    url: str,
    operation: Any,
    mode: GenerationMode,
    cases: int,
    seen: Counter[int],
    faults: list[str],
    run_seed: int,
) -> None:
    route = (operation.method.upper(), operation.path)
    callers = [*headers_of(service, route), {}]
    session = requests.Session()

    @seed(run_seed)
    @hypothesis_settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        sent = callers[seen.total() % len(callers)]
        answer = case.call(base_url=url, session=session, headers=sent, timeout=30)
        seen[answer.status_code] += 1
        if answer.status_code >= 500:
            faults.append(
                f"{route}: {answer.status_code} {case.path_parameters} {case.query} {case.body!r:.300}"
            )
        if not sent and route not in PUBLIC and answer.status_code not in (400, 401, 404, 405, 413, 414, 431):
            faults.append(f"{route}: {answer.status_code} without a token")
        if answer.status_code >= 400 and answer.headers.get("Content-Type", "").split(";")[0] not in JSON:
            faults.append(f"{route}: {answer.status_code} is no problem")

    with suppress(Unsatisfiable):  # where there is nothing to vary, nothing can be wrong with it
        one()


JSON = ("application/problem+json", "application/fhir+json", "application/json", "")


def headers_of(service: Service, route: tuple[str, str]) -> list[dict[str, str]]:
    """Callers whose role the route takes, of the hospital that is known and of one that is not."""
    roles = sorted(ACCESS[route].roles) if route in ACCESS else []
    held = [(role, hospital) for role in roles for hospital in ("B", "nowhere")]
    keys = held or [("doctor", "A")]
    return [
        {
            "Authorization": f"Bearer {service.token(role, hospital if role in ('doctor', 'hospital_system') else '')}",
            "Idempotency-Key": "k",
        }
        for role, hospital in keys
    ]
