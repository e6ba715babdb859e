"""Commands about prices."""

from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select

from catalog import item_lists, registry
from catalog.cli_people import curator
from catalog.console import HERE, AsJson, DataDir, day, show
from catalog.db import transaction
from catalog.errors import InvalidInput, NotFound
from catalog.price_import import import_prices
from catalog.pricing import PriceRow, format_yuan, parse_yuan
from catalog.tables import Price
from catalog.workplace import open_workplace

prices = typer.Typer(no_args_is_help=True, help="价格 / prices")


@prices.command("import")
def prices_import(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV / XLSX")],
    data_dir: DataDir = HERE,
) -> None:
    """导入价格(元,两位小数)。 Read prices in yuan: scope_kind,scope,item,price,from,to,source.

    例 / example:  huren prices import prices.csv
    """
    with open_workplace(data_dir) as place:
        done = import_prices(place.catalogue, curator(), file.name, file.read_bytes())
    typer.echo(f"新增 / new: {done.new}, 已有 / there already: {done.present}")


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
