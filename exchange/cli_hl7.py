"""HL7 v2 over MLLP: the listener and its senders."""

import ssl
import threading
from pathlib import Path
from typing import Annotated

import typer

from catalog import hl7_peers
from catalog.console import HERE, AsJson, DataDir, show
from catalog.db import transaction
from catalog.registry import hospital_by_code
from catalog.signals import stop_on_signals
from catalog.workplace import open_workplace
from exchange.hl7_desk import Desk
from exchange.mllp import Listener

hl7 = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=False,
)
peer = typer.Typer(no_args_is_help=True, help="HL7 v2 发送方 / senders of HL7 v2")
hl7.add_typer(peer, name="peer")


@hl7.callback()
def listen(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="监听地址 / address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="端口,0 为任选 / port, 0 picks one")] = 2575,
    certificate: Annotated[
        Path | None, typer.Option(exists=True, help="TLS 证书 PEM / certificate for TLS")
    ] = None,
    key: Annotated[Path | None, typer.Option(exists=True, help="TLS 私钥 PEM / its private key")] = None,
    data_dir: DataDir = HERE,
) -> None:
    """以 HL7 v2(MLLP)接收 ORU^R01,入库提交后才应答 AA。 Take ORU^R01 over MLLP; AA only after the commit.

    例 / example:  huren hl7 --data-dir var --port 2575
    """
    if context.invoked_subcommand is not None:
        return
    stop = threading.Event()
    stop_on_signals(stop)
    tls = None
    if certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate, key)
    with open_workplace(data_dir, s3=True) as place, place.open_store() as store:
        desk = Desk(place.catalogue, store)
        listener = Listener(lambda raw, address: desk.take(raw, address).content, host, port, tls=tls)
        typer.echo(f"hl7 {host}:{listener.port}", err=True)
        listener.run(stop)


@peer.command("add")
def peer_add(
    code: Annotated[str, typer.Argument(metavar="HOSPITAL", help="机构代码 / hospital code")],
    application: Annotated[str, typer.Argument(help="发送应用 MSH-3 / sending application")],
    facility: Annotated[str, typer.Argument(help="发送机构 MSH-4 / sending facility")] = "",
    address: Annotated[
        list[str] | None, typer.Option(help="允许的地址或网段,可多次 / allowed address or network")
    ] = None,
    data_dir: DataDir = HERE,
) -> None:
    """登记发送方及其机构,再次登记则更新地址。 Register a sender and the hospital it sends for.

    例 / example:  huren hl7 peer add A LIS A_HOSPITAL --address 10.1.2.0/24
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        hl7_peers.add(session, hospital_by_code(session, code), application, facility, address or ())
    typer.echo(f"已登记 / registered: {application}")


@peer.command("stop")
def peer_stop(
    application: Annotated[str, typer.Argument(help="发送应用 MSH-3 / sending application")],
    facility: Annotated[str, typer.Argument(help="发送机构 MSH-4 / sending facility")] = "",
    data_dir: DataDir = HERE,
) -> None:
    """停用发送方。 Take no more messages of a sender.

    例 / example:  huren hl7 peer stop LIS A_HOSPITAL
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        hl7_peers.stop(session, application, facility)
    typer.echo(f"已停用 / stopped: {application}")


@peer.command("list")
def peer_list(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出发送方。 List the senders.

    例 / example:  huren hl7 peer list
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        rows = hl7_peers.listed(session)
    show(rows, as_json=json)
