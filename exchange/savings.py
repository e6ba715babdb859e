"""The regulator's figures and their recount."""

import re
from datetime import date
from typing import Annotated, Final

from fastapi import APIRouter, Query

from catalog import audit, item_lists, savings
from catalog.clock import Clock
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.rules import local_day
from catalog.scope import steady
from exchange import examples
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.examples import answers

router = APIRouter(tags=["savings"])
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2}))?")


@router.get(
    "/v1/savings",
    summary="节约费用与互认率 / savings and recognition rates",
    responses=answers(examples.SAVINGS),
)
def read_savings(
    caller: CallerOf,
    catalogue: CatalogueOf,
    first: Annotated[str | None, Query(alias="from", max_length=10, description="起始月 YYYY-MM")] = None,
    last: Annotated[str | None, Query(alias="to", max_length=10, description="截止月 YYYY-MM(含)")] = None,
    group_by: Annotated[str, Query(max_length=64)] = "hospital,item,month",
) -> Json:
    """Return sums in fen by asking hospital, item and month; a rate is null where nothing was asked."""
    today = local_day(catalogue.clock())
    names = [name.strip() for name in group_by.split(",") if name.strip()]
    with transaction(catalogue.engine) as session:
        answer = savings.report(
            session,
            item_lists.every_item(session, catalogue),
            first=_month(first, "from", today.replace(month=1)),
            last=_month(last, "to", today),
            group_by=names,
        )
        audit.record(session, caller, "savings.read", group_by=names)
    return Json({"as_of": _as_of(catalogue.clock), **answer})


@router.post(
    "/v1/savings/verify", summary="重新核算 / recount from the events", responses=answers(examples.RECOUNT)
)
def verify(caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Recount every sum from the decisions by different SQL, in one snapshot, and list what disagrees."""
    with transaction(steady(catalogue.engine)) as session:
        answer = savings.verify(session)
        audit.record(session, caller, "savings.verify", agrees=answer["agrees"])
    return Json({"as_of": _as_of(catalogue.clock), **answer})


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
