"""Commands about savings: the figures, the entries behind them, one entry's whole chain, and the recount."""

import getpass
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from catalog import filled_forms, item_lists, ledger_entries, questions, recount
from catalog.console import HERE, AsJson, DataDir, day, show
from catalog.context import Caller
from catalog.db import transaction
from catalog.plausibility import months_before
from catalog.pricing import format_yuan
from catalog.rules import local_day
from catalog.scope import steady
from catalog.workplace import Workplace, keys_dir, open_workplace
from exchange import question_files, savings_files, savings_report, statements, table_files
from exchange.form_files import form_table
from exchange.tokens import open_token_key

savings_app = typer.Typer(no_args_is_help=True, help="节约费用与重新核算 / savings and their recount")
First = Annotated[str, typer.Option("--from", help="起始月 YYYY-MM / first month")]
Last = Annotated[str, typer.Option("--to", help="截止月 YYYY-MM(含) / last month")]


def _written_as(form_of: Callable[[Path], object]) -> Callable[[Path | None], Path | None]:
    """Return what refuses a name that asks for no form we write before anything is read: InvalidInput."""

    def checked(out: Path | None) -> Path | None:
        if out is not None:
            form_of(out)
        return out

    return checked


Out = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False,
        callback=_written_as(table_files.form_of),
        help="写入 .csv 或 .xlsx 文件 / write this file, CSV or XLSX",
    ),
]
ReportOut = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False,
        callback=_written_as(savings_report.form_of),
        help="写入 .csv、.xlsx 或 .pdf 文件 / write this file, CSV, XLSX or PDF",
    ),
]


@savings_app.command("report")
def report_savings(
    first: First = "",
    last: Last = "",
    group_by: Annotated[str, typer.Option(help="hospital,district,tier,item,month")] = "hospital,item,month",
    publication: Annotated[
        bool, typer.Option("--publication", help="对外公开:不列小的计数 / withhold small counts")
    ] = False,
    out: ReportOut = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """节约费用与互认率。 Savings and recognition rates.

    例 / example:  huren savings report --from 2026-01 --to 2026-12 --group-by hospital --out savings.pdf
    """
    names = [name for name in group_by.split(",") if name]
    form: savings_report.ReportForm = "json" if out is None else savings_report.form_of(out)
    with open_workplace(data_dir) as place, transaction(steady(place.catalogue.engine)) as session:
        months = _months(place, first, last)
        report = savings_report.read(
            session,
            place.catalogue,
            form,
            first=months[0],
            last=months[1],
            group_by=names,
            published=publication,
        )
        as_of = place.catalogue.clock().isoformat(timespec="seconds")
    answer = report.answer
    if out is not None:
        _keep(out, report.written(form, as_of))
    if json:
        _print(answer)
    elif out is None:
        show([_printed(answer, row, names) for row in [*answer["rows"], answer["total"]]], as_json=False)


@savings_app.command("form")
def savings_form(
    name: Annotated[str, typer.Argument(help="institution | national")],
    first: First = "",
    last: Last = "",
    out: Out = None,
    data_dir: DataDir = HERE,
) -> None:
    """监管报表:institution 按机构,national 全国月报;不写文件则以 JSON 印出。 A regulators' form, as JSON or as a file.

    例 / example:  huren savings form institution --from 2026-01 --to 2026-06 --out institutions.xlsx
    """
    with open_workplace(data_dir) as place, transaction(steady(place.catalogue.engine)) as session:
        months = _months(place, first, last)
        filled = filled_forms.fill(session, place.catalogue, name, first=months[0], last=months[1])
        as_of = place.catalogue.clock().isoformat(timespec="seconds")
    if out is None:
        _print({"as_of": as_of, **filled})
    else:
        _write(out, form_table(filled, as_of))


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


@savings_app.command("questions")
def savings_questions(
    first: First = "",
    last: Last = "",
    hospital: Annotated[str, typer.Option(help="机构代码 / asking hospital")] = "",
    out: Out = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """列出数字的合理性疑问,供询问,并非指责;默认上月与本月。 List questions about figures, to be asked: no accusations.

    例 / example:  huren savings questions --from 2026-05 --to 2026-06 --hospital B --out questions.xlsx
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        before = months_before(local_day(place.catalogue.clock()), 1)
        months = _months(place, first or f"{before:%Y-%m}", last)
        found = questions.ask(
            session,
            item_lists.every_item(session, place.catalogue),
            place.catalogue.thresholds,
            first=months[0],
            last=months[1],
            hospital=hospital or None,
        )
        as_of = place.catalogue.clock().isoformat(timespec="seconds")
    if out is not None:
        _write(out, question_files.questions_table(found, as_of))
    if json:
        _print(found)
    elif out is None:
        show([_question(each) for each in found["questions"]], as_json=False)


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
    from rich.console import Console
    from rich.progress import Progress

    with (
        open_workplace(data_dir) as place,
        transaction(steady(place.catalogue.engine)) as session,
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        task = bar.add_task("核算 / recounting")
        found = recount.verify(
            session,
            progress=lambda what, done, total: bar.update(
                task, completed=done, total=total, description=what
            ),
        )
        now = place.catalogue.clock()
    found = {"as_of": now.isoformat(timespec="seconds"), **found}
    if out is not None:
        key = open_token_key(keys_dir(data_dir) / "token.pem")
        signed = statements.sign(key, Caller(getpass.getuser(), "operator"), found, now)
        out.write_bytes(orjson.dumps({**found, "signed": signed}, option=orjson.OPT_INDENT_2))
    _tell_recount(found, as_json=json)
    if not found["agrees"]:
        raise typer.Exit(1)


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
    _keep(out, table_files.write(table, table_files.form_of(out)))


def _keep(out: Path, content: bytes) -> None:
    out.write_bytes(content)
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


def _printed(answer: dict[str, Any], row: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {
        **{name: row.get(f"{name}_name") or row.get(name, "合计 / total") for name in names},
        "提醒 reminders": savings_files.told(answer, row, "reminders"),
        "认可 recognised": savings_files.told(answer, row, "recognised"),
        "复检 refused": savings_files.told(answer, row, "refused"),
        "不计 excused": savings_files.told(answer, row, "excused"),
        "撤销 undone": savings_files.told(answer, row, "undone"),
        "互认率 rate": savings_files.told(answer, row, "rate"),
        "节约 saved": savings_files.told(answer, row, "saved_fen"),
        "冲回 reversed": savings_files.told(answer, row, "reversed_fen"),
        "净额 net": savings_files.told(answer, row, "net_fen"),
    }


def _question(each: dict[str, Any]) -> dict[str, Any]:
    return {
        "编号 id": each["question_id"],
        "疑问 question": f"{each['question']}\n{each['question_en']}",
        "可能原因 may be": f"{each['may_be']}\n{each['may_be_en']}",
    }
