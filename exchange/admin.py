"""For curators and operators: what arrived, what is on no list, what contradicts."""

from datetime import datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from catalog import audit, conflicts, queues, results, sealed_numbers, visibility, withdrawals
from catalog.completeness import stands
from catalog.db import transaction
from catalog.identity import display_name
from catalog.reasons import OverrideReason
from catalog.tables import Hospital, Result, Study
from exchange import examples
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.examples import answers

router = APIRouter()
Limit = Annotated[int, Query(ge=1, le=1000)]
Before = Annotated[
    int, Query(ge=0, lt=1 << 63, description="只列编号更小的;0 为全部 / below this id; 0: all")
]
HospitalFilter = Annotated[str, Query(max_length=32, description="只列该机构 / of this hospital")]
ConflictId = Annotated[int, Path(ge=1, lt=1 << 63, examples=[5])]
_SETTLED: Final = {"id": 5, "state": "settled", "reference_only": False}


class NoteIn(BaseModel):
    """What a curator found when he looked."""

    model_config = ConfigDict(extra="forbid")

    note: str = Field("", max_length=conflicts.NOTE_LIMIT, examples=["设备重发,内容相同"])


@router.get(
    "/v1/reasons",
    tags=["lists"],
    summary="重新检查的理由 / reasons for repeating",
    responses=answers(examples.REASONS),
)
def reasons(caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return the reasons an override may give."""
    return Json({"reasons": [_reason(reason) for reason in catalogue.override_reasons.values()]})


@router.get(
    "/v1/admin/studies",
    tags=["curation"],
    summary="收到的检查 / studies received",
    responses=answers(examples.STUDIES),
)
def list_studies(
    caller: CallerOf, catalogue: CatalogueOf, hospital: str = "", after: int = 0, limit: Limit = 100
) -> Json:
    """Return studies in the order they first came, as their hospital named the patient; audited.

    None of somebody who opted out of sharing; a number that is a document is masked.
    """
    query = (
        select(Study, Hospital.code)
        .join(Hospital, Hospital.id == Study.hospital_id)
        .where(Study.id > after, visibility.study_listed())
        .order_by(Study.id)
        .limit(limit)
    )
    if hospital:
        query = query.where(Hospital.code == hospital)
    now = catalogue.clock()
    with transaction(catalogue.engine) as session:
        rows = session.execute(query).tuples().all()
        found: dict[int, list[str]] = {study.id: [] for study, _ in rows}
        for study_id, code in session.execute(
            select(Result.study_id, Result.item_code).where(
                Result.study_id.in_(found), Result.status == "active"
            )
        ).tuples():
            found[study_id or 0].append(code)
        audit.record(session, caller, "studies.list", count=len(rows))
        listed = [
            _study(study, code, found[study.id], now)
            | {"PatientID": sealed_numbers.shown(session, catalogue, study.patient_id)}
            for study, code in rows
        ]
        return Json({"studies": listed})


@router.get(
    "/v1/admin/unmapped",
    tags=["curation"],
    summary="未对应清单的检查 / studies on no list",
    responses=answers(examples.UNMAPPED),
)
def list_unmapped(
    caller: CallerOf,
    catalogue: CatalogueOf,
    hospital: HospitalFilter = "",
    before: Before = 0,
    limit: Limit = 100,
) -> Json:
    """Return what the rules could not place, with the reason, newest first; audited."""
    with transaction(catalogue.engine) as session:
        rows = results.unmapped(session, hospital=hospital, before=before, limit=limit)
        audit.record(session, caller, "unmapped.list", count=len(rows))
        return Json({"studies": rows})


@router.get(
    "/v1/admin/conflicts",
    tags=["curation"],
    summary="相互矛盾的影像 / contradicting instances",
    responses=answers(examples.CONFLICTS),
)
def list_conflicts(
    caller: CallerOf,
    catalogue: CatalogueOf,
    state: Annotated[
        Literal["", "open", "settled"], Query(description="只列此状态;空为全部 / of this state; none: all")
    ] = "",
    before: Before = 0,
    limit: Limit = 100,
) -> Json:
    """Return instances that share a UID with other bytes, or claim another's study; both are kept. Audited."""
    with transaction(catalogue.engine) as session:
        rows = conflicts.conflicts(session, state=state, before=before, limit=limit)
        audit.record(session, caller, "conflicts.list", count=len(rows))
        return Json({"conflicts": rows})


@router.post(
    "/v1/admin/conflicts/{conflict_id}/settle",
    tags=["curation"],
    summary="确认以先到者为准 / the first instance counts",
    responses=answers(_SETTLED),
)
def settle_conflict(conflict_id: ConflictId, body: NoteIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Say that somebody has looked; once all of a study's are settled it may be recognised again."""
    return Json(conflicts.settle(catalogue, caller, conflict_id, body.note))


@router.post(
    "/v1/admin/conflicts/{conflict_id}/reopen",
    tags=["curation"],
    summary="撤销确认 / take it back",
    responses=answers({**_SETTLED, "state": "open", "reference_only": True}),
)
def reopen_conflict(conflict_id: ConflictId, body: NoteIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Put a settled contradiction back among the open ones; the study is reference only again."""
    return Json(conflicts.reopen(catalogue, caller, conflict_id, body.note))


@router.get(
    "/v1/admin/withdrawn",
    tags=["curation"],
    summary="已撤回的检查 / withdrawn studies",
    responses=answers(examples.WITHDRAWN),
)
def list_withdrawn(
    caller: CallerOf,
    catalogue: CatalogueOf,
    hospital: HospitalFilter = "",
    before: Before = 0,
    limit: Limit = 100,
) -> Json:
    """Return what hospitals took back, with the reason they gave; audited."""
    with transaction(catalogue.engine) as session:
        rows = withdrawals.withdrawn(session, hospital=hospital, before=before, limit=limit)
        audit.record(session, caller, "withdrawn.list", count=len(rows))
        return Json({"studies": rows})


@router.get(
    "/v1/admin/queues",
    tags=["curation"],
    summary="各队列的待办数 / what waits, queue by queue",
    responses=answers(examples.QUEUES),
)
def list_queues(caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return how much waits in each queue, counted up to `most`; `more` says that there is more. Audited."""
    return Json(queues.counts(catalogue, caller))


def _study(study: Study, hospital: str, item_codes: list[str], now: datetime) -> dict[str, object]:
    complete, flagged = stands(
        now,
        images_complete=study.images_complete,
        settles_at=study.settles_at,
        flagged=study.quality_flagged,
        count_short=study.count_short,
    )
    return {
        "id": study.id,
        "StudyInstanceUID": study.uid,
        "hospital": hospital,
        "PatientName": display_name(study.patient_name),
        "name_rule": study.name_rule,
        "identity": study.identity,
        "exam_time": study.exam_time,
        "exam_time_source": study.exam_time_source,
        "StudyDescription": study.description,
        "modalities": study.modalities,
        "series": study.series_count,
        "instances": study.instance_count,
        "size_bytes": study.size_bytes,
        "items": sorted(item_codes),
        "unmapped_reason": study.unmapped_reason,
        "images_complete": complete,
        "settles_at": None if complete else study.settles_at,
        "quality_flagged": flagged,
        "uid_conflict": study.uid_conflict,
    }


def _reason(reason: OverrideReason) -> dict[str, object]:
    return {
        "code": reason.code,
        "text": reason.zh,
        "text_en": reason.en,
        "parent": reason.parent,
        "needs_text": reason.needs_text,
        "counts_as_refusal": reason.counts_as_refusal,
    }
