"""Identity providers of hospitals and the city (OpenID Connect Discovery 1.0): whom they may speak for, their keys.

    [[issuer]]
    name = "a"                        # stands behind the subject: 李医生@a
    url = "https://sso.a.example"
    audience = "huren"
    hospital = "A"                    # or hospital_claim = "org", with [issuer.hospitals] "Org 7" = "A"
    role_claim = "realm_access.roles"
    [issuer.roles]                    # the first that a token has counts
    physician = "doctor"

Only the configured address is asked, never one that a token names. With `hospital_claim`, a token whose claim says no
hospital of the list is refused, whatever its role. Keys older than `renew_seconds` are renewed before they count; while
the provider is out of reach the last ones are trusted for an hour, so that its outage is not ours.
"""

import threading
import time
import tomllib
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from catalog.context import EVERY_SCOPE, Caller
from catalog.errors import InvalidInput
from exchange.fetching import FetchFailed, fetch_json, is_fit, origin_of
from exchange.jose import BadToken, Unverified, verified_claims
from exchange.jwk import usable_keys
from exchange.tokens import HOSPITAL_ROLES, Verified

_KINDS: Final = ("", "jwt", "at+jwt")  # RFC 9068; an ID token has no typ or JWT
_REQUIRED: Final = ("iss", "aud", "sub", "exp", "iat")
_WAIT_SECONDS: Final = 0.03  # a token whose key is not known yet is refused rather than kept waiting
_RENEW_SECONDS: Final = 0.25  # while the provider is asked whether a key still counts
_FORGET_SECONDS: Final = 3600.0  # while the provider is out: keys not renewed for so long are trusted no more
Role = Literal["hospital_system", "doctor", "curator", "regulator", "auditor", "operator"]


class IssuerRule(BaseModel):
    """One identity provider, and how its claims become a role and a hospital."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9_-]{1,32}$")
    url: str
    audience: str = Field(min_length=1)
    jwks_url: str = ""
    subject_claim: str = "sub"
    role_claim: str = "role"
    roles: Mapping[str, Role]
    hospital: str = ""
    hospital_claim: str = ""
    hospitals: Mapping[str, str] = {}
    scope_claim: str = ""
    refetch_seconds: float = Field(default=10.0, ge=0)
    renew_seconds: float = Field(default=60.0, gt=0)

    @field_validator("url", "jwks_url")
    @classmethod
    def _is_fit(cls, value: str) -> str:
        if value and not is_fit(value):
            raise ValueError("https, or http on this machine")
        return value

    def caller(self, claims: Mapping[str, Any]) -> Caller:
        """Return who a good token speaks for. Raises BadToken where it has no role here, or no hospital."""
        subject = _at(claims, self.subject_claim)
        if not isinstance(subject, str) or not 0 < len(subject) <= 128 or not subject.isprintable():
            raise BadToken
        role, hospital = self._role(claims), self._hospital(claims)
        if not hospital and (
            role in HOSPITAL_ROLES or self.hospital_claim
        ):  # else an auditor of the whole city
            raise BadToken("no_hospital")
        every = frozenset({EVERY_SCOPE})
        scopes = frozenset(_words(_at(claims, self.scope_claim))) - every if self.scope_claim else every
        return Caller(f"{subject}@{self.name}", role, hospital, scopes)

    def _role(self, claims: Mapping[str, Any]) -> str:
        given = _texts(_at(claims, self.role_claim))
        role = next((role for theirs, role in self.roles.items() if theirs in given), None)
        if role is None:
            raise BadToken("no_role")
        return role

    def _hospital(self, claims: Mapping[str, Any]) -> str:
        if not self.hospital_claim:
            return self.hospital
        return next(
            (self.hospitals[g] for g in _texts(_at(claims, self.hospital_claim)) if g in self.hospitals), ""
        )


class Issuer:
    """A provider's keys: fetched when first needed, renewed while in use, and for a kid that is not known."""

    def __init__(self, rule: IssuerRule, pool: ThreadPoolExecutor) -> None:
        self.rule = rule
        self._pool = pool
        self._lock = threading.Lock()
        self._keys: dict[tuple[str, str], Any] = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._fetching: Future[None] | None = None

    def verify(self, token: str, unverified: Unverified) -> Verified:
        """Return whom a token of this provider speaks for. Raises BadToken."""
        if unverified.kind not in _KINDS or not unverified.key_id:
            raise BadToken
        key = self._key(unverified.key_id, unverified.algorithm)
        claims = verified_claims(
            token,
            key,
            unverified.algorithm,
            issuer=self.rule.url,
            audience=self.rule.audience,
            required=_REQUIRED,
        )
        return Verified(self.rule.caller(claims), float(claims["exp"]), str(claims.get("jti", "")))

    def renew(self) -> Future[None] | None:
        """Have the keys fetched, unless that was asked within `refetch_seconds`; returns what to wait for."""
        with self._lock:
            now = time.monotonic()
            if now - self._asked_at >= self.rule.refetch_seconds:
                self._asked_at = now
                self._fetching = self._pool.submit(self._fetch)
            return self._fetching

    def _key(self, key_id: str, algorithm: str) -> Any:
        key = self._kept(key_id, algorithm)
        if key is None or self._age() > self.rule.renew_seconds:
            fetching = self.renew()
            if fetching is not None:
                with suppress(FetchFailed, FutureTimeout):
                    fetching.result(_WAIT_SECONDS if key is None else _RENEW_SECONDS)
            key = self._kept(key_id, algorithm)
        if key is None:
            raise BadToken("unknown_key")
        return key

    def _kept(self, key_id: str, algorithm: str) -> Any:
        return self._keys.get((key_id, algorithm)) if self._age() < _FORGET_SECONDS else None

    def _age(self) -> float:
        return time.monotonic() - self._fetched_at

    def _fetch(self) -> None:
        url = self.rule.jwks_url or self._discovered()
        found = fetch_json(url)
        keys = found.get("keys") if isinstance(found, dict) else None
        if not isinstance(keys, list):
            raise FetchFailed("no JWK Set")
        self._keys, self._fetched_at = usable_keys(keys[:50]), time.monotonic()

    def _discovered(self) -> str:
        """Return where the keys are (OpenID Connect Discovery §4); only the provider's own origin is believed."""
        found = fetch_json(f"{self.rule.url.rstrip('/')}/.well-known/openid-configuration")
        url = found.get("jwks_uri") if isinstance(found, dict) else None
        if not isinstance(url, str) or found.get("issuer") != self.rule.url:
            raise FetchFailed("not this issuer's description")
        if origin_of(url) != origin_of(self.rule.url):
            raise FetchFailed("keys of another origin; name it as jwks_url")
        return url


class Issuers:
    """The configured providers by their `iss`."""

    def __init__(self, rules: Iterable[IssuerRule]) -> None:
        rules = list(rules)
        self._pool = ThreadPoolExecutor(max(1, len(rules)), thread_name_prefix="issuers")
        self._by_url = {rule.url: Issuer(rule, self._pool) for rule in rules}

    def start(self) -> None:
        """Begin fetching the keys."""
        for issuer in self._by_url.values():
            issuer.renew()

    def stop(self) -> None:
        """Fetch nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def verify(self, token: str, unverified: Unverified) -> Verified:
        """Return whom a token speaks for. Raises BadToken where its issuer is not configured."""
        issuer = unverified.claims.get("iss")
        known = self._by_url.get(issuer) if isinstance(issuer, str) else None
        if known is None:
            raise BadToken
        return known.verify(token, unverified)


def read_issuers(file: Path) -> list[IssuerRule]:
    """Return the providers of a TOML file. Raises InvalidInput."""
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
        return [IssuerRule.model_validate(each) for each in given.get("issuer", [])]
    except (OSError, ValueError, ValidationError) as error:
        raise InvalidInput(
            f"身份提供方配置无效: {file.name}",
            f"The file of identity providers is not valid: {error}",
            field="issuers",
        ) from error


def refuse_doubles(rules: Iterable[IssuerRule]) -> None:
    """Raise InvalidInput where two providers have one address, or one name: which speaks would be chance."""
    rules = list(rules)
    if len({rule.url for rule in rules}) < len(rules) or len({rule.name for rule in rules}) < len(rules):
        raise InvalidInput(
            "两个身份提供方的 url 或 name 相同",
            "Two identity providers have one url or one name",
            field="issuers",
        )


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by its name, or by a dotted path into nested ones."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _texts(value: Any) -> list[str]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def _words(value: Any) -> list[str]:
    return [word for text in _texts(value) for word in text.split()]
