"""One receiving process, started by the supervisor: `python -m dicom_node.worker SPOOL RUN SNAPSHOT PLAIN TLS`.

PLAIN and TLS are numbers of inherited listening sockets, -1 for none. The settings are in the environment, and so
is the database where there is one. Standard output says `ready`; the end of standard input says that the supervisor
is gone. It imports little, on purpose: memory is counted per process.
"""

import os
import socket
import sys
import threading
from functools import partial
from pathlib import Path

from catalog.logs import set_up_logging
from catalog.signals import stop_on_signals
from dicom_node.acceptor import serve
from dicom_node.counters import Counters
from dicom_node.peers import Peer, PeerDirectory
from dicom_node.query_asked import Archive
from dicom_node.settings import NodeSettings

KEYS_DIR = "HUREN_KEYS_DIR"


def main(spool: str, run: str, snapshot: str, plain: str, tls: str) -> None:
    """Receive until a signal or the supervisor's end."""
    stop = threading.Event()
    stop_on_signals(stop)
    threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()
    set_up_logging()
    database_url = os.environ.get("HUREN_DATABASE_URL", "")
    look_up = partial(_look_up, database_url) if database_url else None
    serve(
        NodeSettings.read(),
        PeerDirectory(Path(snapshot), look_up),
        Path(spool),
        Path(run),
        stop,
        on_ready=_say_ready,
        shared_listener=_listener(plain),
        shared_tls_listener=_listener(tls),
        database_url=database_url,
        archive=partial(_open_archive, database_url) if database_url else None,
    )
    os._exit(0)  # threads that outlived the drain are cut off, whatever they wait for


def _look_up(database_url: str, ae_title: str) -> Peer | None:
    from dicom_node.registry import look_up_peer  # and with it the database driver: most workers never ask

    return look_up_peer(database_url, ae_title)


def _open_archive(database_url: str, counters: Counters) -> Archive:
    from dicom_node.archive_desk import open_archive  # and with it far more than the rest of a worker

    return open_archive(NodeSettings.read(), database_url, Path(os.environ.get(KEYS_DIR, "")), counters)


def _say_ready(_port: int) -> None:
    os.write(sys.stdout.fileno(), b"ready\n")


def _listener(number: str) -> socket.socket | None:
    return None if number == "-1" else socket.socket(fileno=int(number))


def _stop_with_parent(stop: threading.Event) -> None:
    os.read(sys.stdin.fileno(), 1)
    stop.set()


if __name__ == "__main__":
    main(*sys.argv[1:])
