"""The regulator's report as it is asked for: whole or by pages, for himself or for publication, as figures or as a file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy.orm import Session

from catalog import groupings, publication
from catalog.as_of import report
from catalog.context import Catalogue
from catalog.errors import InvalidInput
from catalog.figure_filters import NO_FILTERS, Filters
from catalog.savings import Order
from exchange import savings_files, table_files

ReportForm = Literal["json", "csv", "xlsx", "pdf"]
MEDIA_TYPES: Final[dict[ReportForm, str]] = {
    "csv": table_files.MEDIA_TYPES["csv"],
    "xlsx": table_files.MEDIA_TYPES["xlsx"],
    "pdf": "application/pdf",
}


@dataclass(frozen=True, slots=True)
class SavingsReport:
    """The figures asked for, and for a PDF the reports that its charts are drawn from."""

    answer: dict[str, Any]
    charts: Sequence[Mapping[str, Any]] = ()

    def written(self, form: ReportForm) -> bytes:
        """Return it as a file. Raises InvalidInput where it is too long for that form."""
        if form == "pdf":
            from exchange import savings_pdf  # its library takes as long as most commands

            return savings_pdf.report_pdf(self.answer, self.charts)
        return table_files.write(savings_files.report_table(self.answer), "csv" if form == "csv" else "xlsx")


def read(
    session: Session,
    catalogue: Catalogue,
    form: ReportForm,
    *,
    first: date,
    last: date,
    group_by: Sequence[str],
    filters: Filters = NO_FILTERS,
    as_of: datetime | None = None,
    published: bool = False,
    order: Order = "key",
    offset: int = 0,
    limit: int | None = None,
) -> SavingsReport:
    """Return the report from `first` to `last`; as an answer a page of it, for a file every row.

    Raises as `savings.report`, and InvalidInput for a publication of less than everything, of the past, or finer than
    the monthly sums: it could be subtracted from another; and for one in an order that tells what it withholds.
    """
    is_narrowed = filters != NO_FILTERS or as_of is not None or order != "key"
    if published and (is_narrowed or not set(group_by) <= set(groupings.GROUPINGS)):
        raise InvalidInput(
            "公开版不可筛选、不可指定时刻、不可排序,并只按机构、区县、等级、项目、月份分组",
            "A publication takes no filter, moment or order, and is by hospital, district, tier, item and month alone",
            field="publication",
        )

    def cut(grouping: Sequence[str], **page: Any) -> dict[str, Any]:
        return report(
            session,
            catalogue,
            first=first,
            last=last,
            group_by=grouping,
            filters=filters,
            as_of=as_of,
            **page,
        )

    page: dict[str, Any] = {"offset": offset, "limit": limit} if form == "json" else {}
    if published:  # from every row, or each page would have marks of its own
        answer = publication.published(cut(group_by), catalogue.limits.publication_least, **page)
    else:
        answer = cut(group_by, order=order, **page)
    return SavingsReport(answer, _cuts(answer, cut) if form == "pdf" else [])


def form_of(path: Path) -> ReportForm:
    """Return the form that a file's name asks for. Raises InvalidInput for a suffix that no report is written as."""
    return "pdf" if path.suffix.lower() == ".pdf" else table_files.form_of(path)


def _cuts(answer: dict[str, Any], read: Callable[[Sequence[str]], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the report by month, and by district or hospital, for the charts; `read` is asked for what is missing.

    For publication nothing is read: a chart of another cut would tell what the rows withhold.
    """
    place = "district" if "district" in answer["group_by"] else "hospital"
    wanted = [["month"], [place]]
    if "publication" in answer:
        return [answer for grouping in wanted if answer["group_by"] == grouping]
    return [answer if answer["group_by"] == grouping else read(grouping) for grouping in wanted]
