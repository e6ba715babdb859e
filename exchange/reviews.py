"""The review queue over HTTP: what waits for a curator, and what he answers."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from catalog import audit, mapping_reviews, reviews
from catalog.coded_mapping import Answered
from catalog.db import transaction
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.examples import answers

router = APIRouter(tags=["curation"])

_TASK: Final[dict[str, Any]] = {
    "id": 12,
    "kind": "mapping",
    "hospital": "B",
    "StudyInstanceUID": "2.25.1000",
    "details": {
        "facts": {"modality": ["CT"], "study_description": "胸CT(特)"},
        "reason": {"code": "unknown_words", "text": "描述中有未识别的词,可能指另一部位或检查"},
    },
    "state": "open",
    "answer": None,
}


class AnsweredItem(BaseModel):
    """One item that such studies hold; a body part only where the item spans several."""

    model_config = ConfigDict(extra="forbid")

    item_code: str = Field(min_length=1, max_length=32, examples=["CT17"])
    laterality: Literal["L", "R", "B"] | None = Field(None, examples=["L"])
    body_part: str | None = Field(None, pattern=r"^[A-Z]{2,16}$", examples=["KNEE"])


class MappingAnswerIn(BaseModel):
    """The items of a header; none where nothing on the list fits."""

    model_config = ConfigDict(extra="forbid")

    items: list[AnsweredItem] = Field(max_length=20)


@router.get(
    "/v1/admin/reviews",
    summary="待人工确认的问题 / what waits for a curator",
    responses=answers({"tasks": [_TASK]}),
)
def list_reviews(
    caller: CallerOf,
    catalogue: CatalogueOf,
    kind: Annotated[str, Query(max_length=32, examples=["mapping"])] = "",
    hospital: Annotated[str, Query(max_length=32)] = "",
    state: Literal["open", "decided", "dropped"] = "open",
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """Return questions in the order they were opened; read on with `after` = the last id. Audited."""
    with transaction(catalogue.engine) as session:
        found = reviews.tasks(session, kind=kind, hospital=hospital, state=state, after=after, limit=limit)
        audit.record(session, caller, "reviews.list", count=len(found))
        return Json({"tasks": found})


@router.post(
    "/v1/admin/reviews/{task_id}/mapping",
    summary="回答对应问题 / say what such studies hold",
    responses=answers({"task": 12, "studies": 7, "changed": 7}),
)
def answer_mapping(task_id: int, body: MappingAnswerIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Remember the answer for the hospital and map its earlier studies with the same header by it."""
    items = [Answered(each.item_code, each.laterality, each.body_part) for each in body.items]
    return Json(mapping_reviews.answer(catalogue, caller, task_id, items))
