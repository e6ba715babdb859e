"""The closing check finds what it is there to find: one thing wrong, and it fails."""

from collections.abc import Callable

import pytest
from sqlalchemy import text

from catalog.db import transaction
from tests.faults import closing
from tests.faults.closing import closing_check
from tests.faults.history import History
from tests.faults.run_record import RunRecord
from tests.flow.harbour import Harbour, series
from tests.packs import receive


def nothing(harbour: Harbour, history: History) -> None:
    """Nothing is wrong."""


def an_instance_lost(harbour: Harbour, history: History) -> None:
    history.send("2.25.9", b"acknowledged and never seen again")
    history.answer("2.25.9", 0)


def an_instance_altered(harbour: Harbour, history: History) -> None:
    history.acknowledged["2.25.100.1.1"] = history.sent["2.25.100.1.1"] = "0" * 64


def an_instance_invented(harbour: Harbour, history: History) -> None:
    del history.sent["2.25.100.1.1"], history.acknowledged["2.25.100.1.1"]


def an_object_altered(harbour: Harbour, history: History) -> None:
    harbour.store.put_bytes(harbour.sidecars()[0].pack.key, b"something else")


def an_object_nobody_names(harbour: Harbour, history: History) -> None:
    harbour.store.put_bytes("packs/00/left.tar", b"left over")


def a_count_that_is_wrong(harbour: Harbour, history: History) -> None:
    with transaction(harbour.catalogue.engine) as session:
        session.execute(text("update study set instance_count = instance_count + 1"))


def a_partial_file(harbour: Harbour, history: History) -> None:
    (harbour.spool.root / "receipts" / "half.part").write_bytes(b"{")


def a_receipt_without_its_pack(harbour: Harbour, history: History) -> None:
    (harbour.spool.root / "receipts" / "gone.json").write_bytes(b"{}")


WRONG = [
    an_instance_lost,
    an_instance_altered,
    an_instance_invented,
    an_object_altered,
    an_object_nobody_names,
    a_count_that_is_wrong,
    a_partial_file,
    a_receipt_without_its_pack,
]


@pytest.mark.parametrize("wrong", [nothing, *WRONG])
def test_one_thing_wrong_fails_the_closing_check(
    harbour: Harbour,
    wrong: Callable[[Harbour, History], None],
    record: RunRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(closing, "SETTLE_SECONDS", 0.1)
    history = History()
    for one in (sent := series("2.25.100")):
        history.send(one.SOPInstanceUID, one.data)
        history.answer(one.SOPInstanceUID, 0)
    receive(harbour.spool, sent)
    harbour.ship()
    wrong(harbour, history)
    if wrong is nothing:
        closing_check(harbour, history, record)
    else:
        with pytest.raises(AssertionError):
            closing_check(harbour, history, record)
