"""Queries beside everything else a node does: receiving goes on, patients are counted, one command answers them all."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from sqlalchemy import select

from catalog import grants, registry
from catalog.context import Caller
from catalog.db import transaction
from catalog.embedded import Services
from catalog.harvest import Harvest
from catalog.objects import ObjectStore
from catalog.tables import AuditEvent, Study
from dicom_node.archive_desk import ArchiveDesk, _Bounds
from dicom_node.counters import Counters
from dicom_node.settings import NodeSettings
from tests.city import City, id_number, open_catalogue, serving
from tests.dicom_node.raw_peer import RunningNode
from tests.flow.dcmtk import dataset_digest
from tests.flow.query_site import PACS, QuerySite, query_site
from tests.flow.running import Running, until
from tests.flow.test_dicomweb_client import STUDY, write

pytestmark = pytest.mark.flow
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
UID = "2.25.7001"


@pytest.fixture
def site(
    fresh_database_url: str,
    services: Services,
    s3_store: ObjectStore,
    tmp_path: Path,
    require_tool: Callable[[str], str],
) -> Iterator[QuerySite]:
    """A node whose archive asks as the service's role, so PostgreSQL shows it no more than it shows DICOMweb."""
    require_tool("findscu")
    made: list[City] = []
    catalogue = open_catalogue(fresh_database_url, tmp_path, lambda: made[0].now)
    made.append(City(catalogue))
    narrow = serving(catalogue, services)
    with query_site(catalogue, fresh_database_url, s3_store, tmp_path, made[0], asking=narrow) as found:
        found.images.chest("A", 2, UID)
        found.open()
        yield found
    catalogue.engine.dispose()


def wanted(study: str = UID) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID, asked.PatientName = "STUDY", study, ""
    return asked


def image(number: int) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, f"2.25.8000.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = "2.25.8000", "2.25.8000.0"
    made.PatientID, made.PixelData = "A-9", bytes(20_000)
    made.file_meta = Dataset()  # type: ignore[assignment]
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made["PixelData"].VR = "OW"
    return made


def test_queries_do_not_disturb_receiving_on_the_same_association_or_beside_it(site: QuerySite) -> None:
    done, found = threading.Event(), list[int]()

    def ask_on_and_on() -> None:
        while not done.is_set():
            found.append(len(site.find("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={UID}")))

    asking = threading.Thread(target=ask_on_and_on)
    asking.start()
    sender = AE(ae_title=PACS)
    sender.add_requested_context(FIND, ExplicitVRLittleEndian)
    sender.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = sender.associate("127.0.0.1", site.node.port, ae_title="HUREN")
    try:
        for number in range(40):
            assert association.send_c_store(image(number)).Status == 0x0000
            answers = [status.Status for status, _ in association.send_c_find(wanted(), FIND)]
            assert answers == [0xFF00, 0x0000]
    finally:
        association.release()
        done.set()
        asking.join(30)
    assert set(found) == {1}
    kept = [each.SOPInstanceUID for each in site.node.members()]
    assert kept == [f"2.25.8000.{number}" for number in range(40)]


def test_a_purpose_stated_for_one_pacs_opens_the_patient_to_it_alone(site: QuerySite) -> None:
    site.city.study("A", 4, StudyInstanceUID="2.25.7400")
    keys = "QueryRetrieveLevel=STUDY", "StudyInstanceUID=2.25.7400"
    now, lasting = site.city.now, timedelta(hours=1)
    with transaction(site.city.catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, "B")
        registry.add_peer(session, hospital, "B_OTHER")
        person = session.scalars(select(Study.person_id).where(Study.uid == "2.25.7400")).one()
        named = Caller(f"ae:{PACS}", "hospital_system", "B")
        assert person is not None
        grants.grant(session, named, hospital.id, person, "purpose", now, lasting)
    assert len(site.find(*keys)) == 1
    assert site.find(*keys, calling="B_OTHER") == []
    site.city.now += lasting
    assert site.find(*keys) == []


def test_a_key_that_is_not_supported_is_neither_matched_nor_answered_and_that_is_said(
    site: QuerySite,
) -> None:
    asker = AE(ae_title=PACS)
    asker.add_requested_context(FIND, ExplicitVRLittleEndian)
    association = asker.associate("127.0.0.1", site.node.port, ae_title="HUREN")
    asked = wanted()
    asked.ReferringPhysicianName = "NOBODY"
    asked.ProcedureCodeSequence = [Dataset()]
    (first, row), (end, _) = association.send_c_find(asked, FIND)
    association.release()
    assert (first.Status, end.Status) == (0xFF01, 0x0000)
    assert "ReferringPhysicianName" not in row
    assert "ProcedureCodeSequence" not in row
    assert row.PatientName == "林晓渝"


def test_a_pacs_that_walks_through_patients_is_stopped_and_a_search_is_audited_once(site: QuerySite) -> None:
    site.city.study("A", 4, StudyInstanceUID="2.25.7400")
    site.open(4)
    desk = ArchiveDesk(
        site.city.catalogue,
        None,
        Harvest(_Bounds.of(NodeSettings(harvest_limit_people=1, harvest_alarm_people=1, workers=1))),
        Counters(),
    )
    with RunningNode(site.folder / "narrow", site.node.directory, archive=lambda _: desk) as node:
        asker = AE(ae_title=PACS)
        asker.add_requested_context(FIND, ExplicitVRLittleEndian)
        association = asker.associate("127.0.0.1", node.port, ae_title="HUREN")
        statuses = [
            [status.Status for status, _ in association.send_c_find(wanted(study), FIND)]
            for study in (UID, UID, "2.25.7400")
        ]
        association.release()
    assert statuses == [[0xFF00, 0x0000], [0xFF00, 0x0000], [0xA700]]
    with transaction(site.city.catalogue.engine) as session:
        query = select(AuditEvent.action).where(AuditEvent.caller == f"ae:{PACS}").order_by(AuditEvent.id)
        told = session.scalars(query).all()
    assert [action for action in told if action != "harvest.alarm"] == ["imaging_study.search"] * 2
    assert "harvest.alarm" in told


def test_one_command_receives_answers_and_sends(
    exchange: Running, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    write(tmp_path / "one.dcm", 1, "CT_small.dcm")
    exchange.run(
        "send", tmp_path / "one.dcm", "--to", f"127.0.0.1:{exchange.dicom_port}", "--calling", "A_PACS"
    )
    person = {"id_number": id_number(2), "patient_id": "A-2", "name": "林晓渝"}
    system = exchange.token("hospital_system", "A")
    assert exchange.call("POST", "/v1/patients", system, json=person).status_code == 201
    body = {"patient": {"id_number": id_number(2)}, "orders": [{"order_id": "W1", "item_code": "CT07"}]}
    doctor = exchange.token("doctor", "B")

    def get(into: Path) -> list[Path]:
        into.mkdir(exist_ok=True)
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"]
        where = ["-aet", PACS, "-aec", "HUREN", "127.0.0.1", str(exchange.dicom_port)]
        tool = [require_tool("getscu"), "-S", "-B", "-od", str(into)]
        done = subprocess.run([*tool, *keys, *where], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return list(into.iterdir())

    assert get(tmp_path / "before") == []
    until(
        lambda: exchange.call("POST", "/v1/checks", doctor, json=body).json()["orders"][0]["candidates"], 30
    )
    (file,) = get(tmp_path / "after")
    assert dataset_digest(file) == dataset_digest(tmp_path / "one.dcm")
    assert dcmread(file).PatientName == "林^晓渝"
