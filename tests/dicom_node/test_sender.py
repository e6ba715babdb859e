"""`huren send`: what arrives is what was on disk, and what does not arrive is said."""

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from catalog.embedded_child import free_ports
from catalog.errors import InvalidInput, NotAllowed, Unavailable
from dicom_node.part10 import encode_file_meta, read_file_meta
from dicom_node.sender import Requestor, SendSummary, send_folder
from tests.dicom_node.raw_peer import CT, EXPLICIT, IMPLICIT, MR, VERIFICATION, RunningNode, wait_until
from tests.dicom_node.test_association import storable_files
from tests.packs import on_the_wire

DATA = Path(pydicom.__file__).parent / "data" / "test_files"


def write(
    folder: Path, name: str, uid: str, *, SOPClassUID: str = CT, syntax: str = EXPLICIT, size: int = 100
) -> Path:
    path = folder / name
    path.write_bytes(encode_file_meta(SOPClassUID, uid, syntax) + bytes(size))
    return path


def test_a_folder_of_real_files_arrives_byte_for_byte(node: RunningNode) -> None:
    files = storable_files()
    seen: list[int] = []
    summary = send_folder(
        files, "127.0.0.1", node.port, "HUREN", "RAW", lambda done, of: seen.append(done.sent + of * 0)
    )
    refused = {failure.path.name: failure.status for failure in summary.failures}
    assert (summary.sent, refused) == (len(files), {})
    assert summary.bytes == sum(map(len, files.values()))
    assert seen == list(range(1, len(files) + 1))
    kept = sorted(member.sha256 for member in node.members())
    assert kept == sorted(hashlib.sha256(on_the_wire(data)).hexdigest() for data in files.values())
    assert any(len(data) % 2 for data in files.values())  # a deflated one, which is padded


def test_what_is_no_dicom_file_is_skipped_and_named(node: RunningNode, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    write(folder / "deep", "good.dcm", "1.2.3")
    (folder / "notes.txt").write_text("hello")
    (folder / "empty.dcm").write_bytes(b"")
    write(folder, "frame_only.dcm", "1.2.4", size=0)
    summary = send_folder([folder], "127.0.0.1", node.port, "HUREN", "RAW")
    assert (summary.sent, summary.skipped, summary.failed) == (1, 2, 1)
    reasons = {failure.path.name: failure.reason for failure in summary.failures}
    assert reasons == {"notes.txt": "not_dicom", "empty.dcm": "not_dicom", "frame_only.dcm": "empty_dataset"}


def test_refusals_are_counted_by_status_and_context(node: RunningNode, tmp_path: Path) -> None:
    write(tmp_path, "a.dcm", "1.2.3")
    write(tmp_path, "b.dcm", "1..2")
    write(tmp_path, "c.dcm", "1.2.5", SOPClassUID="1.2.3.4.5")
    summary = send_folder(
        [tmp_path / name for name in ("a.dcm", "b.dcm", "c.dcm")], "127.0.0.1", node.port, "HUREN", "RAW"
    )
    assert (summary.sent, summary.failed, summary.refused) == (1, 2, {0x0117: 1})
    assert [failure.reason for failure in summary.failures] == [
        "SOP Instance UID is not valid",
        "context_refused",
    ]


def test_more_than_128_contexts_take_a_second_association(node: RunningNode, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(130):
        write(folder, f"{number:03}.dcm", f"1.2.{number}", syntax=f"1.2.840.10008.1.2.99.{number}")
    write(folder, "999.dcm", "1.2.999", SOPClassUID=MR)
    summary = send_folder([folder], "127.0.0.1", node.port, "HUREN", "RAW")
    assert summary.sent == 1
    assert summary.failed == 130
    assert len(node.members()) == 1


def test_a_rejection_and_a_silent_port_are_errors_with_a_reason(node: RunningNode, tmp_path: Path) -> None:
    paths = [write(tmp_path, "a.dcm", "1.2.3")]
    with pytest.raises(NotAllowed) as rejected:
        send_folder(paths, "127.0.0.1", node.port, "HUREN", "NOBODY")
    assert "1/1/3" in rejected.value.en
    with pytest.raises(Unavailable):
        send_folder(paths, "127.0.0.1", 1, "HUREN", "RAW")
    with pytest.raises(InvalidInput):
        send_folder(paths, "127.0.0.1", node.port, "A TITLE THAT IS TOO LONG", "RAW")


def test_an_association_that_breaks_fails_the_rest_and_says_so(node: RunningNode, tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, f"{number}.dcm", f"1.2.{number}")

    def stop_after_first(summary: SendSummary, of: int) -> None:
        node.stop.set()
        node.thread.join(10)

    summary = send_folder(
        sorted(tmp_path.glob("?.dcm")), "127.0.0.1", node.port, "HUREN", "RAW", stop_after_first
    )
    assert (summary.sent, summary.failed) == (1, 2)
    assert {failure.reason for failure in summary.failures} == {"association_lost"}


def test_a_verification_is_answered(node: RunningNode) -> None:
    with Requestor("127.0.0.1", node.port, "HUREN", "RAW", [(VERIFICATION, IMPLICIT)]) as requestor:
        assert requestor.echo() == 0


def test_storescp_takes_what_we_send(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    storescp = require_tool("storescp")
    folder = tmp_path / "in"
    folder.mkdir()
    path = DATA / "CT_small.dcm"
    (port,) = free_ports(1)
    process = subprocess.Popen([storescp, "+B", "-od", str(folder), str(port)])
    try:
        wait_until(lambda: _sent(path, port))
    finally:
        process.terminate()
        process.wait(10)
    (arrived,) = folder.iterdir()
    sent, kept = path.read_bytes(), arrived.read_bytes()
    assert kept[read_file_meta(kept).dataset_offset :] == sent[read_file_meta(sent).dataset_offset :]


def _sent(path: Path, port: int) -> bool:
    try:
        return send_folder([path], "127.0.0.1", port, "ANY", "HUREN").sent == 1
    except Unavailable:
        return False
