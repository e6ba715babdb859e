"""Tokens of CDS clients (CDS Hooks 2.0, Trusting CDS Clients): signed by a registered key, for one call, once."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from sqlalchemy.orm import Session

from catalog import cds_clients
from catalog.tables import Hospital
from catalog.tables_cds import CdsClient
from exchange.jose import has_times
from exchange.problems import Unauthenticated

LONGEST: Final = timedelta(minutes=5)
_LEEWAY: Final = timedelta(seconds=30)
_REQUIRED: Final = ["iss", "aud", "exp", "iat", "jti"]
_ALGORITHMS: Final = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
    "RSA": ("RS384", "RS512", "PS384", "PS512", "RS256", "PS256"),
}


@dataclass(frozen=True, slots=True, repr=False)
class ReadToken:
    """A token whose claims are read and not yet trusted."""

    raw: str
    header: dict[str, Any]
    claims: dict[str, Any]


def read_token(authorization: str) -> ReadToken:
    """Return the token of an Authorization header. Raises Unauthenticated where there is none, or no JWT."""
    scheme, _, raw = authorization.partition(" ")
    raw = raw.strip()
    if scheme.lower() != "bearer" or not raw:
        raise Unauthenticated("missing")
    try:
        header = jwt.get_unverified_header(raw)
        claims = jwt.decode(raw, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise Unauthenticated("invalid") from error
    if header.get("typ") != "JWT" or not isinstance(header.get("kid"), str) or "crit" in header:
        raise Unauthenticated("invalid")
    return ReadToken(raw, header, claims)


def authenticate(
    session: Session, token: ReadToken, endpoints: Collection[str]
) -> tuple[CdsClient, Hospital]:
    """Return the client and hospital a token speaks for, and note that the token was used.

    Keys come from the registration alone: a `jku` in the header is compared with it and never fetched.
    Raises Unauthenticated, saying only what kind of fault it is.
    """
    iss, tenant = token.claims.get("iss"), token.claims.get("tenant", "")
    if not isinstance(iss, str) or not isinstance(tenant, str) or "\0" in iss + tenant:
        raise Unauthenticated("invalid")
    found = cds_clients.find(session, iss, tenant)
    if found is None:
        raise Unauthenticated("unknown_client")
    client, hospital = found
    if client.jku and token.header.get("jku", client.jku) != client.jku:
        raise Unauthenticated("invalid")
    claims = _verified(token, client, endpoints)
    jti = claims["jti"]
    if not isinstance(jti, str) or not 0 < len(jti) <= 255 or not jti.isprintable():
        raise Unauthenticated("invalid")
    expires = datetime.fromtimestamp(claims["exp"], UTC) + _LEEWAY
    if not cds_clients.spend(session, client, jti, expires):
        raise Unauthenticated("replayed")
    return client, hospital


def _verified(token: ReadToken, client: CdsClient, endpoints: Collection[str]) -> dict[str, Any]:
    jwk = next((key for key in client.jwks["keys"] if key["kid"] == token.header["kid"]), None)
    if jwk is None:
        raise Unauthenticated("unknown_key")
    try:
        claims: dict[str, Any] = jwt.decode(
            token.raw,
            jwt.PyJWK(jwk, algorithm=_algorithm(jwk, token)).key,
            algorithms=[_algorithm(jwk, token)],
            audience=list(endpoints),
            issuer=client.iss,
            leeway=_LEEWAY,
            options={"require": _REQUIRED},
        )
    except jwt.ExpiredSignatureError as error:
        raise Unauthenticated("expired") from error
    except (jwt.PyJWTError, ValueError, OverflowError, TypeError) as error:
        raise Unauthenticated("invalid") from error
    if not has_times(claims):
        raise Unauthenticated("invalid")
    lifetime = claims["exp"] - claims["iat"]
    if not 0 < lifetime <= LONGEST.total_seconds():
        raise Unauthenticated("lifetime")
    return claims


def _algorithm(jwk: dict[str, str], token: ReadToken) -> str:
    """Return the algorithm of the header where the key can be used with it: asymmetric, and of the key's kind."""
    allowed = _ALGORITHMS.get(jwk.get("crv", jwk["kty"]), ())
    named = token.header.get("alg")
    if named not in allowed or jwk.get("alg", named) != named:
        raise Unauthenticated("algorithm")
    return str(named)
