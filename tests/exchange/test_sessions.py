"""People without an identity provider: one-time links, argon2id, lock-out, second factor, cookies and CSRF."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from catalog import accounts, keyring, passwords, sessions
from catalog.context import Caller
from catalog.errors import Conflict, HurenError, NotAllowed, TooMany
from catalog.lockouts import FIRST_WAIT, FREE_TRIES, LONGEST_WAIT, LONGEST_WAIT_OF_ALL
from catalog.totp import code_at
from tests.exchange.conftest import Service

OPERATOR = Caller("operator", "operator")
PASSWORD = "correct horse battery"
NAME = "zhao"


@pytest.fixture
def site(service: Service) -> Service:
    """The service as browsers reach it, over TLS."""
    service.client.base_url = "https://huren.example"
    return service


def link(service: Service, name: str = NAME, role: str = "operator", hospital: str = "") -> str:
    return accounts.add(service.city.catalogue, OPERATOR, name, role, hospital)


def call(service: Service, method: str, path: str, csrf: str = "", **more: Any) -> Any:
    headers = {"X-CSRF-Token": csrf} if csrf else {}
    return service.call(method, path, role="", headers=headers | more.pop("headers", {}), **more)


def first(service: Service, given: str, password: str = PASSWORD) -> Any:
    return call(service, "POST", "/v1/session/first", json={"link": given, "password": password})


def sign_in(service: Service, password: str = PASSWORD, code: str | None = None, name: str = NAME) -> Any:
    service.client.cookies.clear()
    return call(service, "POST", "/v1/session", json={"name": name, "password": password, "code": code})


def enrol(service: Service, csrf: str) -> bytes:
    """Give the signed-in account a second factor and return its secret."""
    told = call(service, "POST", "/v1/session/totp", csrf).json()["secret"]
    secret = base64.b32decode(told)
    done = call(service, "POST", "/v1/session/totp/confirm", csrf, json={"code": code_now(service, secret)})
    assert done.status_code == 200
    return secret


def code_now(service: Service, secret: bytes) -> str:
    return code_at(secret, int(service.city.now.timestamp()) // 30)


@pytest.fixture
def zhao(site: Service) -> tuple[str, bytes]:
    """An operator who is signed in with a second factor: his CSRF token and the secret."""
    csrf = first(site, link(site)).json()["csrf_token"]
    return csrf, enrol(site, csrf)


def test_the_first_operator_comes_in_by_a_link_that_is_good_once(site: Service) -> None:
    given = link(site)
    told = first(site, given)
    assert (told.status_code, told.json()["role"], told.json()["totp_needed"]) == (200, "operator", True)
    assert first(site, given).json()["code"] == "link_used"
    assert first(site, "guessed").json()["code"] == "link_used"


def test_a_link_ends_after_a_day_and_when_another_is_given(site: Service) -> None:
    early = link(site)
    later = accounts.reset(site.city.catalogue, OPERATOR, NAME)
    assert first(site, early).json()["code"] == "link_used"
    site.city.now += timedelta(hours=24)
    assert first(site, later).json()["code"] == "link_used"


def test_without_a_second_factor_an_account_can_only_get_one(site: Service) -> None:
    csrf = first(site, link(site)).json()["csrf_token"]
    assert call(site, "GET", "/v1/reasons").json()["code"] == "scope_missing"
    assert call(site, "GET", "/v1/admin/clients").status_code == 403
    enrol(site, csrf)
    assert call(site, "GET", "/v1/reasons").status_code == 200
    assert call(site, "GET", "/v1/admin/clients").status_code == 200


def test_signing_in_needs_name_password_and_a_code_that_was_not_used(
    site: Service, zhao: tuple[str, bytes]
) -> None:
    _, secret = zhao
    used = code_now(site, secret)
    assert sign_in(site, code=used).json()["code"] == "sign_in_failed"
    site.city.now += timedelta(minutes=1)
    assert sign_in(site).status_code == 403
    assert sign_in(site, "wrong horse battery", code_now(site, secret)).status_code == 403
    assert sign_in(site, code=code_now(site, secret), name="li").status_code == 403
    good = sign_in(site, code=code_now(site, secret), name=" ZHAO ")
    assert (good.status_code, good.json()["subject"]) == (200, NAME)


def test_what_was_wrong_is_not_said(site: Service, zhao: tuple[str, bytes]) -> None:
    unknown = sign_in(site, name="nobody")
    wrong = sign_in(site, "wrong horse battery")
    without = sign_in(site)
    assert unknown.content == wrong.content == without.content


def test_the_cookie_is_out_of_reach_of_scripts_other_sites_and_plain_connections(site: Service) -> None:
    (given,) = first(site, link(site)).headers.get_list("set-cookie")
    assert given.startswith("__Host-huren=")
    words = {word.strip().lower() for word in given.split(";")[1:]}
    assert {"httponly", "secure", "samesite=strict", "path=/"} <= words
    assert not any(word.startswith("domain") for word in words)


def test_only_where_the_configured_address_is_this_machine_the_cookie_comes_without_tls(
    service: Service, quiet: Service
) -> None:
    service.client.base_url = "http://127.0.0.1:8080"  # a Host that anybody may name
    (given,) = first(service, link(service)).headers.get_list("set-cookie")
    assert given.startswith("__Host-huren=")
    assert "secure" in given.lower()
    quiet.client.base_url = "http://huren.example"
    (given,) = first(quiet, link(quiet, "li")).headers.get_list("set-cookie")
    assert given.startswith("huren=")
    assert "secure" not in given.lower()


def test_what_changes_something_needs_the_csrf_token_of_this_session(
    site: Service, zhao: tuple[str, bytes]
) -> None:
    csrf, _ = zhao
    path = "/v1/admin/clients/none/disable"
    other = sessions.csrf_token("another session")
    for wrong in ("", other, csrf[:-1], csrf.upper() if csrf != csrf.upper() else "x"):
        answer = call(site, "POST", path, wrong)
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf")
    assert call(site, "POST", path, csrf).json()["code"] == "unknown_client"
    assert call(site, "DELETE", "/v1/session").json()["code"] == "csrf"
    assert call(site, "GET", "/v1/session").json()["csrf_token"] == csrf


def test_a_bearer_token_needs_no_csrf_token_and_beats_the_cookie(
    site: Service, zhao: tuple[str, bytes]
) -> None:
    headers = {"Authorization": f"Bearer {site.token('curator')}"}
    assert (
        call(site, "POST", "/v1/admin/people/show", headers=headers, json={"person_id": 999}).status_code
        == 404
    )
    broken = {"Authorization": "Bearer x.y.z"}
    assert call(site, "GET", "/v1/reasons", headers=broken).status_code == 401
    assert call(site, "GET", "/v1/session", headers=headers).json()["code"] == "no_session"


def test_no_page_of_another_site_makes_a_browser_sign_in(site: Service) -> None:
    given = {"link": link(site), "password": PASSWORD}
    for origin, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200)):
        headers = {"Sec-Fetch-Site": origin}
        answer = call(site, "POST", "/v1/session/first", headers=headers, json=given)
        assert answer.status_code == status


def test_names_are_shut_out_for_longer_each_time_whether_anybody_has_them_or_not(
    site: Service, zhao: tuple[str, bytes]
) -> None:
    _, secret = zhao
    site.city.now += timedelta(minutes=1)
    for name in (NAME, "nobody"):
        for _ in range(FREE_TRIES):
            assert sign_in(site, "wrong horse battery", name=name).status_code == 403
        for doubled in range(3):
            locked = sign_in(site, code=code_now(site, secret), name=name)
            wait = int(locked.headers["retry-after"])
            assert (locked.status_code, locked.json()["code"]) == (429, "too_many")
            assert wait == FIRST_WAIT.total_seconds() * 2**doubled + 1
            site.city.now += timedelta(seconds=wait)
            assert sign_in(site, "wrong horse battery", name=name).status_code == 403
    site.city.now += LONGEST_WAIT
    assert sign_in(site, code=code_now(site, secret)).status_code == 200
    assert sign_in(site, "wrong horse battery").status_code == 403


def test_who_guesses_waits_an_hour_and_the_owner_elsewhere_two_minutes_or_until_he_is_unlocked(
    site: Service, zhao: tuple[str, bytes]
) -> None:
    catalogue, wrong = site.city.catalogue, "wrong horse battery"
    for _ in range(FREE_TRIES + 10):
        site.city.now += timedelta(hours=1)
        with pytest.raises(NotAllowed):
            accounts.sign_in(catalogue, NAME, wrong, "", "10.0.0.9")

    def seconds(source: str) -> int:
        with pytest.raises(TooMany) as refused:
            accounts.sign_in(catalogue, NAME, PASSWORD, code_now(site, zhao[1]), source)
        return refused.value.seconds

    assert (seconds("10.0.0.9"), seconds("10.0.0.1"), seconds("")) == (3601, 121, 121)
    site.city.now += LONGEST_WAIT_OF_ALL
    assert seconds("10.0.0.9") == 3481
    accounts.unlock(catalogue, OPERATOR, NAME)
    assert accounts.sign_in(catalogue, NAME, PASSWORD, code_now(site, zhao[1]), "10.0.0.9")


def test_a_session_ends_idle_after_half_an_hour_and_in_any_case_after_twelve(
    site: Service, zhao: tuple[str, bytes]
) -> None:
    for _ in range(25):
        site.city.now += timedelta(minutes=28)
        assert call(site, "GET", "/v1/session").status_code == 200
    site.city.now += timedelta(minutes=28)
    ended = call(site, "GET", "/v1/session")
    assert (ended.status_code, ended.json()["reason"]) == (401, "session_ended")
    site.city.now += timedelta(minutes=1)
    assert sign_in(site, code=code_now(site, zhao[1])).status_code == 200
    site.city.now += timedelta(minutes=30)
    assert call(site, "GET", "/v1/session").status_code == 401


def test_signing_out_ends_the_session_here_and_not_only_in_the_browser(
    site: Service, zhao: tuple[str, bytes]
) -> None:
    cookie = dict(site.client.cookies)
    answer = call(site, "DELETE", "/v1/session", zhao[0])
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    site.client.cookies.update(cookie)
    assert call(site, "GET", "/v1/session").status_code == 401


def test_another_password_ends_every_other_session(site: Service, zhao: tuple[str, bytes]) -> None:
    _, secret = zhao
    elsewhere = dict(site.client.cookies)
    site.city.now += timedelta(minutes=1)
    csrf = sign_in(site, code=code_now(site, secret)).json()["csrf_token"]
    path, new = "/v1/session/password", "another horse battery"
    wrong = call(site, "POST", path, csrf, json={"old": "wrong", "new": new})
    assert wrong.json()["code"] == "sign_in_failed"
    assert call(site, "POST", path, csrf, json={"old": PASSWORD, "new": "short"}).status_code == 422
    assert call(site, "POST", path, csrf, json={"old": PASSWORD, "new": new}).status_code == 200
    assert call(site, "GET", "/v1/session").status_code == 200
    site.client.cookies.clear()
    site.client.cookies.update(elsewhere)
    assert call(site, "GET", "/v1/session").status_code == 401
    site.city.now += timedelta(minutes=1)
    assert sign_in(site, new, code_now(site, secret)).status_code == 200


def test_a_password_is_not_changed_back_by_who_knew_the_one_that_was_reset_meanwhile(
    site: Service, zhao: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue, is_right = site.city.catalogue, passwords.is_right

    def slow(kept: str | None, password: str) -> bool:
        accounts.reset(catalogue, OPERATOR, NAME)
        return is_right(kept, password)

    monkeypatch.setattr("catalog.passwords.is_right", slow)
    body = {"old": PASSWORD, "new": "another horse battery"}
    assert call(site, "POST", "/v1/session/password", zhao[0], json=body).status_code == 403
    assert [each["password"] for each in accounts.listed(catalogue)] == [False]
    monkeypatch.undo()
    assert sign_in(site, "another horse battery").status_code == 403
    with catalogue.engine.connect() as connection:
        refused = text("select count(*) from audit_event where action = 'session.refused'")
        assert connection.scalar(refused) == 2


def test_who_is_reset_between_his_password_and_his_session_has_no_session(
    site: Service, zhao: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue, is_right = site.city.catalogue, passwords.is_right

    def slow(kept: str | None, password: str) -> bool:
        accounts.reset(catalogue, OPERATOR, NAME)
        return is_right(kept, password)

    site.city.now += timedelta(minutes=1)
    monkeypatch.setattr("catalog.passwords.is_right", slow)
    assert sign_in(site, code=code_now(site, zhao[1])).status_code == 403
    with catalogue.engine.connect() as connection:
        assert connection.scalar(text("select count(*) from account_session")) == 0


def test_a_disabled_account_is_out_at_once_and_a_reset_one_begins_anew(
    site: Service, zhao: tuple[str, bytes]
) -> None:
    _, secret = zhao
    accounts.disable(site.city.catalogue, OPERATOR, NAME)
    assert call(site, "GET", "/v1/session").status_code == 401
    site.city.now += timedelta(minutes=1)
    assert sign_in(site, code=code_now(site, secret)).status_code == 403
    again = accounts.reset(site.city.catalogue, OPERATOR, NAME)
    assert first(site, again).json()["totp_needed"] is True


def test_a_reviewer_of_a_hospital_signs_in_for_that_hospital(site: Service) -> None:
    csrf = first(site, link(site, "privacy.b", "auditor", "B")).json()["csrf_token"]
    enrol(site, csrf)
    assert call(site, "GET", "/v1/session").json()["hospital"] == "B"
    assert call(site, "GET", "/v1/admin/break-glass").json() == {"accesses": []}


def test_no_secret_is_kept_in_clear(site: Service, zhao: tuple[str, bytes]) -> None:
    (cookie,) = dict(site.client.cookies).values()
    secrets = [PASSWORD, cookie, zhao[1].hex()]
    with site.city.catalogue.engine.connect() as connection:
        kept = ""
        for table in ("account", "account_link", "account_session", "audit_event", "sign_in_failure"):
            kept += str(connection.execute(text(f"select * from {table}")).all())  # noqa: S608
        stored = connection.scalar(text("select password_hash from account"))
    assert stored.startswith("$argon2id$")
    assert [secret for secret in secrets if secret in kept] == []


def test_second_factors_follow_a_rotation_of_the_keys(site: Service, zhao: tuple[str, bytes]) -> None:
    catalogue = site.city.catalogue
    old = catalogue.vault.ring.current
    keyring.rotate(catalogue, OPERATOR)
    with pytest.raises(Conflict, match="key is still in use"):
        keyring.retire(catalogue, OPERATOR, old)
    keyring.rehash(catalogue)
    keyring.retire(catalogue, OPERATOR, old)
    site.city.now += timedelta(minutes=1)
    assert sign_in(site, code=code_now(site, zhao[1])).status_code == 200


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", "x" * 129])
def test_weak_passwords_are_refused_and_not_repeated(site: Service, password: str) -> None:
    answer = first(site, link(site), password)
    assert answer.status_code == 422
    assert password not in answer.text


def test_accounts_have_names_of_their_own(service: Service) -> None:
    link(service)
    for name, code in ((NAME, "account_exists"), ("Zhao Li", "invalid_input"), ("", "invalid_input")):
        with pytest.raises(HurenError) as refused:
            link(service, name)
        assert refused.value.code == code
    assert [each["name"] for each in accounts.listed(service.city.catalogue)] == [NAME]
