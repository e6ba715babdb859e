"""The regulators' forms as tables to be written to files: merged headings, money in yuan, empty where nothing is known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from exchange.table_files import Cell, Column, Table

_FORMATS: Final = {"text": "@", "count": "#,##0", "flag": "0", "rate": "0.00%", "fen": "#,##0.00"}
_INSTITUTIONS: Final = Column(
    "机构数", "institutions", "该类机构的数目", "How many institutions are of the class", "#,##0"
)
_TOTAL: Final = "合计 total"
_SHEETS: Final = {
    "institution": ("机构 institutions", "分类汇总 by class"),
    "national": ("月报 monthly", ""),
}


def form_table(filled: Mapping[str, Any], as_of: str) -> Table:
    """Return a form as `filled_forms.fill` gives it; a summary by class is a table of its own."""
    columns = filled["columns"]
    sheet, summary_sheet = _SHEETS[filled["form"]]
    period = f"{filled['from']} — {filled['to']}"
    table = Table(
        title=sheet,
        facts=[
            ("期间 period", period),
            ("截至 as of", as_of),
            ("报表版本 version", filled["version"]),
            ("出处 source", filled["source"]),
            *((note["zh"], note["en"]) for note in filled["notes"]),
        ],
        columns=[_column(each) for each in columns],
        rows=[_cells(columns, row) for row in filled["rows"]],
        total=[_TOTAL, *_cells(columns[1:], filled["total"])],
        banner=f"{filled['title']} {filled['title_en']} · {period}",
    )
    return replace(table, more=[_summary(table, filled, summary_sheet)] if filled["summary"] else [])


def _summary(table: Table, filled: Mapping[str, Any], sheet: str) -> Table:
    kept = [column for column in filled["columns"] if column["kind"] != "text"]
    label = _column(next(column for column in filled["columns"] if column["key"] == "class"))
    return replace(
        table,
        title=sheet,
        columns=[label, _INSTITUTIONS, *(_column(each) for each in kept)],
        rows=[[row["class"], row["institutions"], *_cells(kept, row)] for row in filled["summary"]],
        total=[_TOTAL, filled["total"]["institutions"], *_cells(kept, filled["total"])],
    )


def _column(told: Mapping[str, str]) -> Column:
    return Column(
        told["zh"],
        told["en"],
        told["meaning_zh"],
        told["meaning_en"],
        _FORMATS[told["kind"]],
        f"{told['group_zh']} {told['group_en']}"
        if told["group_zh"] not in ("", told["group_en"])
        else told["group_zh"],
    )


def _cells(columns: Sequence[Mapping[str, str]], row: Mapping[str, Any]) -> list[Cell]:
    return [_cell(column["kind"], row.get(column["key"])) for column in columns]


def _cell(kind: str, value: Cell) -> Cell:
    return Decimal(value).scaleb(-2) if kind == "fen" and isinstance(value, int) else value
