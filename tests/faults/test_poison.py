"""D17: packs that never work: each is tried five times, later each time, and put aside; no other waits for them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select, text

from catalog.db import transaction
from catalog.tables import Study
from dicom_node.ship import Shipper, ShipSettings
from tests.dicom_node.raw_peer import wait_until
from tests.faults.closing import closing_check
from tests.faults.history import History
from tests.faults.run_record import RunRecord
from tests.flow.harbour import Harbour, reasons, running
from tests.packs import Sent, ct, receive

SETTINGS = ShipSettings(first_delay_seconds=0.05, longest_delay_seconds=0.5, poll_seconds=0.02)
POISONED, INSTANCES = 100, 99  # packs of one that never works, each before one of so many that do: 10,000
FIRST = 1000
DELAY_SECONDS = 1.0


@pytest.mark.alone
def test_packs_that_never_work_are_put_aside_and_delay_no_other_by_a_second(
    harbour: Harbour, record: RunRecord
) -> None:
    history = History()
    shipper = Shipper(harbour.spool, harbour.store, harbour.catalogue, SETTINGS)
    with running(shipper), poisonous(harbour):
        alone = max(seconds_to_ship(harbour, history, number, poison=False) for number in range(10))
        beside = [seconds_to_ship(harbour, history, 1000 + number, poison=True) for number in range(POISONED)]
        wait_until(lambda: len(harbour.spool.quarantined()) == POISONED, 60)
        closing_check(harbour, history, record)
    assert max(beside) < alone + DELAY_SECONDS
    assert reasons(harbour.spool) == ["internal_error"] * POISONED
    assert shipper.counters()["retries"] == POISONED * SETTINGS.tries
    record.note(poisoned=POISONED, longest_alone=alone, longest_beside=max(beside))


@contextmanager
def poisonous(harbour: Harbour) -> Iterator[None]:
    """Let the catalogue take no study of a patient named POISON."""

    def execute(statement: str) -> None:
        with transaction(harbour.catalogue.engine) as session:
            session.execute(text(statement))

    execute("alter table study add constraint never check (patient_name <> 'POISON')")
    try:
        yield
    finally:
        execute("alter table study drop constraint never")


def seconds_to_ship(harbour: Harbour, history: History, number: int, *, poison: bool) -> float:
    """Receive a pack, after one that never works where told to; gives the seconds until its study is there."""
    if poison:
        receive(harbour.spool, [ct(f"2.25.{500_000 + number}", 1, PatientName="POISON")])
    study = f"2.25.{100_000 + number}"
    sent = many(study, INSTANCES)
    for one in sent:
        history.send(one.SOPInstanceUID, one.data)
    receive(harbour.spool, sent)
    began = time.monotonic()
    for one in sent:
        history.answer(one.SOPInstanceUID, 0)
    wait_until(lambda: is_there(harbour, study), 30)
    return time.monotonic() - began


def many(study: str, count: int) -> list[Sent]:
    """Instances of one study that differ in their UID alone: ten thousand are made at once."""
    first = ct(study, FIRST)
    return [
        Sent(
            first.SOPClassUID,
            f"{study}.1.{number}",
            first.TransferSyntaxUID,
            first.data.replace(b".1.%d" % FIRST, b".1.%d" % number),
        )
        for number in range(FIRST, FIRST + count)
    ]


def is_there(harbour: Harbour, study: str) -> bool:
    with transaction(harbour.catalogue.engine) as session:
        return session.scalar(select(Study.id).where(Study.uid == study)) is not None
