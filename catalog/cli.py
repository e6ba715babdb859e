"""Commands about what is known: schema, hospitals, items, quality evaluations, prices, savings."""

import csv
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from sqlalchemy import select, text

from catalog import registry, results, savings
from catalog.console import HERE, AsJson, DataDir, day, show
from catalog.db import transaction
from catalog.errors import InvalidInput, NotFound
from catalog.pricing import PriceRow, format_yuan, load_prices, parse_yuan
from catalog.rules import local_day
from catalog.tables import Hospital, Peer, Price, QcEvaluation
from catalog.workplace import open_workplace

hospital = typer.Typer(no_args_is_help=True, help="医疗机构及其 AE 标题 / hospitals and their AE titles")
items = typer.Typer(no_args_is_help=True, help="互认项目清单 / the recognised list")
qc = typer.Typer(no_args_is_help=True, help="质量评价与 HR 标识 / quality evaluations and HR marks")
prices = typer.Typer(no_args_is_help=True, help="价格 / prices")
savings_app = typer.Typer(no_args_is_help=True, help="节约费用与重新核算 / savings and their recount")


def migrate(data_dir: DataDir = HERE) -> None:
    """升级数据库结构。 Bring the database to this release's schema.

    例 / example:  huren migrate --data-dir var
    """
    with open_workplace(data_dir, migrate=True):
        typer.echo("数据库结构已是最新 / the schema is up to date")


@hospital.command("add")
def hospital_add(
    code: Annotated[str, typer.Argument(help="机构代码 / code")],
    name: Annotated[str, typer.Option(help="机构名称 / name")],
    tier: Annotated[int, typer.Option(help="等级 3、2 或 1 / tier")],
    region: Annotated[str, typer.Option(help="所在区县代码或名称 / region code or name, 500103, 渝中区")],
    ae: Annotated[list[str] | None, typer.Option(help="发送方 AE 标题,可多次 / sending AE title")] = None,
    data_dir: DataDir = HERE,
) -> None:
    """登记医疗机构。 Register a hospital.

    例 / example:  huren hospital add A --name 甲医院 --tier 3 --region 500103 --ae A_PACS
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        registry.add_hospital(session, code=code, name=name, tier=tier, region=region, ae_titles=ae or ())
    typer.echo(f"已登记 / registered: {code}")


@hospital.command("ae")
def hospital_ae(
    code: Annotated[str, typer.Argument(help="机构代码 / code")],
    title: Annotated[str, typer.Argument(help="AE 标题 / AE title")],
    address: Annotated[list[str] | None, typer.Option(help="允许的地址或网段 / allowed address")] = None,
    data_dir: DataDir = HERE,
) -> None:
    """为机构增加一个 AE 标题。 Let one more AE title send for a hospital.

    例 / example:  huren hospital ae A A_CT --address 10.1.2.0/24
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        registry.add_peer(session, registry.hospital_by_code(session, code), title, address or ())
    typer.echo(f"已登记 / registered: {title}")


@hospital.command("list")
def hospital_list(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出医疗机构。 List hospitals."""
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        titles: dict[int, list[str]] = {}
        for peer in session.scalars(select(Peer).order_by(Peer.ae_title)):
            titles.setdefault(peer.hospital_id, []).append(peer.ae_title)
        rows = [
            {
                "code": row.code,
                "name": row.name,
                "tier": row.tier,
                "region": row.region_code,
                "ae": " ".join(titles.get(row.id, [])),
            }
            for row in session.scalars(select(Hospital).order_by(Hospital.code))
        ]
    show(rows, as_json=json)


@items.command("list")
def items_list(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出互认项目。 List the recognised items.

    这是建议清单,不是官方清单。 It is a proposal, not an official list.
    """
    with open_workplace(data_dir) as place:
        found = place.catalogue.items
    rows = [
        {
            "code": item.code,
            "name": item.name_zh,
            "name_en": item.name_en,
            "category": item.category,
            "laterality": item.laterality,
            "window_days": item.window_days,
            "covers": " ".join(item.covers),
        }
        for item in found
    ]
    show(rows, as_json=json, title=f"{found.title_zh} {found.version} ({found.status})")


@items.command("unmapped")
def items_unmapped(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出未能对应清单的检查。 List studies that are on no list."""
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        rows = results.unmapped(session, limit=1000)
    if not json:
        shown = ("StudyInstanceUID", "hospital", "exam_time", "reason")
        rows = [{key: row[key] for key in shown} for row in rows]
    show(rows, as_json=json)


@items.command("map")
def items_map(
    code: Annotated[str, typer.Argument(metavar="HOSPITAL", help="机构代码 / hospital code")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV")],
    data_dir: DataDir = HERE,
) -> None:
    """导入机构自有项目代码。 Read a hospital's own codes: local_code,name,item_code[,laterality,body_part].

    例 / example:  huren items map B codes.csv
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        rows = _local_codes(file, {item.code for item in place.catalogue.items})
        count = registry.map_local_codes(session, registry.hospital_by_code(session, code), rows)
    typer.echo(f"已导入 / read: {count}")


@qc.command("add")
def qc_add(
    code: Annotated[str, typer.Argument(metavar="HOSPITAL", help="机构代码 / hospital code")],
    item: Annotated[
        str | None, typer.Argument(help="项目代码或项目组 / item code or group (CT, MR, imaging)")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="全部项目 / every item")] = False,
    scope: Annotated[
        str, typer.Option(help="互认范围:地区代码或名称,或 national municipality district / scope")
    ] = "municipality",
    first: Annotated[str, typer.Option("--from", help="起始日 / first day")] = "",
    last: Annotated[str, typer.Option("--to", help="截止日(含) / last day, inclusive")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="评价不合格 / the evaluation was failed")] = False,
    data_dir: DataDir = HERE,
) -> None:
    """登记质量评价,合格者在有效期内带 HR 标识。 Record a quality evaluation; passed ones carry the HR mark.

    例 / example:  huren qc add A CT07 --scope 50 --from 2026-01-01 --to 2026-12-31
    """
    if (item is None) is not every:
        raise InvalidInput("请给出项目代码或 --all", "Give an item code or --all", field="item")
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        known = place.catalogue.items
        targets = _targets(item, known.groups)
        for item_code, group in targets:
            registry.add_evaluation(
                session,
                known,
                hospital_code=code,
                item=item_code,
                group=group,
                scope=scope,
                valid_from=day(first, "from"),
                valid_to=day(last, "to"),
                passed=not failed,
            )
    typer.echo(f"已登记 / recorded: {len(targets)}")


@qc.command("list")
def qc_list(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出质量评价。 List quality evaluations."""
    query = select(QcEvaluation, Hospital.code).join(Hospital, Hospital.id == QcEvaluation.hospital_id)
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        rows = [
            {
                "hospital": code,
                "item": row.item_code or f"[{row.item_group}]",
                "scope": row.scope_code,
                "passed": row.passed,
                "from": row.valid_from,
                "to": row.valid_to,
            }
            for row, code in session.execute(query.order_by(QcEvaluation.id))
        ]
    show(rows, as_json=json)


@prices.command("import")
def prices_import(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV")], data_dir: DataDir = HERE
) -> None:
    """导入价格(元,两位小数)。 Read prices in yuan: scope_kind,scope,item,price,from,to,source.

    例 / example:  huren prices import prices.csv
    """
    rows = load_prices(file)
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        _known_items(rows, {item.code for item in place.catalogue.items})
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
        _known_items([row], {known.code for known in place.catalogue.items})
        registry.add_prices(session, [row], source="huren prices set")
    typer.echo("已登记 / recorded")


@prices.command("list")
def prices_list(
    item: Annotated[str | None, typer.Argument(help="项目代码 / item code")] = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """列出价格。 List prices."""
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
            place.catalogue.items,
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
    """由事件重新核算每个数字,不符则退出码为 1。 Recount every figure; exits 1 where one disagrees."""
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        session.execute(text("set transaction isolation level repeatable read"))
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


def _targets(item: str | None, groups: frozenset[str]) -> list[tuple[str | None, str | None]]:
    if item is None:
        return [(None, "imaging"), (None, "laboratory")]
    return [(None, item)] if item in groups else [(item, None)]


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


def _local_codes(file: Path, known: set[str]) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8-sig", newline="") as text_file:
        rows = list(csv.DictReader(text_file))
    faults = [
        f"{number}"
        for number, row in enumerate(rows, 2)
        if not row.get("local_code") or row.get("item_code") not in known
    ]
    if faults or not rows:
        raise InvalidInput(
            f"第 {' '.join(faults[:20]) or '1'} 行有误:须有 local_code 与清单中的 item_code",
            f"Lines {' '.join(faults[:20]) or '1'}: local_code and a listed item_code are needed",
            field="file",
        )
    return [
        {
            "code": row["local_code"].strip(),
            "name": (row.get("name") or "").strip(),
            "item_code": row["item_code"],
            "laterality": (row.get("laterality") or "").strip() or None,
            "body_part": (row.get("body_part") or "").strip() or None,
        }
        for row in rows
    ]
