"""CDS clients: which hospital an issuer speaks for, with which keys; each token is good once.

Keys are pinned when a client is registered and never fetched while it calls.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import audit
from catalog.context import Caller
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.tables import Hospital
from catalog.tables_cds import CdsClient, CdsNonce

_SECRET_PARTS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_CURVES: Final = {"P-256", "P-384", "P-521", "Ed25519"}
_MOST_KEYS: Final = 20
_SWEPT: Final = timedelta(minutes=10)  # a token stays known while clocks differ or are set
_SWEPT_AT_ONCE: Final = 50


def add(
    session: Session,
    caller: Caller,
    hospital: Hospital,
    iss: str,
    jwks: Any,
    *,
    tenant: str = "",
    jku: str = "",
    code_systems: Sequence[str] = (),
) -> None:
    """Register a client with its public keys; registered again by its hospital, it has the new keys.

    What codings of `code_systems` say are the hospital's own codes.

    Raises InvalidInput for an issuer that is no URI or keys that will not do, Conflict where another
    hospital has the issuer and tenant.
    """
    if not urlsplit(iss).scheme or len(iss) > 255 or len(tenant) > 255:
        raise InvalidInput("iss 须为 URI", "The issuer is a URI", field="iss")
    row = {
        "iss": iss,
        "tenant": tenant,
        "hospital_id": hospital.id,
        "jwks": {"keys": public_keys(jwks)},
        "jku": jku,
        "code_systems": [*code_systems],
    }
    session.execute(insert(CdsClient).values(row).on_conflict_do_nothing())
    client = session.scalars(_by_issuer(iss, tenant).with_for_update()).one()
    if client.hospital_id != hospital.id:
        raise Conflict("该 iss 已属于另一机构", "Another hospital has this issuer", code="cds_client_taken")
    client.jwks, client.jku, client.active = row["jwks"], jku, True
    client.code_systems = [*code_systems]
    audit.record(session, caller, "cds_client.add", hospital_id=hospital.id, iss=iss, tenant=tenant)


def disable(session: Session, caller: Caller, iss: str, tenant: str = "") -> None:
    """Take no more calls of a client. Raises NotFound."""
    client = session.scalars(_by_issuer(iss, tenant).with_for_update()).one_or_none()
    if client is None:
        raise NotFound("没有该 CDS 客户端", "No such CDS client", code="unknown_cds_client")
    client.active = False
    audit.record(
        session, caller, "cds_client.disable", hospital_id=client.hospital_id, iss=iss, tenant=tenant
    )


def listed(session: Session) -> list[dict[str, Any]]:
    """Return every client with the names of its keys."""
    query = select(CdsClient, Hospital.code).join(Hospital, Hospital.id == CdsClient.hospital_id)
    return [
        {
            "iss": client.iss,
            "tenant": client.tenant,
            "hospital": code,
            "keys": " ".join(key["kid"] for key in client.jwks["keys"]),
            "jku": client.jku,
            "code_systems": " ".join(client.code_systems),
            "active": client.active,
        }
        for client, code in session.execute(query.order_by(CdsClient.iss, CdsClient.tenant)).tuples()
    ]


def find(session: Session, iss: str, tenant: str) -> tuple[CdsClient, Hospital] | None:
    """Return the active client with exactly this issuer and tenant, and its active hospital."""
    query = (
        select(CdsClient, Hospital)
        .join(Hospital, Hospital.id == CdsClient.hospital_id)
        .where(CdsClient.iss == iss, CdsClient.tenant == tenant, CdsClient.active, Hospital.active)
    )
    return session.execute(query).tuples().one_or_none()


def spend(session: Session, client: CdsClient, jti: str, expires_at: datetime) -> bool:
    """Note that a token was used; False where it was used before. Sweeps out some that have expired."""
    row = {"client_id": client.id, "jti": jti, "expires_at": expires_at}
    fresh = session.scalars(
        insert(CdsNonce).values(row).on_conflict_do_nothing().returning(CdsNonce.jti)
    ).one_or_none()
    old = (
        select(CdsNonce.jti)
        .where(CdsNonce.client_id == client.id, CdsNonce.expires_at < datetime.now(UTC) - _SWEPT)
        .limit(_SWEPT_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    session.execute(delete(CdsNonce).where(CdsNonce.client_id == client.id, CdsNonce.jti.in_(old)))
    return fresh is not None


def public_keys(jwks: Any) -> list[dict[str, str]]:
    """Return the keys of a JWK Set (RFC 7517), public parts only.

    Raises InvalidInput for a set without keys, a secret or symmetric key, a missing or repeated `kid`, an
    unknown curve or an RSA modulus below 2048 bits.
    """
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or not 0 < len(keys) <= _MOST_KEYS:
        raise _bad_key("须为含公钥的 JWK Set", "A JWK Set with public keys is needed")
    read = [_public_key(key) for key in keys]
    if len({key["kid"] for key in read}) < len(read):
        raise _bad_key("kid 重复", "A kid stands twice")
    return read


def _public_key(key: Any) -> dict[str, str]:
    if not isinstance(key, dict) or not all(isinstance(key.get(name), str) for name in ("kty", "kid")):
        raise _bad_key("每个密钥须有 kty 和 kid", "Every key needs kty and kid")
    if _SECRET_PARTS & key.keys():
        raise _bad_key("只登记公钥,不要私钥或对称密钥", "Register public keys only")
    if key.get("use", "sig") != "sig":
        raise _bad_key("密钥用途须为签名", "A key is for signatures")
    names = {"EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "RSA": ("n", "e")}.get(key["kty"], ())
    if not names or not all(re.fullmatch(r"[A-Za-z0-9_-]+", str(key.get(name, ""))) for name in names):
        raise _bad_key("密钥须为完整的 EC、OKP 或 RSA 公钥", "A key is a whole EC, OKP or RSA public key")
    if "crv" in names and key["crv"] not in _CURVES:
        raise _bad_key("不支持该曲线", "The curve is not known here")
    if "n" in names and len(key["n"]) < 2048 // 6:
        raise _bad_key("RSA 密钥不足 2048 位", "An RSA key has 2048 bits at least")
    return {name: key[name] for name in ("kty", "kid", *names)} | (
        {"alg": key["alg"]} if isinstance(key.get("alg"), str) else {}
    )


def _bad_key(zh: str, en: str) -> InvalidInput:
    return InvalidInput(zh, en, field="jwks", code="bad_jwks")


def _by_issuer(iss: str, tenant: str) -> Any:
    return select(CdsClient).where(CdsClient.iss == iss, CdsClient.tenant == tenant)
