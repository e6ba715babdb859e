"""FAULTS F2, F3 and F5: bombs, nesting and hostile identifiers end in a reason, and the node goes on."""

import re
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.embedded import Embedded
from dicom_node.dataset import DEFLATED, REASONS
from dicom_node.pdu import RELEASE_REQUEST
from tests.dicom_node.raw_peer import CT, EXPLICIT, IMPLICIT, RawPeer
from tests.faults.passage import STORED, Passage, open_passage
from tests.packs import Sent, ct, element

pytestmark = pytest.mark.flow

DEFLATED_EXPLICIT = "1.2.840.10008.1.2.1.99"
ITEM, ITEM_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE_END, UNDEFINED = b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xff" * 4
KEY = re.compile(r"packs/[0-9a-f]{2}/[0-9a-f]{64}\.(tar|json\.gz)")
SPOOL_NAME = re.compile(r"[0-9A-Za-z.-]+(_[a-z_]+)*\.(tar|reason|json)|ship\.lock")
HOSTILE = [
    "../../../../evil",
    "/etc/cron.d/evil",
    "..",
    "1.2\0.3",
    "1.2%2e%2e/3",
    "1" * 65,
    "1.2.3/../4",
    "١.٢.٣",
    "CON",
    "1.2\r\n3",
    "1.2;rm -rf",
    "'; drop table study; --",
]


@pytest.fixture(scope="module")
def passage(
    tmp_path_factory: pytest.TempPathFactory, embedded: Embedded, database_url: str
) -> Iterator[Passage]:
    with open_passage(tmp_path_factory.mktemp("passage"), embedded, database_url) as opened:
        yield opened


def send(passage: Passage, *sent: Sent) -> list[int]:
    """Store each on one association; gives the statuses."""
    syntaxes = sorted({one.TransferSyntaxUID for one in sent})
    with RawPeer(passage.port) as peer:
        peer.associate(*[(2 * at + 1, CT, syntax) for at, syntax in enumerate(syntaxes)])
        found = [
            peer.store(
                one.data, one.SOPInstanceUID, context_id=2 * syntaxes.index(one.TransferSyntaxUID) + 1
            ).status
            for one in sent
        ]
        peer.send(RELEASE_REQUEST)
        assert peer.read_pdu()[:1] == b"\x06"
    return found


def deflate(data: bytes, level: int = 9) -> bytes:
    squeezed = zlib.compressobj(level, wbits=-15)
    return squeezed.compress(data) + squeezed.flush()


def bombs() -> Iterator[Sent]:
    """Small data sets that unfold: at the front, behind a good header, and in every size up to 10 MB."""
    good = ct("2.25.500", 1).data[:-140]
    for number, megabytes in enumerate((65, 80, 100, 200, 400)):
        for head in (b"", good, good + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, megabytes << 20)):
            data = deflate(head + bytes(megabytes << 20))
            uid = f"2.25.500.{number}.{len(head)}"
            yield Sent(CT, uid, DEFLATED_EXPLICIT, data)


def test_deflate_bombs_are_put_aside_and_the_node_answers_meanwhile(passage: Passage) -> None:
    sent = list(bombs())
    assert set(send(passage, *sent)) == {0}
    began = time.monotonic()
    passage.ship()
    assert time.monotonic() - began < 10 + len(sent)
    outcomes = passage.outcomes()
    assert {outcomes[one.sha256] for one in sent} == {"inflates_too_large"}
    assert passage.is_answering()


def wrapped(kind: str, depth: int) -> bytes:
    """Sequences in one another, as the ways of writing them differ."""
    tag = struct.pack("<HH", 0x0040, 0xA730)
    if kind == "defined":
        content = b""
        for _ in range(depth):
            item = ITEM + struct.pack("<I", len(content)) + content
            content = tag + b"SQ\0\0" + struct.pack("<I", len(item)) + item
        return content
    head = {
        "undefined": tag + b"SQ\0\0" + UNDEFINED,
        "unknown": tag + b"UN\0\0" + UNDEFINED,
        "implicit": tag + UNDEFINED,
        "private": b"\x41\0\x10\x10SQ\0\0" + UNDEFINED,
    }[kind]
    if kind == "unknown":  # what is inside UN is implicit
        inner = (tag + UNDEFINED + ITEM + UNDEFINED) * (depth - 1)
        return head + ITEM + UNDEFINED + inner + (ITEM_END + SEQUENCE_END) * depth
    return (head + ITEM + UNDEFINED) * depth + (ITEM_END + SEQUENCE_END) * depth


@pytest.mark.parametrize(
    ("kind", "depth"),
    [(kind, depth) for kind in ("undefined", "unknown", "implicit", "private") for depth in (33, 1_000_000)]
    + [("defined", 33), ("defined", 2_000)],
)
def test_nesting_of_every_kind_is_put_aside_at_once(passage: Passage, kind: str, depth: int) -> None:
    syntax = IMPLICIT if kind == "implicit" else EXPLICIT
    sent = Sent(CT, f"2.25.600.{depth}", syntax, wrapped(kind, depth))
    assert send(passage, sent) == [0]
    began = time.monotonic()
    passage.ship()
    assert time.monotonic() - began < 3
    assert passage.outcomes()[sent.sha256] == "nested_too_deep"


def check_places(passage: Passage) -> None:
    """Nothing lies where it should not, under no name that a peer chose."""
    spool = passage.root / "spool"
    names = {path.name for path in spool.rglob("*") if path.is_file() and path.parent != spool / "blank"}
    assert [name for name in names if not SPOOL_NAME.fullmatch(name)] == []
    assert [found.key for found in passage.store.list() if not KEY.fullmatch(found.key)] == []
    beside = {path.name for path in passage.root.iterdir()}
    assert beside <= {"spool", "run", "keys", "peers.json", "node.log"}
    assert not any(Path(place, "evil").exists() for place in ("/", "/etc/cron.d", passage.root.parent))


def test_a_hostile_uid_in_the_command_is_refused_and_leaves_nothing(passage: Passage) -> None:
    good = ct("2.25.700", 1)
    before = set((passage.root / "spool").rglob("*.tar"))
    for uid in HOSTILE:
        raw = uid.encode("utf-8").decode("latin-1")
        assert send(passage, Sent(CT, raw, EXPLICIT, good.data)) == [0x0117], uid
    assert set((passage.root / "spool").rglob("*.tar")) == before
    check_places(passage)


def test_hostile_identifiers_in_the_data_set_reach_no_path_and_no_key(passage: Passage) -> None:
    sent = []
    tags = {0x0020000D: b"UI", 0x0020000E: b"UI", 0x00080018: b"UI", 0x00100020: b"LO", 0x00200010: b"SH"}
    for number, value in enumerate(HOSTILE):
        raw = value.encode() + b" " * (len(value.encode()) % 2)
        for tag in tags:
            uid = f"2.25.710.{number}.{tag}"
            values = {
                0x00080016: CT.encode() + b"\0" * (len(CT) % 2),
                0x00080018: uid.encode() + b"\0" * (len(uid) % 2),
                0x0020000D: f"2.25.71{number:02}{tag}".encode(),
                0x0020000E: b"2.25.72 ",
                0x00100020: b"T1",
            } | {tag: raw}
            data = b"".join(element(at, tags.get(at, b"UI"), values[at]) for at in sorted(values))
            sent.append(Sent(CT, uid, EXPLICIT, data))
    assert set(send(passage, *sent)) == {0}
    passage.ship()
    outcomes = passage.outcomes()
    ends = {outcomes[one.sha256] for one in sent}
    assert ends <= {STORED, *REASONS} - {"header_failed", "header_stopped", "header_memory"}
    assert {"study_uid_invalid", "series_uid_invalid", "instance_uid_mismatch"} <= ends
    check_places(passage)


@pytest.mark.parametrize("syntax", sorted(DEFLATED))
def test_every_deflated_syntax_is_inflated(passage: Passage, syntax: str) -> None:
    one = ct("2.25.800", int(syntax.rpartition(".")[2]))
    sent = Sent(CT, one.SOPInstanceUID, syntax, deflate(one.data))
    assert send(passage, sent) == [0]
    passage.ship()
    assert passage.outcomes()[sent.sha256] == STORED
