"""The regulator's report as it is asked for: whole or by pages, for himself or for publication, as figures or as a file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy.orm import Session

from catalog import item_lists, publication, savings
from catalog.context import Catalogue
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

    def written(self, form: ReportForm, as_of: str) -> bytes:
        """Return it as a file. Raises InvalidInput where it is too long for that form."""
        if form == "pdf":
            from exchange import savings_pdf  # its library takes as long as most commands

            return savings_pdf.report_pdf(self.answer, self.charts, as_of)
        return table_files.write(
            savings_files.report_table(self.answer, as_of), "csv" if form == "csv" else "xlsx"
        )


def read(
    session: Session,
    catalogue: Catalogue,
    form: ReportForm,
    *,
    first: date,
    last: date,
    group_by: Sequence[str],
    published: bool = False,
    offset: int = 0,
    limit: int | None = None,
) -> SavingsReport:
    """Return the report from `first` to `last`; as an answer a page of it, for a file every row.

    Raises as `savings.report`.
    """
    items = item_lists.every_item(session, catalogue)

    def cut(grouping: Sequence[str], **page: Any) -> dict[str, Any]:
        return savings.report(session, items, first=first, last=last, group_by=grouping, **page)

    page: dict[str, Any] = {"offset": offset, "limit": limit} if form == "json" else {}
    if published:  # from every row, or each page would have marks of its own
        answer = publication.published(cut(group_by), catalogue.limits.publication_least, **page)
    else:
        answer = cut(group_by, **page)
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
