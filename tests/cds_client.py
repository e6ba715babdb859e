"""A CDS client for tests: signs its tokens, reads discovery, fills prefetch templates, calls, reports."""

import json
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.city import id_number

BASE = "https://huren.test"
ISSUER = "https://his.b.test/"
SELECT, SIGN = "huren-order-select", "huren-order-sign"
ITEM = "urn:huren:item"

_MAKERS: dict[str, Callable[[], Any]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "RS384": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


@dataclass
class Key:
    """A signing key of a client."""

    kid: str = "k1"
    algorithm: str = "ES384"
    private: Any = None

    def __post_init__(self) -> None:
        self.private = self.private or _MAKERS[self.algorithm]()

    def public(self) -> dict[str, Any]:
        """Return its public part as a JWK."""
        made = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        return {**made, "kid": self.kid}


@dataclass
class CdsClient:
    """An ordering system that speaks CDS Hooks with one service."""

    send: Callable[..., httpx2.Response]
    key: Key = field(default_factory=Key)
    iss: str = ISSUER
    base: str = BASE
    language: str = ""

    def token(self, path: str, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """Return a good token for an endpoint, or one spoiled by `header` and `claims`; None leaves a part out."""
        now = int(time.time())
        told = {
            "iss": self.iss,
            "aud": f"{self.base}{path}",
            "iat": now,
            "exp": now + 300,
            "jti": uuid.uuid4().hex,
        } | claims
        algorithm = (header or {}).get("alg", self.key.algorithm)
        heads = {"kid": self.key.kid, **(header or {})}
        kept = {name: value for name, value in told.items() if value is not None}
        return jwt.PyJWS().encode(
            json.dumps(kept).encode(),
            self.key.private,
            algorithm=algorithm,
            headers={name: value for name, value in heads.items() if name != "alg"},
        )

    def post(self, path: str, body: Any, token: str | None = None, **headers: str) -> httpx2.Response:
        """Post with a fresh token, or the one given; an empty one is left out."""
        sent = {"Content-Type": "application/json", **headers}
        token = self.token(path) if token is None else token
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if self.language:
            sent["Accept-Language"] = self.language
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, headers=sent, content=content)

    def call(self, body: Any, service: str = SIGN, **more: Any) -> httpx2.Response:
        """Call a service."""
        return self.post(f"/cds-services/{service}", body, **more)

    def cards(self, body: Any, service: str = SIGN) -> list[dict[str, Any]]:
        """Return the cards of a call that succeeds."""
        answer = self.call(body, service)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["cards"]
        return found

    def report(self, *items: dict[str, Any], service: str = SIGN) -> httpx2.Response:
        """Send feedback."""
        return self.post(f"/cds-services/{service}/feedback", {"feedback": list(items)})


def order(number: str = "MZ1", code: Any = "CT07", **more: Any) -> dict[str, Any]:
    """Return a draft ServiceRequest; a code that is a text is one of the list."""
    concept = {"coding": [{"system": ITEM, "code": code}]} if isinstance(code, str) else code
    return {
        "resourceType": "ServiceRequest",
        "id": f"draft-{number}",
        "identifier": [{"value": number}],
        "status": "draft",
        "intent": "order",
        "subject": {"reference": "Patient/p1"},
        "code": concept,
    } | more


def patient(person: int = 2, **more: Any) -> dict[str, Any]:
    """Return the Patient of an invented person."""
    return {
        "resourceType": "Patient",
        "id": "p1",
        "identifier": [{"system": "urn:huren:id-type:01", "value": id_number(person)}],
        "name": [{"text": "林晓渝"}],
        "gender": "male" if person % 2 else "female",
        "birthDate": "1980-05-17",
    } | more


def call(*orders: dict[str, Any], hook: str = "order-sign", **more: Any) -> dict[str, Any]:
    """Return the body of a call; every order is selected."""
    orders = orders or (order(),)
    bundle = {"resourceType": "Bundle", "entry": [{"resource": each} for each in orders]}
    context: dict[str, Any] = {"userId": "Practitioner/7", "patientId": "p1", "draftOrders": bundle}
    if hook == "order-select":
        context["selections"] = [f"{each['resourceType']}/{each['id']}" for each in orders]
    return {
        "hook": hook,
        "hookInstance": str(uuid.uuid4()),
        "context": context | more.pop("context", {}),
        "prefetch": {"patient": patient()} | more.pop("prefetch", {}),
    } | more


def accepted(card: dict[str, Any], place: int = 0, **more: Any) -> dict[str, Any]:
    """Report that a suggestion of a card was taken."""
    return {
        "card": card["uuid"],
        "outcome": "accepted",
        "acceptedSuggestions": [{"id": card["suggestions"][place]["uuid"]}],
        "outcomeTimestamp": "2026-06-30T04:03:00Z",
    } | more


def overridden(card: dict[str, Any], reason: Any = None, comment: str = "", **more: Any) -> dict[str, Any]:
    """Report that a card was dismissed, with the reason of the list that has this code, or a coding."""
    why: dict[str, Any] = {}
    if isinstance(reason, str):
        reason = next(each for each in card["overrideReasons"] if each["code"] == reason)
    if reason:
        why["reason"] = {name: reason[name] for name in ("code", "system") if name in reason}
    if comment:
        why["userComment"] = comment
    said = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": "2026-06-30T04:03:00Z"}
    return said | ({"overrideReason": why} if why else {}) | more


def filled(template: str, context: Mapping[str, Any]) -> str | None:
    """Return a prefetch template with its tokens replaced, or None where the context lacks one."""
    names = re.findall(r"\{\{context\.(\w+)\}\}", template)
    if any(name not in context for name in names):
        return None
    return re.sub(r"\{\{context\.(\w+)\}\}", lambda found: str(context[found[1]]), template)
