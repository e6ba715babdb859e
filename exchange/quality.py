"""Doubts about images, over HTTP: list, confirm, dismiss, take back."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from catalog import quality
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.examples import answers

router = APIRouter(tags=["quality"])
TaskId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[3])]

_TASK: Final[dict[str, Any]] = {
    "task_id": "3",
    "kind": "missing_slices",
    "text": "序列缺层",
    "text_en": "Slices are missing within a series",
    "StudyInstanceUID": "2.25.4711",
    "hospital": "A",
    "exam_time": "2026-06-23T04:00:00+00:00",
    "StudyDescription": "胸部CT平扫",
    "modalities": ["CT"],
    "series": 2,
    "instances": 148,
    "evidence": ["2.25.4711.1:150-151"],
    "asked_by": None,
    "reason_text": None,
    "state": "open",
    "since": "2026-06-23T04:10:00+00:00",
    "decided_by": None,
    "decided_at": None,
    "note": None,
}


_DECIDED: Final = answers({"task_id": "3", "state": "confirmed", "StudyInstanceUID": "2.25.4711"})


class NoteIn(BaseModel):
    """Why a curator decided so."""

    model_config = ConfigDict(extra="forbid")

    note: str = Field("", max_length=quality.NOTE_LIMIT, examples=["呼吸伪影,肺底无法评价"])


@router.get(
    "/v1/admin/quality",
    summary="影像质量任务 / doubts about images",
    responses=answers({"tasks": [_TASK]}),
)
def list_tasks(
    caller: CallerOf,
    catalogue: CatalogueOf,
    state: Literal["open", "confirmed", "dismissed", "resolved"] = "open",
    hospital: Annotated[str, Query(max_length=32)] = "",
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """Return a doctor's complaints and what the archive found, oldest first; audited."""
    found = quality.tasks(catalogue, caller, state=state, hospital_code=hospital, after=after, limit=limit)
    return Json({"tasks": found})


@router.post("/v1/admin/quality/{task_id}/confirm", summary="确认 / the doubt is right", responses=_DECIDED)
def confirm(task_id: TaskId, body: NoteIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Make the study reference only from the next check on."""
    return Json(quality.confirm(catalogue, caller, task_id, body.note))


@router.post(
    "/v1/admin/quality/{task_id}/dismiss", summary="驳回 / the images are good enough", responses=_DECIDED
)
def dismiss(task_id: TaskId, body: NoteIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Let the doubt count no longer; more of the same kind opens the task again."""
    return Json(quality.dismiss(catalogue, caller, task_id, body.note))


@router.post("/v1/admin/quality/{task_id}/reopen", summary="撤销 / take a decision back", responses=_DECIDED)
def reopen(task_id: TaskId, body: NoteIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Put a confirmed or dismissed task back among the open ones."""
    return Json(quality.reopen(catalogue, caller, task_id, body.note))
