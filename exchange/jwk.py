"""Public keys as JSON Web Keys (RFC 7517): read strictly, kept without anything that is not needed."""

from collections.abc import Iterable
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from catalog.errors import InvalidInput

_MOST_KEYS: Final = 10
_SMALLEST_RSA_BITS: Final = 2048
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
# What a kind of key signs with, and the parameters that are it (RFC 7518 §6, RFC 8037 §2).
_KINDS: Final[dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]]] = {
    ("RSA", ""): (("RS384", "RS256"), ("n", "e")),
    ("EC", "P-256"): (("ES256",), ("crv", "x", "y")),
    ("EC", "P-384"): (("ES384",), ("crv", "x", "y")),
    ("OKP", "Ed25519"): (("EdDSA",), ("crv", "x")),
}


def registered_keys(given: Any) -> list[dict[str, Any]]:
    """Return the public keys of a JWK Set as they are kept.

    Raises InvalidInput for a private or weak key, a kind that is not taken, or one without a `kid` of its own.
    """
    keys = given.get("keys") if isinstance(given, dict) else None
    if not isinstance(keys, list) or not 0 < len(keys) <= _MOST_KEYS:
        raise _unfit(
            f"应为含 1 到 {_MOST_KEYS} 个公钥的 JWK Set", f"A JWK Set of 1 to {_MOST_KEYS} public keys"
        )
    kept = [_registered(key) for key in keys]
    if len({key["kid"] for key in kept}) < len(kept):
        raise _unfit("kid 重复", "A kid stands twice")
    return kept


def usable_keys(keys: Iterable[Any]) -> dict[tuple[str, str], Any]:
    """Return verifying keys by `kid` and algorithm; what cannot verify a signature here is passed over."""
    found: dict[tuple[str, str], Any] = {}
    for key in keys:
        try:
            kept = _registered(key)
        except InvalidInput:
            continue
        for algorithm in algorithms_of(kept):
            found[kept["kid"], algorithm] = verifying_key(kept, algorithm)
    return found


def algorithms_of(key: dict[str, Any]) -> tuple[str, ...]:
    """Return what a kept key may sign with."""
    algorithms, _ = _KINDS[key["kty"], key.get("crv", "")]
    return tuple(each for each in algorithms if key.get("alg", each) == each)


def verifying_key(key: dict[str, Any], algorithm: str) -> Any:
    """Return a kept key as the library takes it."""
    return jwt.PyJWK(key, algorithm).key


def _registered(key: Any) -> dict[str, Any]:
    if not isinstance(key, dict) or _PRIVATE & key.keys():
        raise _unfit("只登记公钥", "Only public keys are registered")
    kid, kind = key.get("kid"), (key.get("kty"), key.get("crv", ""))
    if not isinstance(kid, str) or not 0 < len(kid) <= 256 or kind not in _KINDS:
        raise _unfit("须有 kid,且为 P-256、P-384、Ed25519 或 RSA", "A kid, and P-256, P-384, Ed25519 or RSA")
    if key.get("use", "sig") != "sig":
        raise _unfit("密钥用途须为 sig", "A key's use is sig")
    parameters = _KINDS[kind][1]
    kept = {"kty": key["kty"], "kid": kid} | {name: key.get(name) for name in parameters}
    if "alg" in key:
        kept["alg"] = key["alg"]
    try:
        made = [verifying_key(kept, algorithm) for algorithm in algorithms_of(kept)]
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        made = []
    if not made or any(
        isinstance(each, RSAPublicKey) and each.key_size < _SMALLEST_RSA_BITS for each in made
    ):
        raise _unfit("公钥无效或过短", "A public key is invalid or too short")
    return kept


def _unfit(zh: str, en: str) -> InvalidInput:
    return InvalidInput(zh, en, field="keys", code="invalid_keys")
