"""FAULTS F1 and F4: every file there is goes in by C-STORE and is stored exactly or refused with a reason."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest

from catalog.embedded import Embedded
from catalog.errors import InvalidInput
from dicom_node.dataset import REASONS
from dicom_node.header import HeaderReader, ReadInstance
from dicom_node.part10 import read_file_meta
from dicom_node.pdu import RELEASE_REQUEST
from dicom_node.spool import Spool
from tests.dicom_node.raw_peer import CT, IMPLICIT, RawPeer
from tests.faults.corpora import made_files, shipped_files
from tests.faults.passage import STORED, Passage, open_passage
from tests.packs import Sent, from_file, on_the_wire, receive

pytestmark = [pytest.mark.flow, pytest.mark.long]

DATA = Path(pydicom.__file__).parent / "data" / "test_files"
# A reader that ran into something it did not foresee says one of these; no file may.
UNFORESEEN = {"header_failed", "header_stopped", "header_memory"}


@pytest.fixture(scope="module")
def passage(
    tmp_path_factory: pytest.TempPathFactory, embedded: Embedded, database_url: str
) -> Iterator[Passage]:
    with open_passage(tmp_path_factory.mktemp("passage"), embedded, database_url) as opened:
        yield opened


@pytest.fixture(autouse=True)
def nothing_unforeseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail where the shipper met an error it does not name."""
    yield
    assert [r for r in caplog.get_records("call") if r.exc_info or "internal_error" in r.getMessage()] == []


def part10(paths: list[Path]) -> dict[Path, str]:
    """Return the files our sender can send, each with the SHA-256 of its data set as sent."""
    found = {}
    for path in paths:
        content = path.read_bytes()
        try:
            offset = read_file_meta(content).dataset_offset
        except InvalidInput:
            continue
        found[path] = hashlib.sha256(on_the_wire(content[offset:])).hexdigest()
    return found


def check_outcomes(passage: Passage, paths: list[Path]) -> Counter[str]:
    """Send and ship Part 10 files; each ends in exactly one known way, which are counted."""
    files = part10(paths)
    refused = {failure.path: failure.reason for failure in passage.send(files).failures}
    passage.ship()
    outcomes = passage.outcomes()
    lost = [path.name for path, sha256 in files.items() if path not in refused and sha256 not in outcomes]
    assert lost == []
    assert set(refused.values()) <= {"context_refused", "empty_dataset"}
    ends = Counter(refused.get(path) or outcomes[sha256] for path, sha256 in files.items())
    assert set(ends) - {STORED, *refused.values()} <= set(REASONS) - UNFORESEEN
    return ends


def check_catalogue(passage: Passage) -> None:
    """Every row is there, says what its packs say, and can be read back as text."""
    rows = passage.studies()
    counts: Counter[str] = Counter()
    for sidecar in passage.sidecars():
        counts[sidecar.pack.header.StudyInstanceUID] += len(sidecar.pack.instances) * (
            sidecar.role == "archive"
        )
        assert all(one.record.metadata["00080018"]["Value"] for one in sidecar.instances)
    assert {uid: row.instance_count for uid, row in rows.items()} == dict(counts)
    assert all("\x00" not in f"{row.patient_name}{row.patient_id}{row.facts}" for row in rows.values())


def test_every_file_of_the_libraries_is_stored_exactly_or_refused_with_a_reason(passage: Passage) -> None:
    ends = check_outcomes(passage, shipped_files())
    assert ends[STORED] > 200
    check_catalogue(passage)
    assert passage.is_answering()


def test_every_file_dcmtk_makes_is_stored_exactly_or_refused_with_a_reason(
    passage: Passage, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    files = list(made_files(tmp_path, require_tool))
    assert len(files) > 150
    ends = check_outcomes(passage, files)
    assert ends[STORED] > 150
    check_catalogue(passage)


def test_files_that_are_no_part_10_are_refused_or_stored_as_data_sets(passage: Passage) -> None:
    files = [path for path in shipped_files() if path.stat().st_size and path not in part10([path])]
    sent = {}
    for number, path in enumerate(files):
        data, uid = path.read_bytes(), _uid_of(path) or f"2.25.{7_000_000 + number}"
        with RawPeer(passage.port) as peer:
            peer.associate((1, CT, IMPLICIT))
            assert peer.store(data, uid).status == 0, path.name
            peer.send(RELEASE_REQUEST)
            assert peer.read_pdu()[:1] == b"\x06"
        sent[path.name] = hashlib.sha256(data).hexdigest()
    passage.ship()
    outcomes = passage.outcomes()
    assert len(sent) > 10
    assert {outcomes[sha256] for sha256 in sent.values()} <= {STORED, *REASONS} - UNFORESEEN
    check_catalogue(passage)


def _uid_of(path: Path) -> str:
    try:
        return str(pydicom.dcmread(path, force=True, stop_before_pixels=True).get("SOPInstanceUID", ""))
    except Exception:
        return ""


# --- F4: what is cut off is noticed -----------------------------------------------------------------------


def whole_files(reader: HeaderReader, spool: Spool, wanted: int) -> list[Sent]:
    """Return files without a flaw, of as many transfer syntaxes as there are."""
    by_syntax: dict[str, list[Sent]] = {}
    for path in part10(shipped_files()):
        sent = from_file(path)
        if not 2000 < len(sent.data) < 600_000:
            continue
        (found,) = reader.read(receive(spool, [sent]))
        if isinstance(found, ReadInstance) and not found.flaws:
            by_syntax.setdefault(sent.TransferSyntaxUID, []).append(sent)
    rounds = max(map(len, by_syntax.values()))
    mixed = [files[turn] for turn in range(rounds) for files in by_syntax.values() if turn < len(files)]
    return mixed[:wanted]


def test_twenty_files_cut_at_every_twentieth_are_flagged_or_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, low_water_bytes=0)
    with HeaderReader() as reader:
        files = whole_files(reader, spool, 20)
        assert len({sent.TransferSyntaxUID for sent in files}) >= 8
        unnoticed, tried = [], 0
        for sent in files:
            cuts = sorted({len(sent.data) * percent // 100 for percent in range(5, 100, 5)})
            pieces = [
                Sent(sent.SOPClassUID, sent.SOPInstanceUID, sent.TransferSyntaxUID, sent.data[:cut])
                for cut in cuts
            ]
            found = reader.read(receive(spool, pieces))
            tried += len(found)
            unnoticed += [
                (sent.SOPClassUID, sent.TransferSyntaxUID, cut, len(sent.data))
                for cut, one in zip(cuts, found, strict=True)
                if isinstance(one, ReadInstance) and not one.flaws
            ]
    assert (tried, unnoticed) == (380, [])
