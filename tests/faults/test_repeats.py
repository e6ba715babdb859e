"""D7, D8: the same instance many times, out of order, at once from two hospitals, and with other content."""

import random
import threading
from collections.abc import Iterator

import psutil
import pytest
from sqlalchemy import select

from catalog.db import transaction
from catalog.tables import Conflict
from dicom_node.ship import Shipper, ShipSettings
from tests.dicom_node.raw_peer import RawPeer, wait_until
from tests.faults.closing import closing_check
from tests.faults.history import History
from tests.faults.run_record import RunRecord
from tests.faults.victim import Victim, receive
from tests.flow.harbour import Harbour, running
from tests.packs import Sent, ct
from tests.packs import receive as receive_pack
from tests.processes import forget_peaks, use

pytestmark = pytest.mark.long

TIMES = 5
COUNT = 20_000 // TIMES
LONE = 50  # each the only instance of its study, which is that of the hospital that was faster
PER_SERIES = 200


@pytest.fixture
def node(harbour: Harbour) -> Iterator[Victim]:
    with Victim(receive, harbour.spool.root.parent, {}) as running:
        yield running


@pytest.fixture
def port(node: Victim) -> int:
    assert isinstance(node.said, int)
    return node.said


def test_each_instance_sent_five_times_and_out_of_order_is_kept_once(
    harbour: Harbour, node: Victim, record: RunRecord
) -> None:
    """20,000 sends also of N7: so many small objects leave the node small."""
    process = psutil.Process(node.pid)
    series = [
        ct(f"2.25.{1000 + number // PER_SERIES}", number % PER_SERIES) for number in range(COUNT - LONE)
    ]
    lone = [ct(f"2.25.{900_000 + number}", 1) for number in range(LONE)]
    plans = [(b"RAW", [*series, *lone]) for _ in range(TIMES - 1)] + [(b"OTHER", lone), (b"RAW", series)]
    history = History()
    forget_peaks(process)
    with running(Shipper(harbour.spool, harbour.store, harbour.catalogue, ShipSettings(poll_seconds=0.02))):
        send_at_once(node.said, plans, history, record.chance)
        peak_rss_mib = use(process).peak_rss_mib
        closing_check(harbour, history, record)
    assert peak_rss_mib < 300
    assert len(history.acknowledged) == COUNT
    assert (harbour.rows()[0], harbour.rows()[2]) == (
        len({one.study for one in map(Named, [*series, *lone])}),
        0,
    )
    record.note(sends=sum(len(sent) for _, sent in plans), peak_rss_mib=round(peak_rss_mib))


class Named:
    """The study of an instance made by `ct`."""

    def __init__(self, one: Sent) -> None:
        self.study = one.SOPInstanceUID.rsplit(".", 2)[0]


def send_at_once(
    port: int, plans: list[tuple[bytes, list[Sent]]], history: History, chance: random.Random
) -> None:
    """One association for each plan, all at the same time, each in an order of its own."""
    answered: list[int] = []

    def send(calling: bytes, sent: list[Sent]) -> None:
        with RawPeer(port) as peer:
            peer.associate(calling=calling)
            answered.extend(history.store(peer, one.SOPInstanceUID, one.data) for one in sent)

    threads = [
        threading.Thread(target=send, args=(calling, chance.sample(sent, len(sent))))
        for calling, sent in plans
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answered == [0] * sum(len(sent) for _, sent in plans)
    wait_until(lambda: history.refused.total() == 0)


def test_five_hundred_instances_with_other_content_never_replace_the_first(
    harbour: Harbour, record: RunRecord
) -> None:
    firsts = [ct(f"2.25.{100 + number // 100}", number % 100) for number in range(500)]
    others = [
        ct(f"2.25.{100 + number // 100}", number % 100, **altered(number, record.chance))
        for number in range(500)
    ]
    history = History()
    for first in firsts:
        history.send(first.SOPInstanceUID, first.data)
        history.answer(first.SOPInstanceUID, 0)
    for sent in (firsts, others, others):
        receive_pack(harbour.spool, sent)
        assert harbour.ship() == 1
    closing_check(harbour, history, record)
    with transaction(harbour.catalogue.engine) as session:
        rows = session.scalars(select(Conflict)).all()
        listed = {row.SOPInstanceUID: (row.kind, row.sha256, row.first_sha256) for row in rows}
    assert len(rows) == 500
    assert listed == {
        first.SOPInstanceUID: ("other_bytes", other.sha256, first.sha256)
        for first, other in zip(firsts, others, strict=True)
    }
    record.note(contradictions=len(rows), overwritten=0)


def altered(number: int, chance: random.Random) -> dict[str, object]:
    """Other pixels for one half, another header for the other."""
    return {"pixels": chance.randbytes(128)} if number % 2 else {"StudyDescription": f"altered {number}"}
