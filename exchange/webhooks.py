"""Where hospitals are told of news: kept by operators."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from catalog import webhooks
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.checks import Words
from exchange.deps import CatalogueOf, OutboundOf
from exchange.examples import answers
from exchange.refusals import refusals

router = APIRouter(tags=["withdrawal"])

WebhookId = Annotated[int, Path(ge=1, lt=1 << 63)]
_EXAMPLE: Final[dict[str, Any]] = {
    "webhook_id": 1,
    "hospital": "B",
    "url": "https://hooks.b.example/huren",
    "active": True,
    "created_by": "operator",
    "created_at": "2026-06-30T04:00:00+00:00",
    "queued": 0,
    "delivered": 0,
    "dead": 0,
}


class WebhookIn(BaseModel):
    """A hospital and where it wants to be told; the host must be on the list of those allowed."""

    model_config = ConfigDict(extra="forbid")

    hospital: Words = Field(min_length=1, max_length=32, examples=["B"])
    url: str = Field(min_length=1, max_length=2048, examples=["https://hooks.b.example/huren"])


@router.get(
    "/v1/admin/webhooks",
    summary="通知地址及投递情况 / webhooks and how their deliveries stand",
    responses=answers({"webhooks": [_EXAMPLE]}) | refusals(503),
)
def list_webhooks(caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return every active webhook with the numbers of its deliveries; dead ones wait for an operator."""
    return Json({"webhooks": webhooks.listed(catalogue)})


@router.post(
    "/v1/admin/webhooks",
    status_code=201,
    summary="登记通知地址 / add a webhook",
    responses=answers(_EXAMPLE, 201) | refusals(400, 404, 409, 422, 503),
)
def add_webhook(body: WebhookIn, caller: CallerOf, catalogue: CatalogueOf, outbound: OutboundOf) -> Json:
    """Let a hospital be told at an address that is on the list of hosts."""
    return Json(webhooks.add(catalogue, outbound, caller, body.hospital, body.url), 201)


@router.post(
    "/v1/admin/webhooks/{webhook_id}/remove",
    summary="停用通知地址 / remove a webhook",
    responses=answers({**_EXAMPLE, "active": False}) | refusals(404, 422, 503),
)
def remove_webhook(webhook_id: WebhookId, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Tell that address nothing more."""
    return Json(webhooks.remove(catalogue, caller, webhook_id))


@router.post(
    "/v1/admin/webhooks/{webhook_id}/retry",
    summary="重新投递 / try again what was given up",
    responses=answers({**_EXAMPLE, "queued": 1}) | refusals(404, 422, 503),
)
def retry_webhook(webhook_id: WebhookId, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Queue the dead deliveries again, oldest first, and try at once what waits."""
    return Json(webhooks.retry(catalogue, caller, webhook_id))
