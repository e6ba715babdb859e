"""Accounts kept over HTTP: made with a link that is shown once, changed at once in open sessions, and ended."""

from typing import Any

import pytest
from sqlalchemy import text

from catalog.audit_kinds import is_named
from catalog.lockouts import FREE_TRIES
from exchange.tokens import ROLES
from tests.exchange.conftest import Service
from tests.exchange.test_sessions import PASSWORD, call, first, sign_in, site

__all__ = ["site"]
ACCOUNTS = "/v1/admin/accounts"


def ask(service: Service, method: str, path: str = "", **more: Any) -> Any:
    return service.call(method, f"{ACCOUNTS}{path}", role=more.pop("role", "operator"), **more)


def make(service: Service, name: str = "dr.li", role: str = "doctor", hospital: str = "B") -> str:
    """Make an account and return the secret of its link."""
    made = ask(service, "POST", json={"name": name, "role": role, "hospital": hospital})
    assert made.status_code == 201, made.text
    address, _, secret = made.json()["link"].partition("#")
    assert address.endswith("/first")
    return str(secret)


def only(service: Service) -> dict[str, Any]:
    (row,) = ask(service, "GET").json()["accounts"]
    assert isinstance(row, dict)
    return row


@pytest.fixture
def relaxed(site: Service) -> Service:
    """The service where nobody needs a second factor."""
    app: Any = site.client.app
    app.state.settings = app.state.settings.model_copy(update={"totp_required": False})
    return site


def test_an_account_is_made_with_a_link_that_is_told_once_and_opens_it_once(relaxed: Service) -> None:
    secret = make(relaxed)
    assert (only(relaxed)["state"], only(relaxed)["link_expires_at"] is not None) == ("invited", True)
    assert secret not in ask(relaxed, "GET").text
    assert first(relaxed, secret).json()["role"] == "doctor"
    relaxed.client.cookies.clear()
    assert first(relaxed, secret).json()["code"] == "link_used"
    told = only(relaxed)
    assert (told["state"], told["sessions"], told["link_expires_at"]) == ("active", 1, None)


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({"name": "dr.li", "role": "doctor", "hospital": "B"}, 409, "account_exists"),
        ({"name": "dr.wu", "role": "doctor", "hospital": "Z"}, 404, "unknown_hospital"),
        ({"name": "dr.wu", "role": "doctor"}, 422, "invalid_input"),
        ({"name": "dr.wu", "role": "king"}, 422, "invalid_input"),
        ({"name": "Dr Wu", "role": "curator"}, 422, "invalid_input"),
        ({"name": "dr.wu", "role": "curator", "hospital": "\0"}, 422, "invalid_input"),
        ({"name": "dr.wu", "role": "curator", "password": "x"}, 422, "invalid_input"),
    ],
)
def test_what_cannot_be_an_account_is_refused(
    service: Service, given: dict[str, str], status: int, code: str
) -> None:
    make(service)
    refused = ask(service, "POST", json=given)
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert ask(service, "GET").json()["total"] == 1


def test_another_role_or_hospital_counts_at_once_in_an_open_session(relaxed: Service) -> None:
    first(relaxed, make(relaxed))
    assert call(relaxed, "GET", "/v1/checks").status_code == 200
    changed = ask(relaxed, "POST", "/dr.li/role", json={"role": "doctor", "hospital": "A"})
    assert changed.json() == {"name": "dr.li", "role": "doctor", "hospital": "A"}
    assert call(relaxed, "GET", "/v1/session").json()["hospital"] == "A"
    ask(relaxed, "POST", "/dr.li/role", json={"role": "curator"})
    own = call(relaxed, "GET", "/v1/session").json()
    assert (own["role"], own["hospital"]) == ("curator", None)
    assert call(relaxed, "GET", "/v1/checks").json()["code"] == "role_not_allowed"
    assert call(relaxed, "GET", "/v1/admin/studies").status_code == 200
    assert ask(relaxed, "POST", "/dr.li/role", json={"role": "doctor"}).status_code == 422
    assert only(relaxed)["role"] == "curator"


def test_sessions_end_by_an_operator_and_everywhere_else_by_oneself(relaxed: Service) -> None:
    first(relaxed, make(relaxed))
    early = dict(relaxed.client.cookies)
    for _ in range(2):
        csrf = sign_in(relaxed, name="dr.li").json()["csrf_token"]
    assert only(relaxed)["sessions"] == 3
    ended = call(relaxed, "POST", "/v1/session/others/end", csrf)
    assert (ended.status_code, ended.json()) == (200, {"ended": 2})
    assert call(relaxed, "GET", "/v1/session").status_code == 200
    kept = dict(relaxed.client.cookies)
    for name, value in early.items():
        relaxed.client.cookies.clear()
        relaxed.client.cookies.set(name, value, domain="huren.example", path="/")
    assert call(relaxed, "GET", "/v1/session").status_code == 401
    assert ask(relaxed, "POST", "/dr.li/sign-out").json() == {"name": "dr.li", "ended": 1}
    for name, value in kept.items():
        relaxed.client.cookies.clear()
        relaxed.client.cookies.set(name, value, domain="huren.example", path="/")
    assert call(relaxed, "GET", "/v1/session").status_code == 401
    assert sign_in(relaxed, name="dr.li").status_code == 200


def test_a_disabled_account_is_out_and_a_reset_one_begins_anew(relaxed: Service) -> None:
    first(relaxed, make(relaxed))
    assert ask(relaxed, "POST", "/dr.li/disable").json() == {"name": "dr.li", "state": "disabled"}
    assert call(relaxed, "GET", "/v1/session").status_code == 401
    assert only(relaxed)["state"] == "disabled"
    again = ask(relaxed, "POST", "/dr.li/reset").json()["link"].partition("#")[2]
    assert sign_in(relaxed, name="dr.li").status_code == 403
    assert first(relaxed, again, "another horse battery").status_code == 200
    assert only(relaxed)["state"] == "active"


def test_a_name_that_failures_shut_out_is_shown_so_and_unlocked(relaxed: Service) -> None:
    first(relaxed, make(relaxed))
    for _ in range(FREE_TRIES):
        assert sign_in(relaxed, "wrong horse battery", name="dr.li").status_code == 403
    assert sign_in(relaxed, name="dr.li").status_code == 429
    assert (only(relaxed)["state"], only(relaxed)["locked_until"] is not None) == ("locked", True)
    ask(relaxed, "POST", "/dr.li/unlock")
    assert (only(relaxed)["state"], only(relaxed)["locked_until"]) == ("active", None)
    assert sign_in(relaxed, name="dr.li").status_code == 200


def test_nobody_takes_his_own_account_away(relaxed: Service) -> None:
    csrf = first(relaxed, make(relaxed, "zhao", "operator", "")).json()["csrf_token"]
    for act, body in (("disable", None), ("reset", None), ("role", {"role": "curator"})):
        refused = call(relaxed, "POST", f"{ACCOUNTS}/zhao/{act}", csrf, json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "own_account")
    assert call(relaxed, "GET", "/v1/session").json()["role"] == "operator"


def test_accounts_are_found_by_a_part_of_the_name_or_the_hospital_and_come_in_pages(service: Service) -> None:
    for name, hospital in (("dr.li", "B"), ("dr.wu", "A"), ("dr_x", "A")):
        make(service, name, "doctor", hospital)

    def names(query: str) -> list[str]:
        return [each["name"] for each in ask(service, "GET", query).json()["accounts"]]

    assert names("?containing=LI") == ["dr.li"]
    assert names("?containing=a") == ["dr.wu", "dr_x"]
    assert names("?containing=_") == ["dr_x"]
    assert names("?containing=%25") == []
    assert names("?containing=%00li") == ["dr.li"]
    assert names("?limit=1&offset=1") == ["dr.wu"]
    assert ask(service, "GET", "?limit=1&offset=1").json()["total"] == 3


def test_no_other_role_keeps_accounts(service: Service) -> None:
    make(service)
    for role in set(ROLES) - {"operator"}:
        assert ask(service, "GET", role=role).status_code == 403
        assert ask(service, "POST", "/dr.li/disable", role=role).status_code == 403
    assert ask(service, "POST", "/nobody/disable").json()["code"] == "unknown_account"


def test_what_is_done_to_an_account_is_audited_with_who_did_it_and_no_secret(relaxed: Service) -> None:
    secret = make(relaxed)
    first(relaxed, secret)
    for act, body in (
        ("role", {"role": "curator"}),
        ("sign-out", None),
        ("unlock", None),
        ("disable", None),
        ("reset", None),
    ):
        assert ask(relaxed, "POST", f"/dr.li/{act}", json=body).status_code == 200
    with relaxed.city.catalogue.engine.connect() as connection:
        kept = connection.execute(text("select action, caller, detail::text from audit_event order by id"))
        rows = kept.tuples().all()
    mine = [action for action, caller, _ in rows if caller == "test operator"]
    assert mine == [
        *("account.add", "account.role", "account.sign_out", "account.unlock"),
        *("account.disable", "account.reset"),
    ]
    assert all(is_named(action) for action in mine)
    assert not [detail for *_, detail in rows if secret in detail or PASSWORD in detail]
    assert '"role_after": "curator"' in str(rows)
