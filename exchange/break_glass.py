"""Emergency access by a doctor, and its review by the hospital's privacy reviewer."""

from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from catalog import break_glass
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, HarvestOf
from exchange.examples import answers
from exchange.patients import PatientIn

router = APIRouter(tags=["break-glass"])

GrantId = Annotated[int, Path(ge=1, lt=1 << 63)]
_STRICT: Final = ConfigDict(extra="forbid")
_OPENED: Final[dict[str, Any]] = {
    "grant_id": "7",
    "granted_at": "2026-06-30T04:00:00+00:00",
    "expires_at": "2026-06-30T05:00:00+00:00",
    "review": "pending",
}
_LISTED: Final[dict[str, Any]] = {
    "grant_id": "7",
    "subject": "dr.li",
    "hospital": "B",
    "person_id": 12,
    "reason": "抢救,患者昏迷",
    "granted_at": "2026-06-30T04:00:00+00:00",
    "expires_at": "2026-06-30T05:00:00+00:00",
    "in_force": False,
    "verdict": "justified",
    "note": "",
    "reviewed_by": "privacy.zhao",
    "reviewed_at": "2026-07-01T01:00:00+00:00",
}


class BreakGlassIn(BaseModel):
    """Whose history is needed, why, and for how long."""

    model_config = _STRICT

    patient: PatientIn
    reason: str = Field(min_length=1, max_length=500, examples=["抢救,患者昏迷"])
    minutes: int = Field(60, ge=1, le=480)


class ReviewIn(BaseModel):
    """What the reviewer found."""

    model_config = _STRICT

    verdict: Literal["justified", "unjustified"]
    note: str = Field("", max_length=500)


@router.post(
    "/v1/break-glass",
    status_code=201,
    summary="紧急访问 / emergency access without a check",
    responses=answers(_OPENED, 201),
)
def open_glass(body: BreakGlassIn, caller: CallerOf, catalogue: CatalogueOf, harvest: HarvestOf) -> Json:
    """Let the doctor see the person until the time is up; every use is reviewed."""
    document = body.patient.document(catalogue, caller.hospital_code)
    harvest.take(catalogue, caller, document.id_type, document.number)
    lasting = timedelta(minutes=body.minutes)
    return Json(break_glass.open_glass(catalogue, caller, document, body.reason, lasting), 201)


@router.post(
    "/v1/break-glass/{grant_id}/end",
    summary="提前结束紧急访问 / end it early",
    responses=answers({"grant_id": "7", "ended_at": "2026-06-30T04:20:00+00:00"}),
)
def end(grant_id: GrantId, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """End one's own emergency access."""
    return Json(break_glass.end(catalogue, caller, grant_id))


@router.get(
    "/v1/admin/break-glass",
    summary="紧急访问清单 / emergency accesses, for review",
    responses=answers({"accesses": [_LISTED]}),
)
def list_accesses(
    caller: CallerOf,
    catalogue: CatalogueOf,
    pending: bool = False,
    after: Annotated[int, Query(ge=0, lt=1 << 63)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """Return them oldest first; a reviewer who belongs to a hospital sees that hospital's alone."""
    found = break_glass.listed(catalogue, caller, pending=pending, after=after, limit=limit)
    return Json({"accesses": found})


@router.post(
    "/v1/admin/break-glass/{grant_id}/review",
    summary="审核紧急访问 / was it justified",
    responses=answers(_LISTED),
)
def review(grant_id: GrantId, body: ReviewIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Record the verdict; an access that was not justified ends at once."""
    return Json(break_glass.review(catalogue, caller, grant_id, body.verdict, body.note))
