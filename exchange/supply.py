"""What hospitals bring and how it is used."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from catalog import audit, item_lists, supply
from catalog.db import transaction
from catalog.rules import local_day
from catalog.scope import steady
from exchange import savings_examples, supply_files
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.figures import FiltersOf, First, Form, Last, Offset, Rows, as_file, months_of, names_in, page_of

router = APIRouter(tags=["savings"])


@router.get(
    "/v1/savings/supply",
    summary="检查检验供给与使用 / what hospitals bring and how it is used",
    responses=savings_examples.SUPPLY_ANSWERS,
)
def read_supply(
    caller: CallerOf,
    catalogue: CatalogueOf,
    filters: FiltersOf,
    first: First = None,
    last: Last = None,
    group_by: Annotated[
        str, Query(max_length=64, description="hospital, district, tier, item, category, month")
    ] = "hospital",
    within_hours: Annotated[
        int,
        Query(ge=1, le=168, description=f"及时的时限(小时) / what counts as timely: {supply.LIMITS_TOLD}"),
    ] = supply.TIMELY_HOURS,
    offset: Offset = 0,
    limit: Rows = 1_000,
    form: Form = "json",
) -> Response:
    """Return figures of what hospitals bring by month of examination, as last counted (`as_of`); `next` leads on.

    A hospital's reviewer reads of his own hospital. A file has every row, and the total ends it.
    """
    names = names_in(group_by)
    months = months_of(catalogue.clock, first, last)
    with transaction(steady(catalogue.engine)) as session:
        answer = supply.report(
            session,
            item_lists.every_item(session, catalogue),
            today=local_day(catalogue.clock()),
            first=months[0],
            last=months[1],
            group_by=names,
            filters=filters,
            within_hours=within_hours,
            **page_of(form, offset, limit),
        )
        audit.record(session, caller, "supply.read", group_by=names)
    if form != "json":
        return as_file(supply_files.supply_table(answer), form, "supply", months)
    return Json(answer)
