"""A patient's recognisable results, looked through for a stated purpose of treatment."""

from datetime import date
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from catalog import history
from catalog.context import Catalogue
from catalog.history import SearchRequest
from catalog.recognition import StillWanted
from exchange import examples
from exchange.answers import Json
from exchange.checks import Words
from exchange.deps import AtOrderOf
from exchange.examples import answers
from exchange.patients import PatientIn
from exchange.refusals import refusals

router = APIRouter(tags=["checks"])

Day = Annotated[date, Field(ge=date(1900, 1, 1), le=date(2200, 1, 1))]

_EXAMPLE: Final[dict[str, Any]] = {
    "search_id": "5b0a3a52-62c6-4a55-9c5b-0d8f1a7a2c11",
    "answer": "complete",
    "purpose": "TREAT",
    "asked_at": "2026-06-30T12:00:00+08:00",
    "item_list": "proposal-1",
    "patient": examples.CHECK["patient"],
    "results": examples.CHECK["orders"][0]["candidates"],
    "next_cursor": None,
}


class SearchIn(BaseModel):
    """Whose results, for which purpose and why; the rest narrows what is shown."""

    model_config = ConfigDict(extra="forbid")

    patient: PatientIn
    purpose: Literal["TREAT", "ETREAT", "COC"] = Field(
        description="HL7 PurposeOfUse: TREAT 诊疗, ETREAT 急诊诊疗, COC 诊疗协作", examples=["TREAT"]
    )
    reason: Words = Field(
        min_length=1, max_length=200, description="缘由 / why", examples=["门诊首诊,了解既往检查"]
    )
    items: list[Annotated[Words, Field(min_length=1, max_length=32)]] = Field(
        default_factory=list, max_length=200, description="项目代码 / item codes"
    )
    category: Literal["imaging", "laboratory"] | None = None
    modality: Words | None = Field(
        None, min_length=1, max_length=16, description="(0008,0060)", examples=["CT"]
    )
    hospital: Words | None = Field(None, min_length=1, max_length=32, description="出具机构 / who issued it")
    first_day: Day | None = Field(None, description="检查日期不早于 / exam not before")
    last_day: Day | None = Field(None, description="检查日期不晚于 / exam not after")
    cursor: str | None = Field(None, min_length=1, max_length=200, description="上一页的 next_cursor")
    limit: int = Field(50, ge=1, le=100)

    def request(self, catalogue: Catalogue, asker: str) -> SearchRequest:
        """Return the search as the catalogue takes it from the hospital `asker`. Raises InvalidInput."""
        return SearchRequest(
            document=self.patient.document(catalogue, asker),
            demographics=self.patient.demographics(),
            purpose=self.purpose,
            reason=self.reason,
            items=tuple(self.items),
            category=self.category,
            modality=self.modality,
            hospital=self.hospital,
            first_day=self.first_day,
            last_day=self.last_day,
            cursor=self.cursor,
            limit=self.limit,
        )


@router.post(
    "/v1/results/search",
    summary="按诊疗目的查阅可互认的既往结果 / look through recognisable results for a purpose",
    responses=answers(_EXAMPLE) | refusals(400, 404, 422, 503),
)
async def search_results(body: SearchIn, at_order: AtOrderOf) -> Json:
    """Return a page, newest first, under the same rules of disclosure as a check; purpose and reason are kept."""

    caller, catalogue = at_order.caller, at_order.catalogue

    def answer(wanted: StillWanted) -> dict[str, Any]:
        request = body.request(catalogue, caller.hospital_code)
        at_order.harvest.take(catalogue, caller, request.document.id_type, request.document.number)
        return history.search(catalogue, caller, request, still_wanted=wanted)

    return Json(await at_order.deadline.run(answer))
