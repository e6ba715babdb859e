"""From the last C-STORE-RSP to the doctor: how soon a study is visible, and whether shipping keeps up.

The second is compared with the object store itself: the same bytes in packs of 64 MiB, PUT and read back by two
threads that do nothing else. What a store cannot take nobody can ship.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from catalog.objects import ObjectStore
from catalog.settings import S3Access
from tests.benchmarks import table
from tests.benchmarks.test_bench_receive import SETS, make_set
from tests.city import id_number
from tests.flow.running import Running, make_instance, until

RUNS = 5
VISIBLE_LIMIT_SECONDS = 2.0
FULL_SPEED_SETS = 6
PACK_BYTES = 64 << 20


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An exchange as `huren up` starts it, with two hospitals."""
    running = Running(tmp_path_factory.mktemp("bench") / "data").start()
    running.run(
        "hospital", "add", "A", "--name", "甲医院", "--tier", "3", "--region", "500103", "--ae", "A_PACS"
    )
    running.run("hospital", "add", "B", "--name", "乙医院", "--tier", "2", "--region", "500107")
    running.run("qc", "add", "A", "--all", "--scope", "50", "--from", "2026-01-01", "--to", "2027-12-31")
    until(lambda: _object_store_is_up(running), 120)
    yield running
    running.stop()


@pytest.mark.benchmark
def test_a_study_is_visible_to_a_check_within_two_seconds_of_its_end(
    exchange: Running, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    storescu, token = require_tool("storescu"), exchange.token("doctor", "B")
    seconds = []
    for run in range(RUNS):
        number = id_number(101 + 2 * run)
        now = time.localtime()
        make_instance(
            tmp_path / f"{run}.dcm",
            SpecificCharacterSet="ISO_IR 192",
            PatientID=number,
            AcquisitionDate=time.strftime("%Y%m%d", now),
            StudyDate=time.strftime("%Y%m%d", now),
            StudyTime=time.strftime("%H%M%S", now),
            AcquisitionTime=time.strftime("%H%M%S", now),
            ContrastBolusAgent="",  # the image is of an enhanced examination
            BodyPartExamined="CHEST",
            StudyDescription="胸部CT平扫",
        )
        assert exchange.storescu(storescu, "A_PACS", tmp_path / f"{run}.dcm").returncode == 0
        began = time.perf_counter()
        until(lambda number=number: _candidates(exchange, token, number), 30)
        seconds.append(time.perf_counter() - began)
    row = {
        "what": "seconds from the end of an association to a check that shows the study",
        "ours": round(statistics.median(seconds), 2),
        "worst": round(max(seconds), 2),
        "limit": VISIBLE_LIMIT_SECONDS,
    }
    table.show([row])
    assert row["ours"] <= VISIBLE_LIMIT_SECONDS


@pytest.mark.benchmark
def test_shipping_keeps_up_with_one_sender_at_full_speed(
    exchange: Running, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    storescu = require_tool("storescu")
    folders = [make_set(tmp_path / f"set{number}", *SETS["CT"]) for number in range(FULL_SPEED_SETS)]
    size_bytes = sum(path.stat().st_size for folder in folders for path in folder.iterdir())
    raw = _raw_rate(_store(exchange), size_bytes)
    began = time.perf_counter()
    for folder in folders:
        assert exchange.storescu(storescu, "A_PACS", folder).returncode == 0
    received = time.perf_counter() - began
    left_bytes = _backlog(exchange)
    until(lambda: _backlog(exchange) == 0, 120)
    shipped = time.perf_counter() - began
    rate = size_bytes / shipped / 1e6
    table.show(
        [
            {
                "what": "ship CT, MB/s while one sender runs at full speed, against the store alone",
                "ours": round(rate, 1),
                "peer": round(raw, 1),
                "ratio": round(rate / raw, 2),
                "limit": 0.6,
                "received_mb_per_second": round(size_bytes / received / 1e6, 1),
                "backlog_mb_when_the_sender_ends": round(left_bytes / 1e6, 1),
                "seconds_until_all_is_shipped": round(shipped - received, 2),
            }
        ]
    )
    assert rate / raw >= 0.6


def _object_store_is_up(exchange: Running) -> bool:
    components = exchange.call("GET", "/readyz", "").json()["components"]
    return bool(components.get("object_store", {}).get("state") == "up")


def _candidates(exchange: Running, token: str, number: str) -> list[dict[str, Any]]:
    body = {
        "patient": {"id_type": "01", "id_number": number},
        "orders": [{"order_id": "1", "item_code": "CT07"}],
        "department": "呼吸内科",
        "urgency": "routine",
    }
    answer = exchange.call("POST", "/v1/checks", token, json=body).json()
    found: list[dict[str, Any]] = answer["orders"][0].get("candidates", [])
    return found


def _backlog(exchange: Running) -> int:
    spool = exchange.data_dir / "spool"
    return sum(
        path.stat().st_size for folder in ("open", "sealed") for path in (spool / folder).glob("*.tar")
    )


def _store(exchange: Running) -> ObjectStore:
    read = dict(line.split("=", 1) for line in exchange.run("env").stdout.splitlines())
    names = ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY", "BUCKET")
    return ObjectStore(S3Access(*(read[f"HUREN_S3_{name}"].strip("'") for name in names)))


def _raw_rate(store: ObjectStore, size_bytes: int) -> float:
    """MB/s of PUT and read-back by two threads."""
    content, count = os.urandom(PACK_BYTES), -(-size_bytes // PACK_BYTES)

    def once(number: int) -> None:
        key = f"bench/{number}"
        store.put_bytes(key, content)
        assert len(store.read_range(key, 0, PACK_BYTES)) == PACK_BYTES

    began = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(once, range(count)))
    return count * PACK_BYTES / (time.perf_counter() - began) / 1e6
