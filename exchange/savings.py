"""The regulator's figures, the entries behind them, and their recount."""

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from catalog import audit, item_lists, ledger_entries, recount
from catalog.db import transaction
from catalog.scope import steady
from exchange import examples, savings_examples, savings_files, savings_report, statements
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, TokenKeyOf
from exchange.examples import answers
from exchange.periods import First, Last, as_of_now, file_of, kept_file, months_asked

router = APIRouter(tags=["savings"])
_ENTRIES: Final = "/v1/savings/entries"
Form = Annotated[
    Literal["json", "csv", "xlsx"],
    Query(alias="format", description="答复或文件 / as an answer, or as a file"),
]
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
    published: Publication = False,
    form: Written = "json",
) -> Response:
    """Return sums in fen by asking hospital or its district or tier, item and month; `next` leads on.

    A rate is null where nothing was asked; the total is that of all pages. A file has every row, in yuan, and the total
    ends it. With `publication` a small count is null, as is what would tell it, and `withheld` says why.
    """
    names = [name.strip() for name in group_by.split(",") if name.strip()]
    months = months_asked(catalogue.clock, first, last)
    with transaction(steady(catalogue.engine)) as session:
        report = savings_report.read(
            session,
            catalogue,
            form,
            first=months[0],
            last=months[1],
            group_by=names,
            published=published,
            offset=offset,
            limit=limit,
        )
        audit.record(session, caller, "savings.read", group_by=names)
    as_of = as_of_now(catalogue.clock)
    if form == "json":
        return Json({"as_of": as_of, **_linked(report.answer)})
    content = report.written(form, as_of)
    return kept_file(content, savings_report.MEDIA_TYPES[form], "savings", months, form)


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
    months = months_asked(catalogue.clock, first, last)
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
    as_of = as_of_now(catalogue.clock)
    if form == "json":
        return Json({"as_of": as_of, **found})
    answer = file_of(savings_files.entries_table(found, *months, as_of), form, "savings-entries", months)
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
        found = {"as_of": as_of_now(catalogue.clock), **recount.verify(session)}
        digest = statements.digest_of(found)
        audit.record(session, caller, "savings.verify", agrees=found["agrees"], sha256=digest)
    return Json({**found, "signed": statements.sign(key, caller, found, catalogue.clock())})


def _linked(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the report with a way from each row to its entries, which publication does not have."""
    if "publication" in answer:
        return answer
    rows = [row | {"entries": _entries_of(row, answer["from"], answer["to"])} for row in answer["rows"]]
    return answer | {"rows": rows}


def _entries_of(row: dict[str, Any], first: str, last: str) -> str:
    """Return where the entries behind a row are; what it is not grouped by is not narrowed."""
    month = row.get("month")
    query = {"from": month or first, "to": month or last}
    query |= {name: row[name] for name in ("hospital", "item") if name in row}
    return f"{_ENTRIES}?{urlencode(query)}"
