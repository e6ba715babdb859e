"""Headers are read from bytes, in a child that may die of them; hostile and damaged ones are refused or flagged."""

import json
import struct
import time
import zlib
from pathlib import Path
from tempfile import TemporaryFile

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.dataset import REASONS, Unreadable, open_window
from dicom_node.header import HeaderReader, ReadInstance, UnreadableInstance
from dicom_node.header_child import CPU_SECONDS, MEMORY_LIMIT_BYTES
from dicom_node.metadata import MAX_DEPTH, read_metadata
from dicom_node.spool import Spool
from tests.dicom_node.headers import (
    DATA,
    END_OF_SEQUENCE,
    ITEM,
    STUDY,
    encapsulated,
    inserted,
    plain,
    read,
    read_one,
    reason_of,
)
from tests.packs import CT, EXPLICIT, IMPLICIT, Sent, ct, element, from_file, receive

FILES = sorted([*DATA.glob("test_files/*.dcm"), *DATA.glob("charset_files/*.dcm")])


def nested(depth: int) -> Sent:
    """Sequences of undefined length in one another."""
    head = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + ITEM + b"\xff\xff\xff\xff"
    tail = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00" + END_OF_SEQUENCE
    return inserted(plain(PatientID=b"T1"), 0x0040A730, head * depth + tail * depth)


def test_sequences_nested_to_the_limit_are_read(reader: HeaderReader, spool: Spool) -> None:
    found = read_one(reader, spool, nested(MAX_DEPTH))
    assert found.flaws == ()


@pytest.mark.alone
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1_000, 100_000])
def test_deeper_sequences_are_refused_within_a_second(reader: HeaderReader, spool: Spool, depth: int) -> None:
    sent = nested(depth)
    began = time.monotonic()
    assert reason_of(reader, spool, sent) == "nested_too_deep"
    assert time.monotonic() - began < 1


def test_a_deflated_data_set_is_read(reader: HeaderReader, spool: Spool) -> None:
    sent = ct(STUDY, 1)
    squeezed = zlib.compressobj(wbits=-15)
    data = squeezed.compress(sent.data) + squeezed.flush()
    found = read_one(reader, spool, Sent(CT, sent.SOPInstanceUID, "1.2.840.10008.1.2.1.99", data))
    assert found.facts.StudyInstanceUID == STUDY
    assert (found.flaws, found.frames, found.bulk) == ((), (), {})


@pytest.mark.alone
def test_a_deflate_bomb_is_refused(reader: HeaderReader, spool: Spool) -> None:
    squeezed = zlib.compressobj(9, wbits=-15)
    data = b"".join(squeezed.compress(bytes(1 << 20)) for _ in range(300)) + squeezed.flush()
    assert len(data) < 1 << 20
    began = time.monotonic()
    assert (
        reason_of(reader, spool, Sent(CT, "2.25.1", "1.2.840.10008.1.2.1.99", data)) == "inflates_too_large"
    )
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "sent", [ct(STUDY, 1), encapsulated(1, [], [b"abcdef" * 50])], ids=["native", "encapsulated"]
)
def test_a_data_set_cut_anywhere_is_flagged_or_refused(
    reader: HeaderReader, spool: Spool, sent: Sent
) -> None:
    cuts = [len(sent.data) * percent // 100 for percent in range(1, 100)]
    pieces = [
        Sent(sent.SOPClassUID, sent.SOPInstanceUID, sent.TransferSyntaxUID, sent.data[:cut]) for cut in cuts
    ]
    found = read(reader, spool, *pieces)
    unnoticed = [
        cut for cut, one in zip(cuts, found, strict=True) if isinstance(one, ReadInstance) and not one.flaws
    ]
    assert unnoticed == []


def test_an_element_longer_than_what_is_left_is_flagged(reader: HeaderReader, spool: Spool) -> None:
    lie = struct.pack("<HH2sHI", 0x0028, 0x2000, b"OB", 0, 0xFFFFFF00) + b"ab"
    assert read_one(reader, spool, inserted(plain(PatientID=b"T1"), 0x00282000, lie)).flaws == ("truncated",)


def test_an_element_that_does_not_fit_its_vr_leaves_the_others_readable(
    reader: HeaderReader, spool: Spool
) -> None:
    found = read_one(
        reader, spool, inserted(ct(STUDY, 1), 0x00280106, element(0x00280106, b"US", b"abc") + b"")
    )
    metadata = json.loads(found.metadata)
    assert found.flaws == ("unreadable_element",)
    assert metadata["00280106"] == {"vr": "UN", "InlineBinary": "YWJj"}
    assert len(found.frames) == 1


@pytest.mark.alone
def test_a_header_that_takes_too_long_kills_its_child_and_no_other_instance(spool: Spool) -> None:
    endless = inserted(
        plain(PatientID=b"T1"),
        0x00090000,
        b"".join(struct.pack("<HH2sH", 0x0009, number & 0xFFFF, b"LO", 0) for number in range(800_000)),
    )
    good = ct(STUDY, 2)
    with HeaderReader(wall_seconds=0.2) as reader:
        reader.warm_up()
        before, stopped, after = read(reader, spool, ct(STUDY, 3), endless, good)
        assert isinstance(stopped, UnreadableInstance)
        assert stopped.reason == "header_stopped"
        assert isinstance(before, ReadInstance)
        assert isinstance(after, ReadInstance)
        assert reader.children_started == 2


def test_the_child_can_write_no_file_and_knows_no_secret(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUREN_S3_SECRET_KEY", "canary")
    with HeaderReader() as reader:
        reader.warm_up()
        child = next(one for one in psutil.Process().children() if "dicom_node.header_child" in one.cmdline())
        assert child.environ() == {"LC_ALL": "C.UTF-8"}
        assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        read_one(reader, spool, ct(STUDY, 1))
        assert 0 < child.rlimit(psutil.RLIMIT_CPU)[0] <= CPU_SECONDS + 5
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_AS) == (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES)


def test_a_child_is_replaced_after_its_number_of_packs(spool: Spool) -> None:
    with HeaderReader(packs_per_child=2) as reader:
        for number in range(5):
            read_one(reader, spool, ct(STUDY, number))
        assert reader.children_started == 3


def test_bytes_that_changed_in_the_spool_are_refused(reader: HeaderReader, spool: Spool) -> None:
    index = receive(spool, [ct(STUDY, 1), ct(STUDY, 2)])
    with index.path.open("r+b") as file:
        file.seek(index.members[0].dataset_offset + index.members[0].dataset_size_bytes - 1)
        file.write(b"\xff")
    damaged, whole = reader.read(index)
    assert isinstance(damaged, UnreadableInstance)
    assert damaged.reason == "digest_mismatch"
    assert isinstance(whole, ReadInstance)


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("StudyInstanceUID", "", "study_uid_missing"),
        ("StudyInstanceUID", "../../../etc", "study_uid_invalid"),
        ("SeriesInstanceUID", "", "series_uid_missing"),
        ("SeriesInstanceUID", "1..2", "series_uid_invalid"),
        ("SOPInstanceUID", "", "instance_uid_missing"),
        ("SOPInstanceUID", "2.25.99", "instance_uid_mismatch"),
        ("PatientID", "9" * 300, "patient_id_invalid"),
    ],
)
def test_an_instance_that_names_itself_badly_is_refused(
    reader: HeaderReader, spool: Spool, keyword: str, value: str, reason: str
) -> None:
    assert reason_of(reader, spool, plain(**{"PatientID": b"T1", keyword: value.encode()})) == reason


def test_an_empty_data_set_is_refused(reader: HeaderReader, spool: Spool) -> None:
    assert reason_of(reader, spool, Sent(CT, "2.25.1", EXPLICIT, b"")) == "empty"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_real_file_is_read_or_refused_with_a_reason(reader: HeaderReader, spool: Spool, path: Path) -> None:
    try:
        sent = from_file(path)
    except Exception:
        sent = Sent(CT, "2.25.1", IMPLICIT, path.read_bytes())
    (found,) = read(reader, spool, sent)
    if isinstance(found, UnreadableInstance):
        assert found.reason in set(REASONS) - {"header_failed", "header_stopped", "header_memory"}
    else:
        assert json.loads(found.metadata)["0020000D"]["Value"] == [found.facts.StudyInstanceUID]


SEED = ct(STUDY, 1, PatientName="测试^甲").data


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SEED) - 129), st.binary(min_size=1, max_size=4)), max_size=6))
def test_no_alteration_breaks_the_reader(changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(SEED)
    for at, raw in changes:
        data[at : at + len(raw)] = raw
    with TemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            json.loads(read_metadata(open_window(file.fileno(), 0, len(data), EXPLICIT), EXPLICIT).json)
        except Unreadable as error:
            assert error.code in REASONS  # noqa: PT017
