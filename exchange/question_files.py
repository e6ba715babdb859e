"""Questions about figures as a table to be written to a file: money in yuan, shares as percentages."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from exchange.table_files import Cell, Column, Table

_COLUMNS: Final = (
    Column("编号", "question", "同一疑问的编号不变", "Stays the same for the same question"),
    Column("类别", "kind", "疑问的类别", "Kind of the question"),
    Column("月份", "month", "业务日所在月份", "Month of the business date"),
    Column("机构代码", "hospital", "申请机构的代码", "Code of the asking hospital"),
    Column("机构名称", "hospital name", "申请机构的名称", "Name of the asking hospital"),
    Column("项目代码", "item", "互认清单中的项目代码", "Code of the item on the recognised list"),
    Column("项目名称", "item name", "项目的名称", "Name of the item"),
    Column("单位", "unit", "占比、次数或元/次", "A share, a count, or yuan for each reminder"),
    Column("所见", "seen", "所见数值", "The figure seen", "#,##0.00"),
    Column("一般", "usual", "与之比较的中位数或阈值", "Median or threshold it is held against", "#,##0.00"),
    Column("上限", "at most", "超过即提出", "Above it somebody asks", "#,##0.00"),
    Column("次数", "count", "所见次数;金额类为净额(元)", "How many; for money the net, in yuan", "#,##0.##"),
    Column("其中", "of", "所占的总次数", "Out of how many", "#,##0"),
    Column(
        "比较对象", "compared with", "tier 同等级,city 全市,history 此前,setting 阈值", "Held against what"
    ),
    Column("疑问", "question zh", "以中文提出", "In Chinese"),
    Column("question", "question en", "以英文提出", "In English"),
    Column("可能原因", "may be zh", "无可指责的原因", "What may innocently be behind it, in Chinese"),
    Column("may be", "may be en", "同上,英文", "The same in English"),
    Column("计算", "computed zh", "一般与上限如何得出", "How usual and at most were come by, in Chinese"),
    Column("computed", "computed en", "同上,英文", "The same in English"),
    Column("账目", "entries", "账目的地址", "Where the entries are"),
    Column("决定", "decisions", "至多 20 个决定号", "Twenty decisions at most"),
)
_UNITS: Final = {"share": "占比 share", "decisions": "次 decisions", "fen_per_reminder": "元/次 yuan"}


def questions_table(found: Mapping[str, Any], as_of: str) -> Table:
    """Return questions as `questions.ask` gives them."""
    return Table(
        title="疑问 questions",
        facts=[("期间 period", f"{found['from']} — {found['to']}"), ("截至 as of", as_of)],
        columns=_COLUMNS,
        rows=[_row(each) for each in found["questions"]],
    )


def _row(each: Mapping[str, Any]) -> list[Cell]:
    seen, expected = each["seen"], each["expected"]
    is_money = seen["unit"] == "fen_per_reminder"
    return [
        *(each[name] for name in ("question_id", "kind", "month", "hospital", "hospital_name")),
        each["item"],
        each["item_name"],
        _UNITS[seen["unit"]],
        *(_amount(value, is_money) for value in (seen["value"], expected["usual"], expected["at_most"])),
        _amount(seen["count"], is_money),
        seen["of"],
        expected["compared_with"],
        *(each[f"{name}{end}"] for name in ("question", "may_be", "computed") for end in ("", "_en")),
        each["entries"],
        " ".join(each["decisions"]),
    ]


def _amount(value: float, is_money: bool) -> Cell:
    return Decimal(round(value)).scaleb(-2) if is_money else value
