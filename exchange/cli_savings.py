"""Commands about savings: the figures, the entries behind them, one entry's whole chain, and the recount."""

import getpass
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from catalog import filled_forms, item_lists, ledger_entries, questions, recount
from catalog.as_of import past_moment
from catalog.console import HERE, AsJson, DataDir, show
from catalog.context import Caller
from catalog.db import transaction
from catalog.event_figures import GROUPINGS
from catalog.figure_filters import Filters
from catalog.plausibility import months_before
from catalog.pricing import format_yuan
from catalog.rules import local_day
from catalog.scope import steady
from catalog.workplace import keys_dir, open_workplace
from exchange import cli_repeats, cli_supply, question_files, savings_files, savings_report, statements
from exchange.cli_figures import (
    First,
    Last,
    Out,
    keep,
    months_of,
    print_json,
    progress,
    write_table,
    written_as,
)
from exchange.form_files import form_table
from exchange.tokens import open_token_key

savings_app = typer.Typer(no_args_is_help=True, help="节约费用与重新核算 / savings and their recount")
savings_app.command("repeats")(cli_repeats.savings_repeats)
savings_app.command("reasons")(cli_repeats.savings_reasons)
savings_app.command("settle")(cli_repeats.savings_settle)
savings_app.command("supply")(cli_supply.savings_supply)
savings_app.command("supply-refresh")(cli_supply.savings_supply_refresh)


AsOf = Annotated[
    str,
    typer.Option(
        help="当时的数字:YYYY-MM-DD 或带时区的时间 / as it stood on a day, or at a time with its zone"
    ),
]
Hospitals = Annotated[list[str], typer.Option("--hospital", help="申请机构代码,可多次 / asking hospital")]
Districts = Annotated[list[str], typer.Option("--district", help="其区县代码,可多次 / its district")]
Tiers = Annotated[list[str], typer.Option("--tier", help="其等级,可多次 / its tier")]
Items = Annotated[list[str], typer.Option("--item", help="项目代码,可多次 / item code")]
Categories = Annotated[list[str], typer.Option("--category", help="imaging, laboratory")]
ReportOut = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False,
        callback=written_as(savings_report.form_of),
        help="写入 .csv、.xlsx 或 .pdf 文件 / write this file, CSV, XLSX or PDF",
    ),
]


@savings_app.command("report")
def report_savings(
    first: First = "",
    last: Last = "",
    group_by: Annotated[str, typer.Option(help=",".join(GROUPINGS))] = "hospital,item,month",
    hospital: Hospitals = [],  # noqa: B006
    district: Districts = [],  # noqa: B006
    tier: Tiers = [],  # noqa: B006
    item: Items = [],  # noqa: B006
    category: Categories = [],  # noqa: B006
    as_of: AsOf = "",
    publication: Annotated[
        bool, typer.Option("--publication", help="对外公开:不列小的计数 / withhold small counts")
    ] = False,
    out: ReportOut = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """节约费用与互认率。 Savings and recognition rates.

    例 / example:  huren savings report --from 2026-01 --to 2026-12 --group-by hospital --out savings.pdf

    当时的数字 / as it stood:  huren savings report --from 2026-06 --to 2026-06 --group-by day --as-of 2026-07-15
    """
    names = [name for name in group_by.split(",") if name]
    form: savings_report.ReportForm = "json" if out is None else savings_report.form_of(out)
    with open_workplace(data_dir) as place, transaction(steady(place.catalogue.engine)) as session:
        months = months_of(place, first, last)
        report = savings_report.read(
            session,
            place.catalogue,
            form,
            first=months[0],
            last=months[1],
            group_by=names,
            filters=_filters(hospital, district, tier, item, category),
            as_of=past_moment(as_of, place.catalogue.clock()),
            published=publication,
        )
    answer = report.answer
    if out is not None:
        keep(out, report.written(form))
    if json:
        print_json(answer)
    elif out is None:
        show([_printed(answer, row, names) for row in [*answer["rows"], answer["total"]]], as_json=False)
        for line in savings_files.footer(answer):
            typer.echo(": ".join(line))


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
        months = months_of(place, first, last)
        filled = filled_forms.fill(session, place.catalogue, name, first=months[0], last=months[1])
        as_of = place.catalogue.clock().isoformat(timespec="seconds")
    if out is None:
        print_json({"as_of": as_of, **filled})
    else:
        write_table(out, form_table(filled, as_of))


@savings_app.command("entries")
def savings_entries(
    first: First = "",
    last: Last = "",
    hospital: Hospitals = [],  # noqa: B006
    district: Districts = [],  # noqa: B006
    tier: Tiers = [],  # noqa: B006
    item: Items = [],  # noqa: B006
    category: Categories = [],  # noqa: B006
    as_of: AsOf = "",
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
        months, now = months_of(place, first, last), place.catalogue.clock()
        moment = past_moment(as_of, now)
        found = ledger_entries.page(
            session,
            item_lists.every_item(session, place.catalogue),
            first=months[0],
            last=months[1],
            filters=_filters(hospital, district, tier, item, category),
            as_of=moment,
            after=after,
            limit=limit,
        )
    if out is not None:
        write_table(
            out, savings_files.entries_table(found, *months, (moment or now).isoformat(timespec="seconds"))
        )
    if json:
        print_json(found)
        return
    if out is None:
        show([_entry(each) for each in found["entries"]], as_json=False)
    if found["next"] is not None:
        typer.echo(f"下一页 / next page:  --after {found['next']}")


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
        print_json(found)
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
        months = months_of(place, first or f"{before:%Y-%m}", last)
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
        write_table(out, question_files.questions_table(found, as_of))
    if json:
        print_json(found)
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
    with (
        open_workplace(data_dir) as place,
        transaction(steady(place.catalogue.engine)) as session,
        progress("核算 / recounting") as told,
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
        print_json(found)
        return
    verdict = "一致 / agrees" if found["agrees"] else "不一致 / DISAGREES"
    typer.echo(f"{verdict}: {found['rows']} 行 / rows, 净节约 / net {format_yuan(found['net_fen'])} 元")
    for fault in [*found["differing"], *found["faults"]]:
        typer.echo(f"  {fault}")


def _filters(*named: list[str]) -> Filters:
    return Filters(*map(tuple, named))


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
