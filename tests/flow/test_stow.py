"""STOW-RS against a running exchange: a client of others stores, the study appears, and nothing told is ever lost.

Of FAULTS: large uploads (N7), uploads cut at each tenth (N8), the service killed over them (D1).
"""

import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread

from dicom_node.pack import Member, digest_holds, read_pack
from dicom_node.part10 import encode_file_meta, read_file_meta
from dicom_node.spool import Spool
from tests.city import id_number
from tests.flow.conftest import register
from tests.flow.running import PATIENT, Running, until
from tests.flow.test_dicomweb_client import FILES, STUDY, write
from tests.packs import CT, EXPLICIT, ct, element
from tests.processes import forget_peaks, use
from tests.stowing import BOUNDARY, CLOSING, HEADERS, STUDIES, body_of, failed, part, part10, stored

pytestmark = [pytest.mark.flow, pytest.mark.long]


@contextmanager
def client_of(exchange: Running, role: str, hospital: str) -> Iterator[DICOMwebClient]:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {exchange.token(role, hospital)}"
        yield DICOMwebClient(f"{exchange.url}/dicom-web", session=session)


def in_spool(exchange: Running) -> dict[str, list[tuple[Path, Member]]]:
    """Every instance that is sealed or shipped; fails where its bytes are not those that were digested."""
    root = exchange.data_dir / "spool"
    found: dict[str, list[tuple[Path, Member]]] = {}
    for pack in [*(root / "sealed").glob("*.tar"), *(root / "shipped").glob("*.tar")]:
        try:
            with pack.open("rb") as file:
                for member in read_pack(pack).members:
                    assert digest_holds(file.fileno(), member)
                    found.setdefault(member.SOPInstanceUID, []).append((pack, member))
        except FileNotFoundError:
            continue  # it was shipped just now
    return found


def process_of(exchange: Running, role: str) -> psutil.Process | None:
    """The process of `huren up` that plays a role, if it is there."""
    assert exchange.process is not None
    for child in psutil.Process(exchange.process.pid).children():
        try:
            if role in child.cmdline():
                return child
        except psutil.Error:
            continue  # it has just ended
    return None


def kill(exchange: Running, role: str, port: int) -> None:
    """Kill a process and wait for the next one to accept connections."""
    killed = process_of(exchange, role)
    assert killed is not None
    killed.kill()
    until(lambda: (found := process_of(exchange, role)) is not None and found.pid != killed.pid)
    until(lambda: _accepts(port))


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_client_of_others_stores_ten_encodings_and_they_come_back_byte_by_byte(
    exchange: Running, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number:02}.dcm" for number, _ in enumerate(FILES, 1)]
    for number, (path, name) in enumerate(zip(paths, FILES, strict=True), 1):
        write(path, number, name)
    system = exchange.token("hospital_system", "A")
    person = {"id_number": id_number(2), "patient_id": "A-2", "name": "林晓渝"}
    assert exchange.call("POST", "/v1/patients", system, json=person).status_code == 201
    content = {f"{STUDY}.{number}.1": path.read_bytes() for number, path in enumerate(paths, 1)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with client_of(exchange, "hospital_system", "A") as sender:
            told = sender.store_instances([dcmread(path) for path in paths], study_instance_uid=STUDY)
        assert len(told.ReferencedSOPSequence) == len(FILES)
        assert "FailedSOPSequence" not in told
        # again, and as they are: the client writes a file anew, we send its very bytes
        again = exchange.call(
            "POST", f"{STUDIES}/{STUDY}", system, content=body_of(content.values()), headers=HEADERS
        )
    assert (again.status_code, stored(again), failed(again)) == (200, list(content), {})
    operator = exchange.token("operator")
    (study,) = until(
        lambda: [each for each in exchange.studies(operator) if each["StudyInstanceUID"] == STUDY]
    )
    until(lambda: not any((exchange.data_dir / "spool/sealed").iterdir()))
    assert exchange.call("GET", "/v1/admin/conflicts", operator).json()["conflicts"] == []
    assert study["instances"] == len(FILES)
    body = {"patient": {"id_number": id_number(2)}, "orders": [{"order_id": "S1", "item_code": "CT07"}]}
    doctor = exchange.token("doctor", "B")
    until(
        lambda: exchange.call("POST", "/v1/checks", doctor, json=body).json()["orders"][0]["candidates"], 20
    )
    for uid, file in content.items():
        at = f"{STUDIES}/{STUDY}/series/{uid.rpartition('.')[0]}/instances/{uid}"
        back = exchange.call(
            "GET", at, doctor, headers={"Accept": "application/dicom; transfer-syntax=*"}
        ).content
        assert back[read_file_meta(back).dataset_offset :] == file[read_file_meta(file).dataset_offset :]
        assert read_file_meta(back).TransferSyntaxUID == read_file_meta(file).TransferSyntaxUID
    found = exchange.call("GET", f"{STUDIES}?StudyInstanceUID={STUDY}", doctor).json()
    assert found[0]["00100010"]["Value"] == [{"Alphabetic": "林晓渝"}]
    until(
        lambda: (
            f'dicom_instances_total{{label="0000"}} {2 * len(FILES)}'
            in exchange.call("GET", "/metrics", "").text
        ),
        10,
    )
    assert "林" not in exchange.log()


class Upload:
    """A store request on a socket of its own, sent piece by piece."""

    def __init__(self, exchange: Running, token: str, path: str = STUDIES) -> None:
        host, port = exchange.url.removeprefix("http://").split(":")
        self.sock = socket.create_connection((host, int(port)), timeout=60)
        head = f"POST {path} HTTP/1.1\r\nHost: huren\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
        head += "".join(f"{name}: {text}\r\n" for name, text in HEADERS.items())
        self.sock.sendall(head.encode() + b"\r\n")

    def send(self, content: bytes) -> None:
        self.sock.sendall(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def end(self) -> bytes:
        """End the body and return the whole answer."""
        self.sock.sendall(b"0\r\n\r\n")
        answer = b""
        while more := self.sock.recv(65536):
            answer += more
        self.sock.close()
        return answer


def open_packs(exchange: Running) -> int:
    return len(list((exchange.data_dir / "spool/open").glob("*.tar")))


def test_a_service_that_is_killed_in_the_middle_of_uploads_loses_nothing_told_and_ships_nothing_half(
    exchange: Running,
) -> None:
    system, told = exchange.token("hospital_system", "A"), set[str]()
    study = "2.25.81001"
    for round_ in range(3):
        first = [ct(f"{study}.{round_}", number, pixels=bytes(100_000)) for number in (1, 2)]
        answer = exchange.call("POST", STUDIES, system, content=body_of(map(part10, first)), headers=HEADERS)
        assert answer.status_code == 200
        told |= set(stored(answer))
        durable, half = ct(f"{study}.{round_}", 3), ct(f"{study}.{round_}", 4, pixels=bytes(400_000))
        upload = Upload(exchange, system)
        upload.send(part(part10(durable)) + part(part10(half))[:300_000])
        until(lambda: open_packs(exchange) == 1)
        (pack,) = (exchange.data_dir / "spool/open").glob("*.tar")
        until(lambda pack=pack: pack.stat().st_size > 150_000)  # type: ignore[misc]  # in the middle of the second
        kill(exchange, "api", int(exchange.url.rpartition(":")[2]))
        upload.sock.close()
        until(lambda: open_packs(exchange) == 0)
        found = in_spool(exchange)
        assert told <= set(found)
        assert durable.SOPInstanceUID in found  # it was whole and durable, though nobody could be told
        assert half.SOPInstanceUID not in found
    assert not any((exchange.data_dir / "spool/quarantine").iterdir())


def test_recoveries_leave_an_upload_that_is_under_way_alone(exchange: Running) -> None:
    """The node's recovery is the same code in another process: two owners of one spool."""
    sent = [ct("2.25.82001", number, pixels=bytes(300_000)) for number in (1, 2)]
    upload = Upload(exchange, exchange.token("hospital_system", "A"))
    upload.send(part(part10(sent[0])) + part(part10(sent[1]))[:200_000])
    until(lambda: open_packs(exchange) == 1)
    assert Spool(exchange.data_dir / "spool").recover() == 0
    kill(exchange, "node", exchange.dicom_port)  # another begins, and recovers what it finds
    assert open_packs(exchange) == 1
    upload.send(part(part10(sent[1]))[200_000:] + CLOSING)
    answer = upload.end()
    assert b"200 OK" in answer
    assert {each.SOPInstanceUID for each in sent} <= set(in_spool(exchange))


def test_large_instances_pass_through_without_being_held(exchange: Running) -> None:
    process, system = process_of(exchange, "api"), exchange.token("hospital_system", "A")
    assert process is not None
    exchange.call("POST", STUDIES, system, content=body_of([part10(ct("2.25.83001", 9))]), headers=HEADERS)
    forget_peaks(process)
    before, size = use(process).rss_mib, 512 << 20
    answers: list[bytes] = []

    def send(number: int) -> None:
        upload = Upload(exchange, system)
        head = ct("2.25.83001", number)
        data = head.data[: head.data.index(element(0x7FE00010, b"OW", b"")[:6])]
        upload.send(
            f"--{BOUNDARY}\r\n\r\n".encode() + encode_file_meta(CT, head.SOPInstanceUID, EXPLICIT) + data
        )
        upload.send(element(0x7FE00010, b"OW", b"")[:8] + size.to_bytes(4, "little"))
        block = bytes(range(256)) * 1024
        for at in range(0, size, len(block)):
            upload.send(at.to_bytes(8, "little") + block[8:])
        upload.send(CLOSING)
        answers.append(upload.end())

    threads = [threading.Thread(target=send, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"200 OK" in answer for answer in answers] == [True, True], answers
    assert use(process).peak_rss_mib - before < 48
    found = in_spool(exchange)
    assert all(found[f"2.25.83001.1.{number}"][0][1].dataset_size_bytes > size for number in (1, 2))


@pytest.mark.parametrize("by", ["FIN", "RST"])
def test_a_connection_cut_anywhere_leaves_whole_instances_and_no_pack_open(
    exchange: Running, by: str
) -> None:
    system, study = exchange.token("hospital_system", "A"), f"2.25.8400{len(by) + (by == 'FIN')}"
    sent = [ct(study, number, pixels=bytes([number]) * 30_000) for number in (1, 2, 3)]
    body = body_of(map(part10, sent))
    for tenth in range(1, 10):
        upload = Upload(exchange, system)
        cut = body[: len(body) * tenth // 10]
        upload.send(cut)
        if by == "RST":
            upload.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        upload.sock.close()
    until(lambda: open_packs(exchange) == 0)
    found: dict[str, Any] = in_spool(exchange)
    for each in sent:
        assert {member.sha256 for _, member in found.get(each.SOPInstanceUID, [])} <= {each.sha256}
    answer = exchange.call("POST", STUDIES, system, content=body, headers=HEADERS)
    assert (answer.status_code, stored(answer)) == (200, [each.SOPInstanceUID for each in sent])


def test_a_service_stopped_over_an_upload_ends_in_time_and_what_was_whole_is_there_afterwards(
    tmp_path: Path,
) -> None:
    running = Running(tmp_path / "data", PATIENT).start()
    register(running)
    system, sent = running.token("hospital_system", "A"), [ct("2.25.85001", number) for number in (1, 2)]
    upload = Upload(running, system)
    upload.send(part(part10(sent[0])) + part(part10(sent[1]))[:500])
    until(lambda: open_packs(running) == 1)
    assert running.stop() == 0
    upload.sock.close()
    assert "Traceback" not in running.log()
    running.start()
    try:
        until(lambda: set(in_spool(running)) == {sent[0].SOPInstanceUID})
        assert open_packs(running) == 0
    finally:
        running.stop()
