"""The operator's pages of systems: those that may ask for tokens, and where hospitals are told of news."""

from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Path
from fastapi.responses import Response

from exchange.web.forms import typed
from exchange.web.operator_accounts import ROLE_NAMES
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)
_CLIENTS: Final = "/v1/admin/clients"
_WEBHOOKS: Final = "/v1/admin/webhooks"
_OF_CLIENTS: Final = ("hospital_system", "doctor", "curator", "regulator", "auditor")
ClientId = Annotated[str, Path(max_length=64)]


@router.get("/operator/clients")
async def clients(visitor: VisitorOf) -> Response:
    """Show the systems that may ask for tokens."""
    return await _clients(visitor, None)


@router.post("/operator/clients")
async def add_client(visitor: VisitorOf) -> Response:
    """Register a system by its public keys."""
    form = await visitor.form()
    given = {name: typed(form, name).strip() for name in ("client_id", "role", "hospital", "jwks")}
    try:
        await visitor.ask("POST", _CLIENTS, body={**given, "jwks": _read(given["jwks"])})
    except Refusal as refusal:
        return await _clients(visitor, refusal, given)
    return visitor.go("/operator/clients", done="added")


@router.post("/operator/clients/{client_id}/{act}")
async def act_on_client(
    visitor: VisitorOf, client_id: ClientId, act: Literal["disable", "enable"]
) -> Response:
    """Shut a system out, or let it in again."""
    try:
        await visitor.ask("POST", f"{_CLIENTS}/{client_id}/{act}")
    except Refusal as refusal:
        return await _clients(visitor, refusal)
    return visitor.go("/operator/clients", done=act)


@router.get("/operator/webhooks")
async def webhooks(visitor: VisitorOf) -> Response:
    """Show where hospitals are told of news, and how their deliveries stand."""
    return await _webhooks(visitor, None)


@router.post("/operator/webhooks")
async def add_webhook(visitor: VisitorOf) -> Response:
    """Let a hospital be told at an address."""
    form = await visitor.form()
    given = {name: typed(form, name).strip() for name in ("hospital", "url")}
    try:
        await visitor.ask("POST", _WEBHOOKS, body=given)
    except Refusal as refusal:
        return await _webhooks(visitor, refusal, given)
    return visitor.go("/operator/webhooks", done="added")


@router.post("/operator/webhooks/{webhook_id}/{act}")
async def act_on_webhook(
    visitor: VisitorOf,
    webhook_id: Annotated[int, Path(ge=1, lt=1 << 63)],
    act: Literal["remove", "retry"],
) -> Response:
    """Tell an address nothing more, or try again what was given up."""
    try:
        await visitor.ask("POST", f"{_WEBHOOKS}/{webhook_id}/{act}")
    except Refusal as refusal:
        return await _webhooks(visitor, refusal)
    return visitor.go("/operator/webhooks", done=act)


async def _clients(
    visitor: Visitor, refusal: Refusal | None, given: dict[str, str] | None = None
) -> Response:
    found = await visitor.ask("GET", _CLIENTS)
    return visitor.page(
        "operator/clients.html",
        refusal.status if refusal else 200,
        clients=found["clients"],
        roles=_OF_CLIENTS,
        role_names=ROLE_NAMES,
        refusal=refusal,
        given=given or {"client_id": "", "role": "hospital_system", "hospital": "", "jwks": ""},
    )


async def _webhooks(
    visitor: Visitor, refusal: Refusal | None, given: dict[str, str] | None = None
) -> Response:
    found = await visitor.ask("GET", _WEBHOOKS)
    return visitor.page(
        "operator/webhooks.html",
        refusal.status if refusal else 200,
        webhooks=found["webhooks"],
        refusal=refusal,
        given=given or {"hospital": "", "url": ""},
    )


def _read(text: str) -> Any:
    """Return the JSON that was pasted, or the text itself: the API says what is wrong with it."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
