"""How the exchange runs, over HTTP: what is received, what waits, the audit's chain, hospitals, and what to see to."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from catalog import audit, commitments, qc, running_notices, webhooks, withdrawals
from catalog.audit_seal import open_signer
from catalog.audit_sealer import Sealer
from catalog.context import Caller
from catalog.db import transaction
from catalog.outbound import Outbound
from catalog.queues import EXPIRING_DAYS
from exchange.pulse import Pulse
from exchange.spool_state import spool_state
from exchange.tokens import ROLES
from tests.dicom_node.raw_peer import wait_until
from tests.exchange.conftest import Service

NODE = Caller("dicom_node", "system")
HOSTILE = '"><script>alert(1)</script>\u202e{{7*7}}'
COUNTED = {
    'dicom_associations_total{label="accepted"}': 12,
    'dicom_associations_total{label="released"}': 7,
    'dicom_associations_total{label="aborted:idle"}': 2,
    'dicom_associations_total{label="rejected:unknown_calling_ae"}': 4,
    'dicom_instances_total{label="0000"}': 100,
    'dicom_instances_total{label="B000"}': 5,
    'dicom_instances_total{label="A700"}': 3,
    'dicom_bytes_total{label="stored"}': 1 << 30,
}


def running(service: Service, path: str = "", **more: Any) -> Any:
    answer = service.call("GET", f"/v1/admin/running{path}", role="operator", **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def jobs(service: Service) -> dict[str, Any]:
    return {each["kind"]: each for each in running(service)["jobs"]}


def refuse(service: Service, ae_title: str, reason: str = "unknown_calling_ae", count: int = 1) -> None:
    with transaction(service.city.catalogue.engine) as session:
        told = {"calling_ae": ae_title, "reason": reason, "count": count, "address": "10.0.0.9"}
        audit.record(session, NODE, "association_refused", **told)


def ask_commitment(service: Service, uid: str) -> int:
    with transaction(service.city.catalogue.engine) as session:
        return commitments.queue(
            session,
            hospital_code="A",
            calling_ae="A_PACS",
            TransactionUID=uid,
            referenced=(("1.2.840.10008.5.1.4.1.1.2", "2.25.1"),),
        )


@pytest.fixture
def now(service: Service) -> Service:
    """The service at the hour of its database, which dates the audit."""
    service.city.now = datetime.now(UTC)
    return service


def test_what_is_received_is_told_from_the_counters_of_the_node(service: Service) -> None:
    app: Any = service.client.app
    app.state.counters = lambda: COUNTED
    told = running(service)["receiving"]
    assert told == {
        "associations_open": 3,
        "associations_accepted": 12,
        "associations_refused": 4,
        "associations_aborted": 2,
        "instances_stored": 105,
        "instances_refused": 3,
        "bytes_stored": 1 << 30,
        "per_minute": None,
    }


def test_how_fast_images_come_is_told_from_two_looks_and_not_across_a_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("exchange.pulse.time.monotonic", lambda: clock[0])
    pulse = Pulse()

    def rate(stored: int) -> Any:
        return pulse.receiving({'dicom_instances_total{label="0000"}': stored})["per_minute"]

    assert rate(1000) is None
    clock[0] += 30
    assert rate(1100) == 200.0
    for _ in range(60):
        clock[0] += 5
        rate(1100)
    assert rate(1100) == 0.0, "what came before the last minute counts no more"
    clock[0] += 5
    assert rate(3) is None, "the node counts anew"
    clock[0] += 60
    assert rate(63) == 60.0
    clock[0] += 86_400
    assert rate(64) is None, "a rate over a day says nothing of now"


def test_the_stores_are_told_with_how_long_they_take(service: Service) -> None:
    app: Any = service.client.app
    wait_until(lambda: app.state.health.components()["database"]["state"] == "up")
    (store,) = running(service)["stores"]
    assert (store["store"], store["name_en"], store["state"]) == ("database", "Database", "up")
    assert store["milliseconds"] > 0
    ready = service.call("GET", "/readyz", role="").json()["components"]
    assert ready == {"database": {"state": "up"}}, "operators alone are told more"


def test_a_spool_tells_its_oldest_pack_and_its_room_to_operators_alone(tmp_path: Path) -> None:
    assert spool_state(tmp_path / "none") == {"packs": 0, "bytes": 0, "quarantined": 0, "_oldest_at": None}
    (tmp_path / "sealed").mkdir()
    pack = tmp_path / "sealed" / "1.tar"
    pack.write_bytes(b"x" * 10)
    told = spool_state(tmp_path)
    assert (told["packs"], told["bytes"]) == (1, 10)
    assert told["_oldest_at"].timestamp() == pytest.approx(pack.stat().st_mtime)
    assert 0 < told["_free_bytes"] <= told["_total_bytes"]


def test_commitments_and_months_that_wait_are_counted(now: Service) -> None:
    before = jobs(now)
    first = ask_commitment(now, "2.25.7")
    ask_commitment(now, "2.25.8")
    with transaction(now.city.catalogue.engine) as session:
        commitments.answer(session, first, (), delay_seconds=0)
        commitments.give_up(session, first)
    told = jobs(now)
    assert (told["commitments"]["waiting"], told["commitments"]["failed"]) == (1, 1)
    assert told["commitments"]["oldest_at"] is not None
    assert before["commitments"]["waiting"] == before["commitments"]["failed"] == 0
    assert told["recount"]["waiting"] == 1, "the month of the study that A brought"


def test_deliveries_that_wait_and_that_were_given_up_are_told_of_their_hospital(service: Service) -> None:
    city, doctor = service.city, Caller("dr.B", "doctor", "B")
    outbound = Outbound(hosts=frozenset({"hooks.b.example"}), networks=(), https_only=True, seconds=5)
    operator = Caller("op", "operator")
    webhooks.add(city.catalogue, outbound, operator, "B", "https://hooks.b.example/huren")
    check = city.check(doctor, [{"order_number": "o1", "item_code": "CT07"}])
    city.decide(doctor, check, "o1", "recognise")
    system = Caller("his.A", "hospital_system", "A")
    withdrawals.withdraw_study(city.catalogue, system, "2.25.1001", "录入错误")

    def told() -> tuple[Any, ...]:
        job, (_, b) = jobs(service)["webhooks"], running(service, "/hospitals")["hospitals"]
        return job["waiting"], job["failed"], b["webhooks_waiting"], b["webhooks_given_up"]

    assert told() == (1, 0, 1, 0)
    with transaction(city.catalogue.engine) as session:
        session.execute(text("update webhook_delivery set state = 'dead'"))
    assert told() == (0, 1, 0, 1)
    assert "webhooks" in [each["kind"] for each in running(service)["notices"]]


def test_the_chain_is_told_with_its_anchor_and_what_contradicts_it_is_said(
    now: Service, tmp_path: Path
) -> None:
    app: Any = now.client.app
    file = app.state.anchor_file = tmp_path / "heads.jsonl"
    refuse(now, "X")
    first = running(now)["audit"]
    assert (first["seal"], first["anchored"]) == (None, "missing")
    assert first["unsealed"] > 0
    assert jobs(now)["sealing"]["waiting"] == first["unsealed"]
    sealer = Sealer(now.city.catalogue, open_signer(tmp_path / "seal.pem"), file, None)
    sealer.open()
    sealer.seal()
    told = running(now)["audit"]
    assert (told["seal"], told["unsealed"], told["anchored"], told["anchor"]) == (1, 0, "matches", 1)
    assert told["oldest_unsealed_at"] is None
    file.write_text(file.read_text().replace(told["head"], "0" * 64))
    whole = running(now)
    assert whole["audit"]["anchored"] == "contradicts"
    assert [each["kind"] for each in whole["notices"] if each["level"] == "bad"] == ["forked"]
    app.state.anchor_file = None
    assert running(now)["audit"]["anchored"] == "elsewhere"


def test_hospitals_are_told_with_when_they_were_last_heard_of_and_what_of_them_was_refused(
    now: Service,
) -> None:
    now.city.study("A", 4)
    refuse(now, "A_PACS", "not_its_address", 3)
    refuse(now, "A_PACS", "not_its_address", 2)
    refuse(now, HOSTILE)
    ask_commitment(now, "2.25.9")
    found = running(now, "/hospitals")
    assert (found["total"], [each["code"] for each in found["hospitals"]]) == (2, ["A", "B"])
    a, b = found["hospitals"]
    assert (a["refused"], a["commitments_waiting"], a["last_instances"]) == (5, 1, 1)
    assert datetime.fromisoformat(a["last_images_at"]) == now.city.now
    assert (b["refused"], b["last_images_at"], b["webhooks_waiting"]) == (0, None, 0)
    assert running(now, "/hospitals?limit=1&offset=1")["hospitals"] == [b]
    refused = running(now, "/refusals")["refusals"]
    assert [(each["ae_title"], each["count"], each["hospital"]) for each in refused] == [
        (HOSTILE, 1, None),
        ("A_PACS", 5, "A"),
    ]


def test_what_was_refused_more_than_a_day_ago_is_told_no_more(now: Service) -> None:
    refuse(now, "A_PACS")
    now.city.now += timedelta(hours=25)
    assert running(now, "/refusals") == {"refusals": []}
    assert running(now, "/hospitals")["hospitals"][0]["refused"] == 0


def test_what_soon_ends_is_counted_as_the_list_of_it_shows_it(service: Service) -> None:
    service.city.now = datetime(
        2027, 12, 1, 4, 0, tzinfo=UTC
    )  # the evaluations of the city end with that year
    told = {each["kind"]: each for each in running(service)["notices"]}
    ending = qc.expiring(service.city.catalogue, EXPIRING_DAYS)
    assert told["evaluations"]["count"] == len(ending) == 2
    shown = service.call("GET", f"/v1/admin/qc/expiring?days={EXPIRING_DAYS}", role="operator").json()
    assert told["evaluations"]["count"] == len(shown["evaluations"])


AT = datetime(2026, 6, 30, 4, 0, tzinfo=UTC)
WELL: dict[str, Any] = {
    "stores": [{"name": "数据库", "name_en": "Database", "state": "up"}],
    "spool": {"free_bytes": 50, "total_bytes": 100, "quarantined": 0},
    "jobs": [
        {"kind": kind, "waiting": 1, "failed": 0, "oldest_at": AT - timedelta(minutes=1)}
        for kind in ("shipping", "sealing", "webhooks", "commitments")
    ],
    "audit": {"anchored": "matches", "sealed_at": AT},
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"spool": None}, []),
        ({"stores": [{**WELL["stores"][0], "state": "down"}]}, [("bad", "store_down")]),
        ({"spool": {**WELL["spool"], "free_bytes": 9}}, [("warn", "disk_low")]),
        ({"spool": {**WELL["spool"], "free_bytes": 4}}, [("bad", "disk_low")]),
        ({"spool": {**WELL["spool"], "quarantined": 2}}, [("bad", "quarantined")]),
        (
            {"jobs": [{**each, "oldest_at": AT - timedelta(minutes=16)} for each in WELL["jobs"]]},
            [("warn", "shipping_late"), ("warn", "sealing_late")],
        ),
        (
            {"jobs": [{**each, "failed": 1} for each in WELL["jobs"]]},
            [("warn", "webhooks"), ("warn", "commitments")],
        ),
        ({"audit": {"anchored": "contradicts", "sealed_at": AT}}, [("bad", "forked")]),
        (
            {"audit": {"anchored": "missing", "sealed_at": AT - timedelta(hours=1)}},
            [("warn", "not_anchored")],
        ),
        ({"audit": {"anchored": "missing", "sealed_at": None}}, []),
    ],
)
def test_what_should_be_seen_to_is_said_and_nothing_where_all_is_well(
    changed: dict[str, Any], said: list[tuple[str, str]]
) -> None:
    found = running_notices.notices({**WELL, **changed}, {"certificates": 0, "evaluations": 0}, AT)
    assert [(each["level"], each["kind"]) for each in found] == said
    assert all(each["text"] and each["text_en"] for each in found)


def test_the_gravest_stands_first() -> None:
    told = {**WELL, "audit": {"anchored": "contradicts", "sealed_at": AT}}
    told["spool"] = {**WELL["spool"], "free_bytes": 9}
    found = running_notices.notices(told, {"certificates": 3, "evaluations": 1}, AT)
    assert [each["kind"] for each in found] == ["forked", "disk_low", "certificates", "evaluations"]


def test_nobody_but_operators_is_told_and_the_database_tells_nobody_else(service: Service) -> None:
    for role in set(ROLES) - {"operator"}:
        for path in ("", "/hospitals", "/refusals"):
            answer = service.call("GET", f"/v1/admin/running{path}", role=role)
            assert answer.status_code == 403
    app: Any = service.client.app
    with app.state.catalogue.engine.connect() as connection:
        asked = text("select running_state(now())")
        for role in ("", "gate", "curator", "regulator"):
            connection.execute(text("select set_config('huren.role', :role, true)"), {"role": role})
            assert connection.scalar(asked) is None, role
