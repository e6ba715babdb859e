"""UIDs found while a data set passes: cut anywhere, lying about its lengths, or endless."""

import random
import struct
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.passing_uids import INSTANCE, SERIES, STUDY, PassingUids
from tests.packs import EXPLICIT, IMPLICIT, ct, element

DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
GOOD = ct("2.25.6001", 1).data


def found(data: bytes, syntax: str = EXPLICIT, size: int = 1 << 16) -> tuple[str, str, str]:
    """What is found where the data set comes in pieces of a size."""
    uids = PassingUids(syntax)
    for at in range(0, len(data), size):
        uids.pass_on(memoryview(data)[at : at + size])
        assert len(uids._rest) < 300 + size
    return uids.get(STUDY), uids.get(SERIES), uids.get(INSTANCE).rstrip("\0")


WANTED = found(GOOD)


@given(size=st.integers(1, 400), before=st.binary(max_size=500))
def test_the_size_of_the_pieces_does_not_matter(size: int, before: bytes) -> None:
    private = element(0x00090010, b"LO", b"TEST") + element(0x00091001, b"UN", before)
    at = GOOD.index(struct.pack("<HH", 0x0010, 0x0010))
    data = GOOD[:at] + private + GOOD[at:]
    assert WANTED == ("2.25.6001\0", "2.25.6001.1\0", "2.25.6001.1.1")
    assert found(data, size=size) == WANTED
    packed = zlib.compress(data)
    assert found(packed, DEFLATED, size) == WANTED
    assert found(packed[2:-4], DEFLATED, size) == WANTED


def test_big_endian_is_read_as_well() -> None:
    uids = ((0x0008, 0x0018, b"1.2.3\0"), (0x0020, 0x000D, b"1.2\0"), (0x0020, 0x000E, b"1.20"))
    data = b"".join(struct.pack(">HH2sH", group, tag, b"UI", len(uid)) + uid for group, tag, uid in uids)
    assert found(data, BIG_ENDIAN) == ("1.2\0", "1.20", "1.2.3")


@given(data=st.binary(max_size=2000), syntax=st.sampled_from([EXPLICIT, IMPLICIT, DEFLATED, BIG_ENDIAN]))
def test_whatever_comes_it_ends_quietly(data: bytes, syntax: str) -> None:
    found(data, syntax, 7)
    found(GOOD[:80] + data, syntax, 50)


@pytest.mark.parametrize(
    "data",
    [
        element(0x00080008, b"CS", b"") * 2_000_000,
        struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) * 300_000,
        struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) * 500_000,
        zlib.compress(element(0x00080008, b"CS", b"") * 8_000_000),
        zlib.compress(bytes(1 << 30)),
        random.Random(1).randbytes(1 << 20),
    ],
    ids=["elements", "sequences", "items", "a bomb of elements", "a bomb of zeros", "noise"],
)
def test_what_is_endless_costs_a_moment_and_no_memory(data: bytes) -> None:
    began = time.process_time()
    for syntax in (EXPLICIT, DEFLATED):
        assert found(data, syntax, 1 << 16)[:2] == ("", "")
    assert time.process_time() - began < 5


def test_a_length_that_leads_beyond_everything_costs_nothing() -> None:
    liar = GOOD[:60] + struct.pack("<HH2sHI", 0x0009, 0x1010, b"UN", 0, 0xFFFFFFF0) + GOOD[60:]
    assert found(liar, size=9)[:2] == ("", "")
