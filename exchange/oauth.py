"""Our own small authorization server: client credentials with a key (RFC 6749 §4.4, RFC 7523), and what it says of itself."""

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request

from catalog import clients
from catalog.context import Catalogue
from catalog.db import transaction
from exchange.answers import Json
from exchange.auth import scopes_of
from exchange.deps import GateOf, SettingsOf, TokenKeyOf
from exchange.examples import answers
from exchange.jose import ALGORITHMS, BadToken, read_unverified, verified_claims
from exchange.jwk import algorithms_of, verifying_key
from exchange.tokens import ROLES, TokenKey

router = APIRouter(tags=["oauth2"])

TOKEN_PATH: Final = "/oauth2/token"  # noqa: S105 - an address
LIFETIME: Final = timedelta(minutes=5)
_LONGEST_ASSERTION_SECONDS: Final = 300
_LONGEST_JTI: Final = 255
_BY_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_KINDS: Final = ("", "jwt", "client-authentication+jwt")
_REQUIRED: Final = ("iss", "sub", "aud", "exp", "jti")


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An error answer of RFC 6749 §5.2."""

    error: str
    description: str

    def answer(self) -> Json:
        status = 401 if self.error == "invalid_client" else 400
        return _uncached(Json({"error": self.error, "error_description": self.description}, status))


_INVALID_CLIENT: Final = _Refusal("invalid_client", "The client or its assertion is not accepted")
_TAKES: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type", "client_assertion_type", "client_assertion"],
                    "properties": {
                        "grant_type": {"const": "client_credentials"},
                        "client_assertion_type": {"const": _BY_ASSERTION},
                        "client_assertion": {"type": "string"},
                        "scope": {"type": "string"},
                    },
                },
                "example": {
                    "grant_type": "client_credentials",
                    "client_assertion_type": _BY_ASSERTION,
                    "client_assertion": "eyJhbGciOiJFUzM4NCIsImtpZCI6IjEifQ.…",
                    "scope": "checks.write",
                },
            }
        },
    }
}
_GIVEN: Final[dict[str, Any]] = {
    "access_token": "eyJhbGciOiJFZERTQSJ9.…",
    "token_type": "Bearer",
    "expires_in": 300,
    "scope": "checks.write",
}
_ERROR: Final[dict[str, Any]] = {"error": "invalid_client", "error_description": _INVALID_CLIENT.description}


async def form_of(request: Request) -> list[tuple[str, str]]:
    """Return the fields of a form, in order; none where the body is no form."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/x-www-form-urlencoded":
        return []
    try:
        body = (await request.body()).decode("ascii")
        return parse_qsl(body, keep_blank_values=False, max_num_fields=20, strict_parsing=True)
    except ValueError:
        return []


@router.post(
    TOKEN_PATH,
    summary="以私钥断言换取访问令牌 / an access token for a client's signed assertion",
    responses=answers(_GIVEN) | answers(_ERROR | {"error": "invalid_scope"}, 400) | answers(_ERROR, 401),
    openapi_extra=_TAKES,
)
def issue_token(
    fields: Annotated[list[tuple[str, str]], Depends(form_of)],
    catalogue: GateOf,
    settings: SettingsOf,
    key: TokenKeyOf,
) -> Json:
    """Answer as RFC 6749 §5 says; an assertion is good once, for five minutes at most."""
    form = dict(fields)
    if not fields or len(form) < len(fields):
        return _Refusal("invalid_request", "A form with each parameter once").answer()
    if form.get("grant_type") != "client_credentials":
        return _Refusal("unsupported_grant_type", "Only client_credentials").answer()
    if form.get("client_assertion_type") != _BY_ASSERTION or "client_secret" in form:
        return _Refusal("invalid_client", "Clients authenticate with private_key_jwt").answer()
    try:
        given = _issue(catalogue, key, form, settings.address + TOKEN_PATH)
    except BadToken:
        given = _INVALID_CLIENT
    return given.answer() if isinstance(given, _Refusal) else _uncached(Json(given))


@router.get(
    "/.well-known/jwks.json",
    summary="本服务签发令牌的公钥 / the public keys of our tokens",
    responses=answers(
        {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "…", "kid": "…", "alg": "EdDSA", "use": "sig"}]}
    ),
)
def jwks(key: TokenKeyOf) -> Json:
    """Return the JWK Set (RFC 7517 §5)."""
    return Json({"keys": [key.public_jwk()]})


@router.get(
    "/.well-known/oauth-authorization-server",
    summary="授权服务元数据 / authorization server metadata (RFC 8414)",
    responses=answers(
        {"issuer": "https://huren.example", "token_endpoint": "https://huren.example/oauth2/token"}
    ),
)
@router.get(
    "/.well-known/smart-configuration",
    summary="SMART 后端服务元数据 / SMART backend services configuration",
    responses=answers({"token_endpoint": "https://huren.example/oauth2/token", "capabilities": []}),
)
def metadata(settings: SettingsOf) -> Json:
    """Say where tokens are had, how clients authenticate, and for which scopes."""
    return Json(
        {
            "issuer": settings.address,
            "token_endpoint": settings.address + TOKEN_PATH,
            "jwks_uri": f"{settings.address}/.well-known/jwks.json",
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": sorted(ALGORITHMS),
            "scopes_supported": sorted(set().union(*(scopes_of(role) for role in ROLES))),
            "capabilities": ["client-confidential-asymmetric"],
            "code_challenge_methods_supported": ["S256"],
        }
    )


def _issue(
    catalogue: Catalogue, key: TokenKey, form: dict[str, str], audience: str
) -> dict[str, Any] | _Refusal:
    """Return the answer to a good assertion. Raises BadToken, DatabaseDown."""
    assertion = form.get("client_assertion", "")
    unverified = read_unverified(assertion)
    client_id = unverified.claims.get("iss")
    if not isinstance(client_id, str) or unverified.kind not in _KINDS:
        raise BadToken
    if unverified.claims.get("sub") != client_id or form.get("client_id", client_id) != client_id:
        raise BadToken
    with transaction(catalogue.engine) as session:
        client = clients.known(session, client_id)
        if client is None:
            raise BadToken
        claims = _claims(assertion, client, unverified.key_id, unverified.algorithm, audience)
        expires_at = datetime.fromtimestamp(claims["exp"], UTC)
        if not clients.use_assertion(session, client_id, claims["jti"], expires_at, datetime.now(UTC)):
            return _INVALID_CLIENT
        asked = frozenset(form["scope"].split()) if "scope" in form else client.scopes
        if not asked <= client.scopes:  # the assertion is used all the same
            return _Refusal("invalid_scope", "Not registered for this client")
        jti = uuid.uuid4().hex
        clients.token_issued(session, client, asked, jti)
    token = key.issue(
        subject=client_id,
        role=client.role,
        hospital=client.hospital_code,
        lifetime=LIFETIME,
        scopes=asked,
        client_id=client_id,
        jti=jti,
    )
    lifetime = int(LIFETIME.total_seconds())
    return {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": lifetime,
        "scope": " ".join(sorted(asked)),
    }


def _claims(
    assertion: str, client: clients.KnownClient, key_id: str, algorithm: str, audience: str
) -> dict[str, Any]:
    key = next((k for k in client.keys if k["kid"] == key_id and algorithm in algorithms_of(k)), None)
    if key is None:
        raise BadToken
    claims = verified_claims(
        assertion,
        verifying_key(key, algorithm),
        algorithm,
        issuer=client.client_id,
        audience=audience,
        required=_REQUIRED,
    )
    aud, jti = claims["aud"], claims["jti"]
    if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_JTI or "\0" in jti:
        raise BadToken
    if (
        isinstance(aud, list) and len(aud) != 1
    ):  # an assertion for us alone: another could replay a shared one
        raise BadToken
    if claims["exp"] - time.time() > _LONGEST_ASSERTION_SECONDS:
        raise BadToken
    return claims


def _uncached(answer: Json) -> Json:
    answer.headers["Pragma"] = "no-cache"  # RFC 6749 §5.1
    return answer
