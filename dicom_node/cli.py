"""`huren ship`: archive what was received, decide commitments, audit refusals, count what hospitals bring."""

import threading
from typing import Annotated

import typer

from catalog import supply_refresh
from catalog.console import HERE, DataDir
from catalog.errors import Unavailable
from catalog.objects import ObjectStore
from catalog.signals import stop_on_signals
from catalog.workplace import Workplace, open_workplace
from dicom_node.acceptor import open_spool
from dicom_node.commitment_answer import Examiner
from dicom_node.commitment_report import Committer
from dicom_node.counters import Counters, keep_writing
from dicom_node.refusal_audit import keep_auditing
from dicom_node.settings import NodeSettings
from dicom_node.ship import Shipper, ShipSettings
from dicom_node.tls import open_outbound


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
        spool = open_spool(NodeSettings.read(), place.spool_dir)
        shipper = Shipper(spool, store, place.catalogue, ShipSettings(grace_seconds=grace_hours * 3600))
        if not once:
            _start_auditing(place, stop)
            _start_counting(place, stop)
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
    engine, settings, counters = place.catalogue.engine, NodeSettings.read(), Counters()
    committer = Committer(
        engine,
        Examiner(engine, store),
        settings.called_ae_titles[0],
        oldest_waiting_seconds=lambda: shipper.backlog()[2],
        tls=open_outbound(settings),
        counters=counters,
    )
    keep_writing(counters, place.run_dir / "metrics", "committer-", stop)
    threading.Thread(target=committer.run, args=(stop,), daemon=True).start()


def _start_auditing(place: Workplace, stop: threading.Event) -> None:
    """Record who was refused: the receiving workers hold no catalogue."""
    arguments = (place.catalogue.engine, place.run_dir / "refusals", stop)
    threading.Thread(target=keep_auditing, args=arguments, daemon=True).start()


def _start_counting(place: Workplace, stop: threading.Event) -> None:
    """Keep the figures of what hospitals bring: the database does the work."""
    arguments = (place.catalogue, stop, place.settings.supply_minutes * 60)
    threading.Thread(target=supply_refresh.keep_fresh, args=arguments, daemon=True).start()


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
