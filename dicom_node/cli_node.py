"""`huren node`: its process lives as long as the node and supervises it, so it imports little."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from catalog.console import HERE, DataDir
from catalog.folders import run_dir, spool_dir
from catalog.signals import stop_on_signals
from dicom_node.registry import keep_snapshot
from dicom_node.settings import NodeSettings
from dicom_node.workers import WorkerPlan, run_workers


def node(
    data_dir: DataDir = HERE,
    port: Annotated[int | None, typer.Option("--dicom-port", help="DICOM 端口 / port")] = None,
    host: Annotated[str | None, typer.Option(help="监听地址 / address to listen on")] = None,
) -> None:
    """接收影像(C-ECHO、C-STORE),落盘后才应答成功。 Receive; success is answered only for what is on disk.

    例 / example:  huren node --data-dir var --dicom-port 11112
    """
    settings = NodeSettings.read(port=port, host=host)
    stop = threading.Event()
    stop_on_signals(stop)
    data_dir = data_dir.expanduser().resolve()
    with _stores(data_dir) as stores:
        database_url = stores["HUREN_DATABASE_URL"]
        snapshot = run_dir(data_dir) / "peers.json"
        keeper = threading.Thread(target=keep_snapshot, args=(database_url, snapshot, stop), daemon=True)
        keeper.start()
        plan = WorkerPlan(settings, spool_dir(data_dir), run_dir(data_dir), snapshot, database_url, stores)
        try:
            run_workers(
                plan,
                stop,
                on_ready=lambda bound: typer.echo(f"dicom HUREN@{settings.host}:{bound}", err=True),
            )
        finally:
            stop.set()
            keeper.join(5)


@contextmanager
def _stores(data_dir: Path) -> Iterator[Mapping[str, str]]:
    """Yield how the stores and the keys are named, those up or not: receiving does not wait; else the embedded ones."""
    named = os.environ.get("HUREN_DATABASE_URL")
    keys = {"HUREN_KEYS_DIR": os.environ.get("HUREN_KEYS_DIR") or str(data_dir / "keys")}
    if named:
        yield {"HUREN_DATABASE_URL": named, **keys}
        return
    from catalog.workplace import open_workplace

    with open_workplace(data_dir, s3=True) as place:
        yield {**place.environment(), **keys}
