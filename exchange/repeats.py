"""The other side of the account over HTTP: what was examined again, why it was refused, and who did not answer."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from catalog import audit, item_lists, refusals, repeat_figures
from catalog.as_of import past_moment
from catalog.db import transaction
from catalog.repeat_figures import Order
from catalog.repetition import Kind
from catalog.scope import steady
from exchange import repeat_examples, repeat_files
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.figures import (
    After,
    AsOf,
    Entries,
    FiltersOf,
    First,
    Form,
    Last,
    Offset,
    Rows,
    as_file,
    leading_on,
    months_of,
    names_in,
    now,
    page_of,
)

router = APIRouter(tags=["savings"])
_ENTRIES: Final = "/v1/savings/repeats/entries"


@router.get(
    "/v1/savings/repeats",
    summary="可避免的重复检查 / avoidable repeats",
    responses=repeat_examples.REPORT_ANSWERS,
)
def read_repeats(
    caller: CallerOf,
    catalogue: CatalogueOf,
    filters: FiltersOf,
    first: First = None,
    last: Last = None,
    as_of: AsOf = None,
    group_by: Annotated[
        str, Query(max_length=64, description="hospital, district, tier, item, month")
    ] = "hospital,item,month",
    order: Annotated[Order, Query(description="按分组,或可避免费用多者在前 / by key, or by cost")] = "key",
    offset: Offset = 0,
    limit: Rows = 1_000,
    form: Form = "json",
) -> Response:
    """Return examinations done although another was recognisable, by how that came, and what they cost in fen.

    Grouped by who did them; the month is that of the examination. `as_of` gives them as they stood then. A file has
    every row, in yuan.
    """
    names = names_in(group_by)
    months = months_of(catalogue.clock, first, last)
    moment = past_moment(as_of, catalogue.clock())
    with transaction(steady(catalogue.engine)) as session:
        answer = repeat_figures.report(
            session,
            item_lists.every_item(session, catalogue),
            first=months[0],
            last=months[1],
            group_by=names,
            filters=filters,
            as_of=moment,
            order=order,
            **page_of(form, offset, limit),
        )
        audit.record(session, caller, "repeats.read", group_by=names)
    told_at = moment.isoformat() if moment else now(catalogue.clock)
    if form != "json":
        return as_file(repeat_files.report_table(answer, told_at), form, "repeats", months)
    return Json({"as_of": told_at, **answer})


@router.get(
    _ENTRIES,
    summary="逐项重复检查 / the repeats behind a figure",
    responses=repeat_examples.ENTRIES_ANSWERS,
)
def list_repeats(
    request: Request,
    caller: CallerOf,
    catalogue: CatalogueOf,
    filters: FiltersOf,
    first: First = None,
    last: Last = None,
    as_of: AsOf = None,
    kind: Kind | None = None,
    superseded: Annotated[bool, Query(description="含不再成立者 / also those that did not hold")] = False,
    after: After = 0,
    limit: Entries = 100,
    form: Form = "json",
) -> Response:
    """Return single repeats by number, oldest first, without names; `next` leads on.

    A file holds the same page, and the header `Link` leads on (RFC 8288).
    """
    months = months_of(catalogue.clock, first, last)
    moment = past_moment(as_of, catalogue.clock())
    with transaction(steady(catalogue.engine)) as session:
        found = repeat_figures.page(
            session,
            item_lists.every_item(session, catalogue),
            first=months[0],
            last=months[1],
            filters=filters,
            as_of=moment,
            kind=kind,
            superseded=superseded,
            after=after,
            limit=limit,
        )
        audit.record(session, caller, "repeats.list", hospital=filters.hospital, item=filters.item)
    told_at = moment.isoformat() if moment else now(catalogue.clock)
    if form == "json":
        return Json({"as_of": told_at, **found})
    answer = as_file(repeat_files.entries_table(found, *months, told_at), form, "repeats-entries", months)
    return leading_on(answer, request, found["next"])


@router.get(
    "/v1/savings/reasons",
    summary="复检理由与未答复的提醒 / refusals by reason, reminders unanswered",
    responses=repeat_examples.REASONS_ANSWERS,
)
def read_reasons(
    caller: CallerOf,
    catalogue: CatalogueOf,
    filters: FiltersOf,
    first: First = None,
    last: Last = None,
    form: Form = "json",
) -> Response:
    """Return decisions to examine again by their reason, standing and undone, and the reminders without a decision."""
    months = months_of(catalogue.clock, first, last)
    with transaction(steady(catalogue.engine)) as session:
        answer = refusals.by_reason(
            session,
            item_lists.every_item(session, catalogue),
            catalogue.override_reasons,
            first=months[0],
            last=months[1],
            filters=filters,
        )
        audit.record(session, caller, "refusals.read", hospital=filters.hospital, item=filters.item)
    told_at = now(catalogue.clock)
    if form != "json":
        return as_file(repeat_files.reasons_table(answer, told_at), form, "reasons", months)
    return Json({"as_of": told_at, **answer})
