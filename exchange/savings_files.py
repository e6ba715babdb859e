"""The regulator's report and the entries behind it as tables to be written to files: money in yuan, exact to the fen."""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final

from catalog.suppression import Mark
from exchange.table_files import Cell, Column, Table

YUAN: Final = "#,##0.00"
COUNT: Final = "#,##0"
_GROUPS: Final[Mapping[str, tuple[Column, ...]]] = {
    "hospital": (
        Column("机构代码", "hospital", "申请机构的代码", "Code of the asking hospital"),
        Column("机构名称", "hospital name", "申请机构的名称", "Name of the asking hospital"),
    ),
    "district": (
        Column("区县代码", "district", "申请机构所在区县的代码", "Code of the asking hospital's district"),
        Column("区县名称", "district name", "申请机构所在区县", "The asking hospital's district"),
    ),
    "issuing_hospital": (
        Column("出具机构代码", "issuing hospital", "既往检查出具机构的代码", "Code of the prior's hospital"),
        Column("出具机构名称", "issuing hospital name", "既往检查的出具机构", "Name of the prior's hospital"),
    ),
    "department": (
        Column("科室", "department", "医嘱首次询问的科室", "Department of the order's first check"),
    ),
    "tier": (Column("等级", "tier", "申请机构的等级", "Tier of the asking hospital"),),
    "item": (
        Column("项目代码", "item", "互认清单中的项目代码", "Code of the item on the recognised list"),
        Column("项目名称", "item name", "项目的名称", "Name of the item"),
    ),
    "category": (
        Column(
            "类别",
            "category",
            "项目类别:imaging 影像,laboratory 检验",
            "The item's category on the recognised list",
        ),
    ),
    "month": (Column("月份", "month", "业务日所在月份", "Month of the business date"),),
    "day": (Column("日期", "day", "业务日", "Business date"),),
}
_EVERYTHING: Final = Column("范围", "scope", "未分组:全部合计", "Not grouped: all together")
_BEYOND_DUTY: Final = (
    "无互认义务时的决定,另行计数",
    "Decided where nothing obliged to recognise, counted apart",
)
_COUNTERS: Final[Mapping[str, Column]] = {
    "reminders": Column(
        "提醒", "reminders", "有可互认结果的提醒", "Reminders of a recognisable prior", COUNT
    ),
    "recognised": Column("认可", "recognised", "现行有效的互认", "Recognitions that stand", COUNT),
    "refused": Column("复检", "refused", "不予互认而复检", "Examined again instead of recognised", COUNT),
    "excused": Column("不计", "excused", "依规定不计入的复检", "Repeats that the rules excuse", COUNT),
    "beyond_duty": Column("超出义务", "beyond_duty", *_BEYOND_DUTY, COUNT),
    "cited": Column("引用", "cited", "引用既往结果", "Priors cited", COUNT),
    "undone": Column("撤销", "undone", "已撤销的决定", "Decisions undone", COUNT),
    "unpriced": Column(
        "无价格", "unpriced", "互认而无价格,节约计为 0", "Recognised without a price: saves 0", COUNT
    ),
}
_RATE: Final = Column(
    "互认率",
    "rate",
    "认可 ÷(提醒 − 不计),本院结果除外;无提醒时为空",
    "Recognised ÷ (reminders − excused), priors of the own hospital left out; empty where nothing was asked",
    "0.00%",
)
_MONEY: Final[Mapping[str, Column]] = {
    "saved_fen": Column("节约(元)", "saved yuan", "入账的节约", "Savings booked, in yuan", YUAN),
    "reversed_fen": Column("冲回(元)", "reversed yuan", "冲回的节约", "Savings taken back, in yuan", YUAN),
    "net_fen": Column("净额(元)", "net yuan", "节约减冲回", "Saved less reversed, in yuan", YUAN),
}
_ENTRY: Final[Mapping[str, Column]] = {
    "entry_id": Column("账目", "entry", "账目号", "Number of the entry"),
    "kind": Column(
        "类别",
        "kind",
        "saving 节约,reversal 冲回,reinstatement 恢复",
        "A saving, its reversal, or that undone",
    ),
    "amount_fen": Column(
        "金额(元)", "yuan", "冲回为负数", "In yuan; negative where money is taken back", YUAN
    ),
    "hospital": Column("机构", "hospital", "申请机构的代码", "Code of the asking hospital"),
    "item": Column("项目", "item", "互认清单中的项目代码", "Code of the item on the recognised list"),
    "business_date": Column("业务日", "day", "决定所属的业务日", "Business date of the decision"),
    "posted_at": Column("入账", "posted", "入账时刻", "When the entry was posted"),
    "decision_id": Column("决定", "decision", "账目所依据的决定", "The decision behind the entry"),
    "cause": Column(
        "因", "cause", "decision 决定,undo 撤销,examination 复检", "The decision, its undo, or an examination"
    ),
    "own_hospital": Column("本院结果", "own_hospital", "既往检查出自本院", "The prior is the hospital's own"),
    "emergency": Column("急诊", "emergency", "开单为急诊", "The order was an emergency"),
    "beyond_duty": Column("超出义务", "beyond_duty", *_BEYOND_DUTY),
}


def report_table(answer: Mapping[str, Any]) -> Table:
    """Return the report as `as_of.report` gives it; beneath it a total, its moment and the revisions of its months."""
    names = list(dict.fromkeys(answer["group_by"]))
    groups = grouped_columns(names)
    total = ["合计 total", *[None] * (len(groups) - 1)]
    return Table(
        title="节约费用 savings",
        facts=[*facts(answer["from"], answer["to"], answer["as_of"]), *_withheld(answer)],
        columns=[*groups, *_COUNTERS.values(), _RATE, *_MONEY.values()],
        rows=[[*labels(row, names), *_figures(answer, row)] for row in answer["rows"]],
        total=[*total, *_figures(answer, answer["total"])],
        footer=footer(answer),
    )


def footer(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the lines beneath a report: its moment, and how often each month was opened again and when last."""
    return [("截至 as of", answer["as_of"]), *map(_revision, answer["months"])]


def entries_table(found: Mapping[str, Any], first: date, last: date, as_of: str) -> Table:
    """Return a page of entries as `ledger_entries.page` gives it; its facts say where the next page begins."""
    return Table(
        title="账目 entries",
        facts=[
            *facts(f"{first:%Y-%m}", f"{last:%Y-%m}", as_of),
            ("下一页 next page: after=", "—" if found["next"] is None else str(found["next"])),
        ],
        columns=list(_ENTRY.values()),
        rows=[[cell(name, each[name]) for name in _ENTRY] for each in found["entries"]],
    )


def _revision(month: Mapping[str, Any]) -> tuple[str, str]:
    reopened = month["reopened_at"]
    return f"{month['month']} 修订 revision", f"{month['revision']}" + (f" ({reopened})" if reopened else "")


def facts(first: str, last: str, as_of: str) -> list[tuple[str, Cell]]:
    """Return which months a table covers, and as of when."""
    return [("期间 period", f"{first} — {last}"), ("截至 as of", as_of)]


def grouped_columns(names: Iterable[str]) -> list[Column]:
    """Return the columns that say what each row is about."""
    return [column for name in names for column in _GROUPS[name]] or [_EVERYTHING]


def labels(row: Mapping[str, Any], names: list[str]) -> list[Cell]:
    """Return code and name of what a row is about; a month has no name beside itself."""
    found = [row[part] for name in names for part in (name, f"{name}_name") if part in row]
    return found or ["全部 all"]


def shown(answer: Mapping[str, Any], row: Mapping[str, Any], name: str) -> Cell:
    """Return a figure of a row as a cell: money in yuan, what is withheld from publication by its mark."""
    mark = row.get("withheld", {}).get(name)
    if mark is None:
        return cell(name, row[name])
    return f"<{answer['publication']['least_count']}" if mark == Mark.SMALL else "*"


def told(answer: Mapping[str, Any], row: Mapping[str, Any], name: str) -> str:
    """Return a figure of a row as a person reads it: what is undefined is a dash."""
    found = shown(answer, row, name)
    if found is None or isinstance(found, str):
        return found or "—"
    if name == "rate":
        return f"{found:.2%}"
    return f"{found:,.2f}" if isinstance(found, Decimal) else f"{found:,}"


def _figures(answer: Mapping[str, Any], row: Mapping[str, Any]) -> list[Cell]:
    return [shown(answer, row, name) for name in (*_COUNTERS, "rate", *_MONEY)]


def _withheld(answer: Mapping[str, Any]) -> list[tuple[str, Cell]]:
    """Return what the marks of a publication mean."""
    if "publication" not in answer:
        return []
    least = answer["publication"]["least_count"]
    return [
        (
            "公开版 for publication",
            f"<{least}:1 至 {least - 1};*:为防推算而不列 / withheld, or <{least} could be computed",
        )
    ]


def cell(name: str, value: Cell) -> Cell:
    """Return a value as it stands, and fen as yuan without a float between them."""
    return Decimal(value).scaleb(-2) if name.endswith("_fen") and isinstance(value, int) else value
