"""From a real PACS to the archive: byte for byte, once, and with the right name."""

import gzip
import hashlib
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import psycopg
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from catalog.objects import ObjectStore
from catalog.settings import S3Access
from tests.city import id_number
from tests.flow import orthanc
from tests.flow.dcmtk import dataset_digest, receiving
from tests.flow.running import Running, make_instance, until

pytestmark = [pytest.mark.flow, pytest.mark.long]


class Archive:
    """The stores behind a running exchange, opened with what `huren env` prints."""

    def __init__(self, running: Running) -> None:
        lines = running.run("env").stdout.splitlines()
        self.environment = dict(line.split("=", 1) for line in lines)
        read = {name: value.strip("'") for name, value in self.environment.items()}
        self.database_url = read["HUREN_DATABASE_URL"]
        self.store = ObjectStore(
            S3Access(
                read["HUREN_S3_ENDPOINT"],
                read["HUREN_S3_ACCESS_KEY"],
                read["HUREN_S3_SECRET_KEY"],
                read["HUREN_S3_BUCKET"],
            )
        )

    def packs(self, StudyInstanceUID: str, role: str = "archive") -> list[tuple[str, str]]:
        """Return key and sidecar key of a study's packs."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(
                "select key, sidecar_key from pack join study on study.id = pack.study_id"
                " where uid = %s and role = %s",
                (StudyInstanceUID, role),
            ).fetchall()

    def counts(self) -> tuple[int, ...]:
        """Return how many studies, packs, results and stored objects there are, and instances in all."""
        query = (
            "select (select count(*) from study), (select count(*) from pack), (select count(*) from result),"
            " (select sum(instance_count) from study)"
        )
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        return (*map(int, row), sum(1 for _ in self.store.list("packs/")))

    def digests(self, StudyInstanceUID: str) -> dict[str, str]:
        """Return, by SOP Instance UID, the SHA-256 of the bytes found at the catalogue's offsets."""
        found = {}
        for key, sidecar_key in self.packs(StudyInstanceUID):
            size = self.store.stat(sidecar_key).size_bytes
            sidecar = json.loads(gzip.decompress(self.store.read_range(sidecar_key, 0, size)))
            for instance in sidecar["instances"]:
                offset, length = instance["dataset_offset"], instance["dataset_size_bytes"]
                data = self.store.read_range(key, offset, length)
                found[instance["SOPInstanceUID"]] = hashlib.sha256(data).hexdigest()
        return found


@pytest.fixture(scope="module")
def archive(exchange: Running) -> Iterator[Archive]:
    """The stores of the module's exchange."""
    until(lambda: exchange.call("GET", "/readyz", "").json()["components"]["object_store"]["state"] == "up")
    opened = Archive(exchange)
    yield opened
    opened.store.close()


@pytest.fixture(scope="module")
def operator(exchange: Running) -> str:
    return exchange.token("operator")


def as_sent(storescu: str, storescp: str, folder: Path) -> dict[str, str]:
    """Return the digests of what storescu really sends, by dcmtk's own bit-preserving receiver.

    storescu writes each data set anew on its way, so the files' own bytes are not what was sent.
    """
    with receiving(storescp, folder.parent / "inbox") as (port, found):
        subprocess.run([storescu, "+sd", "127.0.0.1", str(port), str(folder)], check=True)
    return found


def arrived(running: Running, token: str, *uids: str) -> bool:
    return set(uids) <= {study["StudyInstanceUID"] for study in running.studies(token)}


def test_what_storescu_sends_comes_back_byte_for_byte_and_tar_lists_the_packs(
    exchange: Running, archive: Archive, operator: str, folder: Path, require_tool: Callable[[str], str]
) -> None:
    study = generate_uid()
    for number in range(6):
        make_instance(folder / f"{number}.dcm", StudyInstanceUID=study, InstanceNumber=number)
    storescu = require_tool("storescu")
    done = exchange.storescu(storescu, "A_PACS", folder)
    assert done.returncode == 0, done.stderr
    until(lambda: arrived(exchange, operator, study))
    sent = as_sent(storescu, require_tool("storescp"), folder)
    assert archive.digests(study) == sent
    ((key, _),) = archive.packs(study)
    pack = folder.parent / "pack.tar"
    pack.write_bytes(archive.store.read_range(key, 0, archive.store.stat(key).size_bytes))
    listed = subprocess.run(["tar", "tf", str(pack)], capture_output=True, text=True, check=True)
    assert sorted(listed.stdout.split()) == sorted(f"{uid}.dcm" for uid in sent)
    assert listed.stderr == ""
    with tarfile.open(pack) as opened:
        for member in opened:
            file = opened.extractfile(member)
            assert file is not None
            assert dcmread(file).StudyInstanceUID == study


def test_what_orthanc_stores_to_us_comes_back_byte_for_byte(
    exchange: Running, archive: Archive, operator: str, folder: Path, require_tool: Callable[[str], str]
) -> None:
    program = require_tool("Orthanc")
    dataset = make_instance(folder / "1.dcm")
    with receiving(require_tool("storescp"), folder.parent / "inbox") as (port, sent):
        peers = {"huren": ["HUREN", "127.0.0.1", exchange.dicom_port], "dcmtk": ["ANY", "127.0.0.1", port]}
        with (
            orthanc.running(program, folder.parent, peers, "A_PACS") as url,
            httpx2.Client(trust_env=False, timeout=60) as client,
        ):
            stored = client.post(f"{url}/instances", content=(folder / "1.dcm").read_bytes()).json()
            for name in peers:
                job = client.post(f"{url}/modalities/{name}/store", json=[stored["ID"]]).json()
                assert job["FailedInstancesCount"] == 0
    until(lambda: arrived(exchange, operator, dataset.StudyInstanceUID))
    assert archive.digests(dataset.StudyInstanceUID) == sent
    assert set(sent) == {str(dataset.SOPInstanceUID)}


def test_sending_everything_twice_changes_nothing(
    exchange: Running, archive: Archive, operator: str, folder: Path
) -> None:
    study = generate_uid()
    for number in range(4):
        make_instance(folder / f"{number}.dcm", StudyInstanceUID=study)
    to = f"127.0.0.1:{exchange.dicom_port}"
    exchange.run("send", folder, "--to", to, "--calling", "A_PACS")
    until(lambda: arrived(exchange, operator, study))
    before = archive.counts()
    again = json.loads(exchange.run("send", folder, "--to", to, "--calling", "A_PACS", "--json").stdout)
    assert (again["sent"], again["failed"]) == (4, 0)
    until(lambda: drained(exchange))
    assert archive.counts() == before


def test_the_same_uid_with_other_bytes_is_kept_apart_and_reported(
    exchange: Running, archive: Archive, operator: str, folder: Path
) -> None:
    first = make_instance(folder / "1" / "1.dcm")
    uids = {"StudyInstanceUID": first.StudyInstanceUID, "SOPInstanceUID": first.SOPInstanceUID}
    make_instance(folder / "2" / "1.dcm", **uids, StudyDescription="另一份")
    to = f"127.0.0.1:{exchange.dicom_port}"
    for name in ("1", "2"):
        exchange.run("send", folder / name, "--to", to, "--calling", "A_PACS")
        until(lambda: drained(exchange))
    found = exchange.call("GET", "/v1/admin/conflicts", operator).json()["conflicts"]
    mine = [c for c in found if c["StudyInstanceUID"] == first.StudyInstanceUID]
    one, other = (dataset_digest(folder / name / "1.dcm") for name in ("1", "2"))
    assert [(c["kind"], c["first_sha256"], c["sha256"]) for c in mine] == [("other_bytes", one, other)]
    assert archive.digests(first.StudyInstanceUID) == {str(first.SOPInstanceUID): one}
    assert len(archive.packs(first.StudyInstanceUID, "conflict")) == 1


@pytest.mark.parametrize(
    ("declared", "codec", "name"),
    [
        ("GB18030", "gb18030", "张^三丰"),
        ("GBK", "gbk", "張^學友"),
        ("ISO_IR 192", "utf-8", "欧阳^娜娜"),
        ("\\ISO 2022 IR 58", "iso2022_58", "王^小东"),
        ("GB18030", "gb18030", "王^㛃𬭎"),
    ],
)
def test_a_chinese_name_comes_back_the_same_in_the_api(
    exchange: Running, operator: str, folder: Path, declared: str, codec: str, name: str
) -> None:
    sequence = 100 + 2 * sum(map(ord, declared + name)) % 400
    dataset = make_instance(
        folder / "1.dcm",
        PatientID=id_number(sequence),
        PatientBirthDate="19800517",
        PatientSex="F",
        StudyDescription="Chest CT",
        BodyPartExamined="CHEST",
        AcquisitionDate=f"{datetime.now(UTC) - timedelta(days=2):%Y%m%d}",
    )
    write_name(folder / "1.dcm", declared, encoded(name, codec))
    to = f"127.0.0.1:{exchange.dicom_port}"
    exchange.run("send", folder, "--to", to, "--calling", "A_PACS")
    until(lambda: arrived(exchange, operator, dataset.StudyInstanceUID))
    plain = name.replace("^", "")
    row = next(s for s in exchange.studies(operator) if s["StudyInstanceUID"] == dataset.StudyInstanceUID)
    assert row["PatientName"] == plain
    body = {
        "patient": {"id_number": id_number(sequence), "name": plain},
        "orders": [{"order_id": "1", "item_code": "CT07"}],
    }
    answer = exchange.call("POST", "/v1/checks", exchange.token("doctor", "B"), json=body).json()
    assert answer["answer"] == "complete", answer
    assert answer["orders"][0]["candidates"][0]["images"]["PatientName"] == plain


def test_who_is_not_registered_cannot_send_and_is_counted(
    exchange: Running, folder: Path, require_tool: Callable[[str], str]
) -> None:
    make_instance(folder / "1.dcm")
    tool = require_tool("storescu")
    assert exchange.storescu(tool, "STRANGER", folder).returncode != 0
    assert exchange.storescu(tool, "A_PACS", folder, called="ELSE").returncode != 0
    until(lambda: "calling" in exchange.call("GET", "/metrics", "").text)


def test_a_hospital_registered_a_moment_ago_can_send_at_once(
    exchange: Running, operator: str, folder: Path
) -> None:
    dataset = make_instance(folder / "1.dcm")
    exchange.run(
        "hospital", "add", "N", "--name", "新医院", "--tier", "1", "--region", "渝中区", "--ae", "N_PACS"
    )
    exchange.run("send", folder, "--to", f"127.0.0.1:{exchange.dicom_port}", "--calling", "N_PACS")
    until(lambda: arrived(exchange, operator, dataset.StudyInstanceUID))


def drained(running: Running) -> bool:
    """Say whether nothing waits to be shipped and no association is being received."""
    waiting = [
        *(running.data_dir / "spool" / "sealed").glob("*.tar"),
        *(running.data_dir / "spool" / "open").glob("*"),
    ]
    return not waiting


def encoded(name: str, codec: str) -> bytes:
    """Return a PN value's bytes; ISO 2022 IR 58 designates G1 in each component (PS3.5 Annex K)."""
    if codec != "iso2022_58":
        return name.encode(codec)
    return b"Wang^XiaoDong=" + b"^".join(b"\x1b$)A" + part.encode("gb2312") for part in name.split("^"))


def write_name(path: Path, declared: str, raw: bytes) -> None:
    """Put a character set and the raw bytes of a name into an Explicit VR Little Endian file."""
    dataset = dcmread(path)
    dataset.SpecificCharacterSet = declared.split("\\") if "\\" in declared else declared
    marker = "N" * (len(raw) + len(raw) % 2)
    dataset.PatientName = marker
    dataset.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    padded = raw + b" " * (len(raw) % 2)
    assert content.count(marker.encode()) == 1
    path.write_bytes(content.replace(marker.encode(), padded))
