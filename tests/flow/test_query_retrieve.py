"""Query/retrieve as a PACS uses it: dcmtk and Orthanc ask, and what they get is what was sent, for whom it is open."""

import hashlib
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from sqlalchemy import select

from catalog import sharing
from catalog.db import transaction
from catalog.embedded_child import free_ports
from catalog.harvest import Harvest
from catalog.identity import Demographics, Document
from catalog.objects import ObjectStore
from catalog.tables import AuditEvent
from dicom_node import carriers
from dicom_node.archive_desk import ArchiveDesk
from dicom_node.counters import Counters
from dicom_node.settings import NodeSettings
from dicom_node.tls import OutboundTls
from exchange.settings import ExchangeSettings
from tests.certificates import Authority
from tests.city import City, id_number, open_catalogue
from tests.dicom_node.raw_peer import RunningNode
from tests.flow import orthanc
from tests.flow.dcmtk import dataset_digest, receiving
from tests.flow.query_site import PACS, SYSTEM, QuerySite, query_site
from tests.flow.test_commitment_tls import listener as secured
from tests.flow.test_dicomweb_client import FILES, STUDY, write
from tests.packs import Sent, from_file, on_the_wire

pytestmark = pytest.mark.flow
UID = "2.25.7001"
STUDY_LEVEL = ("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={UID}")
MANY = "2.25.7100"
MOVE, GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"


@pytest.fixture
def site(
    fresh_database_url: str, s3_store: ObjectStore, tmp_path: Path, require_tool: Callable[[str], str]
) -> Iterator[QuerySite]:
    """A node, and a chest CT of person 2 that hospital A did, in the archive."""
    for tool in ("findscu", "movescu", "getscu"):
        require_tool(tool)
    made: list[City] = []
    catalogue = open_catalogue(fresh_database_url, tmp_path, lambda: made[0].now)
    made.append(City(catalogue))
    with query_site(catalogue, fresh_database_url, s3_store, tmp_path, made[0]) as found:
        found.images.chest("A", 2, UID)
        yield found
    catalogue.engine.dispose()


def audited(site: QuerySite) -> list[tuple[str, str]]:
    """Return what B's PACS has done, by action and by whom."""
    with transaction(site.city.catalogue.engine) as session:
        query = select(AuditEvent.action, AuditEvent.caller).where(AuditEvent.caller.startswith("ae:"))
        return list(session.execute(query.order_by(AuditEvent.id)).tuples())


def outcome(said: str) -> tuple[str, list[int]]:
    """Return the last status that dcmtk was told, and how many sub-operations were completed and failed."""
    told = re.findall(r"(?:Completed|Failed) Suboperations +: (\d+)", said)
    return re.findall(r"DIMSE Status +: 0x(\w{4})", said)[-1], [int(number) for number in told[-2:]]


def digests(sent: list[Sent]) -> dict[str, str]:
    return {each.SOPInstanceUID: hashlib.sha256(on_the_wire(each.data)).hexdigest() for each in sent}


def test_studies_are_found_by_what_was_asked_at_every_level(site: QuerySite) -> None:
    assert site.find(*STUDY_LEVEL, "PatientName") == []  # nobody has asked about him
    site.open()
    site.images.chest("A", 2, "2.25.7002", slices=1, StudyDescription="胸部CT增强", SeriesDescription="薄层")
    (study,) = site.find(
        *STUDY_LEVEL, "PatientName", "PatientID", "NumberOfStudyRelatedInstances", "ModalitiesInStudy"
    )
    assert study.PatientName == "林晓渝"
    assert (study.NumberOfStudyRelatedInstances, study.ModalitiesInStudy) == (3, "CT")
    assert (study.SpecificCharacterSet, study.QueryRetrieveLevel, study.RetrieveAETitle) == (
        "ISO_IR 192",
        "STUDY",
        "HUREN",
    )
    assert "StudyDescription" not in study  # was not asked for
    of_person = f"PatientID={study.PatientID}"
    for more, found in (
        ((), 2),
        (("StudyDescription=*增强",), 1),
        (("StudyDescription=胸部CT??",), 2),
        (("StudyDate=20260623",), 2),
        (("StudyDate=20260601-20260622",), 0),
        (("StudyDate=-20260623", "StudyTime=0000-2359"), 2),
        (("StudyDate=20260624-",), 0),
        (("PatientName=林*",), 2),
        (("PatientName=Lin^Xiaoyu=林^晓渝",), 2),
        (("PatientName=王*",), 0),
        (("PatientBirthDate=19800517", "PatientSex=F"), 2),
        (("ModalitiesInStudy=MR",), 0),
        (("ModalitiesInStudy=MR\\CT",), 2),
        (("AccessionNumber=ACC-7",), 2),
        ((f"StudyInstanceUID={UID}\\2.25.7002\\2.25.404",), 2),
        (("PatientName=" + "*林*a" * 12,), 0),
    ):
        assert len(site.find("QueryRetrieveLevel=STUDY", of_person, "StudyInstanceUID", *more)) == found, more
    patient = "QueryRetrieveLevel=PATIENT", of_person, "NumberOfPatientRelatedInstances", "PatientSex"
    (person,) = site.find(*patient, model="-P")
    assert (person.NumberOfPatientRelatedInstances, person.PatientSex) == (4, "F")
    assert "StudyInstanceUID" not in person
    series_level = "QueryRetrieveLevel=SERIES", "StudyInstanceUID=2.25.7002"
    (series,) = site.find(*series_level, "SeriesDescription", "Modality=CT", "NumberOfSeriesRelatedInstances")
    assert (series.SeriesDescription, series.NumberOfSeriesRelatedInstances) == ("薄层", 1)
    assert site.find(*series_level, "Modality=MR") == []
    image_level = "QueryRetrieveLevel=IMAGE", f"StudyInstanceUID={UID}", f"SeriesInstanceUID={UID}.1"
    images = site.find(*image_level, "SOPInstanceUID", "InstanceNumber", "Rows", "SOPClassUID")
    assert [(each.SOPInstanceUID, each.InstanceNumber, each.Rows) for each in images] == [
        (f"{UID}.1.{number}", number, 8) for number in (1, 2, 3)
    ]
    (second,) = site.find(*image_level, "InstanceNumber=2", "SOPInstanceUID")
    assert second.SOPInstanceUID == f"{UID}.1.2"


def test_a_query_must_name_the_patient_or_the_study(site: QuerySite) -> None:
    site.open()
    for model, *keys in (
        ("-S", "QueryRetrieveLevel=STUDY", "StudyDate=20260623"),
        ("-S", "QueryRetrieveLevel=STUDY", "PatientID=*"),
        ("-S", "QueryRetrieveLevel=STUDY", "PatientID=1*"),
        ("-S", "QueryRetrieveLevel=STUDY", "PatientName=林*"),
        ("-S", "QueryRetrieveLevel=PATIENT", "PatientID=1"),
        ("-P", "QueryRetrieveLevel=SERIES", "PatientID=1"),
        ("-S", f"StudyInstanceUID={UID}"),
        ("-S", "QueryRetrieveLevel=EVERYTHING", f"StudyInstanceUID={UID}"),
        ("-S", "QueryRetrieveLevel=STUDY", "StudyInstanceUID=" + "\\".join(f"2.25.{n}" for n in range(101))),
    ):
        said = site.run("findscu", "-d", model, *[part for key in keys for part in ("-k", key)]).stdout
        assert outcome(said)[0] == "a900", keys
    assert audited(site) == []


def test_names_are_answered_in_the_character_set_of_the_request(site: QuerySite) -> None:
    site.open()
    for declared, codec in (("GB18030", "gb18030"), ("GBK", "gb18030"), ("ISO_IR 192", "utf-8")):
        wanted = b"PatientName=" + "林*".encode(codec)
        (found,) = site.find(*STUDY_LEVEL, f"SpecificCharacterSet={declared}", wanted)
        assert found.SpecificCharacterSet == ("GB18030" if codec == "gb18030" else "ISO_IR 192")
        assert found.PatientName == "林晓渝"
        assert found.PatientName.original_string.strip() == "林晓渝".encode(codec)


def test_a_hospitals_own_number_is_repeated_and_never_taken_for_somebody_elses(site: QuerySite) -> None:
    site.open()
    (study,) = site.find(*STUDY_LEVEL, "PatientID")
    regional = str(study.PatientID)
    by_number = "QueryRetrieveLevel=STUDY", "StudyInstanceUID"

    def found(number: str, *more: str) -> list[str]:
        return [each.PatientID for each in site.find(*by_number, f"PatientID={number}", *more)]

    assert found("A-2") == []  # another hospital's
    doctor = site.city.doctors["B"]
    site.city.link(doctor, "B-77", 2)
    assert found("B-77") == ["B-77"]
    assert found(regional) == [regional]
    # B's patient 4 has by chance the regional number of person 2.
    site.city.link(doctor, regional, 4)
    assert found(regional) == []
    assert found(regional, "IssuerOfPatientID=HUREN") == [regional]


def test_what_was_not_opened_looks_like_what_is_not_there(
    site: QuerySite, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    unknown = ("QueryRetrieveLevel=STUDY", "StudyInstanceUID=2.25.404")
    with receiving(require_tool("storescp"), tmp_path / "inbox") as (port, came):
        site.listens_at(port)
        for keys in (STUDY_LEVEL, unknown):
            assert site.find(*keys) == []
            assert outcome(site.move(*keys))[0] == "0000"
            assert outcome(site.get(tmp_path / "got", *keys))[0] == "0000"
        site.open()
        assert site.find(*STUDY_LEVEL, calling="A_PACS") == []  # nobody there has asked
    assert came == {}
    assert list((tmp_path / "got").iterdir()) == []
    assert {action for action, _ in audited(site)} == {"imaging_study.search"}


def test_images_go_only_to_a_registered_listener_of_the_same_hospital(site: QuerySite) -> None:
    site.open()
    (port,) = free_ports(1)
    site.listens_at(port, "A_PACS", "A")
    for destination in ("A_PACS", PACS, "NOBODY"):  # another hospital's, one without an address, nobody's
        assert outcome(site.move(*STUDY_LEVEL, to=destination)) == ("a801", [])
    site.listens_at(port)  # nobody is there
    assert outcome(site.move(*STUDY_LEVEL)) == ("a702", [0, 3])


def test_what_is_moved_and_got_is_what_was_sent_in_every_encoding(
    site: QuerySite, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    site.open()
    files = [tmp_path / f"{number:02}.dcm" for number in range(1, len(FILES) + 1)]
    for number, (path, name) in enumerate(zip(files, FILES, strict=True), 1):
        write(path, number, name)
    sent = [from_file(path) for path in files]
    site.images.send("A", *sent)
    of_study = ("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}")
    with receiving(require_tool("storescp"), tmp_path / "inbox", "+xa") as (port, came):
        site.listens_at(port)
        said = site.move(*of_study)
    assert came == digests(sent)
    assert outcome(said) == ("0000", [len(sent), 0])
    into = tmp_path / "got"
    said = site.get(into, *of_study)  # it has one context for a class, and so takes one encoding of it
    taken = digests([each for each in sent if each.TransferSyntaxUID == ExplicitVRLittleEndian])
    assert {str(dcmread(path).SOPInstanceUID): dataset_digest(path) for path in into.iterdir()} == taken
    assert outcome(said) == ("b000", [len(taken), len(sent) - len(taken)])
    assert got_by_pynetdicom(site, {each.TransferSyntaxUID for each in sent}) == digests(sent)
    assert [action for action, _ in audited(site)] == ["imaging_study.read"]
    assert {caller for _, caller in audited(site)} == {f"ae:{PACS}"}


def got_by_pynetdicom(site: QuerySite, syntaxes: set[str]) -> dict[str, str]:
    """Get the study with one context for each encoding; return the digests of what came."""
    got: dict[str, str] = {}

    def take(event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        got[uid] = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        return 0x0000

    asker = AE(ae_title=PACS)
    asker.add_requested_context(GET, ExplicitVRLittleEndian)
    for syntax in sorted(syntaxes):
        asker.add_requested_context(CTImageStorage, syntax)
    association = asker.associate(
        "127.0.0.1",
        site.node.port,
        ae_title="HUREN",
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, take)],
    )
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", STUDY
    statuses = [status.Status for status, _ in association.send_c_get(wanted, GET)]
    association.release()
    assert statuses == [0xFF00] * len(got) + [0x0000]
    return got


def test_a_series_an_image_and_a_patient_are_retrieved_and_nothing_besides(
    site: QuerySite, tmp_path: Path
) -> None:
    site.open()
    site.city.link(site.city.doctors["B"], "B-77", 2)
    site.images.chest("A", 2, "2.25.7002", slices=2)
    of_study, of_series = f"StudyInstanceUID={UID}", f"SeriesInstanceUID={UID}.1"
    for number, (model, *keys, taken) in enumerate(
        (
            ("-S", "QueryRetrieveLevel=SERIES", of_study, of_series, 3),
            ("-S", "QueryRetrieveLevel=SERIES", of_study, "SeriesInstanceUID=2.25.404", 0),
            ("-S", "QueryRetrieveLevel=IMAGE", of_study, of_series, f"SOPInstanceUID={UID}.1.2", 1),
            ("-P", "QueryRetrieveLevel=PATIENT", "PatientID=B-77", 5),
            ("-P", "QueryRetrieveLevel=STUDY", "PatientID=B-77", of_study, 3),
            ("-P", "QueryRetrieveLevel=STUDY", "PatientID=B-78", of_study, 0),
        )
    ):
        into = tmp_path / f"got-{number}"
        assert outcome(site.get(into, *map(str, keys), model=str(model)))[0] == "0000"
        assert len(list(into.iterdir())) == taken, keys
    unnamed = site.get(tmp_path / "got", "QueryRetrieveLevel=STUDY", "PatientID=B-77", model="-P")
    assert outcome(unnamed)[0] == "a900"


@pytest.fixture
def slow(site: QuerySite) -> Iterator[list[float]]:
    """B's PACS listens and takes its time for each image, 60 of which are to come; gives how many came."""
    came: list[float] = []
    pace = threading.Event()

    def take(_event: Any) -> int:
        came.append(0.0)
        pace.wait(0.25)
        return 0x0000

    listener = AE(ae_title=PACS)
    listener.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    server = listener.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, take)])
    site.images.chest("A", 2, MANY, slices=60)
    site.open()
    site.listens_at(server.server_address[1])
    yield came
    pace.set()
    server.shutdown()


def moving(site: QuerySite, on_first: Callable[[Any, int], None]) -> list[Dataset]:
    """Move the large study by pynetdicom; `on_first` is called after the first response. Gives the statuses."""
    asker = AE(ae_title=PACS)
    asker.add_requested_context(MOVE, ExplicitVRLittleEndian)
    association = asker.associate("127.0.0.1", site.node.port, ae_title="HUREN")
    assert association.is_established
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", MANY
    statuses = []
    try:
        for status, _ in association.send_c_move(wanted, PACS, MOVE, msg_id=9):
            statuses.append(status)
            if len(statuses) == 2:
                on_first(association, 9)
    finally:
        association.release()
    return statuses


def test_what_is_revoked_in_the_middle_of_a_retrieval_stops_within_five_seconds(
    site: QuerySite, slow: list[float]
) -> None:
    def revoke(_association: Any, _number: int) -> None:
        sharing.set_sharing(
            site.city.catalogue, SYSTEM, Document("01", id_number(2)), Demographics(), shared=False
        )

    *_, last = moving(site, revoke)
    assert last.Status == 0xA702
    assert len(slow) <= 1 + 5 / 0.25
    assert last.NumberOfCompletedSuboperations == len(slow)
    assert last.NumberOfFailedSuboperations == 60 - len(slow)
    assert last.ErrorComment == "no longer permitted"


def test_a_retrieval_that_is_cancelled_ends_with_what_remained(site: QuerySite, slow: list[float]) -> None:
    first, *_, last = moving(site, lambda association, number: association.send_c_cancel(number, 1))
    assert first.Status == 0xFF00
    assert first.NumberOfRemainingSuboperations == 60
    assert last.Status == 0xFE00
    assert last.NumberOfRemainingSuboperations == 60 - len(slow) > 50


@contextmanager
def destination(
    site: QuerySite, take: Callable[[Any], int], tls: ssl.SSLContext | None = None
) -> Iterator[None]:
    """B's PACS listens and does with each image what it is told."""
    listener = AE(ae_title=PACS)
    listener.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    handlers = [(evt.EVT_C_STORE, take)]
    server = listener.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
    site.listens_at(server.server_address[1], tls=tls is not None)
    try:
        yield
    finally:
        server.shutdown()


def test_a_destination_that_says_nothing_any_more_ends_the_retrieval(
    site: QuerySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carriers, "_ANSWER_SECONDS", 2.0)
    site.open()
    let_go = threading.Event()

    def take(event: Any) -> int:
        if event.request.AffectedSOPInstanceUID.endswith(".2"):
            let_go.wait(30)
        return 0x0000

    with destination(site, take):
        try:
            assert outcome(site.move(*STUDY_LEVEL)) == ("a702", [1, 2])
        finally:
            let_go.set()


def test_what_a_destination_refuses_is_counted_and_the_rest_is_sent(site: QuerySite) -> None:
    site.open()
    statuses = {f"{UID}.1.1": 0x0000, f"{UID}.1.2": 0xA700, f"{UID}.1.3": 0xB007}
    with destination(site, lambda event: statuses[event.request.AffectedSOPInstanceUID]):
        said = site.move(*STUDY_LEVEL)
    assert outcome(said) == ("b000", [1, 1])
    assert re.findall(r"Warning Suboperations +: (\d)", said)[-1] == "1"
    assert f"{UID}.1.2" in said  # FailedSOPInstanceUIDList


def test_a_destination_with_tls_is_sent_to_over_tls_or_not_at_all(site: QuerySite, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    ours, device = authority.issue("ours"), authority.issue("device")
    settings = NodeSettings(
        tls_certificate=ours.certificate, tls_key=ours.key, tls_authorities=authority.certificate
    )
    site.open()
    took: list[str] = []

    def take(event: Any) -> int:
        took.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    with destination(site, take, secured(authority, device)):
        assert outcome(site.move(*STUDY_LEVEL)) == ("a702", [0, 3])  # not set up here
        assert took == []
        desk = ArchiveDesk(
            site.city.catalogue,
            site.images.store,
            Harvest(ExchangeSettings()),
            Counters(),
            OutboundTls(settings),
        )
        with RunningNode(tmp_path / "secure", site.node.directory, archive=lambda _: desk) as site.node:
            assert outcome(site.move(*STUDY_LEVEL)) == ("0000", [3, 0])
    assert len(took) == 3


def test_orthanc_finds_and_retrieves_with_the_name_in_characters(
    site: QuerySite, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    site.open()
    modality = {"AET": "HUREN", "Host": "127.0.0.1", "Port": site.node.port}
    program = require_tool("Orthanc")
    with (
        orthanc.running(program, tmp_path, {"huren": modality}, PACS, DefaultEncoding="Utf8") as url,
        httpx2.Client(timeout=30, trust_env=False) as client,
    ):
        site.listens_at(client.get(f"{url}/system").json()["DicomPort"])
        query = {"Level": "Study", "Query": {"StudyInstanceUID": UID, "PatientName": "林*"}}
        asked = client.post(f"{url}/modalities/huren/query", json=query)
        assert asked.status_code == 200, asked.text
        answers = client.get(f"{url}/queries/{asked.json()['ID']}/answers?expand&simplify").json()
        assert [(each["PatientName"], each["StudyInstanceUID"]) for each in answers] == [("林晓渝", UID)]
        done = client.post(f"{url}/queries/{asked.json()['ID']}/retrieve", content=PACS)
        assert done.status_code == 200, done.text
        instances = client.get(f"{url}/instances?expand").json()
        assert len(instances) == 3
        for each in instances:
            file = tmp_path / each["ID"]
            file.write_bytes(client.get(f"{url}/instances/{each['ID']}/file").content)
            assert dcmread(file).PatientName.ideographic == "林^晓渝"
