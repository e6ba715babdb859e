"""Commands about savings: the figures, the entries behind them, one entry's whole chain, and the recount."""

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from catalog import item_lists, ledger_entries, recount, savings, supply, supply_refresh
from catalog.console import HERE, AsJson, DataDir, day, show
from catalog.context import Caller
from catalog.db import transaction
from catalog.pricing import format_yuan
from catalog.rules import local_day
from catalog.scope import steady
from catalog.workplace import Workplace, keys_dir, open_workplace
from exchange import savings_files, statements, supply_files, table_files
from exchange.tokens import open_token_key

savings_app = typer.Typer(no_args_is_help=True, help="节约费用与重新核算 / savings and their recount")
First = Annotated[str, typer.Option("--from", help="起始月 YYYY-MM / first month")]
Last = Annotated[str, typer.Option("--to", help="截止月 YYYY-MM(含) / last month")]


def _with_a_form(out: Path | None) -> Path | None:
    """Refuse a name that asks for no form we write before anything is read. Raises InvalidInput."""
    if out is not None:
        table_files.form_of(out)
    return out


Out = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False,
        callback=_with_a_form,
        help="写入 .csv 或 .xlsx 文件 / write this file, CSV or XLSX",
    ),
]


@savings_app.command("report")
def savings_report(
    first: First = "",
    last: Last = "",
    group_by: Annotated[str, typer.Option(help="hospital,district,tier,item,month")] = "hospital,item,month",
    out: Out = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """节约费用与互认率。 Savings and recognition rates.

    例 / example:  huren savings report --from 2026-01 --to 2026-12 --group-by hospital --out savings.xlsx
    """
    names = [name for name in group_by.split(",") if name]
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        months = _months(place, first, last)
        answer = savings.report(
            session,
            item_lists.every_item(session, place.catalogue),
            first=months[0],
            last=months[1],
            group_by=names,
        )
        as_of = place.catalogue.clock().isoformat(timespec="seconds")
    if out is not None:
        _write(out, savings_files.report_table(answer, as_of))
    if json:
        _print(answer)
    elif out is None:
        show([_printed(row, names) for row in [*answer["rows"], answer["total"]]], as_json=False)


@savings_app.command("entries")
def savings_entries(
    first: First = "",
    last: Last = "",
    hospital: Annotated[str, typer.Option(help="机构代码 / asking hospital")] = "",
    item: Annotated[str, typer.Option(help="项目代码 / item code")] = "",
    after: Annotated[int, typer.Option(help="此号之后 / after this entry")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="条数 / how many")] = 100,
    out: Out = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """列出数字背后的账目。 List the entries of the ledger behind a figure.

    例 / example:  huren savings entries --hospital B --item CT07 --from 2026-06 --to 2026-06 --out june.csv
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        months = _months(place, first, last)
        found = ledger_entries.page(
            session,
            first=months[0],
            last=months[1],
            hospital=hospital or None,
            item=item or None,
            after=after,
            limit=limit,
        )
        as_of = place.catalogue.clock().isoformat(timespec="seconds")
    if out is not None:
        _write(out, savings_files.entries_table(found, *months, as_of))
    if json:
        _print(found)
        return
    if out is None:
        show([_entry(each) for each in found["entries"]], as_json=False)
    if found["next"] is not None:
        typer.echo(f"下一页 / next page:  --after {found['next']}")


@savings_app.command("explain")
def savings_explain(
    entry: Annotated[int, typer.Argument(min=1, help="账目号,见 savings entries / number of an entry")],
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """一笔账目的全部由来。 Everything behind one entry: order, check, verdict, prior, price, decision, audit; no names.

    例 / example:  huren savings explain 1
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        items = item_lists.every_item(session, place.catalogue)
        found = ledger_entries.explain(session, items, entry)
    if json:
        _print(found)
        return
    for name, zh in _PARTS.items():
        _tell(f"{zh} / {name}", found[name])
    typer.echo(f"净额 / net: {format_yuan(found['net_fen'])} 元")


@savings_app.command("verify")
def savings_verify(
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="写入签名的结果 / keep the finding, signed, in this file"),
    ] = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """由事件重新核算每个数字,不符则退出码为 1。 Recount every figure; exits 1 where one disagrees.

    例 / example:  huren savings verify --out recount.json
    """
    with (
        open_workplace(data_dir) as place,
        transaction(steady(place.catalogue.engine)) as session,
        _progress("核算 / recounting") as told,
    ):
        found = recount.verify(session, progress=told)
        now = place.catalogue.clock()
    found = {"as_of": now.isoformat(timespec="seconds"), **found}
    if out is not None:
        key = open_token_key(keys_dir(data_dir) / "token.pem")
        signed = statements.sign(key, Caller(getpass.getuser(), "operator"), found, now)
        out.write_bytes(orjson.dumps({**found, "signed": signed}, option=orjson.OPT_INDENT_2))
    _tell_recount(found, as_json=json)
    if not found["agrees"]:
        raise typer.Exit(1)


@savings_app.command("supply")
def savings_supply(
    first: First = "",
    last: Last = "",
    group_by: Annotated[str, typer.Option(help="hospital,district,tier,item,category,month")] = "hospital",
    within_hours: Annotated[
        int,
        typer.Option(help=f"及时的时限(小时) / what counts as timely: {supply.LIMITS_TOLD}"),
    ] = supply.TIMELY_HOURS,
    out: Out = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """各机构的供给与使用:及时、完整、报告、质控、调阅。 What hospitals bring, in time and whole, and how it is used.

    例 / example:  huren savings supply --from 2026-06 --to 2026-06 --group-by hospital,item --out june.xlsx
    """
    names = [name for name in group_by.split(",") if name]
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        months = _months(place, first, last)
        answer = supply.report(
            session,
            item_lists.every_item(session, place.catalogue),
            today=local_day(place.catalogue.clock()),
            first=months[0],
            last=months[1],
            group_by=names,
            within_hours=within_hours,
        )
    if out is not None:
        _write(out, supply_files.supply_table(answer))
    if json:
        _print(answer)
    elif out is None:
        show([supply_files.printed(row, names) for row in [*answer["rows"], answer["total"]]], as_json=False)
        show([_freshness(month) for month in answer["months"]], as_json=False)


@savings_app.command("supply-refresh")
def savings_supply_refresh(
    everything: Annotated[
        bool, typer.Option("--everything", help="全部由事件重新统计 / count all of it from the events")
    ] = False,
    data_dir: DataDir = HERE,
) -> None:
    """立即统计有变动的月份;`huren ship` 运行时会自动统计。 Count what has changed now; `huren ship` does so all the time.

    例 / example:  huren savings supply-refresh --everything
    """
    with open_workplace(data_dir) as place, _progress("统计 / counting") as told:
        counted = supply_refresh.refresh(place.catalogue, everything=everything, on_progress=told)
    typer.echo(f"已统计月份 / months counted: {len(counted)}")


@contextmanager
def _progress(begun: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yield what is told how far a long task is, and shows it on the terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(begun)
        yield lambda what, done, total: bar.update(task, completed=done, total=total, description=what)


def _freshness(month: dict[str, Any]) -> dict[str, Any]:
    return {
        "月份 month": month["month"],
        "截至 as of": month["as_of"],
        "有变动 changed": "是 yes" if month["changed"] else "",
        "未结束 running": "是 yes" if month["running"] else "",
    }


_PARTS = {
    "entries": "账目",
    "decision": "决定",
    "check": "询问",
    "verdict": "判定",
    "prior": "既往检查",
    "evaluations": "质控评价",
    "price": "价格",
    "contradicted_by": "冲回所据检查",
    "audit": "审计",
}


def _tell(title: str, part: Any) -> None:
    """Print one part of a chain, a line for each of its facts."""
    typer.echo(title)
    for row in part if isinstance(part, list) else [part]:
        facts = {} if row is None else {name: value for name, value in row.items() if value not in (None, [])}
        typer.echo("  " + "  ".join(f"{name}={_plain(value)}" for name, value in facts.items()) or "  —")


def _plain(value: Any) -> str:
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else str(value)


def _tell_recount(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print(found)
        return
    verdict = "一致 / agrees" if found["agrees"] else "不一致 / DISAGREES"
    typer.echo(f"{verdict}: {found['rows']} 行 / rows, 净节约 / net {format_yuan(found['net_fen'])} 元")
    for fault in [*found["differing"], *found["faults"]]:
        typer.echo(f"  {fault}")


def _print(found: dict[str, Any]) -> None:
    typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())


def _write(out: Path, table: table_files.Table) -> None:
    out.write_bytes(table_files.write(table, table_files.form_of(out)))
    typer.echo(f"已写入 / written: {out}", err=True)


def _months(place: Workplace, first: str, last: str) -> tuple[date, date]:
    today = local_day(place.catalogue.clock())
    return (
        day(f"{first}-01", "from") if first else today.replace(month=1, day=1),
        day(f"{last}-01", "to") if last else today,
    )


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "账目 entry": entry["entry_id"],
        "类别 kind": entry["kind"],
        "金额 yuan": format_yuan(entry["amount_fen"]),
        "机构 hospital": entry["hospital"],
        "项目 item": entry["item"],
        "业务日 day": entry["business_date"],
        "入账 posted": entry["posted_at"][:19],
        "决定 decision": entry["decision_id"],
        "因 cause": entry["cause"],
    }


def _printed(row: dict[str, Any], names: list[str]) -> dict[str, Any]:
    rate = row["rate"]
    return {
        **{name: row.get(f"{name}_name") or row.get(name, "合计 / total") for name in names},
        "提醒 reminders": row["reminders"],
        "认可 recognised": row["recognised"],
        "复检 refused": row["refused"],
        "不计 excused": row["excused"],
        "撤销 undone": row["undone"],
        "互认率 rate": "—" if rate is None else f"{rate:.1%}",
        "节约 saved": format_yuan(row["saved_fen"]),
        "冲回 reversed": format_yuan(row["reversed_fen"]),
        "净额 net": format_yuan(row["net_fen"]),
    }
