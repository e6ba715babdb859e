"""Commands about the other side of the account: what was examined again, and why it was refused to recognise."""

from typing import Annotated, Any

import typer

from catalog import item_lists, refusals, repeat_figures, settling
from catalog.console import HERE, AsJson, DataDir, show
from catalog.db import transaction
from catalog.figure_filters import Filters
from catalog.pricing import format_yuan
from catalog.repetition import KINDS
from catalog.workplace import open_workplace
from exchange import repeat_files
from exchange.cli_figures import First, Last, Out, months_of, print_json, progress, write_table

OfHospital = Annotated[str, typer.Option(help="机构代码 / hospital")]
OfItem = Annotated[str, typer.Option(help="项目代码 / item code")]


def savings_repeats(
    first: First = "",
    last: Last = "",
    group_by: Annotated[str, typer.Option(help="hospital,district,tier,item,month")] = "hospital,item,month",
    each: Annotated[
        bool, typer.Option("--each", help="逐项列出,不合计 / list each of them, no sums")
    ] = False,
    hospital: OfHospital = "",
    item: OfItem = "",
    kind: Annotated[str, typer.Option(help=" | ".join(KINDS))] = "",
    superseded: Annotated[
        bool, typer.Option("--superseded", help="含不再成立者 / also those that did not hold")
    ] = False,
    after: Annotated[int, typer.Option(help="此号之后 / after this repeat")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="条数 / how many")] = 100,
    out: Out = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """可避免的重复检查:按类合计,或逐项列出。 Avoidable repeats: counted by how they came, or each of them.

    例 / example:  huren savings repeats --from 2026-01 --group-by hospital --out repeats.xlsx

    例 / example:  huren savings repeats --each --hospital B --kind no_check
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        months = months_of(place, first, last)
        told_at = place.catalogue.clock().isoformat(timespec="seconds")
        if each:
            answer = repeat_figures.page(
                session,
                item_lists.every_item(session, place.catalogue),
                first=months[0],
                last=months[1],
                filters=_only(hospital, item),
                kind=kind or None,
                superseded=superseded,
                after=after,
                limit=limit,
            )
            table = repeat_files.entries_table(answer, *months, told_at)
            rows = [_entry(row) for row in answer["entries"]]
        else:
            names = [name for name in group_by.split(",") if name]
            items = item_lists.every_item(session, place.catalogue)
            answer = repeat_figures.report(session, items, first=months[0], last=months[1], group_by=names)
            table = repeat_files.report_table(answer, told_at)
            rows = [_figures(row, names) for row in [*answer["rows"], answer["total"]]]
    if out is not None:
        write_table(out, table)
    if json:
        print_json(answer)
    elif out is None:
        show(rows, as_json=False)
    if each and not json and answer["next"] is not None:
        typer.echo(f"下一页 / next page:  --after {answer['next']}")


def savings_settle(data_dir: DataDir = HERE) -> None:
    """逐人重新结算重复检查与台账:升级之后,或质控、共享重新认定之后运行;已结清者不变。

    Settle everybody's repeats and money anew: after an upgrade, or once quality or sharing was ruled anew.

    例 / example:  huren savings settle
    """
    with open_workplace(data_dir) as place, progress("结算 / settling") as told:
        settled = settling.settle_everybody(place.catalogue, on_progress=told)
    typer.echo(f"已结算人数 / people settled: {settled:,}")


def savings_reasons(
    first: First = "",
    last: Last = "",
    hospital: OfHospital = "",
    item: OfItem = "",
    out: Out = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """不予互认的理由与未答复的提醒。 Refusals by reason, and reminders without an answer.

    例 / example:  huren savings reasons --from 2026-06 --to 2026-06 --hospital B --out reasons.csv
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        months = months_of(place, first, last)
        answer = refusals.by_reason(
            session,
            item_lists.every_item(session, place.catalogue),
            place.catalogue.override_reasons,
            first=months[0],
            last=months[1],
            filters=_only(hospital, item),
        )
        told_at = place.catalogue.clock().isoformat(timespec="seconds")
    if out is not None:
        write_table(out, repeat_files.reasons_table(answer, told_at))
    if json:
        print_json(answer)
    elif out is None:
        show([_reason(row) for row in answer["rows"]], as_json=False)
        told = answer["reminders"]
        typer.echo(f"提醒 / reminders {told['reminders']},未答复 / unanswered {told['unanswered']}")


def _only(hospital: str, item: str) -> Filters:
    return Filters((hospital,) if hospital else (), item=(item,) if item else ())


def _figures(row: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {
        **{name: row.get(f"{name}_name") or row.get(name, "合计 / total") for name in names},
        "可避免 avoidable": row["avoidable"],
        "费用 yuan": format_yuan(row["avoidable_fen"]),
        **{f"{repeat_files.KIND_WORDS[kind][0]} {kind}": row[kind] for kind in KINDS},
    }


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "重复检查 repeat": row["repeat_id"],
        "类别 kind": repeat_files.KIND_WORDS[row["kind"]][0],
        "机构 hospital": row["hospital"],
        "项目 item": row["item"],
        "检查日 day": row["business_date"],
        "费用 yuan": format_yuan(row["cost_fen"]),
        "结果 result": row["result_id"],
        "既往 prior": f"{row['prior_hospital']} {row['prior_result_id']}",
        "决定 decision": row["decision_id"] or "—",
    }


def _reason(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "理由 reason": f"{row['reason']} {row['text'][:24]}",
        "国家情形 national": row["national"],
        "计入 counts": "是 yes" if row["counts_as_refusal"] else "否 no",
        "现行 standing": row["standing"],
        "撤销 undone": row["undone"],
    }
