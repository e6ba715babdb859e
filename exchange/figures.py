"""What every question about figures is asked and answered with: months, a form, and when it was said."""

import re
from datetime import date
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query, Request
from fastapi.responses import Response
from pydantic import StringConstraints

from catalog.clock import Clock
from catalog.errors import InvalidInput
from catalog.figure_filters import Filters
from catalog.rules import local_day
from exchange import table_files
from exchange.table_files import FileForm, Table

_MONTH: Final = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2}))?")
First = Annotated[str | None, Query(alias="from", max_length=10, description="起始月 YYYY-MM")]
Last = Annotated[str | None, Query(alias="to", max_length=10, description="截止月 YYYY-MM(含)")]
Form = Annotated[
    Literal["json", "csv", "xlsx"],
    Query(alias="format", description="答复或文件 / as an answer, or as a file"),
]
_NEXT: Final = "上一页的 next / `next` of the page before"
Offset = Annotated[int, Query(ge=0, lt=2**31, description=_NEXT)]
After = Annotated[int, Query(ge=0, lt=2**63, description=_NEXT)]
Rows = Annotated[int, Query(ge=1, le=10_000)]
Entries = Annotated[int, Query(ge=1, le=1000)]
NoNul: Final = r"^[^\x00]*$"  # PostgreSQL keeps none in a text
AsOf = Annotated[
    str | None,
    Query(
        max_length=40,
        description="当时的数字:YYYY-MM-DD 或带时区的时间 / as it stood then: a day, or a time with its zone",
    ),
]
Named = tuple[Annotated[str, StringConstraints(max_length=32, pattern=NoNul)], ...]


def _filters(
    hospital: Annotated[Named, Query(max_length=100, description="机构代码 / hospitals")] = (),
    district: Annotated[Named, Query(max_length=100, description="其区县代码 / their districts")] = (),
    tier: Annotated[Named, Query(max_length=100, description="其等级 / their tiers")] = (),
    item: Annotated[Named, Query(max_length=100, description="项目代码 / items")] = (),
    category: Annotated[Named, Query(max_length=100, description="imaging, laboratory")] = (),
) -> Filters:
    """Return what is asked for alone; each may be given several times."""
    return Filters(hospital, district, tier, item, category)


FiltersOf = Annotated[Filters, Depends(_filters)]


def month_of(given: str | None, field: str, default: date) -> date:
    """Return the first day of a month written YYYY-MM, or the default. Raises InvalidInput."""
    if not given:
        return default
    found = _MONTH.fullmatch(given)
    try:
        if found:
            return date(int(found[1]), int(found[2]), int(found[3] or 1))
    except ValueError:
        pass
    raise InvalidInput("月份格式为 YYYY-MM", "A month is written YYYY-MM", field=field)


def months_of(clock: Clock, first: str | None, last: str | None) -> tuple[date, date]:
    """Return the first and last month asked for: this year's until now where none is. Raises InvalidInput."""
    today = local_day(clock())
    return month_of(first, "from", today.replace(month=1)), month_of(last, "to", today)


def now(clock: Clock) -> str:
    """Return the moment of an answer as it writes it."""
    return clock().isoformat(timespec="seconds")


def kept_file(content: bytes, media_type: str, name: str, months: tuple[date, date], suffix: str) -> Response:
    """Return a file to be kept by who asked and by nobody on the way, named by the months it covers."""
    named = f"{name}_{months[0]:%Y-%m}_{months[1]:%Y-%m}.{suffix}"
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{named}"'}
    return Response(content, headers=headers, media_type=media_type)


def as_file(table: Table, form: FileForm, name: str, months: tuple[date, date]) -> Response:
    """Return a table as a file to be kept. Raises InvalidInput where it is too long for that form."""
    return kept_file(table_files.write(table, form), table_files.MEDIA_TYPES[form], name, months, form)


def names_in(group_by: str) -> list[str]:
    """Return the groupings that a query names."""
    return [name.strip() for name in group_by.split(",") if name.strip()]


def page_of(form: str, offset: int, limit: int) -> dict[str, Any]:
    """Return which rows an answer has: a page of them; a file has all."""
    return {"offset": offset, "limit": limit} if form == "json" else {"offset": 0, "limit": None}


def leading_on(answer: Response, request: Request, next_after: int | None) -> Response:
    """Return a file that holds a page, with the header `Link` to the next where there is one (RFC 8288)."""
    if next_after is not None:
        following = request.url.include_query_params(after=next_after).query
        answer.headers["Link"] = f'<{request.url.path}?{following}>; rel="next"'
    return answer
