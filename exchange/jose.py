"""What every token from outside must be before a key is looked for: a short compact JWS that points nowhere."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

import jwt
import orjson
from jwt.types import Options

LONGEST_TOKEN: Final = 8192
ALGORITHMS: Final = ("EdDSA", "ES256", "ES384", "RS256", "RS384")
# RFC 7515 §4.1: a key the token itself brings or points at proves nothing; an extension must be understood.
_REFUSED: Final = frozenset({"crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc"})
_LONGEST_KEY_ID: Final = 256
_LEEWAY_SECONDS: Final = 60


class BadToken(Exception):
    """A token that cannot be trusted; `reason` is safe to show."""

    def __init__(self, reason: str = "invalid") -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says of itself, before its signature is checked."""

    algorithm: str
    key_id: str
    kind: str
    claims: dict[str, Any]


def read_unverified(token: str) -> Unverified:
    """Return a token's header and claims, nothing of which is to be believed yet. Raises BadToken."""
    parts = token.split(".", 3) if len(token) <= LONGEST_TOKEN else []
    if len(parts) != 3:
        raise BadToken
    header, claims = _json(parts[0]), _json(parts[1])
    algorithm, key_id, kind = header.get("alg"), header.get("kid", ""), header.get("typ", "")
    if algorithm not in ALGORITHMS or not isinstance(key_id, str) or len(key_id) > _LONGEST_KEY_ID:
        raise BadToken
    if not isinstance(kind, str) or _REFUSED & header.keys():
        raise BadToken
    return Unverified(algorithm, key_id, kind.lower().removeprefix("application/"), claims)


def verified_claims(
    token: str, key: Any, algorithm: str, *, issuer: str, audience: str, required: tuple[str, ...]
) -> dict[str, Any]:
    """Return the claims of a token that this key signed for this audience and that is good now. Raises BadToken."""
    options: Options = {"require": list(required), "strict_aud": False}
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audience,
            issuer=issuer,
            leeway=_LEEWAY_SECONDS,
            options=options,
        )
    except jwt.ExpiredSignatureError as error:
        raise BadToken("expired") from error
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise BadToken from error
    if not has_times(claims):
        raise BadToken
    return claims


def has_times(claims: dict[str, Any]) -> bool:
    """Say whether every time in it is a number (RFC 7519 §2): the library takes digits in quotes as well."""
    return all(type(claims.get(name, 0)) in (int, float) for name in ("exp", "iat", "nbf"))


def _json(part: str) -> dict[str, Any]:
    try:
        value = orjson.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise BadToken from error
    if not isinstance(value, dict):
        raise BadToken
    return value
