"""A 500-slice CT as a viewer fetches it, beside Orthanc with its DICOMweb plugin: both get the same files first.

Ours is `huren up` as a person starts it, with its images in S3 packs; Orthanc has them on the local disk. What both
give is compared before anything is timed. Every figure is the median of turns in which the two take turns.
Run by `make bench`.
"""

import asyncio
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import psutil
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from tests.benchmarks import table
from tests.city import id_number
from tests.flow import orthanc
from tests.flow.conftest import register
from tests.flow.running import PATIENT, Running, until
from tests.needs import find_tool, missing
from tests.processes import forget_peaks, use

pytestmark = pytest.mark.benchmark

SLICES, SIDE = 500, 512
STUDY = "2.25.91001"
SERIES = f"{STUDY}.1"
AT_ONCE = 6
TURNS = 5
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ALL = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
OCTETS = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
SERIES_AT = f"/studies/{STUDY}/series/{SERIES}"


@dataclass
class Peer:
    """One of the two servers: the root of its DICOMweb service, and what its callers send."""

    root: str
    headers: dict[str, str]

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.root, headers=self.headers, timeout=120, trust_env=False)


@dataclass
class Both:
    """The two, with one CT in each."""

    ours: Peer
    peer: Peer
    exchange: Running
    files: list[Path]


def write(path: Path, number: int, exam: datetime) -> None:
    """Write a slice with noise in it, as a scanner's has."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{SERIES}.{number}"
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    pixels = np.random.default_rng(number).integers(0, 4096, (SIDE, SIDE)).astype("<u2")
    told = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": f"{SERIES}.{number}",
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "PatientID": "A-2",
        "PatientName": "林^晓渝",
        "PatientBirthDate": "19800517",
        "PatientSex": "F",
        "Modality": "CT",
        "BodyPartExamined": "CHEST",
        "StudyDescription": "胸部CT平扫",
        "SeriesDescription": "Chest 1.0 mm",
        "StudyDate": f"{exam:%Y%m%d}",
        "StudyTime": "101500",
        "AcquisitionDate": f"{exam:%Y%m%d}",
        "AcquisitionTime": "101500",
        "SeriesNumber": 1,
        "InstanceNumber": number,
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Manufacturer": "Invented",
        "KVP": "120",
        "SliceThickness": "1.0",
        "PixelSpacing": ["0.7", "0.7"],
        "ImagePositionPatient": ["-179.2", "-179.2", str(number)],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "FrameOfReferenceUID": f"{STUDY}.9",
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "WindowCenter": "40",
        "WindowWidth": "400",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": SIDE,
        "Columns": SIDE,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": pixels.tobytes(),
    }
    for keyword, value in told.items():
        setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def both(folder: Path) -> Iterator[Both]:
    """The CT in both of them, and B's doctor let in to it."""
    if not PLUGIN.exists():
        missing("orthanc-dicomweb 未安装 / orthanc-dicomweb is not installed")
    outbox = folder / "ct"
    outbox.mkdir()
    exam = datetime.now(UTC) - timedelta(days=3)
    for number in range(1, SLICES + 1):
        write(outbox / f"{number:04}.dcm", number, exam)
    files = sorted(outbox.iterdir())
    running = Running(folder / "data", PATIENT).start()
    try:
        register(running)
        system = running.token("hospital_system", "A")
        person = {"id_number": id_number(2), "patient_id": "A-2", "name": "林晓渝"}
        assert running.call("POST", "/v1/patients", system, json=person).status_code == 201
        running.run("send", outbox, "--to", f"127.0.0.1:{running.dicom_port}", "--calling", "A_PACS")
        doctor = running.token("doctor", "B")
        body = {"patient": {"id_number": id_number(2)}, "orders": [{"order_id": "W1", "item_code": "CT07"}]}
        asked = lambda: running.call("POST", "/v1/checks", doctor, json=body).json()["orders"][0]  # noqa: E731
        until(lambda: asked()["candidates"], 120)
        ours = Peer(f"{running.url}/dicom-web", {"Authorization": f"Bearer {doctor}"})
        settings: Any = {"Plugins": [str(PLUGIN)], "DefaultEncoding": "Utf8", "HttpThreadsCount": 50}
        with orthanc.running(find_tool("Orthanc"), folder, {}, "PEER", **settings) as url:
            with httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:
                for path in files:
                    assert client.post("/instances", content=path.read_bytes()).status_code == 200
            peer = Peer(f"{url}/dicom-web", {})
            until(lambda: _count(ours) == SLICES, 120)
            assert _count(peer) == SLICES
            yield Both(ours, peer, running, files)
    finally:
        running.stop()


def _count(peer: Peer) -> int:
    with peer.client() as client:
        return len(client.get(f"{SERIES_AT}/metadata", headers={"Accept": "application/dicom+json"}).json())


def turns(both: Both, work: Callable[[Peer], float], count: int = TURNS) -> tuple[list[float], list[float]]:
    """Return the seconds of both in turn, after one turn that does not count."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(count + 1):
        for each, into in ((both.ours, found[0]), (both.peer, found[1])):
            seconds = work(each)
            if number:
                into.append(seconds)
    return found


def report(what: str, found: tuple[list[float], list[float]], least: float) -> None:
    """Show a row, and fail where ours is not so many times as fast."""
    ours, peer = (statistics.median(each) for each in found)
    row = {
        "what": what,
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "ratio": round(peer / ours, 2),
        "limit": least,
    }
    table.show([row])
    assert peer / ours >= least


def test_metadata_of_the_series(both: Both) -> None:
    told = {}

    def work(peer: Peer) -> float:
        with peer.client() as client:
            began = time.perf_counter()
            answer = client.get(f"{SERIES_AT}/metadata", headers={"Accept": "application/dicom+json"})
            seconds = time.perf_counter() - began
            told[peer.root] = answer.json()
            return seconds

    found = turns(both, work)
    ours, theirs = (
        {each["00080018"]["Value"][0]: each for each in told[peer.root]} for peer in (both.ours, both.peer)
    )
    assert ours.keys() == theirs.keys()
    for tag in ("00200013", "00280010", "00280030", "00200032", "00281050"):
        assert all(ours[uid][tag]["Value"] == theirs[uid][tag]["Value"] for uid in ours)
    report("series metadata, 500 slices, s", found, 5)


def test_the_whole_series(both: Both) -> None:
    """By a client that only counts: one that parses takes longer than either server, and so hides both."""
    expected = {path.name: dcmread(path).PixelData for path in both.files[::50]}
    for peer in (both.ours, both.peer):
        with peer.client() as client:
            whole = client.get(SERIES_AT, headers=ALL).content
            assert all(pixels in whole for pixels in expected.values())
    least = sum(len(dcmread(path).PixelData) for path in both.files)

    def work(peer: Peer) -> float:
        began = time.perf_counter()
        got = pull(peer, SERIES_AT)
        seconds = time.perf_counter() - began
        assert got > least
        return seconds

    report("whole series by WADO-RS, 262 MB, s", turns(both, work, 15), 1.5)


def pull(peer: Peer, path: str) -> int:
    """Fetch an answer and count its bytes, by the cheapest client there is."""
    address = urlsplit(peer.root)
    headers = {**peer.headers, **ALL, "Host": address.netloc, "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    got, room = 0, bytearray(1 << 20)
    with socket.create_connection((address.hostname, address.port), timeout=120) as connection:
        connection.sendall(f"GET {address.path}{path} HTTP/1.1\r\n{head}\r\n".encode())
        while size := connection.recv_into(room):
            assert got or room.startswith(b"HTTP/1.1 200")
            got += size
    return got


def test_with_no_cache_every_byte_comes_from_the_object_store(both: Both) -> None:
    """The same, each time as if for the first time."""
    restart(both, HUREN_IMAGE_CACHE_BYTES="0")
    try:
        found = turns(both, lambda peer: timed(lambda: pull(peer, SERIES_AT)), 9)
        report("whole series by WADO-RS, 262 MB, nothing cached, s", found, 0)
        report("500 frames over 6 connections, nothing cached, s", turns(both, all_frames, 3), 3)
    finally:
        restart(both)


def restart(both: Both, **environment: str) -> None:
    """Start the exchange anew: it has nothing in its memory."""
    both.exchange.stop()
    both.exchange.environment = PATIENT | environment
    both.exchange.start()
    doctor = both.exchange.token("doctor", "B")
    both.ours = Peer(f"{both.exchange.url}/dicom-web", {"Authorization": f"Bearer {doctor}"})


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def test_all_frames_over_six_connections(both: Both) -> None:
    pixels = {n: dcmread(both.files[n - 1]).PixelData for n in (1, 250, 500)}
    for peer in (both.ours, both.peer):
        with peer.client() as client:
            for number, expected in pixels.items():
                assert expected in client.get(frame_at(number), headers=OCTETS).content
    report("500 frames over 6 connections, s", turns(both, all_frames, 3), 3)


def frame_at(number: int) -> str:
    """Return the address of a slice's frame."""
    return f"{SERIES_AT}/instances/{SERIES}.{number}/frames/1"


def all_frames(peer: Peer) -> float:
    """Fetch every frame as a viewer does, six at a time; return the seconds."""

    async def fetch(client: httpx2.AsyncClient, numbers: Iterator[int]) -> None:
        for number in numbers:
            answer = await client.get(frame_at(number), headers=OCTETS)
            assert answer.status_code == 200
            assert len(answer.content) > 2 * SIDE * SIDE

    async def fetch_all() -> float:
        limits = httpx2.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
        told: Any = {"base_url": peer.root, "headers": peer.headers, "limits": limits}
        async with httpx2.AsyncClient(**told, timeout=120, trust_env=False) as client:
            numbers = iter(range(1, SLICES + 1))
            began = time.perf_counter()
            await asyncio.gather(*(fetch(client, numbers) for _ in range(AT_ONCE)))
            return time.perf_counter() - began

    return asyncio.run(fetch_all())


def test_a_rendered_frame(both: Both) -> None:
    def work(peer: Peer) -> float:
        with peer.client() as client:
            seconds = []
            for number in range(200, 240):
                began = time.perf_counter()
                answer = client.get(
                    f"{SERIES_AT}/instances/{SERIES}.{number}/frames/1/rendered",
                    headers={"Accept": "image/jpeg"},
                )
                seconds.append(time.perf_counter() - began)
                assert answer.headers["content-type"] == "image/jpeg"
            return statistics.median(seconds)

    ours, peer = (statistics.median(each) for each in turns(both, work))
    row = {
        "what": "one rendered frame, warm, ms",
        "ours": round(ours * 1000, 1),
        "peer": round(peer * 1000, 1),
    }
    table.show([{**row, "limit": 25, "at_most": True}])
    assert ours <= 0.025


def test_the_first_image_of_a_quick_look_with_nothing_cached(both: Both) -> None:
    """From the click to the bytes of the first picture, on a service that was started a moment ago."""
    seconds = []
    body = {"StudyInstanceUIDs": [STUDY]}
    for _ in range(TURNS):
        restart(both)
        doctor = both.exchange.token("doctor", "B")
        link = both.exchange.call("POST", "/v1/image-grants", doctor, json=body).json()
        with httpx2.Client(timeout=30, trust_env=False) as browser:
            began = time.perf_counter()
            page = browser.get(link["quick_look"]).text
            address = page.partition('rel="preload" as="image" href="')[2].partition('"')[0]
            picture = browser.get(both.exchange.url + address)
            seconds.append(time.perf_counter() - began)
            assert picture.headers["content-type"] == "image/jpeg"
    ours = statistics.median(seconds)
    table.show(
        [
            {
                "what": "first quick-look image, nothing cached, s",
                "ours": round(ours, 3),
                "limit": 0.5,
                "at_most": True,
            }
        ]
    )
    assert ours <= 0.5


def test_memory_while_eight_clients_pull_a_gibibyte_each(both: Both) -> None:
    restart(both)
    api = _api_of(both.exchange)
    at_rest = use(api).rss_mib
    print(
        [
            (p.name(), p.cmdline()[-1][-30:], p.memory_info().rss >> 20)
            for p in [api, *api.children(recursive=True)]
        ]
    )
    forget_peaks(api)

    def pull_much(_: int) -> int:
        got = 0
        while got < 1 << 30:
            got += pull(both.ours, SERIES_AT)
        return got

    both.ours.headers = {"Authorization": f"Bearer {both.exchange.token('doctor', 'B')}"}
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        assert min(pool.map(pull_much, range(8))) >= 1 << 30
    rate = 8 * 1024 / (time.perf_counter() - began)
    peak = use(api).peak_rss_mib
    row = {"what": "8 clients pull 1 GiB each, MiB of RSS at the peak", "ours": round(peak, 1), "limit": 300}
    table.show([{**row, "at_most": True, "mib_per_second": round(rate), "at_rest": round(at_rest, 1)}])
    assert peak < 300


def _api_of(running: Running) -> psutil.Process:
    """Return the process that serves HTTP."""
    assert running.process is not None
    port = int(running.url.rpartition(":")[2])
    for each in [
        psutil.Process(running.process.pid),
        *psutil.Process(running.process.pid).children(recursive=True),
    ]:
        if any(
            one.laddr and one.laddr.port == port and one.status == "LISTEN" for one in each.net_connections()
        ):
            return each
    raise LookupError("nobody listens")
