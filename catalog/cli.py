"""Commands about what is known: schema, hospitals, items, quality evaluations."""

import csv
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from sqlalchemy import select

from catalog import registry, results
from catalog.console import HERE, AsJson, DataDir, day, show
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.tables import Hospital, Peer, QcEvaluation
from catalog.workplace import open_workplace

hospital = typer.Typer(no_args_is_help=True, help="医疗机构及其 AE 标题 / hospitals and their AE titles")
items = typer.Typer(no_args_is_help=True, help="互认项目清单 / the recognised list")
qc = typer.Typer(no_args_is_help=True, help="质量评价与 HR 标识 / quality evaluations and HR marks")


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
    host: Annotated[
        str, typer.Option(help="接收存储承诺报告的主机 / where it takes commitment reports")
    ] = "",
    port: Annotated[int, typer.Option(help="接收存储承诺报告的端口 / port for commitment reports")] = 0,
    tls: Annotated[bool, typer.Option(help="以 TLS 接收报告 / it takes reports over TLS")] = False,
    data_dir: DataDir = HERE,
) -> None:
    """为机构增加一个 AE 标题,或登记其监听地址。 Let one more AE title send for a hospital; say where it listens.

    例 / example:  huren hospital ae A A_CT --address 10.1.2.0/24 --host 10.1.2.9 --port 104
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        found = registry.hospital_by_code(session, code)
        registry.add_peer(session, found, title, address or (), host=host, port=port, tls=tls)
    typer.echo(f"已登记 / registered: {title}")


@hospital.command("cert")
def hospital_cert(
    code: Annotated[str, typer.Argument(help="机构代码 / code")],
    title: Annotated[str, typer.Argument(help="AE 标题 / AE title")],
    files: Annotated[
        list[Path] | None, typer.Argument(exists=True, help="客户端证书 PEM;不给则取消 / none: plain again")
    ] = None,
    data_dir: DataDir = HERE,
) -> None:
    """登记 AE 的客户端证书,此后只接受 TLS。 Bind an AE title to client certificates: TLS only from then on.

    例 / example:  huren hospital cert A A_PACS a_pacs.pem
    """
    found = [fingerprint for file in files or () for fingerprint in _fingerprints(file)]
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        registry.set_certificates(session, registry.hospital_by_code(session, code), title, found)
    typer.echo(f"已登记 / registered: {len(found)}")


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


def _fingerprints(file: Path) -> list[str]:
    try:
        certificates = x509.load_pem_x509_certificates(file.read_bytes())
    except ValueError as error:
        raise InvalidInput("不是 PEM 证书", "Not a certificate in PEM", field="files") from error
    return [certificate.fingerprint(hashes.SHA256()).hex() for certificate in certificates]


def _targets(item: str | None, groups: frozenset[str]) -> list[tuple[str | None, str | None]]:
    if item is None:
        return [(None, "imaging"), (None, "laboratory")]
    return [(None, item)] if item in groups else [(item, None)]


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
