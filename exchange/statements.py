"""What a recount found, signed: who had it made, when, over what, and a digest of everything it says."""

import hashlib
from datetime import datetime
from typing import Any, Final

import jwt
import orjson

from catalog.context import Caller
from exchange.tokens import ISSUER, TokenKey

KIND: Final = "huren-recount+jwt"  # never taken for a token


def sign(key: TokenKey, caller: Caller, found: dict[str, Any], now: datetime) -> str:
    """Return a JWS (RFC 7515) that the key of `/.well-known/jwks.json` checks.

    `sha256` is that of the finding as JSON with sorted keys (digest_of), so that a kept finding can be held against it.
    """
    claims = {
        "iss": ISSUER,
        "iat": now,
        "by": {"subject": caller.subject, "role": caller.role, "hospital": caller.hospital_code},
        "agrees": found["agrees"],
        "net_fen": found["net_fen"],
        "range": found["range"],
        "sha256": digest_of(found),
    }
    return jwt.encode(claims, key.private, algorithm="EdDSA", headers={"typ": KIND, "kid": key.key_id})


def digest_of(found: dict[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal digits, of a finding as JSON with sorted keys."""
    return hashlib.sha256(orjson.dumps(found, option=orjson.OPT_SORT_KEYS)).hexdigest()
