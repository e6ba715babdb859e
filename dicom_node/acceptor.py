"""The listening socket of one worker: admit, start a thread per association, drain at the end."""

import logging
import os
import resource
import select
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dicom_node.admission import Admission
from dicom_node.association import Association, Node
from dicom_node.blanks import keep_filled
from dicom_node.commitment_asked import LateDesk
from dicom_node.counters import Counters
from dicom_node.gate import Gate
from dicom_node.peers import PeerDirectory
from dicom_node.query_asked import Archive, LateArchive
from dicom_node.settings import NodeSettings
from dicom_node.spool import Spool
from dicom_node.tls import open_context

_LOG = logging.getLogger("huren.dicom_node")
_TICK_SECONDS = 0.25
_HOUSEKEEPING_SECONDS = 2.0
_RECOVERY_SECONDS = 60.0
_BLANK_SECONDS = 1.0  # for the piece of a blank that is being written
_BACKLOG = (
    4096  # the kernel cuts it to net.core.somaxconn; a full queue costs a good peer seconds (SYN again)
)
_COURTESY_TICKS, _COURTESY_SECONDS = 10, 0.001
_RUSH = 16  # so many connections within a tick are a crowd, taken as fast as possible
# Connections over the limit still get an answer with a reason, as long as there are not absurdly many of them;
# of one address fewer, or its crowd would leave no room for a good peer's connection.
_ANSWERED_OVER_LIMIT = 64
_ANSWERED_OVER_ADDRESS_LIMIT = 16


def listen(settings: NodeSettings, port: int | None = None) -> socket.socket:
    """Open the listening socket, of the settings' own port unless told; port 0 picks a free one.

    Raises:
        OSError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port if port is None else port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def open_spool(settings: NodeSettings, root: Path) -> Spool:
    """Open the spool with the limits of the settings."""
    return Spool(
        root,
        pack_limit_bytes=settings.pack_limit_bytes,
        low_water_bytes=settings.low_water_bytes,
        low_water_inodes=settings.low_water_inodes,
        blank_packs=settings.blank_packs,
    )


def open_admission(settings: NodeSettings, path: Path) -> Admission:
    """Open the table of live associations with the limits of the settings."""
    return Admission(
        path,
        total=settings.max_associations,
        per_address=settings.max_associations_per_address,
        per_hospital=settings.max_associations_per_hospital,
    )


def serve(
    settings: NodeSettings,
    directory: PeerDirectory,
    spool_root: Path,
    run_root: Path,
    stop: threading.Event,
    *,
    on_ready: Callable[[int], None] | None = None,
    shared_listener: socket.socket | None = None,
    shared_tls_listener: socket.socket | None = None,
    database_url: str = "",
    archive: Callable[[Counters], Archive] | None = None,
) -> None:
    """Receive in this process until `stop` is set; then finish what is under way, at most `drain_seconds`.

    `on_ready` is called with the real port once connections are accepted. Counters go to `run_root`/metrics,
    refusals for the audit to `run_root`/refusals. The shared listeners are ones that other workers accept from too; with a certificate in the settings
    associations are taken over TLS on a second port. Without a database no commitment can be asked for,
    without an `archive`, which is opened when first asked, nothing found or retrieved.

    Raises:
        OSError: the address, the spool or the run directory cannot be had.
        InvalidInput: the TLS files cannot be used.
    """
    tls = open_context(settings)
    _raise_file_limit()
    spool = open_spool(settings, spool_root)
    spool.recover()
    admission = open_admission(settings, run_root / "associations")
    counters = Counters()
    gate = Gate(directory, settings, run_root, counters)
    if shared_listener is None:
        admission.clear()
        gate.clear()
    desk = LateDesk(database_url, counters) if database_url else None
    late = LateArchive(partial(archive, counters) if archive else None)
    node = Node(settings, gate, spool, admission, counters, stop, desk, archive=late)
    others = settings.workers - 1 if shared_listener else 0
    keeper = _keep_blanks(node)
    listener = shared_listener or listen(settings)
    tls_listener = (shared_tls_listener or listen(settings, settings.tls_port)) if tls else None
    try:
        secured = tls_listener and Acceptor(tls_listener, node, None, others=others, tls=tls)
        beside = threading.Thread(target=secured.run) if secured else None
        acceptor = Acceptor(listener, node, run_root / "metrics", others=others)
        if beside:
            beside.start()
        if on_ready is not None:
            on_ready(listener.getsockname()[1])
        acceptor.run()
        if beside:
            beside.join()
    finally:
        stop.set()
        keeper.join(_BLANK_SECONDS)
        for opened in (listener, tls_listener):
            if opened is not None:
                opened.close()
        if desk is not None:
            desk.close()
        late.close()
        gate.close()
        admission.close()


def _keep_blanks(node: Node) -> threading.Thread:
    def may_write() -> bool:
        return not node.admission.count() and not node.spool.is_below_marks(times=2)

    arguments = (node.spool.blanks, may_write, node.settings.blank_idle_seconds, node.stopping)
    thread = threading.Thread(target=keep_filled, args=arguments, daemon=True)
    thread.start()
    return thread


class Acceptor:
    """Accepts connections, over TLS where there is a context, and keeps hold of their threads.

    The one that is given a folder for metrics keeps house for the worker.
    """

    def __init__(
        self,
        listener: socket.socket,
        node: Node,
        metrics: Path | None,
        *,
        others: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._listener = listener
        self._node = node
        self._metrics = metrics
        self._others = others
        self._tls = tls
        self._live: dict[Association, threading.Thread] = {}
        self._from: Counter[str] = Counter()  # address → how many of the live ones
        self._lock = threading.Lock()
        self._spare_fd = _spare_descriptor()
        now = self._tick_began = time.monotonic()
        self._accepted = 0  # since the tick began
        self._was_rush = False  # in the tick before
        self._housekeeping_at, self._recovery_at = now + _HOUSEKEEPING_SECONDS, now + _RECOVERY_SECONDS

    def run(self) -> None:
        """Accept until the node stops, then drain."""
        self._listener.setblocking(False)
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while not self._node.stopping.is_set():
            if poll.poll(_TICK_SECONDS * 1000) and (self._is_least_busy() or poll.poll(0)):
                self._accept()
            self._keep_house()
        self._listener.close()
        self._drain()
        self._write_counters()
        self._close_spare()

    def _is_least_busy(self) -> bool:
        """Leave a connection for a moment to the workers that have fewer; `False` once they had their chance."""
        if self._is_rush():
            return True
        for _ in range(_COURTESY_TICKS):
            own, elsewhere = self._node.admission.shares()
            with self._lock:
                own += sum(1 for association in self._live if not association.is_placed)
            if own * self._others <= elsewhere:
                return True
            time.sleep(_COURTESY_SECONDS)
        return False

    def _is_rush(self) -> bool:
        now = time.monotonic()
        if now - self._tick_began > _TICK_SECONDS:
            self._was_rush = self._accepted >= _RUSH
            self._tick_began, self._accepted = now, 0
        return self._was_rush or self._accepted >= _RUSH

    def _accept(self) -> None:
        self._accepted += 1
        try:
            sock, address = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # gone again before it was taken
        except OSError as error:
            self._refuse_for_want_of_descriptors(error)
            return
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(sock, str(address[0]))
        except (OSError, RuntimeError) as error:
            # RuntimeError: the system gives no more threads.
            _LOG.error("a connection is dropped: %s", type(error).__name__)
            self._node.counters.add("associations", "refused:no_resources")
            sock.close()

    def _start(self, sock: socket.socket, address: str) -> None:
        if self._is_flooded(address):
            self._node.counters.add("associations", "refused:flood")
            sock.close()
            return
        association = Association(sock, address, self._node, self._tls)
        thread = threading.Thread(target=self._live_out, args=(association, address), daemon=True)
        with self._lock:
            self._live[association] = thread
            self._from[address] += 1
        try:
            thread.start()
        except RuntimeError:
            self._forget(association, address)
            raise

    def _is_flooded(self, address: str) -> bool:
        settings = self._node.settings
        return (
            self._from[address] >= settings.max_associations_per_address + _ANSWERED_OVER_ADDRESS_LIMIT
            or len(self._live) >= settings.max_associations + _ANSWERED_OVER_LIMIT
        )

    def _live_out(self, association: Association, address: str) -> None:
        try:
            association.run()
        finally:
            self._forget(association, address)

    def _forget(self, association: Association, address: str) -> None:
        with self._lock:
            self._live.pop(association, None)
            self._from[address] -= 1
            if not self._from[address]:
                del self._from[address]

    def _refuse_for_want_of_descriptors(self, error: OSError) -> None:
        # The connection at the head of the queue would wake us for ever: the spare descriptor lets us close it.
        _LOG.error("no connection can be accepted: %s", error.strerror)
        self._node.counters.add("associations", "refused:no_descriptors")
        self._close_spare()
        try:
            self._listener.accept()[0].close()
        except OSError:
            time.sleep(_TICK_SECONDS)
        self._spare_fd = _spare_descriptor()  # none where an association was quicker: the next time, perhaps

    def _close_spare(self) -> None:
        if self._spare_fd is not None:
            os.close(self._spare_fd)

    def _keep_house(self) -> None:
        if self._metrics is None:
            return
        now = time.monotonic()
        if now >= self._housekeeping_at:
            self._housekeeping_at = now + _HOUSEKEEPING_SECONDS
            self._write_counters()
            if self._node.spool.is_below_marks(times=2):
                self._node.spool.blanks.clear()
        if now >= self._recovery_at:
            self._recovery_at = now + _RECOVERY_SECONDS
            self._node.spool.recover()

    def _write_counters(self) -> None:
        if self._metrics is None:
            return
        try:
            self._node.counters.write(self._metrics)
            self._node.gate.write()
        except OSError as error:
            _LOG.error("counters or refusals cannot be written: %s", error.strerror)

    def _drain(self) -> None:
        deadline = time.monotonic() + self._node.settings.drain_seconds
        for association in self._associations():
            association.wake()
        self._join_until(deadline)
        for association in self._associations():
            association.cut()
        self._join_until(deadline + 1.0)

    def _associations(self) -> list[Association]:
        with self._lock:
            return list(self._live)

    def _join_until(self, deadline: float) -> None:
        with self._lock:
            threads = list(self._live.values())
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _spare_descriptor() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
