"""Commands about what is known: schema, hospitals."""

from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from catalog import registry
from catalog.certificates import read_certificates
from catalog.console import HERE, AsJson, DataDir, show
from catalog.db import transaction
from catalog.tables import Hospital
from catalog.tables_dicom import Peer
from catalog.workplace import open_workplace

hospital = typer.Typer(no_args_is_help=True, help="医疗机构及其 AE 标题 / hospitals and their AE titles")


def migrate(data_dir: DataDir = HERE) -> None:
    """升级数据库结构。 Bring the database to this release's schema.

    例 / example:  huren migrate --data-dir var
    """
    with open_workplace(data_dir, migrate=True, acting="owner"):
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
        str,
        typer.Option(
            help="其监听主机:C-MOVE 与存储承诺报告 / where it listens, for C-MOVE and commitment reports"
        ),
    ] = "",
    port: Annotated[int, typer.Option(help="其监听端口 / the port where it listens")] = 0,
    tls: Annotated[bool, typer.Option(help="以 TLS 监听 / it listens with TLS")] = False,
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
    found = [each for file in files or () for each in read_certificates(file.read_bytes())]
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        registry.set_certificates(session, registry.hospital_by_code(session, code), title, found)
    typer.echo(f"已登记 / registered: {len(found)}")


@hospital.command("list")
def hospital_list(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出医疗机构。 List hospitals.

    例 / example:  huren hospital list --json
    """
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
