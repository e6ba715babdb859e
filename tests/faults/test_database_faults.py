"""PostgreSQL killed and cut off under load: what is received is acknowledged all the same, and catalogued later."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from catalog.context import Catalogue
from catalog.db import open_engine, ping, transaction
from catalog.embedded import Embedded
from catalog.errors import DatabaseDown
from catalog.objects import ObjectStore
from dicom_node.ship import Shipper
from dicom_node.spool import Spool
from tests.city import City, open_catalogue, prepare
from tests.dicom_node.raw_peer import RawPeer, wait_until
from tests.faults.closing import closing_check
from tests.faults.history import History
from tests.faults.run_record import RunRecord
from tests.faults.scale import scaled
from tests.faults.senders import Supply
from tests.faults.tcp_proxy import TCPProxy, Trouble, open_tcp_proxy
from tests.faults.victim import Victim, receive
from tests.flow.harbour import FAST, NOW, running

RECOVERY_SECONDS = 10.0
CONNECT_SECONDS = 6.0  # the engine gives up after two


@dataclass
class Served:
    """A spool being filled and shipped, with a database of its own behind a proxy."""

    spool: Spool
    store: ObjectStore
    catalogue: Catalogue
    shipper: Shipper
    embedded: Embedded
    proxy: TCPProxy
    sender: "storing"
    history: History
    recoveries: list[float] = field(default_factory=list)

    def goes_on(self, more: int = 20) -> None:
        """Wait until so many more instances were acknowledged."""
        before = len(self.history.acknowledged)
        wait_until(lambda: len(self.history.acknowledged) >= before + more)

    def recovers(self) -> None:
        """Wait until packs are registered again, and note how long that took."""
        began, before = time.monotonic(), self.shipper.counters().get("shipped", 0)
        wait_until(lambda: self.shipper.counters().get("shipped", 0) > before, 2 * RECOVERY_SECONDS)
        self.recoveries.append(time.monotonic() - began)


@pytest.fixture
def served(tmp_path: Path, embedded: Embedded, s3_store: ObjectStore, record: RunRecord) -> Iterator[Served]:
    with Embedded(tmp_path / "own", own=True, s3=False) as own:
        url = make_url(own.services.database_url)
        with open_tcp_proxy((str(url.host), int(url.port or 0))) as proxy:
            behind = url.set(port=proxy.port).render_as_string(hide_password=False)
            catalogue = open_catalogue(behind, tmp_path / "keys", lambda: NOW)
            prepare(catalogue.engine)
            City(catalogue).hospital("H-A")
            assert embedded.services.s3 is not None
            access = replace(embedded.services.s3, bucket=f"database-{uuid4().hex}")
            with ObjectStore(access) as store, Victim(receive, tmp_path, {}) as node:
                store.ensure_bucket()
                spool, history = Spool(tmp_path / "spool", low_water_bytes=0), History()
                shipper = Shipper(spool, store, catalogue, FAST)
                with running(shipper), storing(node.said, history, record) as sender:
                    yield Served(spool, store, catalogue, shipper, own, proxy, sender, history)
            catalogue.engine.dispose()


class storing:
    """A sender that stores a few instances per association, until the context or `end` ends it."""

    def __init__(self, port: int, history: History, record: RunRecord) -> None:
        self._port, self._history = port, history
        self._supply = Supply(1, record.chance)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._store, daemon=True)

    def __enter__(self) -> "storing":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Store no more."""
        self._over.set()
        self._thread.join()

    def _store(self) -> None:
        while not self._over.wait(0.1):
            with RawPeer(self._port) as peer:
                peer.associate()
                for uid, data in itertools.islice(self._supply.study(), 10):
                    self._history.store(peer, uid, data)


@pytest.mark.alone
def test_kills_of_the_database_stop_no_sender_and_shipping_recovers_in_ten_seconds(
    served: Served, record: RunRecord
) -> None:
    served.goes_on()
    for _ in range(kills := scaled(5, 100)):
        served.recovers()
        os.kill(served.embedded.pids["postgres"], signal.SIGKILL)
        served.goes_on()
        served.embedded.check()
        served.recovers()
        record.progress(kills=kills, longest_recovery=max(served.recoveries))
    close(served, record)


@pytest.mark.alone
def test_a_database_that_is_cut_off_or_swallows_everything_stops_no_sender(
    served: Served, record: RunRecord
) -> None:
    served.goes_on()
    for _ in range(cuts := scaled(3, 30)):
        served.recovers()
        served.proxy.cut_all("RST")
        served.goes_on()
        served.recovers()
        served.proxy.trouble = Trouble(swallow=True)
        served.goes_on(50)
        served.proxy.trouble = Trouble()
        served.proxy.cut_all("FIN")
        served.recovers()
        record.progress(cuts=cuts, longest_recovery=max(served.recoveries))
    close(served, record)


def test_a_connection_that_is_swallowed_is_given_up(database_url: str) -> None:
    url = make_url(database_url)
    with open_tcp_proxy((str(url.host), int(url.port or 0))) as proxy:
        proxy.trouble = Trouble(swallow=True)
        engine = open_engine(url.set(port=proxy.port).render_as_string(hide_password=False))
        rescue = threading.Timer(2 * CONNECT_SECONDS, proxy.cut_all)
        rescue.start()
        began = time.monotonic()
        with pytest.raises(DatabaseDown):
            ping(engine)
        assert time.monotonic() - began < CONNECT_SECONDS
        rescue.cancel()


def test_a_statement_that_does_not_end_is_given_up(database_url: str) -> None:
    engine = open_engine(database_url, statement_timeout_ms=100)
    with pytest.raises(DatabaseDown), transaction(engine) as session:
        session.execute(text("select pg_sleep(5)"))
    engine.dispose()


def close(served: Served, record: RunRecord) -> None:
    served.sender.end()
    closing_check(served, served.history, record)
    assert max(served.recoveries) < RECOVERY_SECONDS
    assert served.spool.quarantined() == []
