"""What hospitals bring and how it is used, as a table to be written to a file."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from exchange.table_files import Cell, Column, Table

_COUNT: Final = "#,##0"
_SHARE: Final = "0.00%"
_KEYS: Final[Mapping[str, Column]] = {
    "hospital": Column("机构代码", "hospital", "出具机构的代码", "Code of the issuing hospital"),
    "hospital_name": Column("机构名称", "hospital name", "出具机构的名称", "Name of the issuing hospital"),
    "district": Column(
        "区县代码", "district", "出具机构所在区县的代码", "Code of the issuing hospital's district"
    ),
    "district_name": Column(
        "区县名称", "district name", "出具机构所在区县", "The issuing hospital's district"
    ),
    "tier": Column("等级", "tier", "出具机构的等级", "Tier of the issuing hospital"),
    "item": Column(
        "项目代码", "item", "清单中的项目代码;空为不在清单", "Code on the list; empty: on no list"
    ),
    "item_name": Column("项目名称", "item name", "项目的名称", "Name of the item"),
    "category": Column("类别", "category", "imaging 检查,laboratory 检验", "Imaging or laboratory"),
    "category_name": Column("类别名称", "category name", "类别的名称", "Name of the category, in Chinese"),
    "month": Column("月份", "month", "检查检验所在月份", "Month of the examination"),
    "running": Column("未结束", "running", "该月尚未结束", "The month goes on still"),
}
_EVERYTHING: Final = Column("范围", "scope", "未分组:全部合计", "Not grouped: all together")
_FIGURES: Final[Mapping[str, Column]] = {
    "studies": Column("检查数", "studies", "未撤回的影像检查", "Imaging studies not withdrawn", _COUNT),
    "results": Column(
        "清单结果数", "results", "清单项目的检查检验结果", "Results that are items on the list", _COUNT
    ),
    "linked": Column(
        "已关联患者",
        "linked",
        "已知患者、可供调阅的结果",
        "Results of a known person, which checks can show",
        _COUNT,
    ),
    "timed": Column("有到达时间", "timed", "已知到达时间的结果", "Results whose arrival is known", _COUNT),
    "timely": Column(
        "及时到达", "timely", "检查后时限内到达", "Arrived within the limit after the examination", _COUNT
    ),
    "timely_rate": Column(
        "上传及时率", "timely rate", "及时到达 ÷ 有到达时间", "Timely ÷ timed; empty of none", _SHARE
    ),
    "arrival_median_minutes": Column(
        "到达中位分钟",
        "arrival median",
        "检查至平台收到的中位分钟数",
        "Minutes from examination to arrival, median",
        _COUNT,
    ),
    "arrival_p90_minutes": Column(
        "到达P90分钟",
        "arrival p90",
        "九成结果到达所需分钟数",
        "Minutes within which nine of ten arrived",
        _COUNT,
    ),
    "images_complete": Column(
        "影像完整", "images complete", "影像完整的检查", "Studies whose images are complete", _COUNT
    ),
    "images_complete_rate": Column(
        "影像完整率", "images complete rate", "影像完整 ÷ 检查数", "Complete ÷ studies; empty of none", _SHARE
    ),
    "reported": Column("有终审报告", "reported", "有终审报告的检查", "Studies with a final report", _COUNT),
    "reported_rate": Column(
        "报告率", "reported rate", "有终审报告 ÷ 检查数", "Reported ÷ studies; empty of none", _SHARE
    ),
    "reports": Column("影像报告", "reports", "现行有效的影像报告", "Imaging reports that stand", _COUNT),
    "matched": Column(
        "已匹配", "matched", "已匹配到影像检查的报告", "Reports that have found their study", _COUNT
    ),
    "matched_rate": Column(
        "报告-影像匹配率", "matched rate", "已匹配 ÷ 影像报告", "Matched ÷ reports; empty of none", _SHARE
    ),
    "marked": Column(
        "有互认标识",
        "marked",
        "检查当日质控评价合格",
        "A quality evaluation gave the mark on the exam day",
        _COUNT,
    ),
    "marked_rate": Column(
        "质控覆盖率", "QC coverage", "有互认标识 ÷ 清单结果数", "Marked ÷ results; empty of none", _SHARE
    ),
    "shown": Column("提示次数", "shown", "结果在询问中被提示的次数", "Times a check showed a result", _COUNT),
    "viewed": Column(
        "调阅次数",
        "viewed",
        "提示后被申请机构打开的次数",
        "Of these, times the asking hospital opened it",
        _COUNT,
    ),
    "viewing_rate": Column(
        "调阅率", "viewing rate", "调阅次数 ÷ 提示次数", "Viewed ÷ shown; empty of none", _SHARE
    ),
    "viewing_median_minutes": Column(
        "调阅中位分钟",
        "viewing median",
        "提示至首次打开的中位分钟数",
        "Minutes from check to viewing, median",
        _COUNT,
    ),
}
_PRINTED: Final = (
    *("studies", "results", "timely_rate", "arrival_median_minutes", "images_complete_rate"),
    *("reported_rate", "matched_rate", "marked_rate", "shown", "viewing_rate"),
)


def supply_table(answer: Mapping[str, Any]) -> Table:
    """Return the report as `supply.report` gives it, a total beneath."""
    keys = [key for key in _KEYS if answer["rows"] and key in answer["rows"][0]]
    keys = keys or list(answer["group_by"])
    groups = [_KEYS[key] for key in keys] or [_EVERYTHING]
    return Table(
        title="供给与使用 supply",
        facts=[
            ("期间 period", f"{answer['from']} — {answer['to']}"),
            ("截至 as of", answer["as_of"]),
            ("未结束 running", "是 yes" if answer["running"] else "否 no"),
            ("及时时限(小时)timely within hours", answer["within_hours"]),
        ],
        columns=[*groups, *_FIGURES.values()],
        rows=[[*([row[key] for key in keys] or ["全部 all"]), *_cells(row)] for row in answer["rows"]],
        total=["合计 total", *[None] * (len(groups) - 1), *_cells(answer["total"])],
    )


def printed(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Return a row for the terminal: what it is about, and the figures that a line has room for."""
    about = {name: str(row.get(f"{name}_name") or row.get(name, "合计 / total")) for name in names}
    return about | {_FIGURES[name].zh: _printed(_FIGURES[name], row[name]) for name in _PRINTED}


def _printed(column: Column, value: Cell) -> str:
    if value is None:
        return "—"
    return f"{value:.1%}" if column.number_format == _SHARE else str(value)


def _cells(row: Mapping[str, Any]) -> list[Cell]:
    return [row[name] for name in _FIGURES]
