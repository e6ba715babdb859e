"""Quality evaluations and their HR marks, over HTTP: list, add, import, end, what expires; consortia."""

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from catalog import qc
from catalog.qc_import import import_evaluations
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.examples import answers

router = APIRouter(tags=["quality evaluations"])
_CSV: Final = "hospital,item,scope,result,from,to\nA,CT07,重庆,合格,2026-01-01,2026-12-31\n"
_EVALUATION: Final[dict[str, Any]] = {
    "id": 12,
    "hospital": "A",
    "item": "CT07",
    "scope": "50",
    "mark": "重庆HR",
    "passed": True,
    "from": "2026-01-01",
    "to": "2026-12-31",
}


class EvaluationIn(BaseModel):
    """One evaluation, for an item or a group of items; days inclusive."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    hospital: str = Field(max_length=32, examples=["A"])
    item: str = Field(max_length=32, examples=["CT07"], description="项目代码或项目组 / an item or a group")
    scope: str = Field(max_length=64, examples=["50"])
    passed: bool = True
    first: date = Field(alias="from", examples=["2026-01-01"])
    last: date = Field(alias="to", examples=["2026-12-31"])


class EndIn(BaseModel):
    """The last day on which an evaluation counts."""

    model_config = ConfigDict(extra="forbid")

    last_day: date = Field(examples=["2026-06-30"])


class ConsortiumIn(BaseModel):
    """A consortium of hospitals; its mark is its name before HR."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(max_length=32, examples=["YUXI"])
    name: str = Field(max_length=64, examples=["渝西医联体"])
    members: list[Annotated[str, Field(max_length=32)]] = Field(
        min_length=1, max_length=2000, examples=[["A", "B"]]
    )


@router.get(
    "/v1/admin/qc",
    summary="质量评价 / quality evaluations",
    responses=answers({"evaluations": [_EVALUATION]}),
)
def list_evaluations(
    caller: CallerOf,
    catalogue: CatalogueOf,
    hospital: Annotated[str, Query(max_length=32)] = "",
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """Return evaluations with the text of their marks."""
    found = qc.evaluations(catalogue, hospital_code=hospital, after=after, limit=limit)
    return Json({"evaluations": found})


@router.post(
    "/v1/admin/qc",
    summary="登记质量评价 / record an evaluation",
    status_code=201,
    responses=answers({"id": 12}, 201),
)
def add(body: EvaluationIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Record one evaluation: a passed one gives the mark, a failed one ends an earlier pass."""
    made = qc.add(
        catalogue,
        caller,
        hospital_code=body.hospital,
        targets=[body.item],
        scope=body.scope,
        valid_from=body.first,
        valid_to=body.last,
        passed=body.passed,
    )
    return Json({"id": made[0]}, 201)


@router.get(
    "/v1/admin/qc/expiring",
    summary="即将到期的评价 / evaluations about to end",
    responses=answers({"evaluations": [{**_EVALUATION, "days_left": 31}]}),
)
def list_expiring(
    caller: CallerOf,
    catalogue: CatalogueOf,
    days: Annotated[int, Query(ge=0, le=qc.LONGEST_AHEAD_DAYS)] = 60,
) -> Json:
    """Return the passed evaluations that end within so many days with nothing to go on from them."""
    return Json({"evaluations": qc.expiring(catalogue, days)})


@router.post(
    "/v1/admin/qc/import",
    summary="导入质量评价 CSV / import evaluations",
    responses=answers({"new": 1, "present": 0, "dry_run": True}),
)
def import_file(
    caller: CallerOf,
    catalogue: CatalogueOf,
    body: Annotated[bytes, Body(media_type="text/csv", examples=[_CSV])],
    dry_run: bool = False,
) -> Json:
    """Read a CSV or XLSX file, all of it or nothing; `dry_run` only says what would come of it."""
    found = import_evaluations(catalogue, caller, "upload", body, dry_run=dry_run)
    return Json({"new": found.new, "present": found.present, "dry_run": found.dry_run})


@router.post(
    "/v1/admin/qc/consortia",
    summary="登记医联体 / make a consortium a scope",
    status_code=201,
    responses=answers({"code": "YUXI", "mark": "渝西医联体HR"}, 201),
)
def add_consortium(body: ConsortiumIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Make a consortium of hospitals a scope of recognition, or set its members anew."""
    qc.add_consortium(catalogue, caller, code=body.code, name=body.name, hospital_codes=body.members)
    return Json({"code": body.code, "mark": f"{body.name.strip()}HR"}, 201)


@router.post(
    "/v1/admin/qc/{evaluation_id}/end",
    summary="提前终止评价 / end an evaluation early",
    responses=answers({**_EVALUATION, "to": "2026-06-30"}),
)
def end(
    evaluation_id: Annotated[int, Path(ge=1, le=2**63 - 1, examples=[12])],
    body: EndIn,
    caller: CallerOf,
    catalogue: CatalogueOf,
) -> Json:
    """Make `last_day` the last on which it counts; answers already given stay as they are."""
    return Json(qc.end(catalogue, caller, evaluation_id, body.last_day))
