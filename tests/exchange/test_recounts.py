"""A recount that outlasts a request: begun, watched, signed, one for each caller, and ended where nobody looks."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import jwt
import pytest
from sqlalchemy import text

from catalog import recount
from catalog.db import transaction
from catalog.recount_texts import TEXTS
from exchange.recount_desk import RecountDesk
from exchange.recounts import DONE
from tests.dicom_node.raw_peer import wait_until
from tests.exchange.conftest import Service
from tests.exchange.test_described import assert_alike
from tests.exchange.test_savings_api import recognised

ROOT = "/v1/savings/recounts"


def begin(service: Service, role: str = "regulator", *, told: bool = True) -> httpx2.Response:
    return service.call("POST", ROOT, role=role, told=told)


def ended(service: Service, recount_id: str) -> Any:
    """Return a recount once it goes on no more."""
    found: list[Any] = []

    def over() -> bool:
        found.append(service.call("GET", f"{ROOT}/{recount_id}", role="regulator").json())
        return found[-1]["state"] != "running"

    wait_until(over, 30)
    return found[-1]


@contextmanager
def held_up(service: Service) -> Iterator[None]:
    """Keep every recount waiting: nobody else reads decisions."""
    with transaction(service.city.catalogue.engine) as session:
        session.execute(text("lock table decision in access exclusive mode"))
        yield


def waiting(service: Service) -> int:
    """Return how many statements wait for what is held up."""
    with transaction(service.city.catalogue.engine) as session:
        found = session.scalar(
            text(
                "select count(*) from pg_locks join pg_database on pg_database.oid = database"
                " where not granted and datname = current_database()"
            )
        )
        return int(found or 0)


def test_every_step_of_a_recount_is_said_in_both_languages() -> None:
    assert tuple(TEXTS) == recount.STEPS
    assert all(zh and en for zh, en in TEXTS.values())
    assert DONE["steps"] == len(recount.STEPS)


def test_a_recount_is_begun_watched_to_its_end_and_signed(service: Service) -> None:
    recognised(service)
    begun = begin(service)
    assert begun.status_code == 202
    assert (begun.json()["state"], begun.json()["found"]) == ("running", None)
    done = ended(service, begun.json()["recount_id"])
    assert_alike(DONE, done)
    assert (done["state"], done["done"], done["steps"]) == ("done", len(recount.STEPS), len(recount.STEPS))
    assert {(each["done"], each["disagreements"]) for each in done["checks"]} == {(True, 0)}
    assert (done["found"]["agrees"], done["found"]["net_fen"]) == (True, 19800)
    with transaction(service.city.catalogue.engine) as session:
        kept = session.execute(
            text("select caller, detail ->> 'sha256' from audit_event where action = 'savings.verify'")
        ).one()
    said = jwt.decode(done["found"]["signed"], options={"verify_signature": False})
    assert tuple(kept) == ("test regulator", said["sha256"])


def test_the_statement_is_a_file_that_is_checked_as_the_page_says(service: Service) -> None:
    recognised(service)
    number = begin(service).json()["recount_id"]
    done = ended(service, number)
    answer = service.call("GET", f"{ROOT}/{number}/statement", role="regulator")
    assert answer.headers["content-disposition"].startswith('attachment; filename="recount_2026-06-30_')
    assert answer.json() == done["found"]
    keys = service.call("GET", "/.well-known/jwks.json", role="").json()["keys"]
    assert checked(answer.text, keys) == "test regulator"
    with pytest.raises(AssertionError):
        checked(answer.text.replace("19800", "19801"), keys)
    with pytest.raises(jwt.InvalidSignatureError):
        checked(answer.text, [{**keys[0], "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}])


def checked(statement: str, keys: list[dict[str, str]]) -> str:
    """Do what the page tells somebody to do who has the file, and return who had it made."""
    found = json.loads(statement)
    signed = found.pop("signed")
    claims = jwt.decode(signed, jwt.PyJWK(keys[0]), algorithms=["EdDSA"])
    digest = hashlib.sha256(
        json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )
    assert digest.hexdigest() == claims["sha256"]
    return str(claims["by"]["subject"])


def test_what_disagrees_is_counted_at_its_step(service: Service) -> None:
    recognised(service)
    with transaction(service.city.catalogue.engine) as session:
        session.execute(text("alter table monthly disable row level security"))
        session.execute(text("update monthly set saved_fen = saved_fen + 1"))
    done = ended(service, begin(service).json()["recount_id"])
    assert not done["found"]["agrees"]
    counted = {each["kind"]: each["disagreements"] for each in done["checks"]}
    assert counted == {**dict.fromkeys(recount.STEPS, 0), recount.SUMS: 1}


def test_one_caller_has_one_recount_and_few_go_on_together(service: Service) -> None:
    hospitals = ("A", "B")
    with held_up(service):
        first = begin(service).json()
        again = begin(service, told=False).json()
        assert again["recount_id"] == first["recount_id"]
        assert begin(service, "auditor").status_code == 202
        third = {"Authorization": f"Bearer {service.token('auditor', hospitals[1])}"}
        refused = service.call("POST", ROOT, role="", headers=third)
        assert (refused.status_code, refused.json()["code"]) == (503, "recounts_busy")
        early = service.call("GET", f"{ROOT}/{first['recount_id']}/statement", role="regulator")
        assert (early.status_code, early.json()["code"]) == (409, "recount_not_done")
    assert ended(service, first["recount_id"])["state"] == "done"


def test_a_recount_is_its_callers_alone(service: Service) -> None:
    number = begin(service).json()["recount_id"]
    for path in (f"{ROOT}/{number}", f"{ROOT}/{number}/statement"):
        assert service.call("GET", path, role="auditor").status_code == 404
        assert service.call("GET", path, role="doctor").status_code == 403
    assert ended(service, number)["state"] == "done"


def test_a_recount_that_nobody_looks_at_ends_with_the_statement_it_is_at(service: Service) -> None:
    app: Any = service.client.app
    app.state.recount_desk = RecountDesk(service.key, abandoned_seconds=0.1)
    with held_up(service):
        number = begin(service).json()["recount_id"]
        wait_until(lambda: waiting(service) == 1, 20)
        wait_until(lambda: waiting(service) == 0, 20)
        assert ended(service, number)["state"] == "abandoned"
    with transaction(service.city.catalogue.engine) as session:
        verified = session.scalar(text("select count(*) from audit_event where action = 'savings.verify'"))
    assert verified == 0


def test_recounts_end_with_the_service(service: Service) -> None:
    app: Any = service.client.app
    desk: RecountDesk = app.state.recount_desk
    with held_up(service):
        number = begin(service).json()["recount_id"]
        wait_until(lambda: waiting(service) == 1, 20)
        desk.close()
        assert ended(service, number)["state"] == "abandoned"


def test_a_recount_that_breaks_is_told_as_failed(service: Service) -> None:
    with transaction(service.city.catalogue.engine) as session:
        session.execute(text("alter table repeat rename to repeat_gone"))
    assert ended(service, begin(service).json()["recount_id"])["state"] == "failed"
