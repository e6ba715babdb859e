"""Bearer tokens from a local key: JWT (RFC 7519) signed with Ed25519 (RFC 8037)."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from catalog.context import Caller
from catalog.errors import InvalidInput
from catalog.vault import write_secret
from exchange.problems import Unauthenticated

ISSUER: Final = "huren"
AUDIENCE: Final = "huren"
ROLES: Final = ("hospital_system", "doctor", "curator", "regulator", "auditor", "operator")
HOSPITAL_ROLES: Final = ("hospital_system", "doctor")
LONGEST: Final = timedelta(days=366)
_LEEWAY_SECONDS: Final = 60
_REQUIRED: Final = ["iss", "aud", "sub", "exp", "iat", "jti", "role"]


@dataclass(frozen=True, slots=True, repr=False)
class TokenKey:
    """The key that signs and checks tokens."""

    private: Ed25519PrivateKey

    def issue(self, *, subject: str, role: str, hospital: str = "", lifetime: timedelta) -> str:
        """Return a signed token. Raises InvalidInput for an unknown role, a missing hospital or lifetime."""
        if role not in ROLES:
            raise InvalidInput(
                f"角色须为:{', '.join(ROLES)}", f"A role is one of {', '.join(ROLES)}", field="role"
            )
        if role in HOSPITAL_ROLES and not hospital:
            raise InvalidInput("该角色须指明机构", "This role needs a hospital", field="hospital")
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
            "jti": uuid.uuid4().hex,
        }
        if hospital:
            claims["hospital"] = hospital
        return jwt.encode(claims, self.private, algorithm="EdDSA", headers={"typ": "JWT"})

    def verify(self, token: str) -> Caller:
        """Return who the token speaks for. Raises Unauthenticated, saying only what kind of fault it is."""
        try:
            claims = jwt.decode(
                token,
                self.private.public_key(),
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=_LEEWAY_SECONDS,
                options={"require": _REQUIRED},
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("expired") from error
        except (jwt.PyJWTError, ValueError) as error:
            raise Unauthenticated("invalid") from error
        return _caller(claims)


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
    if not all(isinstance(value, str) for value in (subject, role, hospital)) or role not in ROLES:
        raise Unauthenticated("invalid")
    if role in HOSPITAL_ROLES and not hospital:
        raise Unauthenticated("no_hospital")
    return Caller(subject=subject, role=role, hospital_code=hospital)
