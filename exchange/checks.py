"""The check before ordering, and the decision on it."""

import uuid
from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from catalog import check_list, decisions, recognition
from catalog.context import Catalogue
from catalog.decisions import DecisionRequest
from catalog.orders import OrderRequest
from catalog.recognition import CheckRequest
from catalog.registry_view import NotKept
from exchange import examples
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import AtOrderOf, CatalogueOf
from exchange.examples import answers
from exchange.patients import PatientIn
from exchange.refusals import refusals

router = APIRouter(tags=["checks"])

OrderNumber = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
# PostgreSQL keeps no NUL in a text.
Words = Annotated[str, Field(pattern=r"^[^\x00]*$")]


class OrderIn(BaseModel):
    """One order; the item by its code on the list, by the hospital's own code, or as text."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    order_id: OrderNumber = Field(examples=["MZ20260001"])
    item_code: Words | None = Field(None, max_length=32, examples=["CT07"])
    local_code: Words | None = Field(None, max_length=64)
    text: Words | None = Field(None, max_length=200, examples=["胸部CT平扫"])
    laterality: Literal["L", "R", "B"] | None = None
    body_part: Words | None = Field(
        None, max_length=64, description="仅 CT17 等跨部位项目需要 / for items that span parts"
    )

    @model_validator(mode="after")
    def _names_an_item(self) -> "OrderIn":
        if not (self.item_code or self.local_code or self.text):
            raise ValueError("one of item_code, local_code or text is needed")
        return self

    def request(self) -> OrderRequest:
        """Return the order as the catalogue takes it."""
        return OrderRequest(
            order_number=self.order_id,
            item_code=self.item_code or None,
            local_code=self.local_code or None,
            text=self.text or None,
            laterality=self.laterality,
            body_part=self.body_part or None,
        )


class CheckIn(BaseModel):
    """Who is to be examined, and what is about to be ordered."""

    model_config = ConfigDict(extra="forbid")

    patient: PatientIn
    orders: list[OrderIn] = Field(min_length=1, max_length=50)
    department: Words = Field("", max_length=64, examples=["呼吸内科"])
    urgency: Literal["routine", "emergency"] = "routine"

    def request(self, catalogue: Catalogue, asker: str) -> CheckRequest:
        """Return the question as the catalogue takes it from the hospital `asker`. Raises InvalidInput."""
        return CheckRequest(
            document=self.patient.document(catalogue, asker),
            demographics=self.patient.demographics(),
            orders=tuple(order.request() for order in self.orders),
            department=self.department,
            urgency=self.urgency,
        )


class DecisionIn(BaseModel):
    """What the doctor decided on one order."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    order_id: OrderNumber
    action: Literal["recognise", "override", "undo", "cite"]
    result_id: str | None = Field(None, pattern=r"^[0-9]{1,18}$")
    reason_code: Words | None = Field(None, max_length=16)
    reason_text: Words | None = Field(None, max_length=500)
    explained_to_patient: bool | None = None

    def request(self) -> DecisionRequest:
        """Return the decision as the catalogue takes it."""
        return DecisionRequest(
            order_number=self.order_id,
            action=self.action,
            result_id=self.result_id,
            reason_code=self.reason_code,
            reason_text=self.reason_text,
            explained_to_patient=self.explained_to_patient,
        )


@router.post(
    "/v1/checks",
    summary="开单前询问可互认的既往结果 / ask before ordering",
    responses=answers(examples.CHECK) | refusals(400, 404, 422, 503),
)
async def check(body: CheckIn, at_order: AtOrderOf) -> Json:
    """Answer within two seconds, or say 503 with `"answer": "unknown"`: never "no prior" while a store is down."""
    caller, catalogue = at_order.caller, at_order.catalogue
    request = body.request(catalogue, caller.hospital_code)
    document = request.document
    counted = at_order.harvest.count(caller, document.id_type, document.number)

    def in_a_thread(wanted: recognition.StillWanted) -> dict[str, Any]:
        at_order.harvest.act(catalogue, caller, counted)
        return recognition.check(catalogue, caller, request, still_wanted=wanted)

    async with at_order.deadline.begun() as time_left:
        if counted.alarm_people or counted.is_too_many:
            return Json(await time_left.run(in_a_thread))
        try:
            return Json(
                await recognition.check_swiftly(
                    catalogue, at_order.swift, caller, request, still_wanted=time_left.lasts
                )
            )
        except NotKept:
            return Json(await time_left.run(in_a_thread))


@router.get(
    "/v1/checks",
    summary="本人当日的询问 / one's own checks of a day",
    responses=answers(examples.CHECKS) | refusals(404, 422, 503),
)
def list_checks(
    caller: CallerOf,
    catalogue: CatalogueOf,
    day: Annotated[date | None, Query(description="日期,默认今日 / the day, today by default")] = None,
    cursor: Annotated[
        uuid.UUID | None, Query(description="上一页的 next_cursor / that of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="每页条数 / how many")] = 50,
) -> Json:
    """Return them newest first, each order with its best verdict and the decision that stands for it."""
    return Json(check_list.listed(catalogue, caller, day=day, after=cursor, limit=limit))


@router.get(
    "/v1/checks/{check_id}",
    summary="一次询问的答复与决定 / an answer as it was given",
    responses=answers(examples.CHECK_READ) | refusals(404, 422, 503),
)
def read_check(check_id: uuid.UUID, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return the answer exactly as given, with the decisions taken on it since and how each order stands now."""
    return Json(recognition.read(catalogue, caller, check_id))


@router.post(
    "/v1/checks/{check_id}/decisions",
    summary="认可、重新检查、撤销或引用 / recognise, override, undo, cite",
    responses=answers(examples.DECISION) | refusals(400, 404, 409, 410, 422, 503),
)
def decide(
    check_id: uuid.UUID,
    body: DecisionIn,
    caller: CallerOf,
    catalogue: CatalogueOf,
    idempotency_key: Annotated[str, Header()] = "",
) -> Json:
    """Record a decision once: the same Idempotency-Key with the same body gives the same answer."""
    return Json(
        decisions.decide(catalogue, caller, check_id, body.request(), idempotency_key=idempotency_key)
    )
