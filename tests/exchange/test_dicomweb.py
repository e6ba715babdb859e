"""DICOMweb: who sees which images, and that what is served is what was stored, byte by byte."""

import hashlib
from datetime import timedelta
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy import select

from catalog import sharing
from catalog.db import transaction
from catalog.identity import Demographics, Document
from catalog.tables import AuditEvent
from tests.city import id_number
from tests.dicom_node.raw_peer import wait_until
from tests.exchange.image_site import AT, FIRST, PALETTE, SERIES, SYSTEM, UID, Site, parts_of, site

__all__ = ["site"]

RELATED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
FRAMES = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


def dataset_of(part10: bytes) -> bytes:
    """Return the bytes of a file's data set."""
    meta = 144 + int.from_bytes(part10[140:144], "little")
    assert part10[128:132] == b"DICM"
    return part10[meta:]


ROUTES = (
    f"/dicom-web/studies?StudyInstanceUID={UID}",
    f"{AT}/series",
    f"{AT}/instances",
    f"{SERIES}/instances",
    f"{AT}/metadata",
    f"{SERIES}/metadata",
    f"{FIRST}/metadata",
    AT,
    SERIES,
    FIRST,
    f"{FIRST}/frames/1",
    f"{FIRST}/bulkdata/00281201",
)


def test_images_are_there_for_whom_a_check_has_opened_the_patient_and_for_nobody_else(site: Site) -> None:
    unknown = "2.25.404"

    def as_seen() -> list[tuple[int, bytes]]:
        answers = [site.get(path) for path in ROUTES]
        return [(each.status_code, each.content) for each in answers]

    hidden = as_seen()
    nowhere = [site.get(path.replace(UID, unknown)) for path in ROUTES]
    assert hidden == [(each.status_code, each.content) for each in nowhere]
    assert hidden[0] == (200, b"[]")
    assert {status for status, _ in hidden[1:]} == {404}
    site.open()
    assert {status for status, _ in as_seen()} == {200}
    assert len(site.get(ROUTES[0]).json()) == 1
    assert {site.get(path, role="regulator").status_code for path in ROUTES} == {403}
    assert {site.get(path, hospital="A").status_code for path in ROUTES[1:]} == {
        404
    }  # nobody there has asked


def test_what_was_revoked_is_seen_no_more_within_five_seconds(site: Site) -> None:
    site.open()
    assert site.get(f"{FIRST}/frames/1").status_code == 200
    document = Document("01", id_number(2))
    sharing.set_sharing(site.service.city.catalogue, SYSTEM, document, Demographics(), shared=False)
    wait_until(lambda: site.get(f"{FIRST}/frames/1").status_code == 404, 5)
    assert site.get(ROUTES[0]).json() == []


def test_a_check_that_has_expired_opens_nothing(site: Site) -> None:
    site.open()
    site.service.city.now += timedelta(hours=25)
    assert {site.get(path).status_code for path in ROUTES[1:]} == {404}


def test_a_withdrawn_study_is_not_shown_to_other_hospitals(site: Site) -> None:
    site.open()
    turn = {"StudyInstanceUID": UID, "reason": "录入错误"}
    system = {"role": "hospital_system", "hospital": "A"}
    assert site.service.call("POST", "/v1/studies/withdraw", json=turn, **system).status_code == 200
    assert {site.get(path).status_code for path in ROUTES[1:]} == {404}


def test_files_and_frames_are_the_stored_bytes(site: Site) -> None:
    site.open()
    for path in (AT, SERIES):
        found = parts_of(site.get(path, headers=RELATED))
        assert [hashlib.sha256(dataset_of(content)).hexdigest() for _, content in found] == [
            each.sha256 for each in site.sent
        ]
        assert {headers["Content-Type"] for headers, _ in found} == {
            "application/dicom;transfer-syntax=1.2.840.10008.1.2.1"
        }
    alone = site.get(FIRST, headers={"Accept": "application/dicom"})
    assert dataset_of(alone.content) == site.sent[0].data
    assert dcmread(BytesIO(alone.content)).SOPInstanceUID == f"{UID}.1.1"
    for number in (1, 2, 3):
        path = f"{SERIES}/instances/{UID}.1.{number}/frames/1"
        ((headers, frame),) = parts_of(site.get(path, headers=FRAMES))
        assert frame == bytes([number]) * 128
        assert headers["Content-Type"] == "application/octet-stream;transfer-syntax=1.2.840.10008.1.2.1"
    assert site.get(f"{FIRST}/frames/2").status_code == 404
    assert site.get(f"{FIRST}/frames/0").status_code == 404


def test_metadata_has_the_name_in_characters_the_regional_number_and_no_other_number(site: Site) -> None:
    site.open()
    told = site.get(f"{SERIES}/metadata").json()
    assert [each["00200013"]["Value"] for each in told] == [[1], [2], [3]]
    person = site.get(ROUTES[0]).json()[0]["00100020"]["Value"][0]
    for each in told:
        assert each["00100010"]["Value"] == [{"Alphabetic": "林晓渝"}]
        assert each["00100020"]["Value"] == [person]
        assert "00101000" not in each
        assert "Value" not in each["7FE00010"]
    address = told[0]["00281201"]["BulkDataURI"]
    assert address.startswith("https://")
    path = address[address.index("/dicom-web") :]
    assert site.get(path, headers={"Accept": "application/octet-stream"}).content == PALETTE
    Dataset.from_json(told[0], lambda _: b"")


def test_a_search_matches_what_was_asked_and_must_name_the_patient_or_the_study(site: Site) -> None:
    site.open()
    site.images.chest("A", 2, "2.25.7002", slices=1, StudyDescription="胸部CT增强")
    (study,) = site.get(ROUTES[0]).json()
    assert study["00201206"]["Value"] == [1]
    assert study["00201208"]["Value"] == [3]
    of_person = f"/dicom-web/studies?PatientID={study['00100020']['Value'][0]}"
    for more, count in (
        ("", 2),
        ("&limit=1", 1),
        ("&limit=5&offset=1", 1),
        ("&ModalitiesInStudy=CT", 2),
        ("&ModalitiesInStudy=MR", 0),
        ("&StudyDescription=*增强", 1),
        ("&00081030=胸部CT??", 2),
        ("&StudyDate=20260623", 2),
        ("&StudyDate=20260601-20260622", 0),
        ("&StudyDate=-20260623", 2),
        ("&StudyDate=20260624-", 0),
        ("&PatientName=林*", 2),
        ("&AccessionNumber=ACC-7", 2),
        (f"&StudyInstanceUID={UID},2.25.7002&fuzzymatching=false&includefield=00081030,00080060", 2),
    ):
        assert len(site.get(of_person + more).json()) == count, more
    for refused in ("/dicom-web/studies", "/dicom-web/studies?StudyDate=20260623", of_person + "&Rows=8"):
        assert site.get(refused).status_code == 422, refused
    assert site.get(of_person + "&NoSuchWord=1").json()["field"] == "NoSuchWord"
    assert site.get(of_person + "&limit=x").status_code == 422
    (series,) = site.get(f"{AT}/series?Modality=CT&includefield=00180015").json()
    assert series["00201209"]["Value"] == [3]
    assert series["00180015"]["Value"] == ["CHEST"]
    (instance,) = site.get(f"{SERIES}/instances?InstanceNumber=2").json()
    assert instance["00080018"]["Value"] == [f"{UID}.1.2"]


def test_series_and_instances_are_found_across_one_patients_studies(site: Site) -> None:
    site.open()
    site.images.chest("A", 2, "2.25.7002", slices=1, StudyDescription="胸部CT增强")
    (study,) = site.get(ROUTES[0]).json()
    patient = f"PatientID={study['00100020']['Value'][0]}"
    for what, count in (("series", 2), ("instances", 4)):
        found = site.get(f"/dicom-web/{what}?{patient}").json()
        assert len(found) == count
        assert {each["0020000D"]["Value"][0] for each in found} == {UID, "2.25.7002"}
        assert len(site.get(f"/dicom-web/{what}?StudyInstanceUID=2.25.7002").json()) == 1
        assert len(site.get(f"/dicom-web/{what}?{patient}&limit=1&offset=1").json()) == 1
        assert site.get(f"/dicom-web/{what}").status_code == 422
        assert site.service.call("GET", f"/dicom-web/{what}?{patient}", hospital="A", told=False).json() == []
    assert len(site.get(f"/dicom-web/instances?{patient}&InstanceNumber=1").json()) == 2


def test_a_viewing_is_audited_once_whatever_it_fetches_and_again_after_an_hour(site: Site) -> None:
    def viewings() -> int:
        with transaction(site.service.city.catalogue.engine) as session:
            query = select(AuditEvent.id).where(AuditEvent.action == "imaging_study.read")
            return len(session.scalars(query).all())

    site.open()
    for path in ROUTES[1:]:
        site.get(path)
    assert viewings() == 1
    site.service.city.now += timedelta(minutes=61)
    site.service.client.app.state.images.forget()  # type: ignore[attr-defined]
    site.get(f"{FIRST}/frames/1")
    assert viewings() == 2


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (f"{FIRST}/frames/1", "image/jpeg"),
        (f"{FIRST}/frames/1", 'multipart/related; type="image/jp2"'),
        (f"{FIRST}/frames/1", 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.3'),
        (AT, "application/dicom"),  # several files are never one
        (f"{AT}/metadata", "application/dicom+xml"),
        (FIRST, "*/*;q=0"),
    ],
)
def test_what_cannot_be_given_as_it_is_stored_is_refused(site: Site, path: str, accept: str) -> None:
    site.open()
    answer = site.get(path, headers={"Accept": accept})
    assert (answer.status_code, answer.json()["code"]) == (406, "format_not_supported")
