"""A regulator's investigations: opened with a reason and a time, closed, reviewed; and the names they let him see."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from catalog import investigations
from catalog.clock import Clock
from catalog.investigations import LONGEST_DAYS, Wanted
from catalog.rules import local_day
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.examples import answers
from exchange.periods import month_of
from exchange.question_examples import INVESTIGATED, INVESTIGATION
from exchange.savings import NoNul

router = APIRouter(tags=["investigations"])

InvestigationId = Annotated[int, Path(ge=1, lt=1 << 63)]
Number = Annotated[int, Field(ge=1, lt=1 << 63)]
Code = Annotated[str, Field(min_length=1, max_length=32, pattern=NoNul)]
Month = Annotated[str, Field(pattern=r"^\d{4}-\d{2}$")]


class InvestigationIn(BaseModel):
    """Why, for how long, and what: one entry, one decision, or a hospital's item in some months."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    reason: str = Field(
        min_length=1, max_length=500, pattern=NoNul, examples=["核实 2026-06 B医院胸部CT平扫净节约偏高"]
    )
    days: int = Field(14, ge=1, le=LONGEST_DAYS)
    entry_id: Number | None = None
    decision_id: Number | None = None
    hospital: Code | None = None
    item: Code | None = None
    first: Month | None = Field(None, alias="from", examples=["2026-06"])
    last: Month | None = Field(None, alias="to", examples=["2026-06"])

    def wanted(self, clock: Clock) -> Wanted:
        """Return what is to be investigated. Raises InvalidInput for a month that is none."""
        today = local_day(clock())
        return Wanted(
            self.entry_id,
            self.decision_id,
            self.hospital,
            self.item,
            month_of(self.first, "from", today) if self.first else None,
            month_of(self.last, "to", today) if self.last else None,
        )


class ReviewIn(BaseModel):
    """What the auditor found."""

    model_config = ConfigDict(extra="forbid")

    verdict: Literal["justified", "unjustified"]
    note: str = Field("", max_length=500, pattern=NoNul)


@router.post(
    "/v1/investigations",
    status_code=201,
    summary="立案调查 / open an investigation",
    responses=answers(INVESTIGATION, 201),
)
def open_investigation(body: InvestigationIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Let its opener see who stands behind these entries until the time is up; every look is audited."""
    wanted = body.wanted(catalogue.clock)
    lasting = timedelta(days=body.days)
    return Json(investigations.open_investigation(catalogue, caller, wanted, body.reason, lasting), 201)


@router.get(
    "/v1/investigations",
    summary="立案清单 / investigations, one's own; for an auditor all",
    responses=answers({"investigations": [INVESTIGATION]}),
)
def list_investigations(
    caller: CallerOf,
    catalogue: CatalogueOf,
    pending: Annotated[bool, Query(description="仅未审核的 / not reviewed yet")] = False,
    after: Annotated[int, Query(ge=0, lt=1 << 63)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """Return them oldest first; the last one's number is `after` of the following page."""
    found = investigations.listed(catalogue, caller, pending=pending, after=after, limit=limit)
    return Json({"investigations": found})


@router.post(
    "/v1/investigations/{investigation_id}/close",
    summary="结案 / close it",
    responses=answers({**INVESTIGATION, "closed_at": "2026-07-01T04:00:00+00:00", "open": False}),
)
def close(investigation_id: InvestigationId, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """End one's own investigation before its time."""
    return Json(investigations.close(catalogue, caller, investigation_id))


@router.post(
    "/v1/investigations/{investigation_id}/review",
    summary="审核立案 / was it justified",
    responses=answers({**INVESTIGATION, "verdict": "justified", "reviewed_by": "auditor.zhao"}),
)
def review(
    investigation_id: InvestigationId, body: ReviewIn, caller: CallerOf, catalogue: CatalogueOf
) -> Json:
    """Record an auditor's verdict; an investigation that was not justified ends at once."""
    return Json(investigations.review(catalogue, caller, investigation_id, body.verdict, body.note))


@router.get(
    "/v1/investigations/{investigation_id}/entries/{entry_id}",
    summary="一笔账目背后的人 / who stands behind one entry",
    responses=answers(INVESTIGATED),
)
def explain(
    investigation_id: InvestigationId,
    entry_id: Annotated[int, Path(ge=1, lt=1 << 63)],
    caller: CallerOf,
    catalogue: CatalogueOf,
) -> Json:
    """Return the chain of an entry with patient and doctors, while the investigation is open and reaches it."""
    return Json(investigations.explain(catalogue, caller, investigation_id, entry_id))
