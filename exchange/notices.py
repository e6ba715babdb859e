"""A hospital withdraws what it sent, and reads what happened to what it relied on."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from catalog import notices, withdrawals
from exchange import examples
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, HospitalCode
from exchange.examples import answers
from exchange.refusals import refusals

router = APIRouter(tags=["withdrawal"])


class StudyTurn(BaseModel):
    """A study of the caller's hospital, and why it is withdrawn or stands again."""

    model_config = ConfigDict(extra="forbid")

    StudyInstanceUID: str = Field(max_length=64, pattern=r"^[0-9.]+$", examples=["2.25.1001"])
    reason: str = Field(min_length=1, max_length=500, examples=["患者信息录入错误"])


@router.post(
    "/v1/studies/withdraw",
    summary="撤回检查 / withdraw a study",
    responses=answers({"withdrawn": True, "notices": 1}) | refusals(400, 404, 409, 422, 503),
)
def withdraw_study(body: StudyTurn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Withdraw one's own study; later decisions on it are refused, earlier ones get a notice."""
    return Json(withdrawals.withdraw_study(catalogue, caller, body.StudyInstanceUID, body.reason))


@router.post(
    "/v1/studies/restore",
    summary="取消撤回 / take a withdrawal back",
    responses=answers({"withdrawn": False, "notices": 1}) | refusals(400, 404, 409, 422, 503),
)
def restore_study(body: StudyTurn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Let a withdrawn study stand again; who relied on it is told that too."""
    return Json(withdrawals.restore_study(catalogue, caller, body.StudyInstanceUID, body.reason))


@router.post(
    "/v1/admin/hospitals/{code}/studies/withdraw",
    summary="代机构撤回检查 / withdraw a hospital's study for it",
    responses=answers({"withdrawn": True, "notices": 1}),
)
def withdraw_for(code: HospitalCode, body: StudyTurn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Withdraw a study that this hospital sent, as it could itself; the audit names the curator."""
    acting = replace(caller, hospital_code=code)
    return Json(withdrawals.withdraw_study(catalogue, acting, body.StudyInstanceUID, body.reason))


@router.post(
    "/v1/admin/hospitals/{code}/studies/restore",
    summary="代机构取消撤回 / take its withdrawal back",
    responses=answers({"withdrawn": False, "notices": 1}),
)
def restore_for(code: HospitalCode, body: StudyTurn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Let a withdrawn study of this hospital stand again."""
    acting = replace(caller, hospital_code=code)
    return Json(withdrawals.restore_study(catalogue, acting, body.StudyInstanceUID, body.reason))


@router.get(
    "/v1/notices",
    summary="所依据结果的变更通知 / news about what was relied on",
    responses=answers({"notices": [examples.NOTICE]}) | refusals(404, 422, 503),
)
def list_notices(
    caller: CallerOf,
    catalogue: CatalogueOf,
    after: Annotated[int, Query(ge=0)] = 0,
    unread: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """Return the notices of the caller's hospital, oldest first."""
    return Json({"notices": notices.notices(catalogue, caller, after=after, unread=unread, limit=limit)})


@router.post(
    "/v1/notices/{notice_id}/read",
    summary="通知已读 / a notice was read",
    responses=answers(examples.NOTICE_READ) | refusals(404, 422, 503),
)
def read_notice(
    notice_id: Annotated[int, Path(ge=1, lt=1 << 63)], caller: CallerOf, catalogue: CatalogueOf
) -> Json:
    """Note who read it first, and when."""
    return Json(notices.mark_read(catalogue, caller, notice_id))
