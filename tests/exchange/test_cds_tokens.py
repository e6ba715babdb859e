"""Tokens of CDS clients: asymmetric, for one endpoint, once, by a registered key; nothing is ever fetched (A8)."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from catalog import cds_clients, registry
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from tests.cds_client import SELECT, SIGN, CdsClient, Key, accepted, call, overridden
from tests.exchange.conftest import Service, register_client

pytestmark = pytest.mark.long

PATH = f"/cds-services/{SIGN}"
OPERATOR = Caller("test", "operator")


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "RS384", "EdDSA"])
def test_every_asymmetric_algorithm_of_the_list_is_taken(service: Service, algorithm: str) -> None:
    client = register_client(service.city, service.client.request, key=Key(algorithm=algorithm))
    assert len(client.cards(call())) == 1


NOW = int(time.time())
BAD_CLAIMS: list[dict[str, Any]] = [
    {"iss": None},
    {"iss": "https://else.test/"},
    {"iss": 7},
    {"iss": "https://his.b.test"},
    {"aud": None},
    {"aud": "https://huren.test/cds-services"},
    {"aud": f"https://huren.test/cds-services/{SELECT}"},
    {"aud": f"https://evil.test/cds-services/{SIGN}"},
    {"aud": [f"https://evil.test/cds-services/{SIGN}"]},
    {"aud": f"https://huren.test/cds-services/{SIGN}/"},
    {"exp": None},
    {"iat": None},
    {"jti": None},
    {"jti": ""},
    {"jti": "x" * 256},
    {"jti": "a\nb"},
    {"tenant": "other"},
    {"tenant": 7},
    {"exp": NOW - 60, "iat": NOW - 120},
    {"exp": NOW + 3600},
    {"exp": NOW + 300, "iat": NOW - 1},
    {"iat": NOW + 600, "exp": NOW + 700},
    {"iat": NOW + 20, "exp": NOW + 10},
    {"exp": "tomorrow"},
    {"exp": str(NOW + 300)},
    {"exp": 1e40},
    {"nbf": NOW + 3600},
]
BAD_HEADERS: list[dict[str, Any]] = [
    {"kid": None},
    {"kid": "k2"},
    {"kid": "../../etc/passwd"},
    {"typ": "at+jwt"},
    {"alg": "ES256K"},
    {"crit": ["b64"]},
]


@pytest.mark.parametrize("claims", BAD_CLAIMS)
def test_a_spoiled_claim_is_a_401(cds: CdsClient, claims: dict[str, Any]) -> None:
    now = int(time.time())
    moved = {
        name: each + now - NOW if isinstance(each, int) and each > 1000 else each
        for name, each in claims.items()
    }
    answer = cds.call(call(), token=cds.token(PATH, **moved))
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("header", BAD_HEADERS)
def test_a_spoiled_header_is_a_401(cds: CdsClient, header: dict[str, Any]) -> None:
    if header.get("alg"):
        token = forged(cds, header)
    else:
        heads = {"kid": cds.key.kid, **header}
        if heads["kid"] is None:
            del heads["kid"]
        claims = jwt.decode(cds.token(PATH), options={"verify_signature": False})
        token = jwt.encode(claims, cds.key.private, algorithm="ES384", headers=heads)
    assert cds.call(call(), token=token).status_code == 401


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS384", "HS512", "ES256", "RS384", "", None, 7])
def test_no_other_algorithm_is_taken_least_of_all_one_without_a_key(cds: CdsClient, algorithm: Any) -> None:
    assert cds.call(call(), token=forged(cds, {"alg": algorithm})).status_code == 401


@pytest.mark.parametrize("raw", ["x", "a.b.c", "..", "Bearer", "a.b", "é", "." * 9000])
def test_what_is_no_jwt_is_a_401(cds: CdsClient, raw: str) -> None:
    sent = cds.send("POST", PATH, headers={"Authorization": f"Bearer {raw}".encode()}, content=b"{}")
    assert sent.status_code == 401


def test_another_key_or_a_changed_claim_is_a_401(cds: CdsClient) -> None:
    stranger = CdsClient(cds.send, key=Key())
    assert stranger.call(call()).status_code == 401
    head, _, signature = cds.token(PATH).split(".")
    body = cds.token(PATH).split(".")[1]
    assert cds.call(call(), token=f"{head}.{body}.{signature}").status_code == 401


def test_a_token_is_good_once(cds: CdsClient) -> None:
    token = cds.token(PATH)
    assert cds.call(call(), token=token).status_code == 200
    answer = cds.call(call(), token=token)
    assert (answer.status_code, answer.json()["reason"]) == (401, "replayed")


def test_of_many_calls_with_one_token_at_once_one_is_answered(cds: CdsClient) -> None:
    token, codes = cds.token(PATH), []
    threads = [
        threading.Thread(target=lambda: codes.append(cds.call(call(), token=token).status_code))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, 401, 401, 401, 401, 401]


def test_a_refused_call_spends_its_token_too(cds: CdsClient) -> None:
    token = cds.token(PATH)
    assert cds.call(b"{}", token=token).status_code == 400
    assert cds.call(call(), token=token).status_code == 401


def test_a_token_stays_used_for_minutes_after_it_has_expired(quiet: Service) -> None:
    iss, expired = "https://late.test/", datetime.now(UTC) - timedelta(minutes=9)
    with transaction(quiet.city.catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, "A")
        cds_clients.add(session, OPERATOR, hospital, iss, {"keys": [Key().public()]})
        found = cds_clients.find(session, iss, "")
        assert found is not None
        assert cds_clients.spend(session, found[0], "j", expired)
        assert not cds_clients.spend(session, found[0], "j", expired)


def test_an_audience_may_be_one_of_several(cds: CdsClient) -> None:
    audience = [f"{cds.base}{PATH}", "https://else.test"]
    assert cds.call(call(), token=cds.token(PATH, aud=audience)).status_code == 200


def test_the_host_header_does_not_make_another_audience_good(cds: CdsClient) -> None:
    token = cds.token(PATH, aud=f"https://evil.test{PATH}")
    answer = cds.post(PATH, call(), token=token, Host="evil.test")
    assert answer.status_code == 401


def test_a_disabled_client_is_refused_and_one_registered_again_has_its_new_keys(
    cds: CdsClient, service: Service
) -> None:
    engine = service.city.catalogue.engine
    with transaction(engine) as session:
        cds_clients.disable(session, OPERATOR, cds.iss)
    assert cds.call(call()).status_code == 401
    renewed = register_client(service.city, service.client.request, key=Key("k2"))
    assert renewed.call(call()).status_code == 200
    assert cds.call(call()).status_code == 401


def test_an_issuer_shared_by_hospitals_is_told_apart_by_its_tenant(cds: CdsClient, service: Service) -> None:
    with transaction(service.city.catalogue.engine) as session:
        other = registry.hospital_by_code(session, "A")
        keys = {"keys": [cds.key.public()]}
        with pytest.raises(Conflict):
            cds_clients.add(session, OPERATOR, other, cds.iss, keys)
        cds_clients.add(session, OPERATOR, other, cds.iss, keys, tenant="a")
    (card,) = cds.cards(call())
    answer = cds.call(call(), token=cds.token(PATH, tenant="a"))
    assert answer.status_code == 200
    path = f"{PATH}/feedback"
    reported = cds.post(path, {"feedback": [accepted(card)]}, token=cds.token(path, tenant="a"))
    assert reported.status_code == 404


def test_a_key_of_a_hospital_token_or_a_token_of_ours_does_not_open_the_other_door(
    cds: CdsClient, service: Service
) -> None:
    ours = service.token("doctor", "B")
    assert cds.call(call(), token=ours).status_code == 401
    theirs = {"Authorization": f"Bearer {cds.token('/v1/checks')}"}
    assert service.client.post("/v1/checks", headers=theirs, json={}).status_code == 401


GOOD = Key().public()


@pytest.mark.parametrize(
    "jwks",
    [
        {},
        [],
        {"keys": []},
        {"keys": {}},
        {"keys": [GOOD, GOOD]},
        {"keys": [{**GOOD, "d": "AAAA"}]},
        {"keys": [{"kty": "oct", "kid": "k1", "k": "AAAA"}]},
        {"keys": [{**GOOD, "crv": "secp256k1"}]},
        {"keys": [{**GOOD, "use": "enc"}]},
        {"keys": [{**GOOD, "x": ""}]},
        {"keys": [{name: GOOD[name] for name in GOOD if name != "kid"}]},
        {"keys": [{"kty": "RSA", "kid": "k1", "n": "A" * 100, "e": "AQAB"}]},
    ],
)
def test_keys_that_will_not_do_are_refused_at_registration(jwks: Any) -> None:
    with pytest.raises(InvalidInput):
        cds_clients.public_keys(jwks)


def test_a_client_nobody_knows_cannot_be_disabled(service: Service) -> None:
    with transaction(service.city.catalogue.engine) as session, pytest.raises(NotFound):
        cds_clients.disable(session, OPERATOR, "https://nobody.test/")


def test_only_configured_origins_may_call_from_a_browser(service: Service) -> None:
    preflight = {"Origin": "https://evil.test", "Access-Control-Request-Method": "POST"}
    answer = service.client.options(PATH, headers=preflight)
    assert "access-control-allow-origin" not in answer.headers


# --- A8 -------------------------------------------------------------------------------------------------


@pytest.fixture
def trap() -> Iterator[tuple[int, list[Any]]]:
    """A listener that must never be connected to."""
    reached: list[Any] = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.05)
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                try:
                    link, address = server.accept()
                except TimeoutError:
                    continue
                reached.append(address)
                link.close()

        thread = threading.Thread(target=watch)
        thread.start()
        yield server.getsockname()[1], reached
        stop.set()
        thread.join()


def test_the_trap_would_notice(trap: tuple[int, list[Any]]) -> None:
    port, reached = trap
    with socket.create_connection(("127.0.0.1", port)):
        deadline = time.monotonic() + 5
        while not reached and time.monotonic() < deadline:
            threading.Event().wait(0.01)
    assert reached


def test_no_address_in_a_call_or_token_is_ever_connected_to(
    cds: CdsClient, service: Service, trap: tuple[int, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A8: 42 cases, 0 connects: a listener nobody may reach, and a guard of every connect and look-up."""
    port, reached = trap
    (card,) = cds.cards(call())
    attempts: list[Any] = []
    database = service.city.catalogue.engine.url.port
    real_connect, real_lookup = socket.socket.connect, socket.getaddrinfo

    def connect(self: socket.socket, address: Any) -> Any:
        attempts.append(address)
        return real_connect(self, address)

    def look_up(host: Any, *rest: Any, **more: Any) -> Any:
        attempts.append(host)
        return real_lookup(host, *rest, **more)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    urls = [
        f"http://127.0.0.1:{port}/",
        f"https://127.0.0.1:{port}/jwks.json",
        f"http://localhost:{port}/",
        f"http://[::ffff:127.0.0.1]:{port}/",
        f"http://0.0.0.0:{port}/",
        f"http://2130706433:{port}/",
        f"http://0x7f.1:{port}/",
        f"http://user@127.0.0.1:{port}/",
        f"http://127.0.0.1.nip.io:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        f"http://127.0.0.1:{database}/",
        "file:///etc/passwd",
        f"gopher://127.0.0.1:{port}/_x",
        f"//127.0.0.1:{port}/",
    ]
    cases = 0
    for url in urls:
        authorization = {"access_token": "t", "token_type": "Bearer", "expires_in": 300, "subject": "s"}
        whole = cds.call(call(fhirServer=url, fhirAuthorization=authorization))
        assert whole.status_code == 200
        lacking = call(fhirServer=url, fhirAuthorization=authorization)
        lacking["prefetch"] = {}
        assert cds.call(lacking).status_code == 412
        header = {"kid": "unknown", "jku": url, "x5u": url}
        assert cds.call(call(), token=cds.token(PATH, header)).status_code == 401
        cases += 3
    cds.report(overridden(card, {"code": "2", "system": urls[0]}))
    assert cases >= 40
    assert reached == []
    assert attempts == []


def forged(cds: CdsClient, header: dict[str, Any]) -> str:
    """Return a token with any header, signed with the public key where that could fool a careless reader."""

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = jwt.decode(cds.token(PATH), options={"verify_signature": False})
    return f"{part({'typ': 'JWT', 'kid': cds.key.kid, **header})}.{part(claims)}.{part('signature')}"
