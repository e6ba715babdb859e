"""Commands of the DICOM side: receive, ship, send."""

import threading
from typing import Annotated, Any

import typer

from catalog.console import HERE, DataDir
from catalog.errors import Unavailable
from catalog.logs import set_up_logging
from catalog.objects import ObjectStore
from catalog.signals import stop_on_signals
from catalog.workplace import Workplace, open_workplace
from dicom_node.acceptor import open_spool
from dicom_node.commitment_answer import Examiner
from dicom_node.commitment_report import Committer
from dicom_node.registry import AskCatalogue, keep_snapshot
from dicom_node.settings import NodeSettings
from dicom_node.ship import Shipper, ShipSettings
from dicom_node.workers import WorkerPlan, run_workers


def node(
    data_dir: DataDir = HERE,
    port: Annotated[int | None, typer.Option("--dicom-port", help="DICOM 端口 / port")] = None,
    host: Annotated[str | None, typer.Option(help="监听地址 / address to listen on")] = None,
) -> None:
    """接收影像(C-ECHO、C-STORE),落盘后才应答成功。 Receive; success is answered only for what is on disk.

    例 / example:  huren node --data-dir var --dicom-port 11112
    """
    told: dict[str, Any] = {"port": port, "host": host}
    settings = NodeSettings(**{key: value for key, value in told.items() if value is not None})
    stop = _stopped_by_signal()
    with open_workplace(data_dir) as place:
        snapshot = place.run_dir / "peers.json"
        keeper = threading.Thread(
            target=keep_snapshot, args=(place.catalogue.engine, snapshot, stop), daemon=True
        )
        keeper.start()
        prepare = AskCatalogue(place.services.database_url, set_up_logging)
        plan = WorkerPlan(settings, place.spool_dir, place.run_dir, snapshot, prepare)
        try:
            run_workers(
                plan,
                stop,
                on_ready=lambda bound: typer.echo(f"dicom HUREN@{settings.host}:{bound}", err=True),
            )
        finally:
            stop.set()
            keeper.join(5)


def ship(
    data_dir: DataDir = HERE,
    once: Annotated[
        bool, typer.Option("--once", help="归档现有的包后退出 / ship what is there, then exit")
    ] = False,
    grace_hours: Annotated[
        float, typer.Option(help="归档后暂存保留小时数 / hours kept after archiving")
    ] = 24.0,
) -> None:
    """归档:读取报文头、上传、逐字节读回、入库。 Archive: read headers, upload, read back, catalogue.

    例 / example:  huren ship --data-dir var --once
    """
    stop = _stopped_by_signal()
    with open_workplace(data_dir, s3=True) as place, place.open_store() as store:
        spool = open_spool(NodeSettings(), place.spool_dir)
        shipper = Shipper(spool, store, place.catalogue, ShipSettings(grace_seconds=grace_hours * 3600))
        if not once:
            _wait_for_bucket(store, stop)
            _start_committer(place, store, shipper, stop)
            shipper.run(stop)
            return
        if place.embedded is not None:
            place.embedded.wait_s3()
        store.ensure_bucket()
        shipped = shipper.ship_once()
        status = shipper.status()
        typer.echo(f"已归档 / shipped: {shipped}, 待归档 / waiting: {status['backlog_packs']}")
        if status["outage"]:
            raise Unavailable("存储不可用,未能全部归档", "A store is down; not everything was shipped")


def _start_committer(place: Workplace, store: ObjectStore, shipper: Shipper, stop: threading.Event) -> None:
    """Decide and report storage commitments beside the shipping, which knows what is still to come."""
    engine = place.catalogue.engine
    committer = Committer(
        engine,
        Examiner(engine, store),
        NodeSettings().called_ae_titles[0],
        oldest_waiting_seconds=lambda: shipper.backlog()[2],
    )
    threading.Thread(target=committer.run, args=(stop,), daemon=True).start()


def _wait_for_bucket(store: ObjectStore, stop: threading.Event) -> None:
    """Make the bucket once the store answers; meanwhile packs wait in the spool."""
    while not stop.is_set():
        try:
            store.ensure_bucket()
        except Unavailable:
            stop.wait(0.5)
        else:
            return


def _stopped_by_signal() -> threading.Event:
    stop = threading.Event()
    stop_on_signals(stop)
    return stop
