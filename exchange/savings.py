"""The regulator's figures, the entries behind them, and their recount."""

import re
from datetime import date
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from catalog import audit, item_lists, ledger_entries, recount, savings, supply
from catalog.clock import Clock
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.rules import local_day
from catalog.scope import steady
from exchange import examples, savings_examples, savings_files, statements, supply_files, table_files
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, TokenKeyOf
from exchange.examples import answers
from exchange.table_files import FileForm, Table

router = APIRouter(tags=["savings"])
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2}))?")
_ENTRIES: Final = "/v1/savings/entries"
First = Annotated[str | None, Query(alias="from", max_length=10, description="起始月 YYYY-MM")]
Last = Annotated[str | None, Query(alias="to", max_length=10, description="截止月 YYYY-MM(含)")]
Form = Annotated[
    Literal["json", "csv", "xlsx"],
    Query(alias="format", description="答复或文件 / as an answer, or as a file"),
]
NoNul = r"^[^\x00]*$"  # PostgreSQL keeps none in a text


@router.get(
    "/v1/savings",
    summary="节约费用与互认率 / savings and recognition rates",
    responses=savings_examples.REPORT_ANSWERS,
)
def read_savings(
    caller: CallerOf,
    catalogue: CatalogueOf,
    first: First = None,
    last: Last = None,
    group_by: Annotated[
        str, Query(max_length=64, description="hospital, district, tier, item, month")
    ] = "hospital,item,month",
    offset: Annotated[
        int, Query(ge=0, lt=2**31, description="上一页的 next / `next` of the page before")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
    form: Form = "json",
) -> Response:
    """Return sums in fen by asking hospital or its district or tier, item and month; `next` leads on.

    A rate is null where nothing was asked; the total is that of all pages. A file has every row, in yuan, and the total
    ends it.
    """
    names = [name.strip() for name in group_by.split(",") if name.strip()]
    months = _months(catalogue.clock, first, last)
    with transaction(catalogue.engine) as session:
        answer = savings.report(
            session,
            item_lists.every_item(session, catalogue),
            first=months[0],
            last=months[1],
            group_by=names,
            offset=offset if form == "json" else 0,
            limit=limit if form == "json" else None,
        )
        audit.record(session, caller, "savings.read", group_by=names)
    as_of = _as_of(catalogue.clock)
    if form != "json":
        return _file(savings_files.report_table(answer, as_of), form, "savings", months)
    for row in answer["rows"]:
        row["entries"] = _entries_of(row, answer["from"], answer["to"])
    return Json({"as_of": as_of, **answer})


@router.get(
    _ENTRIES,
    summary="数字背后的账目 / the entries behind a figure",
    responses=savings_examples.ENTRIES_ANSWERS,
)
def list_entries(
    request: Request,
    caller: CallerOf,
    catalogue: CatalogueOf,
    first: First = None,
    last: Last = None,
    hospital: Annotated[str | None, Query(max_length=32, pattern=NoNul)] = None,
    item: Annotated[str | None, Query(max_length=32, pattern=NoNul)] = None,
    after: Annotated[int, Query(ge=0, lt=2**63, description="上一页的 next / `next` of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    form: Form = "json",
) -> Response:
    """Return entries of the ledger by business date, oldest first, without names; `next` leads on.

    A file holds the same page, and the header `Link` leads on (RFC 8288).
    """
    months = _months(catalogue.clock, first, last)
    with transaction(catalogue.engine) as session:
        found = ledger_entries.page(
            session,
            first=months[0],
            last=months[1],
            hospital=hospital,
            item=item,
            after=after,
            limit=limit,
        )
        audit.record(session, caller, "savings.list", hospital=hospital, item=item)
    as_of = _as_of(catalogue.clock)
    if form == "json":
        return Json({"as_of": as_of, **found})
    answer = _file(savings_files.entries_table(found, *months, as_of), form, "savings-entries", months)
    if found["next"] is not None:
        following = request.url.include_query_params(after=found["next"]).query
        answer.headers["Link"] = f'<{_ENTRIES}?{following}>; rel="next"'
    return answer


@router.get(
    f"{_ENTRIES}/{{entry_id}}",
    summary="一笔账目的全部由来 / everything behind one entry",
    responses=answers(savings_examples.CHAIN),
)
def explain_entry(
    caller: CallerOf, catalogue: CatalogueOf, entry_id: Annotated[int, Path(ge=1, lt=2**63)]
) -> Json:
    """Return order, check, verdict, prior, evaluation, price, decision, reversals and audit of one entry; no names."""
    with transaction(catalogue.engine) as session:
        found = ledger_entries.explain(session, item_lists.every_item(session, catalogue), entry_id)
        audit.record(session, caller, "savings.show", entry_id=entry_id)
    return Json(found)


@router.post(
    "/v1/savings/verify", summary="重新核算 / recount from the events", responses=answers(examples.RECOUNT)
)
def verify(caller: CallerOf, catalogue: CatalogueOf, key: TokenKeyOf) -> Json:
    """Recount every sum from the events by different SQL, in one snapshot, list what disagrees, and sign that."""
    with transaction(steady(catalogue.engine)) as session:
        found = {"as_of": _as_of(catalogue.clock), **recount.verify(session)}
        digest = statements.digest_of(found)
        audit.record(session, caller, "savings.verify", agrees=found["agrees"], sha256=digest)
    return Json({**found, "signed": statements.sign(key, caller, found, catalogue.clock())})


@router.get(
    "/v1/savings/supply",
    summary="检查检验供给与使用 / what hospitals bring and how it is used",
    responses=savings_examples.SUPPLY_ANSWERS,
)
def read_supply(
    caller: CallerOf,
    catalogue: CatalogueOf,
    first: First = None,
    last: Last = None,
    group_by: Annotated[
        str, Query(max_length=64, description="hospital, district, tier, item, category, month")
    ] = "hospital",
    within_hours: Annotated[
        int,
        Query(ge=1, le=168, description=f"及时的时限(小时) / what counts as timely: {supply.LIMITS_TOLD}"),
    ] = supply.TIMELY_HOURS,
    offset: Annotated[
        int, Query(ge=0, lt=2**31, description="上一页的 next / `next` of the page before")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
    form: Form = "json",
) -> Response:
    """Return figures of what hospitals bring by month of examination, as last counted (`as_of`); `next` leads on.

    A hospital's reviewer reads of his own hospital. A file has every row, and the total ends it.
    """
    names = [name.strip() for name in group_by.split(",") if name.strip()]
    months = _months(catalogue.clock, first, last)
    with transaction(catalogue.engine) as session:
        answer = supply.report(
            session,
            item_lists.every_item(session, catalogue),
            today=local_day(catalogue.clock()),
            first=months[0],
            last=months[1],
            group_by=names,
            within_hours=within_hours,
            offset=offset if form == "json" else 0,
            limit=limit if form == "json" else None,
        )
        audit.record(session, caller, "supply.read", group_by=names)
    if form != "json":
        return _file(supply_files.supply_table(answer), form, "supply", months)
    return Json(answer)


def _file(table: Table, form: FileForm, name: str, months: tuple[date, date]) -> Response:
    """Return a table as a file to be kept, named by the months it covers."""
    named = f"{name}_{months[0]:%Y-%m}_{months[1]:%Y-%m}.{form}"
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{named}"'}
    return Response(table_files.write(table, form), headers=headers, media_type=table_files.MEDIA_TYPES[form])


def _entries_of(row: dict[str, Any], first: str, last: str) -> str:
    """Return where the entries behind a row are; what it is not grouped by is not narrowed."""
    month = row.get("month")
    query = {"from": month or first, "to": month or last}
    query |= {name: row[name] for name in ("hospital", "item") if name in row}
    return f"{_ENTRIES}?{urlencode(query)}"


def _months(clock: Clock, first: str | None, last: str | None) -> tuple[date, date]:
    """Return the first and last month asked for: this year's until now where none is. Raises InvalidInput."""
    today = local_day(clock())
    return _month(first, "from", today.replace(month=1)), _month(last, "to", today)


def _month(given: str | None, field: str, default: date) -> date:
    if not given:
        return default
    found = _MONTH.fullmatch(given)
    try:
        if found:
            return date(int(found[1]), int(found[2]), int(found[3] or 1))
    except ValueError:
        pass
    raise InvalidInput("月份格式为 YYYY-MM", "A month is written YYYY-MM", field=field)


def _as_of(clock: Clock) -> str:
    return clock().isoformat(timespec="seconds")
