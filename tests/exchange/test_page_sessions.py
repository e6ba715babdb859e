"""Sessions as pages have them: fixation, CSRF, lock-out, rooms of others, and the way back after signing in."""

import base64
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import accounts
from catalog.context import Caller
from catalog.lockouts import FREE_TRIES
from catalog.sessions import ABSOLUTE, IDLE
from catalog.totp import code_at
from exchange.auth import pages_of
from exchange.cookies import COOKIE
from exchange.tokens import HOSPITAL_ROLES, ROLES
from exchange.web import rooms
from tests.exchange.conftest import Service

PASSWORD = "correct horse battery"
OPERATOR = Caller("operator", "operator")
TOKEN = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


class Browser:
    """What a browser does without scripts: it keeps cookies, follows no redirect by itself, sends forms."""

    def __init__(self, service: Service) -> None:
        self._service = service
        service.client.base_url = "https://huren.example"
        service.client.follow_redirects = False

    @property
    def cookie(self) -> str:
        return self._service.client.cookies.get(COOKIE) or ""

    def has(self, cookie: str) -> None:
        """Let the browser have this cookie and no other."""
        self._service.client.cookies.clear()
        if cookie:
            self._service.client.cookies.set(COOKIE, cookie, domain="huren.example", path="/")

    def get(self, path: str, **headers: str) -> Any:
        return self._service.client.get(path, headers=headers)

    def post(self, path: str, form: dict[str, str], **headers: str) -> Any:
        return self._service.client.post(path, data=form, headers=headers)

    def token(self) -> str:
        found = TOKEN.search(self.get("/account").text)
        assert found is not None
        return found[1]

    def sign_in(self, name: str, password: str = PASSWORD, **more: str) -> Any:
        return self.post("/sign-in", {"name": name, "password": password, **more})


@pytest.fixture
def browser(service: Service, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """A browser, and accounts of each role; none has a second factor, and none needs it."""
    app: Any = service.client.app
    app.state.settings = app.state.settings.model_copy(update={"totp_required": False})
    for role in ROLES:
        hospital = "A" if role in HOSPITAL_ROLES else ""
        accounts.use_link(
            service.city.catalogue,
            accounts.add(service.city.catalogue, OPERATOR, f"{role}.one", role, hospital),
            PASSWORD,
        )
    return Browser(service)


def test_the_cookie_is_out_of_reach_of_scripts_of_other_sites_and_of_plain_connections(
    browser: Browser,
) -> None:
    told = browser.sign_in("doctor.one").headers["set-cookie"].lower()
    assert told.startswith(COOKIE.lower())
    for part in ("httponly", "secure", "samesite=strict", "path=/"):
        assert part in told
    assert "domain" not in told


def test_a_cookie_that_somebody_planted_is_not_that_of_the_session(browser: Browser) -> None:
    browser.has("planted-by-somebody-else")
    browser.sign_in("doctor.one")
    assert browser.cookie not in ("", "planted-by-somebody-else")


def test_a_session_that_the_browser_had_before_ends_when_somebody_signs_in(browser: Browser) -> None:
    browser.sign_in("operator.one")
    planted = browser.cookie
    browser.sign_in("doctor.one")
    own = browser.cookie
    assert own != planted
    browser.has(planted)
    assert browser.get("/account").headers["location"] == "/sign-in"
    browser.has(own)
    assert "doctor.one" in browser.get("/account").text


def test_a_form_that_no_page_of_ours_has_made_changes_nothing(browser: Browser) -> None:
    browser.sign_in("doctor.one")
    wanted = {"old": PASSWORD, "new": "another horse battery", "again": "another horse battery"}
    for token in ("", "0" * 64, "é", browser.token()[:-1]):
        refused = browser.post("/account/password", {**wanted, "csrf": token})
        assert (refused.status_code, refused.headers["content-type"]) == (403, "text/html; charset=utf-8")
        assert "请刷新后重试" in refused.text
    own = browser.cookie
    browser.has("")
    assert browser.sign_in("doctor.one").status_code == 303, "the password is still the old one"
    browser.has(own)
    assert browser.post("/account/password", {**wanted, "csrf": browser.token()}).status_code == 303


def test_the_token_of_one_session_opens_no_form_of_another(browser: Browser) -> None:
    browser.sign_in("doctor.one")
    token = browser.token()
    browser.has("")
    browser.sign_in("doctor.one")
    assert browser.post("/sign-out", {"csrf": token}).status_code == 403
    assert browser.get("/account").status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_site_can_sign_nobody_in_or_out(browser: Browser, site: str) -> None:
    foreign = {"sec-fetch-site": site}
    refused = browser.post("/sign-in", {"name": "doctor.one", "password": PASSWORD}, **foreign)
    assert (refused.status_code, browser.cookie) == (403, "")
    browser.sign_in("doctor.one")
    token = browser.token()
    assert browser.post("/sign-out", {"csrf": token}, **foreign).status_code == 403
    assert browser.get("/account").status_code == 200


def test_signing_out_ends_the_session_and_has_the_browser_forget(browser: Browser) -> None:
    browser.sign_in("doctor.one")
    kept = browser.cookie
    left = browser.post("/sign-out", {"csrf": browser.token()})
    assert (left.status_code, left.headers["location"]) == (303, "/sign-in")
    assert '"cache"' in left.headers["clear-site-data"]
    browser.has(kept)
    assert browser.get("/account").headers["location"] == "/sign-in"


def test_one_signs_out_everywhere_else_and_stays_signed_in_here(browser: Browser) -> None:
    browser.sign_in("doctor.one")
    elsewhere = browser.cookie
    browser.has("")
    browser.sign_in("doctor.one")
    own = browser.cookie
    assert browser.post("/account/others", {"csrf": "0" * 64}).status_code == 403
    ended = browser.post("/account/others", {"csrf": browser.token()})
    assert (ended.status_code, ended.headers["location"]) == (303, "/account?done=others")
    assert "仅此处仍登录" in browser.get("/account?done=others").text
    browser.has(elsewhere)
    assert browser.get("/account").headers["location"] == "/sign-in"
    browser.has(own)
    assert browser.get("/account").status_code == 200


def test_failures_in_a_row_shut_a_name_out_and_the_page_says_for_how_long(browser: Browser) -> None:
    answers = [browser.sign_in("doctor.one", "not the right one") for _ in range(FREE_TRIES + 1)]
    assert [each.status_code for each in answers[:-1]] == [403] * FREE_TRIES
    shut = browser.sign_in("doctor.one")
    assert shut.status_code == 429
    assert f"请在 {shut.headers['retry-after']} 秒后再试" in shut.text


def test_a_session_ends_when_nobody_uses_it_and_after_its_longest_time(
    browser: Browser, service: Service
) -> None:
    browser.sign_in("doctor.one")
    service.city.now += IDLE - timedelta(minutes=1)
    assert browser.get("/account").status_code == 200
    service.city.now += IDLE
    assert browser.get("/account").status_code == 303
    browser.has("")
    browser.sign_in("doctor.one")
    began = service.city.now
    while service.city.now + IDLE < began + ABSOLUTE:
        service.city.now += IDLE - timedelta(minutes=1)
        assert browser.get("/account").status_code == 200
    service.city.now = began + ABSOLUTE
    assert browser.get("/account").status_code == 303


def test_an_account_that_is_shut_out_is_out_at_once(browser: Browser, service: Service) -> None:
    browser.sign_in("doctor.one")
    accounts.disable(service.city.catalogue, OPERATOR, "doctor.one")
    assert browser.get("/account").headers["location"] == "/sign-in"


def test_a_bearer_token_opens_no_page(browser: Browser, service: Service) -> None:
    asked = browser.get("/account", authorization=f"Bearer {service.token('operator')}")
    assert asked.headers["location"] == "/sign-in"
    browser.sign_in("doctor.one")
    assert "doctor.one" in browser.get("/account", authorization=f"Bearer {service.token('operator')}").text


def test_every_page_is_open_to_its_roles_and_to_nobody_else(browser: Browser, service: Service) -> None:
    app: Any = service.client.app
    pages = sorted(pages_of(app))
    assert {rooms.room_of(path) for _, path in pages} == {*rooms.ROOMS, *rooms.OPEN}
    closed = [each for each in pages if rooms.room_of(each[1]) not in rooms.OPEN]
    for method, path in closed:
        asked = browser.get(path) if method == "GET" else browser.post(path, {"a": "b"})
        assert asked.status_code in (303, 401), path
        assert asked.headers.get("location", "/sign-in").startswith("/sign-in"), path
    for role in ROLES:
        browser.has("")
        browser.sign_in(f"{role}.one")
        for method, path in closed:
            is_his = role in rooms.ROOMS[rooms.room_of(path)]
            found = browser.get(path) if method == "GET" else browser.post(path, {})
            assert found.status_code in (200, 303, 403, 404, 422), path
            assert ("该账号无权进入此页" in found.text) == (not is_his), (role, path)
            assert found.status_code == 403 or (is_his and method == "GET"), (role, path)


def test_who_has_no_second_factor_and_needs_one_can_only_get_it(browser: Browser, service: Service) -> None:
    app: Any = service.client.app
    app.state.settings = app.state.settings.model_copy(update={"totp_required": True})
    assert browser.sign_in("doctor.one").headers["location"] == "/account/second-factor"
    assert browser.get("/doctor").headers["location"] == "/account/second-factor"
    begun = browser.post("/account/second-factor", {"csrf": browser.token()}).text
    secret = re.search(r"<code>([A-Z2-7]+)</code>", begun)
    assert secret is not None
    form = {"csrf": browser.token(), "secret": secret[1], "otpauth_url": "otpauth://totp/x"}
    wrong = browser.post("/account/second-factor", {**form, "code": "000000"})
    assert (wrong.status_code, secret[1] in wrong.text) == (403, True)
    code = code_at(_bytes_of(secret[1]), int(service.city.now.timestamp()) // 30)
    assert browser.post("/account/second-factor", {**form, "code": code}).headers["location"] == "/doctor"


def _bytes_of(secret: str) -> bytes:

    return base64.b32decode(secret + "=" * (-len(secret) % 8))


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [
        ("/doctor/today", "/doctor/today"),
        ("/operator", "/doctor"),
        ("https://elsewhere.example/doctor", "/doctor"),
        ("//elsewhere.example/doctor", "/doctor"),
        ("/\\elsewhere.example/doctor", "/doctor"),
        ("/doctor\r\nSet-Cookie: a=b", "/doctor"),
        ("/sign-out", "/doctor"),
        ("/v1/session", "/doctor"),
        ("javascript:alert(1)", "/doctor"),
    ],
)
def test_after_signing_in_one_comes_where_he_wanted_if_it_is_a_page_of_his(
    browser: Browser, wanted: str, reached: str
) -> None:
    assert browser.sign_in("doctor.one", next=wanted).headers["location"] == reached


@given(st.text(max_size=250))
def test_no_address_from_outside_leads_out_of_our_pages(text: str) -> None:
    if rooms.is_way_back(text):
        assert re.match(r"/(doctor|curator|regulator|operator)(/|\?|$)", text)


@pytest.mark.parametrize("text", ['"><script>alert(1)</script>', "{{7*7}}", "\u202eevil", "a\r\nb"])
def test_what_was_typed_is_shown_again_as_text(browser: Browser, text: str) -> None:
    shown = browser.sign_in(text, next=text).text
    assert "<script>alert" not in shown
    assert "49" not in shown.replace("content=", "")


def test_pages_are_kept_by_nobody_and_run_nothing_of_others(browser: Browser) -> None:
    for path in ("/sign-in", "/account", "/first"):
        if path == "/account":
            browser.sign_in("doctor.one")
        headers = browser.get(path).headers
        assert headers["cache-control"] == "no-store"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["referrer-policy"] == "no-referrer"
