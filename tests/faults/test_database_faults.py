"""D9: PostgreSQL killed and cut off under load: what is received is acknowledged all the same, and catalogued later."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from catalog.db import open_engine, ping, transaction
from catalog.embedded import Embedded
from catalog.errors import DatabaseDown
from catalog.objects import ObjectStore
from tests.city import City, open_catalogue, prepare
from tests.faults.run_record import RunRecord
from tests.faults.scale import scaled
from tests.faults.served import Served, serving
from tests.faults.tcp_proxy import TCPProxy, Trouble, open_tcp_proxy
from tests.flow.harbour import NOW

RECOVERY_SECONDS = 10.0
LOCK_SECONDS = 10.0  # the engine gives up after five
SILENT_SECONDS = 30
CONNECT_SECONDS = 6.0  # the engine gives up after two


@dataclass
class Behind:
    """A node served by a database of its own, which can be killed, behind a proxy, which can cut it off."""

    served: Served
    embedded: Embedded
    proxy: TCPProxy


@pytest.fixture
def behind(tmp_path: Path, embedded: Embedded, s3_store: ObjectStore, record: RunRecord) -> Iterator[Behind]:
    with Embedded(tmp_path / "own", own=True, s3=False) as own:
        url = make_url(own.services.owner_url)
        with open_tcp_proxy((str(url.host), int(url.port or 0))) as proxy:
            address = url.set(port=proxy.port).render_as_string(hide_password=False)
            catalogue = open_catalogue(address, tmp_path / "keys", lambda: NOW)
            prepare(catalogue.engine)
            City(catalogue).hospital("H-A")
            assert embedded.services.s3 is not None
            access = replace(embedded.services.s3, bucket=f"database-{uuid4().hex}")
            with ObjectStore(access) as store, serving(tmp_path, store, catalogue, record) as served:
                yield Behind(served, own, proxy)
            catalogue.engine.dispose()


def test_kills_of_the_database_stop_no_sender_and_shipping_recovers_in_ten_seconds(
    behind: Behind, record: RunRecord
) -> None:
    served = behind.served
    served.goes_on()
    for _ in range(kills := scaled(5, 100)):
        served.recovers(2 * RECOVERY_SECONDS)
        os.kill(behind.embedded.pids["postgres"], signal.SIGKILL)
        served.goes_on()
        behind.embedded.check()
        served.recovers(2 * RECOVERY_SECONDS)
        record.progress(kills=kills, longest_recovery=max(served.recoveries))
    close(served, record)


def test_a_database_that_is_cut_off_or_swallows_everything_stops_no_sender(
    behind: Behind, record: RunRecord
) -> None:
    served, proxy = behind.served, behind.proxy
    served.goes_on()
    for _ in range(cuts := scaled(3, 30)):
        served.recovers(2 * RECOVERY_SECONDS)
        proxy.cut_all("RST")
        served.goes_on()
        served.recovers(2 * RECOVERY_SECONDS)
        proxy.trouble = Trouble(swallow=True)
        served.goes_on(50)
        proxy.trouble = Trouble()
        proxy.cut_all("FIN")
        served.recovers(2 * RECOVERY_SECONDS)
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


def test_a_lock_that_is_not_given_back_is_given_up(database_url: str) -> None:
    engine = open_engine(database_url)
    lock = text("select pg_advisory_xact_lock(1)")
    with transaction(engine) as holder:
        holder.execute(lock)
        began = time.monotonic()
        with pytest.raises(DatabaseDown), transaction(engine) as session:
            session.execute(lock)
        assert time.monotonic() - began < LOCK_SECONDS
    engine.dispose()


def test_a_connection_whose_other_end_is_gone_is_noticed_by_the_kernel(database_url: str) -> None:
    engine = open_engine(database_url)
    with engine.connect() as connection:
        assert connection.connection.driver_connection is not None
        with socket.socket(fileno=os.dup(connection.connection.driver_connection.fileno())) as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle, interval, count, unanswered_ms = (
                sock.getsockopt(socket.IPPROTO_TCP, option)
                for option in (
                    socket.TCP_KEEPIDLE,
                    socket.TCP_KEEPINTVL,
                    socket.TCP_KEEPCNT,
                    socket.TCP_USER_TIMEOUT,
                )
            )
    engine.dispose()
    assert idle + interval * count <= SILENT_SECONDS
    assert 0 < unanswered_ms <= SILENT_SECONDS * 1000


def close(served: Served, record: RunRecord) -> None:
    served.close(record)
    assert max(served.recoveries) < RECOVERY_SECONDS
