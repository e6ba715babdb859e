"""The review queue over HTTP: what waits for a curator, and what he answers."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from catalog import audit, hospital_codes, mapping_reviews, results, reviews
from catalog.coded_mapping import Answered
from catalog.db import transaction
from catalog.local_codes import LocalMeaning
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


_CANDIDATE: Final = {
    "item_code": "CT07",
    "name": "胸部CT平扫",
    "name_en": "CT chest without contrast",
    "laterality": None,
    "body_part": None,
    "likelihood": "medium",
    "reason": "设备类型一致;部位一致;增强与否一致",
    "reason_en": "same device; same body part; contrast agrees",
}
TaskId = Annotated[int, Path(ge=1, lt=1 << 63, examples=[12])]


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


class MappingAnswersIn(MappingAnswerIn):
    """One answer for several questions."""

    tasks: list[Annotated[int, Field(ge=1, lt=1 << 63)]] = Field(
        min_length=1, max_length=mapping_reviews.MOST_TOGETHER, examples=[[12, 15]]
    )


class LocalCodeIn(BaseModel):
    """What a hospital's own code means; an empty item: nothing on the list."""

    model_config = ConfigDict(extra="forbid")

    item_code: str = Field("", max_length=32, examples=["CT17"])
    name: str = Field("", max_length=200, examples=["胸部"])
    laterality: Literal["L", "R", "B"] | None = Field(None, examples=["L"])
    body_part: str | None = Field(None, pattern=r"^[A-Z]{2,16}$", examples=["KNEE"])


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


@router.get(
    "/v1/admin/reviews/history",
    summary="已处理的问题 / what was answered",
    responses=answers(
        {"tasks": [{**_TASK, "state": "decided", "answer": {"items": [{"item_code": "CT17"}]}}]}
    ),
)
def review_history(
    caller: CallerOf,
    catalogue: CatalogueOf,
    before: Annotated[
        int, Query(ge=0, lt=1 << 63, description="只列编号更小的;0 为全部 / below this id; 0: all")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """Return answered questions, the newest first, each of which `reopen` takes back. Audited."""
    with transaction(catalogue.engine) as session:
        found = reviews.history(session, before=before, limit=limit)
        audit.record(session, caller, "reviews.list", count=len(found))
        return Json({"tasks": found})


@router.get(
    "/v1/admin/reviews/{task_id}",
    summary="一个问题及其候选项目 / one question and what may answer it",
    responses=answers(
        {
            **_TASK,
            "studies": 7,
            "candidates": [_CANDIDATE],
            "alike": [{"id": 15, "hospital": "C", **_TASK["details"]}],
        }
    ),
)
def one_review(task_id: TaskId, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return a question with candidates, each with its reason, and open ones of the same description. Audited."""
    return Json(mapping_reviews.show(catalogue, caller, task_id))


@router.post(
    "/v1/admin/reviews/mapping",
    summary="对多个问题作同一回答 / give several questions one answer",
    responses=answers({"answered": [12, 15], "closed": [], "studies": 9, "changed": 9}),
)
def answer_mappings(body: MappingAnswersIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Answer each of the tasks as one is answered; those closed by now are named and left as they are."""
    return Json(mapping_reviews.answer_many(catalogue, caller, body.tasks, _answered(body)))


@router.post(
    "/v1/admin/reviews/{task_id}/local-code",
    summary="说明机构代码的含义 / say what a hospital's code means",
    responses=answers({"task": 13, "changed": 1}),
)
def answer_local_code(task_id: TaskId, body: LocalCodeIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Put the code into the hospital's table; without an item: on no list. Earlier studies follow by `remap`."""
    meaning = LocalMeaning("", body.name.strip(), body.item_code, body.laterality, body.body_part)
    return Json(hospital_codes.answer(catalogue, caller, task_id, meaning))


@router.post(
    "/v1/admin/reviews/{task_id}/reopen",
    summary="撤销回答 / take an answer back",
    responses=answers({"task": 12, "studies": 7, "changed": 7}),
)
def reopen(task_id: TaskId, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Map the studies as before the answer and open the question again."""
    with transaction(catalogue.engine) as session:
        kind = reviews.one(session, task_id)["kind"]
    taken_back = hospital_codes.reopen if kind == results.UNKNOWN_CODE else mapping_reviews.reopen
    return Json(taken_back(catalogue, caller, task_id))


@router.post(
    "/v1/admin/reviews/{task_id}/mapping",
    summary="回答对应问题 / say what such studies hold",
    responses=answers({"task": 12, "studies": 7, "changed": 7}),
)
def answer_mapping(task_id: int, body: MappingAnswerIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Remember the answer for the hospital and map its earlier studies with the same header by it."""
    return Json(mapping_reviews.answer(catalogue, caller, task_id, _answered(body)))


def _answered(body: MappingAnswerIn) -> list[Answered]:
    return [Answered(each.item_code, each.laterality, each.body_part) for each in body.items]
