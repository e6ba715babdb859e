"""The regulator's figures, the entries behind them, and their recount."""

from dataclasses import asdict
from datetime import date
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from catalog import audit, figure_axes, item_lists, ledger_entries, recount
from catalog.as_of import past_moment
from catalog.db import transaction
from catalog.event_figures import GROUPINGS
from catalog.savings import Order
from catalog.scope import steady
from exchange import examples, savings_examples, savings_files, savings_report, statements
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, TokenKeyOf
from exchange.examples import answers
from exchange.figures import (
    After,
    AsOf,
    Entries,
    FiltersOf,
    First,
    Form,
    Last,
    NoNul,
    Offset,
    Rows,
    as_file,
    kept_file,
    leading_on,
    months_of,
    names_in,
    now,
)

router = APIRouter(tags=["savings"])
_ENTRIES: Final = "/v1/savings/entries"
_TIMES: Final = {"month", "day"}
Written = Annotated[
    savings_report.ReportForm,
    Query(alias="format", description="答复或文件 / as an answer, or as a file"),
]
Publication = Annotated[
    bool,
    Query(
        alias="publication", description="对外公开:不列小的计数 / for publication: small counts are withheld"
    ),
]


@router.get(
    "/v1/savings",
    summary="节约费用与互认率 / savings and recognition rates",
    responses=savings_examples.REPORT_ANSWERS,
)
def read_savings(
    caller: CallerOf,
    catalogue: CatalogueOf,
    filters: FiltersOf,
    first: First = None,
    last: Last = None,
    as_of: AsOf = None,
    group_by: Annotated[str, Query(max_length=128, description=", ".join(GROUPINGS))] = "hospital,item,month",
    order: Annotated[
        Order, Query(description="按分组,或净节约多者在前 / by key, or by what saved most")
    ] = "key",
    offset: Offset = 0,
    limit: Rows = 1_000,
    published: Publication = False,
    form: Written = "json",
) -> Response:
    """Return sums in fen by asking hospital or its district or tier, item and month; `next` leads on.

    `as_of` gives them as they stood then, and `months` how often each month was opened again since its end. A rate is
    null where nothing was asked, and reminders are null by issuing hospital: a reminder has none. The total is that of
    all pages. A file has every row, in yuan; the total and the revisions of the months end it. With `publication` a
    small count is null, as is what would tell it, and `withheld` says why; it is of the present and of everybody.
    """
    names = names_in(group_by)
    months = months_of(catalogue.clock, first, last)
    moment = past_moment(as_of, catalogue.clock())
    with transaction(steady(catalogue.engine)) as session:
        report = savings_report.read(
            session,
            catalogue,
            form,
            first=months[0],
            last=months[1],
            group_by=names,
            filters=filters,
            as_of=moment,
            published=published,
            order=order,
            offset=offset,
            limit=limit,
        )
        audit.record(session, caller, "savings.read", group_by=names)
    if form != "json":
        return kept_file(report.written(form), savings_report.MEDIA_TYPES[form], "savings", months, form)
    narrowed = {name: value for name, value in asdict(filters).items() if value}
    narrowed |= {"as_of": report.answer["as_of"]} if moment else {}
    return Json(_linked(report.answer, narrowed))


@router.get(
    "/v1/savings/axes",
    summary="可按哪些机构与项目查看 / what figures can be narrowed to",
    responses=answers(savings_examples.AXES),
)
def read_axes(caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return hospitals, districts, tiers, items and categories by code and name; no figures."""
    with transaction(catalogue.engine) as session:
        return Json(figure_axes.axes(session, item_lists.every_item(session, catalogue)))


@router.get(
    _ENTRIES,
    summary="数字背后的账目 / the entries behind a figure",
    responses=savings_examples.ENTRIES_ANSWERS,
)
def list_entries(
    request: Request,
    caller: CallerOf,
    catalogue: CatalogueOf,
    filters: FiltersOf,
    first: First = None,
    last: Last = None,
    department: Annotated[str | None, Query(max_length=64, pattern=NoNul)] = None,
    issuing_hospital: Annotated[str | None, Query(max_length=32, pattern=NoNul)] = None,
    day: Annotated[date | None, Query(description="业务日 / business date")] = None,
    as_of: AsOf = None,
    after: After = 0,
    limit: Entries = 100,
    form: Form = "json",
) -> Response:
    """Return entries of the ledger by business date, oldest first, without names; `next` leads on.

    A file holds the same page, and the header `Link` leads on (RFC 8288).
    """
    months = months_of(catalogue.clock, first, last)
    moment = past_moment(as_of, catalogue.clock())
    with transaction(steady(catalogue.engine)) as session:
        found = ledger_entries.page(
            session,
            item_lists.every_item(session, catalogue),
            first=months[0],
            last=months[1],
            filters=filters,
            department=department,
            issuing_hospital=issuing_hospital,
            day=day,
            as_of=moment,
            after=after,
            limit=limit,
        )
        audit.record(session, caller, "savings.list", hospital=filters.hospital, item=filters.item)
    told_at = moment.isoformat() if moment else now(catalogue.clock)
    if form == "json":
        return Json({"as_of": told_at, **found})
    answer = as_file(savings_files.entries_table(found, *months, told_at), form, "savings-entries", months)
    return leading_on(answer, request, found["next"])


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
        found = {"as_of": now(catalogue.clock), **recount.verify(session)}
        digest = statements.digest_of(found)
        audit.record(session, caller, "savings.verify", agrees=found["agrees"], sha256=digest)
    return Json({**found, "signed": statements.sign(key, caller, found, catalogue.clock())})


def _linked(answer: dict[str, Any], narrowed: dict[str, Any]) -> dict[str, Any]:
    """Return the report with a way from each row to its entries, which publication does not have."""
    if "publication" in answer:
        return answer
    shared = {"from": answer["from"], "to": answer["to"], **narrowed}
    apart = {*answer["group_by"], *(("from", "to") if _TIMES & {*answer["group_by"]} else ())}
    common = urlencode({name: value for name, value in shared.items() if name not in apart}, doseq=True)
    rows = [
        row | {"entries": f"{_ENTRIES}?{'&'.join(filter(None, (common, urlencode(_own(row)))))}"}
        for row in answer["rows"]
    ]
    return answer | {"rows": rows}


def _own(row: dict[str, Any]) -> dict[str, Any]:
    """Return what the entries behind a row are asked by beyond what all rows share."""
    month = row.get("day", row.get("month", ""))[:7]
    own = {name: row[name] for name in GROUPINGS if name in row and name != "month"}
    return {"from": month, "to": month, **own} if month else own
