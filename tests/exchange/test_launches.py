"""A hospital's system opens our pages for its user: once, within minutes, for that hospital, no longer than its right."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from catalog import accounts, clients, image_grants, launches, revocations
from catalog.clients import Registration
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import Expired
from catalog.scope import GATE, acting_as
from tests.cds_client import BASE
from tests.city import id_number
from tests.exchange.conftest import Service
from tests.exchange.signers import Signer

OPERATOR = Caller("operator", "operator")
HIS = "his-b"
SCOPES = ("launches.write", "checks.write", "checks.read", "reports.read", "images.read", "notices.read")
BODY: dict[str, Any] = {
    "patient": {"id_number": id_number(2), "name": "林晓渝"},
    "orders": [{"order_id": "MZ1", "item_code": "CT07"}],
    "department": "呼吸内科",
    "practitioner": {"id": "dr.li", "name": "李医生"},
}


@pytest.fixture
def his(service: Service) -> Service:
    """The service as browsers reach it, and a system of hospital B."""
    service.client.base_url = "https://huren.example"
    keys = Signer("EdDSA").jwks["keys"]
    clients.add(service.city.catalogue, OPERATOR, Registration(HIS, "hospital_system", "B", SCOPES, keys))
    return service


def launch(
    service: Service, hospital: str = "B", client: str = HIS, scopes: Any = SCOPES, **body: Any
) -> Any:
    token = service.key.issue(
        subject=client or "his",
        role="hospital_system",
        hospital=hospital,
        lifetime=service.hour,
        scopes=scopes,
        client_id=client,
    )
    headers = {"Authorization": f"Bearer {token}"}
    return service.call("POST", "/v1/launches", role="", headers=headers, json=BODY | body)


def secret_of(answer: Any) -> str:
    assert answer.status_code == 201, answer.text
    return str(answer.json()["url"].rpartition("/launch/")[2])


def open_launch(service: Service, secret: str, older: str = "") -> None:
    """Open an address as a browser does, which then has the cookie of the new session alone."""
    opened = launches.open_launch(acting_as(service.city.catalogue, GATE), secret, older=older)
    service.client.cookies.clear()
    service.client.cookies.set("__Host-huren", opened.cookie, domain="huren.example")


def begin(service: Service, **more: Any) -> Any:
    """Launch and open, and return who is signed in then."""
    open_launch(service, secret_of(launch(service, **more)))
    return own(service)


def own(service: Service) -> Any:
    return service.call("GET", "/v1/session", role="").json()


def as_doctor(service: Service, method: str, path: str, **more: Any) -> Any:
    headers = {"X-CSRF-Token": own(service)["csrf_token"]}
    return service.call(method, path, role="", headers=headers, **more)


def test_the_address_begins_a_session_of_that_practitioner_as_a_doctor_of_that_hospital(his: Service) -> None:
    who = begin(his)
    assert (who["subject"], who["name"], who["role"], who["hospital"]) == (
        "dr.li his-b",
        "李医生",
        "doctor",
        "B",
    )
    assert who["totp_needed"] is False
    check = as_doctor(his, "POST", "/v1/checks", json={k: BODY[k] for k in ("patient", "orders")})
    assert check.status_code == 200
    assert check.json()["orders"][0]["candidates"]
    listed = as_doctor(his, "GET", "/v1/checks").json()["checks"]
    assert [row["check_id"] for row in listed] == [check.json()["check_id"]]


def test_the_answer_says_nothing_of_the_patient_and_the_database_keeps_him_sealed(his: Service) -> None:
    answer = launch(his)
    assert id_number(2) not in answer.text
    assert answer.json()["url"].startswith(f"{BASE}/launch/")
    with transaction(his.city.catalogue.engine) as session:
        kept = str(session.execute(text("select * from launch")).mappings().all())
    for told in (id_number(2), "林晓渝", "MZ1", secret_of(answer)):
        assert told not in kept


def test_an_address_is_good_once(his: Service) -> None:
    secret = secret_of(launch(his))
    open_launch(his, secret)
    with pytest.raises(Expired):
        open_launch(his, secret)
    with transaction(his.city.catalogue.engine) as session:
        assert session.scalar(text("select count(*) from launch")) == 0


def test_an_address_is_good_for_five_minutes_and_what_it_carried_is_then_gone(his: Service) -> None:
    in_time, late = secret_of(launch(his)), secret_of(launch(his))
    his.city.now += timedelta(minutes=4, seconds=59)
    open_launch(his, in_time)
    his.city.now += timedelta(seconds=1)
    with pytest.raises(Expired):
        open_launch(his, late)
    launch(his)
    with transaction(his.city.catalogue.engine) as session:
        assert session.scalar(text("select count(*) from launch")) == 1


def test_an_address_that_never_was_looks_like_one_that_was_used(his: Service) -> None:
    for guessed in ("", "x" * 43, "\x00", "\udce4"):
        with pytest.raises(Expired, match="链接已使用或已过期"):
            open_launch(his, guessed)


def test_opening_ends_the_session_whose_cookie_came_with_it(his: Service) -> None:
    link = accounts.add(his.city.catalogue, OPERATOR, "wang", "doctor", "B")
    answer = his.call("POST", "/v1/session/first", role="", json={"link": link, "password": "correct horse"})
    assert answer.status_code == 200
    older = his.client.cookies["__Host-huren"]
    open_launch(his, secret_of(launch(his)), older=older)
    newer = his.client.cookies["__Host-huren"]
    assert newer != older
    assert own(his)["subject"] == "dr.li his-b"
    his.client.cookies.clear()
    his.client.cookies.set("__Host-huren", older, domain="huren.example")
    assert his.call("GET", "/v1/session", role="").status_code == 401


def test_what_was_handed_over_is_read_until_it_was_asked_about(his: Service) -> None:
    begin(his)
    told = his.call("GET", "/v1/session/launch", role="").json()
    assert told == {
        "patient": {"id_type": "01", "id_number": id_number(2), "country": "", "name": "林晓渝"},
        "orders": BODY["orders"],
        "department": "呼吸内科",
        "urgency": "routine",
    }
    assert as_doctor(his, "DELETE", "/v1/session/launch").status_code == 200
    assert his.call("GET", "/v1/session/launch", role="").json()["code"] == "nothing_carried"
    assert as_doctor(his, "DELETE", "/v1/session/launch").json()["code"] == "nothing_carried"
    with transaction(his.city.catalogue.engine) as session:
        assert session.scalar(text("select count(*) from launched_session where sealed is not null")) == 0


def test_an_account_that_signed_in_itself_carries_nothing(his: Service) -> None:
    link = accounts.add(his.city.catalogue, OPERATOR, "wang", "doctor", "B")
    his.call("POST", "/v1/session/first", role="", json={"link": link, "password": "correct horse"})
    assert his.call("GET", "/v1/session/launch", role="").status_code in (403, 404)


def test_a_session_ends_after_an_hour_however_busy_it_is(his: Service) -> None:
    begin(his)
    for _ in range(2):
        his.city.now += timedelta(minutes=29)
        assert his.call("GET", "/v1/session", role="").status_code == 200
    his.city.now += timedelta(minutes=2)
    assert his.call("GET", "/v1/session", role="").status_code == 401


def test_a_session_ends_when_nobody_uses_it_and_when_it_is_signed_out(his: Service) -> None:
    begin(his)
    his.city.now += timedelta(minutes=30)
    assert his.call("GET", "/v1/session", role="").status_code == 401
    begin(his)
    assert as_doctor(his, "DELETE", "/v1/session").json() == {"signed_out": True}
    with transaction(his.city.catalogue.engine) as session:
        assert session.scalar(text("select count(*) from launched_session")) == 0


def disable_client(his: Service) -> None:
    clients.set_active(his.city.catalogue, OPERATOR, HIS, active=False)


def close_hospital(his: Service) -> None:
    with transaction(his.city.catalogue.engine) as session:
        session.execute(text("update hospital set active = false where code = 'B'"))


def block_practitioner(his: Service) -> None:
    revocations.block(his.city.catalogue, OPERATOR, "dr.li his-b", "left")


def take_launching_away(his: Service) -> None:
    with transaction(his.city.catalogue.engine) as session:
        session.execute(text("update client set scopes = array_remove(scopes, 'launches.write')"))


def take_token_back(his: Service) -> None:
    with transaction(his.city.catalogue.engine) as session:
        jti = session.scalar(
            text("select token_id from launch union all select token_id from launched_session")
        )
    revocations.revoke(his.city.catalogue, OPERATOR, str(jti), his.city.now + timedelta(days=1))


@pytest.mark.parametrize(
    "end", [disable_client, close_hospital, block_practitioner, take_launching_away, take_token_back]
)
def test_a_session_ends_with_the_right_of_the_system_and_so_does_an_unused_address(
    his: Service, end: Any
) -> None:
    begin(his)
    end(his)
    assert his.call("GET", "/v1/session", role="").status_code == 401


@pytest.mark.parametrize("end", [disable_client, close_hospital, block_practitioner, take_launching_away])
def test_an_unused_address_ends_with_the_right_of_the_system(his: Service, end: Any) -> None:
    secret = secret_of(launch(his))
    end(his)
    with pytest.raises(Expired):
        open_launch(his, secret)


def test_a_session_may_do_no_more_than_the_system_and_never_breaks_the_glass(his: Service) -> None:
    begin(his, scopes=("launches.write", "checks.read"))
    asked = {"patient": BODY["patient"], "orders": BODY["orders"]}
    assert as_doctor(his, "POST", "/v1/checks", json=asked).json()["code"] == "scope_missing"
    assert his.call("GET", "/v1/checks", role="").status_code == 200
    begin(his, client="", scopes=None)  # a token for everything the role may do
    assert as_doctor(his, "POST", "/v1/checks", json=asked).status_code == 200
    glass = {"patient": BODY["patient"], "reason": "抢救"}
    assert as_doctor(his, "POST", "/v1/break-glass", json=glass).json()["code"] == "scope_missing"
    for path in ("password", "totp"):
        body = {"old": "x", "new": "y"} if path == "password" else None
        assert as_doctor(his, "POST", f"/v1/session/{path}", json=body).json()["code"] == "no_session"


def test_scopes_taken_from_the_system_later_are_taken_from_the_session(his: Service) -> None:
    begin(his)
    with transaction(his.city.catalogue.engine) as session:
        session.execute(text("update client set scopes = array_remove(scopes, 'checks.write')"))
    asked = {"patient": BODY["patient"], "orders": BODY["orders"]}
    assert as_doctor(his, "POST", "/v1/checks", json=asked).json()["code"] == "scope_missing"


def test_another_hospitals_client_launches_for_its_own_hospital_alone(his: Service) -> None:
    who = begin(his, hospital="A", client="", scopes=None)
    assert who["hospital"] == "A"
    # a token that names B's client for another hospital speaks for nobody
    with pytest.raises(Expired):
        open_launch(his, secret_of(launch(his, hospital="A")))


def test_a_link_to_images_ends_with_the_session_and_with_the_system(his: Service) -> None:
    begin(his)
    asked = {"patient": BODY["patient"], "orders": BODY["orders"]}
    check = as_doctor(his, "POST", "/v1/checks", json=asked).json()
    study = check["orders"][0]["candidates"][0]["images"]["StudyInstanceUID"]
    opened = as_doctor(his, "POST", "/v1/image-grants", json={"StudyInstanceUIDs": [study]}).json()
    gate = acting_as(his.city.catalogue, GATE)
    held = image_grants.held(gate, opened["grant"])
    assert held is not None
    assert held.caller.client_id == HIS  # whoever shuts the system out ends the link (exchange.gate)
    as_doctor(his, "DELETE", "/v1/session")
    assert image_grants.held(gate, opened["grant"]) is None


@pytest.mark.parametrize("role", ["doctor", "curator", "regulator", "auditor", "operator"])
def test_only_a_hospitals_system_launches(his: Service, role: str) -> None:
    assert his.call("POST", "/v1/launches", role=role, json=BODY).json()["code"] == "role_not_allowed"


def test_what_makes_no_sense_is_refused(his: Service) -> None:
    for wrong in (
        {"patient": {"id_number": "1"}},
        {"orders": [{"order_id": "1"}]},
        {"practitioner": {"id": "", "name": "x"}},
        {"practitioner": {"id": "a\nb", "name": "x"}},
        {"lang": "fr"},
        {"more": 1},
    ):
        assert launch(his, **wrong).status_code == 422, wrong


def test_launching_and_opening_are_audited_with_the_practitioner(his: Service) -> None:
    secret = secret_of(launch(his))
    open_launch(his, secret)
    with transaction(his.city.catalogue.engine) as session:
        rows = session.execute(
            text(
                "select action, caller, role, detail from audit_event where action like 'launch.%' order by id"
            )
        ).all()
    assert [row[:3] for row in rows] == [
        ("launch.add", HIS, "hospital_system"),
        ("launch.open", "dr.li his-b", "doctor"),
    ]
    assert secret not in str(rows)
    assert rows[0].detail["launch_id"] == rows[1].detail["launch_id"]
