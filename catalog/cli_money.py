"""Commands about money: prices, savings and their recount."""

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from sqlalchemy import select

from catalog import item_lists, registry, savings
from catalog.console import HERE, AsJson, DataDir, day, show
from catalog.db import transaction
from catalog.errors import InvalidInput, NotFound
from catalog.pricing import PriceRow, format_yuan, load_prices, parse_yuan
from catalog.rules import local_day
from catalog.scope import steady
from catalog.tables import Price
from catalog.workplace import open_workplace

prices = typer.Typer(no_args_is_help=True, help="价格 / prices")
savings_app = typer.Typer(no_args_is_help=True, help="节约费用与重新核算 / savings and their recount")


@prices.command("import")
def prices_import(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV")], data_dir: DataDir = HERE
) -> None:
    """导入价格(元,两位小数)。 Read prices in yuan: scope_kind,scope,item,price,from,to,source.

    例 / example:  huren prices import prices.csv
    """
    rows = load_prices(file)
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        _known_items(rows, {item.code for item in item_lists.every_item(session, place.catalogue)})
        new = registry.add_prices(session, rows, source=file.name)
    typer.echo(f"新增 / new: {new}, 已有 / there already: {len(rows) - new}")


@prices.command("set")
def prices_set(
    item: Annotated[str, typer.Argument(help="项目代码 / item code")],
    yuan: Annotated[str, typer.Argument(help="价格(元) / price in yuan, 220.00")],
    first: Annotated[str, typer.Option("--from", help="起始日 / first day")],
    hospital_code: Annotated[str, typer.Option("--hospital", help="机构 / hospital")] = "",
    region: Annotated[str, typer.Option(help="地区 / region")] = "",
    tier: Annotated[str, typer.Option(help="等级 / tier")] = "",
    last: Annotated[str, typer.Option("--to", help="截止日(含) / last day")] = "",
    data_dir: DataDir = HERE,
) -> None:
    """登记一个价格。 Add one price for a hospital, a region or a tier.

    例 / example:  huren prices set CT07 230.00 --hospital B --from 2026-07-01
    """
    scopes = [(k, v) for k, v in (("hospital", hospital_code), ("region", region), ("tier", tier)) if v]
    if len(scopes) != 1:
        raise InvalidInput(
            "请在 --hospital、--region、--tier 中选一",
            "Give one of --hospital, --region, --tier",
            field="scope",
        )
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        row = PriceRow(
            scope_kind=scopes[0][0],  # type: ignore[arg-type]
            scope=_scope(session, *scopes[0]),
            item_code=item,
            price_fen=parse_yuan(yuan),
            valid_from=day(first, "from"),
            valid_to=day(last, "to") if last else None,
            row_id="",
        )
        _known_items([row], {known.code for known in item_lists.every_item(session, place.catalogue)})
        registry.add_prices(session, [row], source="huren prices set")
    typer.echo("已登记 / recorded")


@prices.command("list")
def prices_list(
    item: Annotated[str | None, typer.Argument(help="项目代码 / item code")] = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """列出价格。 List prices.

    例 / example:  huren prices list
    """
    query = select(Price).order_by(Price.item_code, Price.scope_kind, Price.scope, Price.valid_from)
    if item:
        query = query.where(Price.item_code == item)
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        rows = [
            {
                "item": row.item_code,
                "scope": f"{row.scope_kind} {row.scope}",
                "yuan": format_yuan(row.price_fen),
                "from": row.valid_from,
                "to": row.valid_to,
                "source": row.source,
            }
            for row in session.scalars(query)
        ]
    show(rows, as_json=json)


@savings_app.command("report")
def savings_report(
    first: Annotated[str, typer.Option("--from", help="起始月 YYYY-MM / first month")] = "",
    last: Annotated[str, typer.Option("--to", help="截止月 YYYY-MM(含) / last month")] = "",
    group_by: Annotated[str, typer.Option(help="hospital,item,month")] = "hospital,item,month",
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """节约费用与互认率。 Savings and recognition rates.

    例 / example:  huren savings report --from 2026-01 --to 2026-12 --group-by hospital
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        today = local_day(place.catalogue.clock())
        answer = savings.report(
            session,
            item_lists.every_item(session, place.catalogue),
            first=day(f"{first}-01", "from") if first else today.replace(month=1, day=1),
            last=day(f"{last}-01", "to") if last else today,
            group_by=[name for name in group_by.split(",") if name],
        )
    if json:
        typer.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    names = [name for name in group_by.split(",") if name]
    show([_printed(row, names) for row in [*answer["rows"], answer["total"]]], as_json=False)


@savings_app.command("verify")
def savings_verify(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """由事件重新核算每个数字,不符则退出码为 1。 Recount every figure; exits 1 where one disagrees.

    例 / example:  huren savings verify
    """
    with open_workplace(data_dir) as place, transaction(steady(place.catalogue.engine)) as session:
        answer = savings.verify(session)
    if json:
        typer.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        verdict = "一致 / agrees" if answer["agrees"] else "不一致 / DISAGREES"
        typer.echo(f"{verdict}: {answer['rows']} 行 / rows, 净节约 / net {format_yuan(answer['net_fen'])} 元")
        for fault in [*answer["differing"], *answer["faults"]]:
            typer.echo(f"  {fault}")
    if not answer["agrees"]:
        raise typer.Exit(1)


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


def _scope(session: Any, kind: str, value: str) -> str:
    if kind == "hospital":
        return registry.hospital_by_code(session, value).code
    if kind == "region":
        return registry.find_region(session, value).code
    if value not in ("1", "2", "3"):
        raise InvalidInput("机构等级为 1、2 或 3", "The tier is 1, 2 or 3", field="tier")
    return value


def _known_items(rows: Any, known: set[str]) -> None:
    unknown = sorted({row.item_code for row in rows} - known)
    if unknown:
        raise NotFound(
            f"清单中没有:{' '.join(unknown[:5])}",
            f"Not on the list: {' '.join(unknown[:5])}",
            code="unknown_item",
        )
