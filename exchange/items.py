"""The recognised list over HTTP: what is in force, its versions, hospitals' codes, mapping again, scoring."""

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Path, Query

from catalog import audit, hospital_codes, item_lists, list_files, registry, remapping, results
from catalog.db import transaction
from catalog.item_diff import difference
from catalog.items import Item, ItemList
from catalog.local_codes import read_local_codes
from catalog.rules import local_day
from catalog.scoring import read_labelled_bytes, score
from catalog.spreadsheet import read_sheet
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, HospitalCode
from exchange.examples import answers

router = APIRouter(tags=["lists"])

XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
REMAP_BATCHES: Final = 10  # a call answers within seconds; the next goes on

RegionCode = Annotated[str, Query(max_length=32, description="地区代码;空为全网 / none: the whole exchange")]
VersionName = Annotated[str, Path(min_length=1, max_length=64)]
FileBody = Annotated[bytes, Body(media_type="text/csv")]


def _takes(example: str) -> dict[str, Any]:
    """Return the OpenAPI of a body that is a CSV or XLSX file."""
    content: dict[str, Any] = {
        "text/csv": {"schema": {"type": "string"}, "example": example},
        XLSX: {"schema": {"type": "string", "format": "binary"}},
    }
    return {"requestBody": {"required": True, "content": content}}


_ITEM: Final = {
    "code": "CT07",
    "name": "胸部CT平扫",
    "name_en": "CT chest without contrast",
    "category": "imaging",
    "laterality": "none",
    "spans_body_parts": False,
    "window_days": 30,
    "negative": False,
    "covers": ["CT08"],
}
_DIFF: Final = {
    "added": [{"code": "US01", "name": "腹部超声(肝胆胰脾)", "name_en": "Ultrasound of the abdomen"}],
    "dropped": [],
    "changed": [{"code": "CT07", "field": "window_days", "before": "30", "after": "14"}],
}


@router.get(
    "/v1/items",
    summary="互认项目清单 / the recognised list",
    responses=answers({"version": "proposal-1", "effective_from": "2022-03-01", "items": [_ITEM]}),
)
def items(caller: CallerOf, catalogue: CatalogueOf, region: RegionCode = "", on: date | None = None) -> Json:
    """Return the list in force, today or on a day: in a region, or for the caller's own hospital."""
    with transaction(catalogue.engine) as session:
        place = region or None
        if not region and caller.hospital_code:
            place = registry.hospital_by_code(session, caller.hospital_code).region_code
        elif region:
            place = registry.find_region(session, region).code
        day = on or local_day(catalogue.clock())
        return Json(_described(item_lists.on_day(session, catalogue, place, day)))


@router.get(
    "/v1/admin/item-lists",
    summary="清单的全部版本 / every version of every list",
    responses=answers(
        {"versions": [{"version": "proposal-1", "region": None, "effective_from": "2022-03-01"}]}
    ),
)
def list_versions(caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return every version with its region and its first day, in the order in which they take effect."""
    with transaction(catalogue.engine) as session:
        return Json({"versions": item_lists.versions(session)})


@router.get(
    "/v1/admin/item-lists/{version}",
    summary="一个清单版本 / one version",
    responses=answers({"version": "proposal-1", "effective_from": "2022-03-01", "items": [_ITEM]}),
)
def one_version(
    caller: CallerOf, catalogue: CatalogueOf, version: VersionName, region: RegionCode = ""
) -> Json:
    """Return one version exactly as it was imported."""
    with transaction(catalogue.engine) as session:
        return Json(_described(item_lists.version(session, version, region or None)))


@router.get(
    "/v1/admin/item-lists/{version}/diff",
    summary="两个版本的差别 / what a version changes",
    responses=answers({"version": "2027-1", "against": "proposal-1", "diff": _DIFF}),
)
def diff(
    caller: CallerOf,
    catalogue: CatalogueOf,
    version: VersionName,
    against: Annotated[str, Query(min_length=1, max_length=64, description="较早的版本 / the earlier one")],
    region: RegionCode = "",
) -> Json:
    """Return what a version adds, drops and alters against another of the same region."""
    with transaction(catalogue.engine) as session:
        before = item_lists.version(session, against, region or None)
        after = item_lists.version(session, version, region or None)
        return Json({"version": version, "against": against, "diff": difference(before, after).report()})


@router.post(
    "/v1/admin/item-lists",
    summary="导入清单新版本 / import a version of the list",
    openapi_extra=_takes("code,name_zh,name_en,category,…\nCT07,胸部CT平扫,CT chest,imaging,…\n"),
    responses=answers(
        {
            "version": "2027-1",
            "region": None,
            "effective_from": "2027-01-01",
            "items": 112,
            "in_force_now": False,
            "dry_run": True,
            "diff": _DIFF,
        }
    ),
)
def import_list(
    body: FileBody,
    caller: CallerOf,
    catalogue: CatalogueOf,
    version: Annotated[str, Query(max_length=64)] = "",
    effective_from: Annotated[str, Query(max_length=10, description="YYYY-MM-DD")] = "",
    title: Annotated[str, Query(max_length=200)] = "",
    source: Annotated[str, Query(max_length=500)] = "",
    region: RegionCode = "",
    dry_run: bool = False,
) -> Json:
    """Add a version, or with `dry_run` only say what it would change; any fault refuses it whole, by line.

    What the list says of itself may also stand in a sheet `header` of the XLSX. Past answers never change.
    """
    told = {
        "version": version,
        "effective_from": effective_from,
        "title_zh": title,
        "title_en": title,
        "source": source,
    }
    given = list_files.list_of("body", body, told)
    with transaction(catalogue.engine) as session:
        scope = registry.find_region(session, region).code if region else None
        wider = item_lists.wider_list(session, catalogue, scope, given.header.effective_from)
        done = item_lists.import_list(
            session, catalogue, caller, given.items(wider), region=scope, dry_run=dry_run
        )
    return Json(done.report())


@router.get(
    "/v1/admin/hospitals/{code}/local-codes",
    tags=["curation"],
    summary="机构自有项目代码 / a hospital's own codes",
    responses=answers(
        {
            "codes": [
                {
                    "local_code": "K-17",
                    "name": "胸部CT",
                    "item_code": "CT07",
                    "laterality": None,
                    "body_part": None,
                }
            ]
        }
    ),
)
def local_codes(caller: CallerOf, catalogue: CatalogueOf, code: HospitalCode) -> Json:
    """Return a hospital's codes; an empty item says that none fits."""
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, code)
        return Json({"codes": hospital_codes.codes_of(session, hospital)})


@router.post(
    "/v1/admin/hospitals/{code}/local-codes",
    tags=["curation"],
    summary="导入机构自有项目代码 / read a hospital's own codes",
    openapi_extra=_takes(
        "local_code,name,item_code,laterality,body_part\nK-17,胸部CT,CT07,,\nK-99,骨龄片,NONE,,\n"
    ),
    responses=answers({"codes": 2}),
)
def import_local_codes(
    body: FileBody, caller: CallerOf, catalogue: CatalogueOf, code: HospitalCode, dry_run: bool = False
) -> Json:
    """Take a table whole, or refuse it with every fault by line; NONE as item: on no list.

    `dry_run` keeps nothing and tells the effect: codes that are `new` or `changed`, and how many of the newest
    `studies` mapping again `would_change`.
    """
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, code)
        listed = results.list_for(session, catalogue, hospital.id)
        rows = read_local_codes("body", read_sheet("body", body), listed)
        if dry_run:
            effect = hospital_codes.try_codes(session, catalogue, hospital, rows)
            return Json({"codes": len(rows), "dry_run": True, "effect": effect.report()})
        return Json({"codes": hospital_codes.import_codes(session, catalogue, caller, hospital, rows)})


@router.get(
    "/v1/admin/remap",
    tags=["curation"],
    summary="重新对应的进度与预计影响 / how far mapping again is, and what it would change",
    responses=answers(
        {
            "last": {
                "job": 3,
                "state": "done",
                "studies": 51200,
                "total": 51200,
                "changed": 12,
                "resumed": False,
                "started_at": "2026-06-30T04:00:00+00:00",
                "finished_at": "2026-06-30T04:09:00+00:00",
            },
            "looked_at": 50,
            "would_change": 3,
        }
    ),
)
def remap_state(
    caller: CallerOf,
    catalogue: CatalogueOf,
    effect: Annotated[
        bool, Query(description="一并试算最新检查的变化 / also try the newest studies")
    ] = False,
) -> Json:
    """Return the last job; with `effect` also how many of the newest studies would be mapped otherwise now."""
    with transaction(catalogue.engine) as session:
        return Json(remapping.state(session, catalogue, effect=effect))


@router.post(
    "/v1/admin/remap",
    tags=["curation"],
    summary="重新对应已入库的检查 / map earlier studies again",
    responses=answers(
        {"job": 3, "state": "running", "studies": 2000, "total": 51200, "changed": 12, "resumed": True}
    ),
)
def remap(caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Go on with the job, or start one; call again while `state` is running. Nothing is done twice."""
    with transaction(catalogue.engine) as session:
        audit.record(session, caller, "items.remap")
    return Json(remapping.remap(catalogue, most_batches=REMAP_BATCHES).report())


@router.post(
    "/v1/admin/score",
    tags=["curation"],
    summary="用已标注样本衡量对应规则 / measure the rules on a labelled sample",
    openapi_extra=_takes(
        "modality,body_part,laterality,contrast_agent,study_description,requested_procedure,"
        "series_descriptions,protocol_names,view_positions,manufacturer,expected\n"
        "CT,CHEST,,,胸部CT平扫,,,,,,CT07\n"
    ),
    responses=answers({"headers": 1, "precision": 1.0, "coverage": 1.0, "misses": []}),
)
def score_sample(body: FileBody, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return precision, coverage and each miss with its reason; nothing of the sample is kept."""
    with transaction(catalogue.engine) as session:
        listed = item_lists.on_day(session, catalogue, None, local_day(catalogue.clock()))
    return Json(score(read_labelled_bytes("body", body, listed), listed).report())


def _described(found: ItemList) -> dict[str, object]:
    return {
        "version": found.version,
        "title": found.title_zh,
        "title_en": found.title_en,
        "status": found.status,
        "source": found.source,
        "effective_from": found.effective_from,
        "items": [_item(item) for item in found],
    }


def _item(item: Item) -> dict[str, object]:
    return {
        "code": item.code,
        "name": item.name_zh,
        "name_en": item.name_en,
        "category": item.category,
        "laterality": item.laterality,
        "spans_body_parts": item.spans_body_parts,
        "window_days": item.window_days,
        "negative": item.negative,
        "covers": item.covers,
    }
