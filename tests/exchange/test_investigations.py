"""A name behind an entry: only to whoever opened an investigation, in its scope, while it is open; and audited."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from catalog.context import Caller
from catalog.db import transaction
from catalog.row_security import API
from catalog.scope import Scope, scoped
from exchange.question_examples import INVESTIGATED, INVESTIGATION
from tests.city import id_number
from tests.exchange.conftest import Service
from tests.exchange.test_api import PATIENT
from tests.exchange.test_described import assert_alike
from tests.exchange.test_savings_api import recognised

REASON = "核实 2026-06 胸部CT平扫净节约偏高"
JUNE = {"hospital": "B", "item": "CT07", "from": "2026-06", "to": "2026-06"}
PRIVATE = (PATIENT["name"], PATIENT["birth_date"], "test doctor", id_number(2))


@pytest.fixture
def site(service: Service) -> Service:
    """Two savings of B, entries 1 and 2, of two people."""
    service.city.study("A", 4)
    recognised(service)
    recognised(service, "2", 4)
    return service


def act(
    service: Service, method: str, path: str, *, subject: str = "chen", role: str = "regulator", **more: Any
) -> Any:
    hospital = more.pop("hospital", "")
    token = service.key.issue(subject=subject, role=role, hospital=hospital, lifetime=timedelta(days=90))
    headers = {"Authorization": f"Bearer {token}"}
    return service.call(method, f"/v1/investigations{path}", role="", headers=headers, **more)


def opened(service: Service, subject: str = "chen", **scope: Any) -> str:
    answer = act(service, "POST", "", subject=subject, json={"reason": REASON, **(scope or JUNE)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["investigation_id"])


def look(service: Service, investigation: str, entry: int = 1, **more: Any) -> Any:
    return act(service, "GET", f"/{investigation}/entries/{entry}", **more)


def test_an_investigation_shows_who_stands_behind_an_entry(site: Service) -> None:
    answer = act(site, "POST", "", json={"reason": REASON, **JUNE})
    assert_alike(INVESTIGATION, answer.json())
    assert answer.json()["expires_at"][:10] == "2026-07-14"
    found = look(site, answer.json()["investigation_id"]).json()
    assert_alike(INVESTIGATED, found)
    assert found["person"] == {
        "name": "林晓渝",
        "sex": "female",
        "birth_date": "1980-05-17",
        "document": INVESTIGATED["person"]["document"],
        "number": id_number(2)[:3] + "*" * 13 + id_number(2)[-2:],
    }
    assert (found["decided_by"], found["asked_by"]) == ("test doctor", "test doctor")
    assert (found["entry"]["entry_id"], found["decision"]["order_id"]) == ("1", "1")
    assert id_number(2) not in str(found)


def test_each_look_is_audited_with_the_patient_and_the_hospital_is_not_told(site: Service) -> None:
    investigation = opened(site)
    look(site, investigation, 2)
    act(site, "POST", f"/{investigation}/close")
    with transaction(site.city.catalogue.engine) as session:
        rows = session.execute(
            text("select * from audit_event where action like 'investigation.%' order by id")
        ).mappings()
        told = [dict(row) for row in rows]
        person = session.scalar(text("select person_id from ledger where id = 2"))
    assert [row["action"].partition(".")[2] for row in told] == ["open", "show", "close"]
    assert [row["person_id"] for row in told] == [None, person, None]
    assert {(row["caller"], row["role"], row["hospital_id"]) for row in told} == {("chen", "regulator", None)}
    assert told[1]["detail"] == {"investigation_id": int(investigation), "entry_id": 2}


def test_while_the_audit_cannot_be_written_nothing_is_opened_or_shown(site: Service) -> None:
    investigation = opened(site)
    with transaction(site.city.catalogue.engine) as session:
        session.execute(text(f"revoke insert on audit_event from {API}"))
    answers = [look(site, investigation), act(site, "POST", "", json={"reason": REASON, **JUNE})]
    assert {(each.status_code, each.json()["code"]) for each in answers} == {(503, "audit_down")}
    assert all(private not in each.text for each in answers for private in PRIVATE)
    with transaction(site.city.catalogue.engine) as session:
        assert session.scalar(text("select count(*) from investigation")) == 1


def test_without_an_investigation_nobody_sees_a_name(site: Service) -> None:
    answers = [look(site, number, entry) for number in ("1", "99") for entry in (1, 99)]
    opened(site, subject="wang")
    answers += [look(site, "1"), look(site, "1", subject="Chen")]
    assert {(each.status_code, each.json()["code"]) for each in answers} == {(404, "unknown")}
    assert all(private not in each.text for each in answers for private in PRIVATE)


@pytest.mark.parametrize(
    ("role", "hospital"),
    [
        ("auditor", ""),
        ("auditor", "B"),
        ("doctor", "B"),
        ("hospital_system", "B"),
        ("curator", ""),
        ("operator", ""),
    ],
)
def test_no_other_role_opens_closes_or_looks(site: Service, role: str, hospital: str) -> None:
    investigation = opened(site)
    as_ = {"role": role, "hospital": hospital}
    answers = [
        look(site, investigation, **as_),
        act(site, "POST", "", json={"reason": REASON, **JUNE}, **as_),
        act(site, "POST", f"/{investigation}/close", **as_),
    ]
    assert [each.status_code for each in answers] == [403] * 3
    assert look(site, investigation).status_code == 200


def test_after_its_time_its_end_or_a_verdict_against_it_it_is_as_if_there_were_none(site: Service) -> None:
    unknown = look(site, "99").json()
    short, closed, unjustified, kept = (opened(site) for _ in range(4))
    assert {look(site, each).status_code for each in (short, closed, unjustified, kept)} == {200}
    act(site, "POST", f"/{closed}/close")
    verdict = {"verdict": "unjustified", "note": "事由不足"}
    act(site, "POST", f"/{unjustified}/review", subject="zhao", role="auditor", json=verdict)
    site.city.now += timedelta(days=14) - timedelta(seconds=1)
    assert [look(site, each).status_code for each in (closed, unjustified, kept)] == [404, 404, 200]
    site.city.now += timedelta(seconds=1)
    for investigation in (short, closed, unjustified, kept):
        answer = look(site, investigation)
        assert (answer.status_code, answer.json()) == (404, unknown)


@pytest.mark.parametrize(
    "scope",
    [
        {**JUNE, "hospital": "A"},
        {**JUNE, "item": "CT09"},
        {**JUNE, "from": "2026-05", "to": "2026-05"},
        {**JUNE, "from": "2026-07", "to": "2026-09"},
        {"entry_id": 2},
        {"decision_id": 2},
    ],
)
def test_out_of_its_scope_there_is_no_entry(site: Service, scope: dict[str, Any]) -> None:
    answer = look(site, opened(site, **scope), 1)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown")


@pytest.mark.parametrize("scope", [{"entry_id": 1}, {"decision_id": 1}, {**JUNE, "from": "2026-04"}])
def test_in_its_scope_there_is(site: Service, scope: dict[str, Any]) -> None:
    assert look(site, opened(site, **scope)).status_code == 200


def test_an_investigation_of_a_decision_reaches_what_takes_its_money_back(site: Service) -> None:
    investigation = opened(site, decision_id=2)
    site.city.now += timedelta(hours=1)
    site.city.study("B", 4, days_ago=0)
    assert look(site, investigation, 3).json()["entry"]["kind"] == "reversal"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"reason": "   ", **JUNE}, 422, "reason_needed"),
        ({"reason": REASON}, 422, "scope_needed"),
        ({"reason": REASON, "entry_id": 1, "decision_id": 1}, 422, "scope_needed"),
        ({"reason": REASON, "entry_id": 1, "hospital": "B"}, 422, "scope_needed"),
        ({"reason": REASON, "hospital": "B", "item": "CT07"}, 422, "scope_needed"),
        ({"reason": REASON, **JUNE, "from": "2026-03"}, 422, "too_long"),
        ({"reason": REASON, **JUNE, "from": "2026-07"}, 422, None),
        ({"reason": REASON, **JUNE, "from": "2026-13"}, 422, None),
        ({"reason": REASON, **JUNE, "days": 61}, 422, None),
        ({"reason": REASON, **JUNE, "hospital": "Z"}, 404, "unknown_hospital"),
        ({"reason": REASON, **JUNE, "item": "ZZ"}, 404, "unknown_item"),
        ({"reason": REASON, "entry_id": 99}, 404, "unknown_entry"),
        ({"reason": REASON, "decision_id": 99}, 404, "unknown_entry"),
    ],
)
def test_what_is_no_reason_time_or_scope_opens_nothing(
    quiet: Service, body: dict[str, Any], status: int, code: str | None
) -> None:
    if body.get("hospital") == "B":
        body = {**body, "hospital": "A"}
    answer = act(quiet, "POST", "", json=body)
    assert answer.status_code == status, answer.text
    assert code in (None, answer.json()["code"])


def test_a_regulator_lists_his_own_and_an_auditor_all_and_a_hospitals_own_none(site: Service) -> None:
    opened(site), opened(site, subject="wang", entry_id=2)

    def numbers(query: str = "", **as_: str) -> list[str]:
        found = act(site, "GET", query, **as_).json()["investigations"]
        return [each["investigation_id"] for each in found]

    auditor = {"role": "auditor", "subject": "zhao"}
    assert numbers() == ["1"]
    assert numbers(subject="wang") == ["2"]
    assert numbers(**auditor) == ["1", "2"]
    assert numbers("?after=1", **auditor) == ["2"]
    assert numbers(**auditor, hospital="B") == []
    act(site, "POST", "/1/review", **auditor, json={"verdict": "justified"})
    assert numbers("?pending=true", **auditor) == ["2"]


def test_an_auditor_reviews_once_and_another_verdict_is_refused(site: Service) -> None:
    investigation = opened(site)
    auditor = {"role": "auditor", "subject": "zhao"}
    good, bad = {"verdict": "justified", "note": "事由充分"}, {"verdict": "unjustified"}
    for _ in range(2):
        told = act(site, "POST", f"/{investigation}/review", **auditor, json=good).json()
        assert (told["verdict"], told["note"], told["reviewed_by"]) == ("justified", "事由充分", "zhao")
    assert act(site, "POST", f"/{investigation}/review", **auditor, json=bad).status_code == 409
    own = act(site, "POST", f"/{investigation}/review", **auditor, hospital="B", json=good)
    assert own.status_code == 404
    assert look(site, investigation).status_code == 200


def test_nobody_closes_what_another_opened_and_closing_twice_changes_nothing(site: Service) -> None:
    investigation = opened(site)
    assert act(site, "POST", f"/{investigation}/close", subject="wang").status_code == 404
    first = act(site, "POST", f"/{investigation}/close").json()
    site.city.now += timedelta(hours=1)
    assert act(site, "POST", f"/{investigation}/close").json() == first
    assert (first["open"], first["closed_at"] is None) == (False, False)


SEEN = "select entry_id from investigated order by 1"


def seen(service: Service, role: str, before: str = "", **values: Any) -> list[int]:
    """The entries whose people a transaction of this role is shown below the application."""
    state: Any = service.client.app.state  # type: ignore[attr-defined]
    engine = scoped(state.catalogue.engine, Scope.of(Caller("chen", role)))
    with transaction(engine) as session:
        if before:
            session.execute(text(before), values)
        return list(session.scalars(text(SEEN)))


OPEN = "select open_investigation(:id, :by, :at)"


def test_below_the_application_only_an_open_investigation_shows_a_name_and_only_in_its_scope(
    site: Service,
) -> None:
    whole, one = int(opened(site)), int(opened(site, entry_id=2))
    now = site.city.now
    assert seen(site, "regulator") == []
    assert seen(site, "regulator", OPEN, id=whole, by="chen", at=now) == [1, 2]
    assert seen(site, "regulator", OPEN, id=one, by="chen", at=now) == [2]
    assert seen(site, "regulator") == []  # it went with its transaction
    assert seen(site, "regulator", OPEN, id=whole, by="wang", at=now) == []
    assert seen(site, "regulator", OPEN, id=whole, by="chen", at=now + timedelta(days=14)) == []
    for role in ("auditor", "doctor", "curator", "operator"):
        assert seen(site, role, OPEN, id=whole, by="chen", at=now) == []
        assert seen(site, role, "select set_config('huren.investigation', '1', true)") == []
    for forged in ("x", "-1", "1 or true", "99999999999999999999"):
        assert seen(site, "regulator", "select set_config('huren.investigation', :v, true)", v=forged) == []
    act(site, "POST", f"/{whole}/close")
    assert seen(site, "regulator", "select set_config('huren.investigation', :v, true)", v=str(whole)) == []


def test_below_the_application_an_office_of_figures_is_shown_no_person(site: Service) -> None:
    state: Any = site.client.app.state  # type: ignore[attr-defined]
    for role in ("regulator", "auditor"):
        engine = scoped(state.catalogue.engine, Scope.of(Caller("chen", role)))
        with transaction(engine) as session:
            assert session.scalar(text("select count(*) from person")) == 0


@pytest.mark.parametrize(
    "change",
    [
        "reason = '另一事由'",
        "reason = ''",
        "expires_at = expires_at + interval '1 day'",
        "opened_by = 'wang'",
        "item_code = 'CT09'",
        "decision_id = null",
    ],
)
def test_why_how_far_and_how_long_never_change(site: Service, change: str) -> None:
    opened(site, entry_id=1)
    with (
        pytest.raises(DBAPIError, match="an investigation ends"),
        transaction(site.city.catalogue.engine) as session,
    ):
        session.execute(text(f"update investigation set {change}"))  # noqa: S608


def test_an_erasure_empties_why_a_decision_of_the_person_was_investigated(site: Service) -> None:
    opened(site, entry_id=1), opened(site, entry_id=2)
    who = {"patient": {"id_number": id_number(2)}}
    plan = site.call("POST", "/v1/admin/erasures/plan", role="curator", json=who).json()
    law = {"basis": "个人信息保护法第四十七条", "confirm": plan["objects"]}
    assert site.call("POST", "/v1/admin/erasures", role="curator", json=who | law).status_code == 202
    listed = act(site, "GET", "").json()["investigations"]
    assert [each["reason"] for each in listed] == ["", REASON]
    assert look(site, "1").json()["person"]["name"] == ""
