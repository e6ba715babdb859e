"""The page that a launch opens: a cookie no script and no other site has, nothing of the secret, and on from our origin."""

import logging
from typing import Any

import pytest

from catalog import accounts
from tests.city import id_number
from tests.exchange.conftest import Service
from tests.exchange.test_launches import BODY, OPERATOR, his, launch, own, secret_of

__all__ = ["his"]  # the fixture


def get(service: Service, secret: str, method: str = "GET") -> Any:
    """Open an address as a browser does that comes from another site: without its cookie."""
    service.client.cookies.clear()
    return service.client.request(method, f"/launch/{secret}", headers={"Sec-Fetch-Site": "cross-site"})


def test_the_page_begins_the_session_and_goes_on_by_itself(his: Service) -> None:
    secret = secret_of(launch(his))
    page = get(his, secret)
    assert page.status_code == 200
    assert '<meta http-equiv="refresh" content="0;url=/doctor/launched">' in page.text
    assert 'href="/doctor/launched"' in page.text
    (cookie,) = page.headers.get_list("set-cookie")
    words = {word.strip().lower() for word in cookie.split(";")[1:]}
    assert cookie.startswith("__Host-huren=")
    assert {"httponly", "secure", "samesite=strict", "path=/"} <= words
    assert own(his)["name"] == "李医生"


def test_the_secret_and_the_patient_stand_in_nothing_that_is_answered(his: Service) -> None:
    secret = secret_of(launch(his, lang="en"))
    page = get(his, secret)
    told = page.text + str(dict(page.headers))
    assert secret not in told
    assert id_number(2) not in told
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert "Continue" in page.text  # in the language that was asked for


def test_the_address_is_good_once_and_then_a_page_says_so(his: Service) -> None:
    secret = secret_of(launch(his))
    assert get(his, secret).status_code == 200
    for gone in (secret, "guessed", "", "a/b", "%00"):
        page = get(his, gone)
        assert page.status_code in (404, 410), gone
        assert page.headers["content-type"].startswith("text/html")
        assert "set-cookie" not in page.headers


def test_a_question_about_the_address_does_not_use_it_up(his: Service) -> None:
    secret = secret_of(launch(his))
    for method in ("HEAD", "OPTIONS", "POST"):
        assert get(his, secret, method).status_code == 405
    assert get(his, secret).status_code == 200


def test_an_older_cookie_does_not_survive(his: Service) -> None:
    link = accounts.add(his.city.catalogue, OPERATOR, "wang", "doctor", "B")
    his.call("POST", "/v1/session/first", role="", json={"link": link, "password": "correct horse"})
    older = his.client.cookies["__Host-huren"]
    page = his.client.get(f"/launch/{secret_of(launch(his))}")  # from our own site: with its cookie
    assert page.status_code == 200
    assert his.client.cookies["__Host-huren"] != older
    his.client.cookies.clear()
    his.client.cookies.set("__Host-huren", older, domain="huren.example")
    assert his.call("GET", "/v1/session", role="").status_code == 401


def test_the_log_of_what_went_wrong_has_no_secret(his: Service, caplog: pytest.LogCaptureFixture) -> None:
    app: Any = his.client.app
    secret, kept = secret_of(launch(his)), app.state.catalogue
    app.state.catalogue = None
    with caplog.at_level(logging.DEBUG):
        assert get(his, secret).status_code == 500
    app.state.catalogue = kept
    ours = [
        each.getMessage() for each in caplog.records if not each.name.startswith("httpx2")
    ]  # the browser's
    assert any("/launch" in said for said in ours)
    assert not any(secret in said for said in ours)


def test_what_was_handed_over_is_asked_about_and_then_forgotten(his: Service) -> None:
    his.client.follow_redirects = False
    get(his, secret_of(launch(his)))
    asked = his.client.get("/doctor/launched")
    assert asked.status_code == 303
    assert asked.headers["location"].startswith("/doctor/checks/")
    answer = his.client.get(asked.headers["location"])
    assert "可互认" in answer.text
    assert BODY["orders"][0]["order_id"] in answer.text
    assert id_number(2) not in answer.text
    assert his.client.get("/doctor/launched").headers["location"] == "/doctor"


def test_a_launched_doctor_is_offered_no_password_of_ours(his: Service) -> None:
    get(his, secret_of(launch(his)))
    own_page = his.client.get("/account").text
    assert "李医生" in own_page
    assert "修改口令" not in own_page
    assert "动态码" not in own_page
    refused = his.client.get("/doctor/emergency")
    assert refused.status_code == 200
