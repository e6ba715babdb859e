"""Prices over HTTP: which stand on a day, who lacks which, and a file of new ones."""

from datetime import date
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Query

from catalog import price_import, price_list
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.examples import answers

router = APIRouter(prefix="/v1/admin/prices", tags=["prices"])

_CSV: Final = "scope_kind,scope,item,price,from,to,source\nhospital,A,CT07,220.00,2026-01-01,,2026\n"
_PRICE: Final[dict[str, Any]] = {
    "id": 12,
    "item": "CT07",
    "name": "胸部CT平扫",
    "name_en": "CT chest without contrast",
    "scope_kind": "hospital",
    "scope": "A",
    "price_fen": 22000,
    "from": "2026-01-01",
    "to": None,
    "source": "2026",
}
_GAP: Final[dict[str, Any]] = {
    "hospital": "A",
    "name": "甲医院",
    "missing": 1,
    "items": [{"code": "CT07", "name": "胸部CT平扫", "name_en": "CT chest without contrast"}],
}
Limit = Annotated[int, Query(ge=1, le=1000)]
Day = Annotated[date | None, Query(description="哪一天;空为今天 / on which day; none: today")]


@router.get("", summary="价格 / prices", responses=answers({"prices": [_PRICE]}))
def list_prices(
    caller: CallerOf,
    catalogue: CatalogueOf,
    on: Day = None,
    scope_kind: Annotated[
        Literal["", "hospital", "region", "tier"], Query(description="适用范围的种类 / kind of scope")
    ] = "",
    scope: Annotated[str, Query(max_length=64, description="机构、地区代码或等级 / code or tier")] = "",
    item: Annotated[str, Query(max_length=32, description="项目代码 / an item")] = "",
    after: Annotated[int, Query(ge=0, lt=1 << 63, description="接着此编号往后列 / after this id")] = 0,
    limit: Limit = 100,
) -> Json:
    """Return the prices that stand on a day, in the order in which they were recorded."""
    found = price_list.prices(
        catalogue, on=on, scope_kind=scope_kind, scope=scope, item=item, after=after, limit=limit
    )
    return Json({"prices": found})


@router.get("/gaps", summary="缺少价格的项目 / items without a price", responses=answers({"gaps": [_GAP]}))
def list_gaps(
    caller: CallerOf,
    catalogue: CatalogueOf,
    on: Day = None,
    after: Annotated[
        str, Query(max_length=32, description="接着此机构代码往后列 / after this hospital")
    ] = "",
    limit: Limit = 100,
) -> Json:
    """Return hospitals that have items without a price of their own, their regions' or their tier's."""
    return Json({"gaps": price_list.gaps(catalogue, on=on, after=after, limit=limit)})


@router.post(
    "/import",
    summary="导入价格 / import prices",
    responses=answers({"new": 1, "present": 0, "dry_run": True}),
)
def import_file(
    caller: CallerOf,
    catalogue: CatalogueOf,
    body: Annotated[bytes, Body(media_type="text/csv", examples=[_CSV])],
    source: Annotated[
        str, Query(max_length=price_import.SOURCE_LIMIT, description="文件来源 / where it comes from")
    ] = "",
    dry_run: bool = False,
) -> Json:
    """Read a CSV or XLSX file, all of it or nothing; `dry_run` only says what would come of it."""
    found = price_import.import_prices(
        catalogue, caller, "upload", body, source=source.strip(), dry_run=dry_run
    )
    return Json({"new": found.new, "present": found.present, "dry_run": found.dry_run})
