"""The regulator's report as of a moment: now, or as the books stood at a time that is past."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any

from sqlalchemy.orm import Session

from catalog import item_lists, savings
from catalog.accounting_months import revisions
from catalog.context import Catalogue
from catalog.errors import InvalidInput
from catalog.figure_filters import NO_FILTERS, Filters
from catalog.rules import HOSPITAL_ZONE


def past_moment(given: str | None, now: datetime) -> datetime | None:
    """Return a moment written as an ISO 8601 time with its zone, or as a day: the end of it in the hospitals' zone.

    None where nothing is given. Raises InvalidInput where it is written otherwise, or still to come.
    """
    if not given:
        return None
    moment = _moment(given)
    if moment > now:
        raise InvalidInput("该时刻尚未到来", "That moment is still to come", field="as_of")
    return moment


def report(
    session: Session,
    catalogue: Catalogue,
    *,
    first: date,
    last: date,
    group_by: Sequence[str],
    filters: Filters = NO_FILTERS,
    as_of: datetime | None = None,
    order: savings.Order = "key",
    offset: int = 0,
    limit: int | None = None,
) -> dict[str, Any]:
    """Return `savings.report` with the moment it is as of, and its months with how often each was opened again.

    Raises InvalidInput as that does.
    """
    at = as_of or catalogue.clock()
    items = item_lists.every_item(session, catalogue)
    told = savings.report(
        session,
        items,
        first=first,
        last=last,
        group_by=group_by,
        filters=filters,
        as_of=as_of,
        order=order,
        offset=offset,
        limit=limit,
    )
    return {"as_of": at.isoformat(), **told, "months": revisions(session, *savings.months(first, last), at)}


def _moment(given: str) -> datetime:
    try:
        if len(given) == len("2026-06-30"):
            return datetime.combine(date.fromisoformat(given), time.max, HOSPITAL_ZONE).astimezone(UTC)
        moment = datetime.fromisoformat(given)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidInput(
        "须为 YYYY-MM-DD,或带时区的时间(地址中的 + 写作 %2B)",
        "Give YYYY-MM-DD, or a time with its zone (in an address, + is written %2B)",
        field="as_of",
    )
