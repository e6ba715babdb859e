"""For operators: the systems that may ask for tokens."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from catalog import audit, clients
from catalog.clients import Registration
from catalog.db import transaction
from catalog.errors import InvalidInput
from exchange.answers import Json
from exchange.auth import CallerOf, scopes_of
from exchange.deps import CatalogueOf
from exchange.examples import answers
from exchange.jwk import registered_keys
from exchange.tokens import refuse_role

router = APIRouter(prefix="/v1/admin/clients", tags=["clients"])

ClientId = Annotated[str, Path(min_length=1, max_length=64)]
_EXAMPLE: Final[dict[str, Any]] = {
    "client_id": "his-a",
    "hospital": "A",
    "role": "hospital_system",
    "scopes": ["checks.read", "checks.write"],
    "keys": [{"kid": "2026-1", "kty": "EC"}],
    "active": True,
    "created_by": "operator.zhao",
    "created_at": "2026-06-30T04:00:00+00:00",
}


class KeysIn(BaseModel):
    """Public keys as a JWK Set (RFC 7517)."""

    model_config = ConfigDict(extra="forbid")

    jwks: dict[str, Any]


class ClientIn(KeysIn):
    """A system to register."""

    client_id: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$", examples=["his-a"])
    hospital: str = Field("", max_length=32)
    role: Literal["hospital_system", "doctor", "curator", "regulator", "auditor"] = "hospital_system"
    scopes: list[str] | None = Field(None, description="不给则为角色的全部 / none: all of the role")


@router.get("", summary="已登记的客户端 / registered clients", responses=answers({"clients": [_EXAMPLE]}))
def list_clients(caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return every client, with the names of its keys; audited."""
    with transaction(catalogue.engine) as session:
        audit.record(session, caller, "clients.list")
    return Json({"clients": clients.listed(catalogue)})


@router.post("", status_code=201, summary="登记客户端 / register a client", responses=answers(_EXAMPLE, 201))
def add_client(body: ClientIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Let a system get tokens with a key of its own; its keys are given here and fetched from nowhere."""
    given = registration(body.client_id, body.role, body.hospital, body.scopes, body.jwks)
    return Json(clients.add(catalogue, caller, given), 201)


@router.post("/{client_id}/keys", summary="更换公钥 / other keys", responses=answers(_EXAMPLE))
def rotate_client(client_id: ClientId, body: KeysIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Take these keys and forget the earlier ones; give both while a system changes over."""
    return Json(clients.rotate(catalogue, caller, client_id, registered_keys(body.jwks)))


@router.post(
    "/{client_id}/disable",
    summary="停用客户端 / shut a client out",
    responses=answers(_EXAMPLE | {"active": False}),
)
def disable_client(client_id: ClientId, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Give it no token any more; those it has end within seconds."""
    return Json(clients.set_active(catalogue, caller, client_id, active=False))


@router.post("/{client_id}/enable", summary="恢复客户端 / let a client in again", responses=answers(_EXAMPLE))
def enable_client(client_id: ClientId, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Give it tokens again."""
    return Json(clients.set_active(catalogue, caller, client_id, active=True))


def registration(
    client_id: str, role: str, hospital: str, scopes: list[str] | None, jwks: Any
) -> Registration:
    """Return what may be registered. Raises InvalidInput for a role without its hospital, scopes or keys."""
    refuse_role(role, hospital)
    allowed = scopes_of(role)
    wanted = allowed if scopes is None else frozenset(scopes)
    if not wanted or not wanted <= allowed:
        raise InvalidInput(
            f"该角色的授权范围为:{' '.join(sorted(allowed))}",
            f"The scopes of this role are {' '.join(sorted(allowed))}",
            field="scopes",
            code="unknown_scope",
        )
    return Registration(client_id, role, hospital, tuple(sorted(wanted)), registered_keys(jwks))
