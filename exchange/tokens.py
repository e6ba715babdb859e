"""Bearer tokens from a local key: JWT (RFC 7519, RFC 9068) signed with Ed25519 (RFC 8037)."""

import base64
import hashlib
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import jwt
import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from catalog.context import EVERY_SCOPE, Caller
from catalog.errors import InvalidInput
from catalog.vault import write_secret
from exchange.jose import BadToken, Unverified, verified_claims

ISSUER: Final = "huren"
AUDIENCE: Final = "huren"
ROLES: Final = ("hospital_system", "doctor", "curator", "regulator", "auditor", "operator")
HOSPITAL_ROLES: Final = ("hospital_system", "doctor")
LONGEST: Final = timedelta(days=366)
_KINDS: Final = ("jwt", "at+jwt")
_REQUIRED: Final = ("iss", "aud", "sub", "exp", "iat", "jti", "role")


@dataclass(frozen=True, slots=True)
class Verified:
    """What a good token says: for whom it speaks, until when, and by which number it can be taken back."""

    caller: Caller
    expires_at: float
    jti: str


class TokenKey:
    """The key that signs and checks tokens."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self.private = private
        self._public = private.public_key()
        raw = self._public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self._jwk = {"crv": "Ed25519", "kty": "OKP", "x": _base64(raw)}
        self.key_id: Final = _base64(hashlib.sha256(orjson.dumps(self._jwk)).digest())  # RFC 7638

    def public_jwk(self) -> dict[str, str]:
        """Return the key that checks, as others may read it."""
        return {**self._jwk, "kid": self.key_id, "alg": "EdDSA", "use": "sig"}

    def issue(
        self,
        *,
        subject: str,
        role: str,
        hospital: str = "",
        lifetime: timedelta,
        scopes: Collection[str] | None = None,
        client_id: str = "",
        jti: str = "",
    ) -> str:
        """Return a signed token, for every scope of the role unless some are named.

        Raises InvalidInput for an unknown role, a missing hospital or lifetime.
        """
        refuse_role(role, hospital)
        if not timedelta(0) < lifetime <= LONGEST:
            raise InvalidInput(
                "有效期须为正且不超过一年", "A lifetime is positive, a year at most", field="minutes"
            )
        now = datetime.now(UTC)
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "role": role,
            "iat": now,
            "exp": now + lifetime,
            "jti": jti or uuid.uuid4().hex,
        }
        optional = {"hospital": hospital, "client_id": client_id}
        claims |= {name: value for name, value in optional.items() if value}
        if scopes is not None:
            claims["scope"] = " ".join(sorted(scopes))
        headers = {"typ": "at+jwt", "kid": self.key_id}
        return jwt.encode(claims, self.private, algorithm="EdDSA", headers=headers)

    def verify(self, token: str, unverified: Unverified) -> Verified:
        """Return whom the token speaks for. Raises BadToken, saying only what kind of fault it is."""
        if unverified.algorithm != "EdDSA" or unverified.kind not in _KINDS:
            raise BadToken
        if unverified.key_id not in ("", self.key_id):
            raise BadToken
        claims = verified_claims(
            token, self._public, "EdDSA", issuer=ISSUER, audience=AUDIENCE, required=_REQUIRED
        )
        return Verified(_caller(claims), float(claims["exp"]), str(claims["jti"]))


def refuse_role(role: str, hospital: str) -> None:
    """Raise InvalidInput for an unknown role, or one that needs a hospital and has none."""
    if role not in ROLES:
        raise InvalidInput(
            f"角色须为:{', '.join(ROLES)}", f"A role is one of {', '.join(ROLES)}", field="role"
        )
    if role in HOSPITAL_ROLES and not hospital:
        raise InvalidInput("该角色须指明机构", "This role needs a hospital", field="hospital")


def open_token_key(path: Path) -> TokenKey:
    """Return the key kept as PEM in `path`, made with mode 0600 if absent."""
    if not path.exists():
        fresh = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_secret(path, fresh)
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInput("令牌密钥须为 Ed25519", "The token key must be Ed25519")
    return TokenKey(key)


def _caller(claims: dict[str, Any]) -> Caller:
    subject, role, hospital = claims["sub"], claims["role"], claims.get("hospital", "")
    scope, client_id = claims.get("scope", EVERY_SCOPE), claims.get("client_id", "")
    if not all(isinstance(value, str) for value in (subject, role, hospital, scope, client_id)):
        raise BadToken
    if role not in ROLES:
        raise BadToken
    if role in HOSPITAL_ROLES and not hospital:
        raise BadToken("no_hospital")
    return Caller(
        subject, role, hospital, frozenset(scope.split()), client_id=client_id, token_id=str(claims["jti"])
    )


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
