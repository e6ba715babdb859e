"""The regulator's report as a PDF: what it covers, its totals, two charts, every row, the gaps, and what the figures are."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

from catalog.errors import InvalidInput
from catalog.form_months import FormMonths
from exchange.pdf_charts import Bar, bars_and_shares, lying_bars
from exchange.pdf_pages import Line, Pages
from exchange.savings_files import report_table, told
from exchange.table_files import Column, Table

MOST_ROWS: Final = 2_000  # some seventy pages
MOST_BARS: Final = 20
Report = Mapping[str, Any]
_TITLE: Final = ("检查检验结果互认节约费用报告", "Savings by mutual recognition")
_TOTALS: Final[tuple[tuple[str, Line], ...]] = (
    ("net_fen", ("净节约(元)", "net savings, yuan")),
    ("saved_fen", ("节约(元)", "saved, yuan")),
    ("reversed_fen", ("冲回(元)", "reversed, yuan")),
    ("rate", ("互认率", "rate of recognition")),
    ("reminders", ("提醒", "reminders")),
    ("recognised", ("认可", "recognised")),
    ("refused", ("复检", "refused")),
    ("excused", ("不计", "excused")),
    ("beyond_duty", ("超出义务", "beyond duty")),
    ("cited", ("引用", "cited")),
    ("undone", ("撤销", "undone")),
    ("unpriced", ("无价格", "unpriced")),
)
_GAPS: Final = (
    Column("机构代码", "hospital", "申请机构的代码", "Code of the asking hospital"),
    Column("项目代码", "item", "互认清单中的项目代码", "Code of the item on the recognised list"),
    Column("互认", "recognised", "无价格的互认数", "Recognitions without a price", "#,##0"),
)
_RECOUNT: Final[tuple[Line, ...]] = (
    (
        "本报告取自月度汇总,其本身不是核算。任何数字都可由事件用另一套 SQL 重新核算:POST /v1/savings/verify 或 huren savings verify,结果列出每处不一致并签名。",
        "This report is taken from the monthly sums and is no recount. Every figure can be recounted from the events by other SQL:"
        " POST /v1/savings/verify or huren savings verify lists each disagreement and signs what it found.",
    ),
    (
        "迟到的数据会重开所属月份:截至时间之后,同一期间的数字可能变化。",
        "Late data re-opens its month: after the as-of time the figures of the same period can change.",
    ),
)


def report_pdf(answer: Report, charts: Sequence[Report]) -> bytes:
    """Return the whole report as a PDF. Raises InvalidInput where it has too many rows to be read on paper."""
    if len(answer["rows"]) > MOST_ROWS:
        raise InvalidInput(
            f"PDF 至多 {MOST_ROWS} 行,请减少分组、缩小范围,或用 CSV、XLSX",
            f"A PDF has up to {MOST_ROWS} rows: group by less, ask for less, or take CSV or XLSX",
            field="format",
        )
    period = f"{answer['from']} — {answer['to']}"
    pages = Pages(f"{_TITLE[0]} {period}", datetime.fromisoformat(answer["as_of"]))
    pages.write_heading(_TITLE, 16)
    table = report_table(answer)
    pages.write_lines((f"{name}: {value}", "") for name, value in table.facts)
    _write_totals(pages, answer)
    for chart in charts:
        _CHARTS[chart["group_by"][0]](pages, chart)
    pages.turn("landscape")
    pages.write_heading(("明细", "Rows"))
    pages.write_table(table)
    _write_gaps(pages, answer)
    pages.write_heading(("数字的含义", "What the figures are"))
    pages.write_lines(((f"{c.heading}:{c.meaning_zh}。", f"{c.meaning_en}.") for c in table.columns), 8)
    pages.write_heading(("重新核算", "Recount"))
    pages.write_lines(_RECOUNT, 8)
    return pages.finished()


def _write_totals(pages: Pages, answer: Report) -> None:
    pages.write_heading(("合计", "Total"))
    columns = [Column(zh, en, zh, en, "#,##0") for _, (zh, en) in _TOTALS]
    half = len(_TOTALS) // 2
    values = [told(answer, answer["total"], name) for name, _ in _TOTALS]
    for part in (slice(0, half), slice(half, None)):
        pages.write_table(Table("合计", [], columns[part], [values[part]]))


def _write_gaps(pages: Pages, answer: Report) -> None:
    pages.write_heading(("无价格的互认", "Recognised without a price"))
    if not answer["unpriced"]:
        pages.write_lines([("无。", "None.")])
        return
    pages.write_lines([("下列互认没有适用的价格,节约计为 0。", "No price applied to these: each saves 0.")])
    rows = [[gap["hospital"], gap["item"], gap["recognised"]] for gap in answer["unpriced"]]
    pages.write_table(Table("无价格", [], _GAPS, rows))


def _draw_months(pages: Pages, report: Report) -> None:
    pages.write_heading(
        ("各月净节约(柱,元)与互认率(线)", "Net savings by month (bars, yuan) and rate (line)")
    )
    bars = {row["month"]: _bar(report, row, row["month"]) for row in report["rows"]}
    months = [date.fromisoformat(f"{month}-01") for month in (min(bars), max(bars))] if bars else []
    names = [f"{month:%Y-%m}" for month in FormMonths(months[0], months[1])] if months else []
    bars_and_shares(pages, [bars.get(name) or Bar(name, 0.0, "0.00") for name in names])


def _draw_places(pages: Pages, report: Report) -> None:
    (place,) = report["group_by"]
    named = {"district": ("区县", "district"), "hospital": ("机构", "hospital")}[place]
    pages.write_heading(
        (
            f"各{named[0]}净节约(元),前 {MOST_BARS} 位",
            f"Net savings by {named[1]} (yuan), the first {MOST_BARS}",
        )
    )
    first = sorted(report["rows"], key=lambda row: (-(row["net_fen"] or 0), row[place]))[:MOST_BARS]
    lying_bars(pages, [_bar(report, row, f"{row[place]} {row[f'{place}_name']}") for row in first])


_CHARTS: Final = {"month": _draw_months, "district": _draw_places, "hospital": _draw_places}


def _bar(report: Report, row: Mapping[str, Any], label: str) -> Bar:
    net_fen = row["net_fen"]
    return Bar(label, None if net_fen is None else net_fen / 100, told(report, row, "net_fen"), row["rate"])
