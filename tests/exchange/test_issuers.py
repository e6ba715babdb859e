"""Tokens of a hospital's own identity provider: OpenID discovery, keys that rotate, and never another address."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from catalog.context import EVERY_SCOPE, Caller
from catalog.errors import InvalidInput
from exchange.fetching import FetchFailed, fetch_json, is_fit
from exchange.issuers import IssuerRule, Issuers, read_issuers
from exchange.jose import BadToken, read_unverified
from exchange.settings import ExchangeSettings
from tests.exchange.provider import Provider, running_provider
from tests.exchange.signers import Signer

Open = Callable[..., Issuers]


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    with running_provider(tmp_path / "provider") as running:
        yield running


@pytest.fixture
def open_issuers(provider: Provider) -> Iterator[Open]:
    opened: list[Issuers] = []

    def make(**changes: Any) -> Issuers:
        opened.append(Issuers([provider.rule(**changes)]))
        return opened[-1]

    yield make
    for each in opened:
        each.stop()


def verify(issuers: Issuers, token: str) -> Caller:
    return issuers.verify(token, read_unverified(token)).caller


def verified_in_time(issuers: Issuers, token: str) -> Caller:
    """Verify, letting a busy machine fetch the keys."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(BadToken):
            return verify(issuers, token)
        time.sleep(0.05)
    return verify(issuers, token)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "ES256", "ES384", "EdDSA"])
def test_a_doctor_of_the_hospital_comes_with_the_providers_token(
    provider: Provider, open_issuers: Open, algorithm: str
) -> None:
    provider.publish(Signer(algorithm))
    caller = verified_in_time(open_issuers(), provider.token())
    assert caller == Caller("li@a", "doctor", "A", frozenset({EVERY_SCOPE}))


def test_claims_become_role_hospital_and_scopes_as_configured(provider: Provider, open_issuers: Open) -> None:
    issuers = open_issuers(
        hospital="",
        hospital_claim="org",
        hospitals={"Org 7": "B"},
        scope_claim="scope",
        subject_claim="upn",
    )
    told = {
        "org": "Org 7",
        "scope": "checks.read *",
        "upn": "wang",
        "realm": {"roles": ["records", "physician"]},
    }
    caller = verified_in_time(issuers, provider.token(**told))
    assert caller == Caller("wang@a", "doctor", "B", frozenset({"checks.read"}))
    for change, reason in (({"org": "Org 8"}, "no_hospital"), ({"realm": {"roles": ["staff"]}}, "no_role")):
        with pytest.raises(BadToken, match=reason):
            verify(issuers, provider.token(**(told | change)))


def test_a_rotated_key_is_fetched_when_its_first_token_comes_and_the_old_one_is_forgotten(
    provider: Provider, open_issuers: Open
) -> None:
    issuers, old = open_issuers(), provider.signer
    verified_in_time(issuers, provider.token())
    provider.publish(Signer("ES384", kid="k2"), old)
    verified_in_time(issuers, provider.token())
    verify(issuers, old.sign(provider.claims()))
    provider.publish(Signer("ES384", kid="k3"))
    verified_in_time(issuers, provider.token())
    with pytest.raises(BadToken):
        verify(issuers, old.sign(provider.claims()))


def test_a_key_that_was_taken_back_is_trusted_no_longer_than_the_keys_are_kept(
    provider: Provider, open_issuers: Open
) -> None:
    issuers, old = open_issuers(renew_seconds=0.2), provider.signer
    verified_in_time(issuers, provider.token())
    provider.publish(Signer("ES384", kid="k2"))
    token, deadline = old.sign(provider.claims()), time.monotonic() + 60
    while True:
        try:
            verify(issuers, token)
        except BadToken:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_unknown_kids_make_the_provider_be_asked_once_in_a_while_and_nobody_waits(
    provider: Provider, open_issuers: Open
) -> None:
    issuers = open_issuers(refetch_seconds=3600)
    verified_in_time(issuers, provider.token())
    for turn in range(200):
        with pytest.raises(BadToken, match="unknown_key"):
            verify(issuers, provider.token({"kid": f"none-{turn}"}))
    assert provider.asked() == ["/.well-known/openid-configuration", "/jwks"]


def test_keys_that_are_due_are_renewed_before_one_of_them_counts(
    provider: Provider, open_issuers: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.issuers._RENEW_SECONDS", 30)
    issuers, old = open_issuers(renew_seconds=0.001, refetch_seconds=0), provider.signer
    verified_in_time(issuers, provider.token())
    provider.publish(Signer("ES384", kid="k2"))
    with pytest.raises(BadToken, match="unknown_key"):
        verify(issuers, old.sign(provider.claims()))
    provider.put("jwks.json", '{"keys": 7}')  # an outage is not ours: the last keys go on
    assert verify(issuers, provider.token()).subject == "li@a"


def test_a_slow_provider_keeps_nobody_waiting(provider: Provider, open_issuers: Open) -> None:
    provider.put("slow", "3")
    issuers = open_issuers()
    started = time.monotonic()
    with pytest.raises(BadToken, match="unknown_key"):
        verify(issuers, provider.token())
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("fault", ["redirect", "keys elsewhere", "another issuer", "no keys", "huge"])
def test_only_the_configured_address_is_asked(
    provider: Provider, open_issuers: Open, tmp_path: Path, fault: str
) -> None:
    with running_provider(tmp_path / "elsewhere") as elsewhere:
        elsewhere.publish(provider.signer)
        rule: dict[str, Any] = {}
        if fault == "redirect":
            provider.put("redirect", f"{elsewhere.url}/jwks")
        if fault == "keys elsewhere":
            provider.put("jwks_uri", f"{elsewhere.url}/jwks")
        if fault == "another issuer":
            rule["url"] = f"{provider.url}/realm"
        if fault == "no keys":
            provider.put("jwks.json", '{"keys": 7}')
        if fault == "huge":
            provider.put("jwks.json", '{"keys": [], "pad": "' + "x" * 300_000 + '"}')
        issuers = open_issuers(**rule)
        renewed = issuers._by_url[rule.get("url", provider.url)].renew()
        assert renewed is not None
        with pytest.raises(FetchFailed):
            renewed.result(30)
        with pytest.raises(BadToken):
            verify(issuers, provider.token(iss=rule.get("url", provider.url)))
        assert elsewhere.asked() == []


def test_keys_of_another_origin_are_taken_where_the_configuration_names_them(
    provider: Provider, open_issuers: Open, tmp_path: Path
) -> None:
    with running_provider(tmp_path / "elsewhere") as elsewhere:
        elsewhere.publish(provider.signer)
        issuers = open_issuers(jwks_url=f"{elsewhere.url}/jwks?tenant=a")
        assert verified_in_time(issuers, provider.token()).subject == "li@a"
        assert elsewhere.asked() == ["/jwks?tenant=a"]
        assert provider.asked() == []


@pytest.mark.parametrize(
    "url",
    [
        "http://sso.a.example",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://user:secret@sso.a.example",
        "http://127.0.0.1.nip.io/",
        "http://169.254.169.254/latest",
        "https://",
        "http://[::1",
    ],
)
def test_addresses_that_are_neither_tls_nor_of_this_machine_are_not_configured(url: str) -> None:
    assert not is_fit(url)
    with pytest.raises(FetchFailed):
        fetch_json(url)


def test_providers_are_read_from_a_file_and_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "issuers.toml"
    file.write_text(
        '[[issuer]]\nname = "a"\nurl = "https://sso.a.example"\naudience = "huren"\nhospital = "A"\n'
        'role_claim = "roles"\n[issuer.roles]\nphysician = "doctor"\n',
        encoding="utf-8",
    )
    (rule,) = read_issuers(file)
    assert (rule.name, rule.hospital, rule.roles) == ("a", "A", {"physician": "doctor"})
    monkeypatch.setenv("HUREN_ISSUERS_FILE", str(file))
    other = rule.model_copy(update={"name": "b", "url": "https://sso.b.example"})
    monkeypatch.setenv("HUREN_ISSUERS", f"[{other.model_dump_json()}]")
    assert [each.name for each in ExchangeSettings().identity_providers()] == ["b", "a"]


@pytest.mark.parametrize(
    "content", ["nonsense", '[[issuer]]\nname = "a"\n', '[[issuer]]\nurl = "http://x"\n']
)
def test_a_file_of_providers_that_is_wrong_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "issuers.toml"
    file.write_text(content)
    with pytest.raises(InvalidInput):
        read_issuers(file)


RULE = {
    "name": "a",
    "url": "https://sso.a.example",
    "audience": "huren",
    "role_claim": "role",
    "roles": {"audit": "auditor"},
    "hospital_claim": "org",
    "hospitals": {"Org 7": "B"},
}


@pytest.mark.parametrize("told", [{}, {"org": "Org 8"}, {"org": None}, {"org": ["Org 8"]}])
def test_an_auditor_whose_claim_names_no_hospital_is_not_an_auditor_of_the_city(told: dict[str, Any]) -> None:
    rule = IssuerRule.model_validate(RULE)
    assert rule.caller({"sub": "zhou", "role": "audit", "org": "Org 7"}).hospital_code == "B"
    with pytest.raises(BadToken, match="no_hospital"):
        rule.caller({"sub": "zhou", "role": "audit", **told})


@pytest.mark.parametrize("change", [{"name": "b"}, {"url": "https://sso.b.example"}])
def test_two_providers_of_one_address_or_one_name_are_refused(change: dict[str, str]) -> None:
    rules = tuple(IssuerRule.model_validate(RULE | each) for each in ({}, change))
    with pytest.raises(InvalidInput):
        ExchangeSettings(issuers=rules).identity_providers()
