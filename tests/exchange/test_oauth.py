"""A hospital's system gets a token with its own key: RFC 6749 §4.4 and §5, RFC 7523, and who may not."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from sqlalchemy import select, text

from catalog import clients, revocations
from catalog.context import Caller
from catalog.db import transaction
from catalog.tables_access import RevokedToken
from exchange.auth import scopes_of
from exchange.jose import ALGORITHMS
from tests.exchange.conftest import Service
from tests.exchange.signers import Signer, form

HIS = "his-a"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def office(quiet: Service, signer: Signer) -> Service:
    register(quiet, HIS, signer.jwks)
    return quiet


def register(service: Service, client_id: str, jwks: Any, **more: Any) -> Any:
    body = {"client_id": client_id, "hospital": "A", "jwks": jwks, **more}
    return service.call("POST", "/v1/admin/clients", role="operator", json=body)


def ask(service: Service, assertion: str, **more: str) -> Any:
    return service.call("POST", "/oauth2/token", role="", data=form(assertion, **more))


def use(service: Service, token: str, path: str = "/v1/reasons") -> Any:
    return service.call("GET", path, role="", headers={"Authorization": f"Bearer {token}"})


def test_an_assertion_stays_used_for_minutes_after_it_has_expired(quiet: Service) -> None:
    own, expired = Signer(), datetime.now(UTC) - timedelta(minutes=9)
    register(quiet, "his-late", own.jwks)
    with transaction(quiet.city.catalogue.engine) as session:
        assert clients.use_assertion(session, "his-late", "j", expired, datetime.now(UTC))
        assert not clients.use_assertion(session, "his-late", "j", expired, datetime.now(UTC))


def test_a_token_stays_revoked_for_minutes_after_it_has_expired(quiet: Service) -> None:
    catalogue, operator = quiet.city.catalogue, Caller("test", "operator")
    for jti, age in (("late", 9), ("gone", 11), ("next", 0)):
        revocations.revoke(catalogue, operator, jti, datetime.now(UTC) - timedelta(minutes=age))
    with transaction(catalogue.engine) as session:
        assert set(session.scalars(select(RevokedToken.jti))) == {"late", "next"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_system_with_a_key_of_any_kind_gets_a_token_and_calls_with_it(
    quiet: Service, algorithm: str
) -> None:
    own = Signer(algorithm)
    assert register(quiet, f"his-{algorithm}", own.jwks).status_code == 201
    answer = ask(quiet, own.assertion(f"his-{algorithm}"))
    given = answer.json()
    assert (answer.status_code, given["token_type"], given["expires_in"]) == (200, "Bearer", 300)
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    assert set(given["scope"].split()) == scopes_of("hospital_system")
    assert use(quiet, given["access_token"]).status_code == 200
    assert use(quiet, given["access_token"], "/v1/savings").status_code == 403


def test_a_token_is_good_for_the_scopes_asked_for_and_no_others(office: Service, signer: Signer) -> None:
    given = ask(office, signer.assertion(HIS), scope="notices.read").json()
    assert given["scope"] == "notices.read"
    assert use(office, given["access_token"], "/v1/notices").status_code == 200
    assert use(office, given["access_token"]).json()["code"] == "scope_missing"


def test_scopes_beyond_those_registered_are_refused(office: Service, signer: Signer) -> None:
    refused = ask(office, signer.assertion(HIS), scope="notices.read people.curate")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")
    register(office, "narrow", signer.jwks, scopes=["checks.read"])
    narrow = ask(office, signer.assertion("narrow"), scope="checks.write")
    assert (narrow.status_code, narrow.json()["error"]) == (400, "invalid_scope")
    assert ask(office, signer.assertion("narrow")).json()["scope"] == "checks.read"


def test_an_assertion_is_used_once_also_when_it_comes_eight_times_at_once(
    office: Service, signer: Signer
) -> None:
    assertion = signer.assertion(HIS)
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(office.client.post, "/oauth2/token", data=form(assertion)) for _ in range(8)]
        statuses = sorted(each.result().status_code for each in sent)
    assert statuses == [200] + [401] * 7


def test_one_client_does_not_use_up_the_jti_of_another(office: Service, signer: Signer) -> None:
    register(office, "other", signer.jwks)
    assert ask(office, signer.assertion(HIS, jti="same")).status_code == 200
    assert ask(office, signer.assertion("other", jti="same")).status_code == 200
    assert ask(office, signer.assertion(HIS, jti="same")).status_code == 401


def wrong_assertions() -> dict[str, dict[str, Any]]:
    now = int(time.time())
    return {
        "another audience": {"aud": "https://else.example/oauth2/token"},
        "an audience beside ours": {"aud": ["http://127.0.0.1:8080/oauth2/token", "https://else.example"]},
        "no audience": {"aud": None},
        "another subject": {"sub": "somebody"},
        "no subject": {"sub": None},
        "nobody's": {"iss": "nobody", "sub": "nobody"},
        "an issuer that is no text": {"iss": 7, "sub": 7},
        "no jti": {"jti": None},
        "an empty jti": {"jti": ""},
        "a jti that is no text": {"jti": 7},
        "a jti beyond its length": {"jti": "x" * 300},
        "a token beyond its length": {"jti": "x" * 9000},
        "a jti with a NUL": {"jti": "a\0b"},
        "no expiry": {"exp": None},
        "an expiry in quotes": {"exp": str(now + 120)},
        "issued in quotes": {"iat": str(now)},
        "a start in quotes": {"nbf": str(now)},
        "good for an hour": {"exp": now + 3600},
        "good for ever": {"exp": 10**18},
        "expired": {"exp": now - 120, "iat": now - 240},
        "issued tomorrow": {"iat": now + 86400},
        "not yet good": {"nbf": now + 3600},
        "unknown extension": {"header": {"crit": ["exp"], "exp": 1}},
        "a key of its own": {"header": {"jwk": Signer().jwks["keys"][0]}},
        "a key elsewhere": {"header": {"jku": "http://127.0.0.1:1/jwks"}},
        "a certificate elsewhere": {"header": {"x5u": "http://127.0.0.1:1/cert"}},
        "a kid nobody registered": {"header": {"kid": "k2"}},
        "a kid that climbs": {"header": {"kid": "../../k1"}},
        "a kid of SQL": {"header": {"kid": "k1' or '1'='1"}},
        "an access token": {"header": {"typ": "at+jwt"}},
    }


@pytest.mark.parametrize("name", wrong_assertions())
def test_an_assertion_that_is_not_as_it_must_be_is_refused(
    office: Service, signer: Signer, name: str
) -> None:
    wrong = wrong_assertions()[name]
    assertion = signer.assertion(HIS, wrong.pop("header", None), **wrong)
    answer = ask(office, assertion)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_an_assertion_of_another_key_or_another_algorithm_is_refused(office: Service, signer: Signer) -> None:
    assert ask(office, Signer().assertion(HIS)).status_code == 401
    assert ask(office, Signer("ES256").assertion(HIS)).status_code == 401
    assert ask(office, "a.b.c").status_code == 401


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, 400, "unsupported_grant_type"),
        ({"client_assertion_type": "urn:else"}, 401, "invalid_client"),
        ({"client_secret": "s"}, 401, "invalid_client"),
        ({"client_id": "another"}, 401, "invalid_client"),
    ],
)
def test_other_ways_to_ask_are_refused_as_rfc_6749_says(
    office: Service, signer: Signer, change: dict[str, str], status: int, error: str
) -> None:
    answer = office.call("POST", "/oauth2/token", role="", data=form(signer.assertion(HIS)) | change)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


@pytest.mark.parametrize("content", [b"", b"&&&", b"grant_type=a&grant_type=b", b"\xff=\xff", b"a=1&" * 500])
def test_a_form_that_cannot_be_read_is_an_invalid_request(quiet: Service, content: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = quiet.call("POST", "/oauth2/token", role="", content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_a_disabled_client_is_shut_out_with_the_tokens_it_has_until_it_is_enabled(quiet: Service) -> None:
    own = Signer()
    register(quiet, "leaving", own.jwks)
    token = ask(quiet, own.assertion("leaving")).json()["access_token"]
    assert use(quiet, token).status_code == 200
    quiet.call("POST", "/v1/admin/clients/leaving/disable", role="operator")
    assert ask(quiet, own.assertion("leaving")).status_code == 401
    assert seconds_until(lambda: use(quiet, token).status_code == 401) < 60
    quiet.call("POST", "/v1/admin/clients/leaving/enable", role="operator")
    assert ask(quiet, own.assertion("leaving")).status_code == 200


def test_rotated_keys_count_at_once_and_the_earlier_ones_no_more(quiet: Service) -> None:
    old, new = Signer(kid="old"), Signer("RS384", kid="new")
    register(quiet, "rotating", old.jwks)
    both = {"keys": old.jwks["keys"] + new.jwks["keys"]}
    path = "/v1/admin/clients/rotating/keys"
    quiet.call("POST", path, role="operator", json={"jwks": both})
    assert [ask(quiet, each.assertion("rotating")).status_code for each in (old, new)] == [200, 200]
    quiet.call("POST", path, role="operator", json={"jwks": new.jwks})
    assert [ask(quiet, each.assertion("rotating")).status_code for each in (old, new)] == [401, 200]


def test_keys_are_registered_only_if_they_are_public_strong_and_named(quiet: Service) -> None:
    good = Signer().jwks["keys"][0]
    weak = {"kty": "RSA", "kid": "w", "n": "AQAB" * 43, "e": "AQAB"}
    for name, keys in {
        "none": [],
        "private": [{**good, "d": "AAAA"}],
        "symmetric": [{"kty": "oct", "kid": "s", "k": "AAAA"}],
        "weak": [weak],
        "nameless": [{k: v for k, v in good.items() if k != "kid"}],
        "twice": [good, good],
        "off its curve": [{**good, "y": good["x"]}],
        "for encryption": [{**good, "use": "enc"}],
        "of another algorithm": [{**good, "alg": "HS256"}],
        "text": ["key"],
    }.items():
        answer = register(quiet, "bad-keys", {"keys": keys})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_keys"), name
    kept = register(quiet, "tidy", {"keys": [{**good, "x5u": "https://else.example", "note": "x"}]})
    assert kept.status_code == 201
    with quiet.city.catalogue.engine.connect() as connection:
        stored = connection.scalar(text("select keys from client where client_id = 'tidy'"))
    assert set(stored[0]) == {"kty", "kid", "crv", "x", "y", "alg"}


def test_clients_are_registered_once_with_scopes_of_their_role_and_a_hospital_that_exists(
    quiet: Service, signer: Signer
) -> None:
    assert register(quiet, "first", signer.jwks).status_code == 201
    assert register(quiet, "first", signer.jwks).json()["code"] == "client_exists"
    assert register(quiet, "x", signer.jwks, scopes=["people.curate"]).json()["code"] == "unknown_scope"
    assert register(quiet, "x", signer.jwks, hospital="nowhere").status_code == 404
    assert register(quiet, "x", signer.jwks, hospital="").status_code == 422
    assert register(quiet, "x", signer.jwks, role="operator").status_code == 422
    listed = quiet.call("GET", "/v1/admin/clients", role="operator").json()["clients"]
    assert "first" in [each["client_id"] for each in listed]
    assert '"y"' not in str(listed)


def test_the_service_says_where_and_how_and_its_key_checks_its_tokens(
    office: Service, signer: Signer
) -> None:
    for path in ("/.well-known/oauth-authorization-server", "/.well-known/smart-configuration"):
        told = office.call("GET", path, role="").json()
        assert told["token_endpoint"] == "http://127.0.0.1:8080/oauth2/token"
        assert told["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
        assert set(told["token_endpoint_auth_signing_alg_values_supported"]) == set(ALGORITHMS)
    (key,) = office.call("GET", "/.well-known/jwks.json", role="").json()["keys"]
    assert "d" not in key
    token = ask(office, signer.assertion(HIS)).json()["access_token"]
    claims = jwt.decode(token, jwt.PyJWK(key).key, algorithms=["EdDSA"], audience="huren")
    assert (claims["sub"], claims["client_id"], claims["hospital"]) == (HIS, HIS, "A")
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"


def seconds_until(holds: Any) -> float:
    """Return after how many seconds a condition holds; fails after a minute."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < 60
        time.sleep(0.1)
    return time.monotonic() - started
