"""Keys of systems and providers in the tests, and assertions signed with them."""

import base64
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

TOKEN_URL = "http://127.0.0.1:8080/oauth2/token"
BY_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def new_key(algorithm: str) -> Any:
    """Return a fresh private key for an algorithm."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm.startswith("ES"):
        return ec.generate_private_key(ec.SECP256R1() if algorithm == "ES256" else ec.SECP384R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_jwk(private: Any, algorithm: str, kid: str) -> dict[str, Any]:
    """Return the public key as a JWK, made here from its numbers rather than by what is tested."""
    numbers = getattr(private.public_key(), "public_numbers", lambda: None)()
    if algorithm == "EdDSA":
        key = {"kty": "OKP", "crv": "Ed25519", "x": _base64(private.public_key().public_bytes_raw())}
    elif algorithm.startswith("ES"):
        size = private.key_size // 8
        curve = "P-256" if algorithm == "ES256" else "P-384"
        key = {"kty": "EC", "crv": curve, "x": _number(numbers.x, size), "y": _number(numbers.y, size)}
    else:
        key = {"kty": "RSA", "n": _number(numbers.n, 256), "e": _number(numbers.e, 3)}
    return {**key, "kid": kid, "alg": algorithm, "use": "sig"}


@dataclass
class Signer:
    """One key pair under a kid."""

    algorithm: str = "ES384"
    kid: str = "k1"
    private: Any = None
    given: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.private = self.private or new_key(self.algorithm)

    @property
    def jwks(self) -> dict[str, Any]:
        """The JWK Set with the public key."""
        return {"keys": [public_jwk(self.private, self.algorithm, self.kid)]}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """Return a token with these claims; a claim that is None is left out."""
        kept = {name: value for name, value in claims.items() if value is not None}
        sent = {"typ": "JWT", "kid": self.kid} | header
        return jwt.api_jws.encode(orjson.dumps(kept), self.private, self.algorithm, headers=sent)

    def assertion(self, client_id: str, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a client's assertion, good unless claims say otherwise."""
        now = int(time.time())
        told = {"iss": client_id, "sub": client_id, "aud": TOKEN_URL, "exp": now + 120, "iat": now}
        return self.sign({**told, "jti": uuid.uuid4().hex, **claims}, **(header or {}))


def form(assertion: str, **more: str) -> dict[str, str]:
    """Return what a client posts to the token endpoint."""
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": BY_ASSERTION,
        "client_assertion": assertion,
        **more,
    }


def _number(value: int, size: int) -> str:
    return _base64(value.to_bytes(size, "big"))


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
