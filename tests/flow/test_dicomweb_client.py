"""A DICOMweb client of others against a running exchange: what a PACS sent comes back the same, in every encoding."""

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import CTImageStorage

from tests.city import id_number
from tests.flow.running import Running, until

pytestmark = [pytest.mark.flow, pytest.mark.long]

# Uncompressed, implicit, deflated, RLE, JPEG (lossless, baseline), JPEG-LS, JPEG 2000, several frames, a palette.
FILES = (
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "image_dfl.dcm",
    "MR_small_RLE.dcm",
    "JPEG-LL.dcm",
    "JPEG2000.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "examples_ybr_color.dcm",
    "examples_palette.dcm",
    "emri_small_jpeg_2k_lossless.dcm",
)
STUDY = "2.25.71002"


@pytest.fixture(scope="module")
def sent(exchange: Running, tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    """One study of a registered person in many encodings, sent from A's PACS, about whom B has asked."""
    folder = tmp_path_factory.mktemp("encodings")
    for number, name in enumerate(FILES, 1):
        write(folder / f"{number:02}.dcm", number, name)
    system = exchange.token("hospital_system", "A")
    person = {"id_number": id_number(2), "patient_id": "A-2", "name": "林晓渝"}
    assert exchange.call("POST", "/v1/patients", system, json=person).status_code == 201
    exchange.run("send", folder, "--to", f"127.0.0.1:{exchange.dicom_port}", "--calling", "A_PACS")
    operator = exchange.token("operator")
    until(lambda: any(each["StudyInstanceUID"] == STUDY for each in exchange.studies(operator)))
    body = {"patient": {"id_number": id_number(2)}, "orders": [{"order_id": "W1", "item_code": "CT07"}]}
    doctor = exchange.token("doctor", "B")
    until(
        lambda: exchange.call("POST", "/v1/checks", doctor, json=body).json()["orders"][0]["candidates"], 20
    )
    return [dcmread(path) for path in sorted(folder.glob("*.dcm"))]


def write(path: Path, number: int, name: str) -> None:
    """Write a real image under a header of ours: only its pixels, what is said of them, and their encoding stay."""
    exam = datetime.now(UTC) - timedelta(days=3)
    dataset = dcmread(str(get_testdata_file(name)))
    for tag in [each.tag for each in dataset if each.tag.group not in (0x0028, 0x7FE0)]:
        del dataset[tag]
    told = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": CTImageStorage,
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": f"{STUDY}.{number}",
        "SOPInstanceUID": f"{STUDY}.{number}.1",
        "PatientID": "A-2",
        "PatientName": "林^晓渝",
        "PatientBirthDate": "19800517",
        "PatientSex": "F",
        "Modality": "CT",
        "BodyPartExamined": "CHEST",
        "StudyDescription": "胸部CT平扫",
        "StudyDate": f"{exam:%Y%m%d}",
        "StudyTime": "101500",
        "AcquisitionDate": f"{exam:%Y%m%d}",
        "AcquisitionTime": "101500",
        "SeriesNumber": number,
        "InstanceNumber": 1,
    }
    for keyword, value in told.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the files are old, and say so
        dataset.save_as(path, enforce_file_format=True)


@pytest.fixture
def client(exchange: Running) -> Iterator[DICOMwebClient]:
    """B's doctor, by a client that asks as it is made to."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {exchange.token('doctor', 'B')}"
        yield DICOMwebClient(f"{exchange.url}/dicom-web", session=session)


def frames_of(dataset: Dataset) -> list[bytes]:
    """Return the frames of a file as they stand in it."""
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    if dataset.file_meta.TransferSyntaxUID.is_compressed and dataset["PixelData"].is_undefined_length:
        return list(generate_frames(dataset.PixelData, number_of_frames=count))
    size = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
    return [dataset.PixelData[at : at + size] for at in range(0, size * count, size)]


def test_searches_find_the_study_its_series_and_its_instances(
    sent: list[Dataset], client: DICOMwebClient
) -> None:
    (study,) = client.search_for_studies(
        search_filters={"StudyInstanceUID": STUDY, "ModalitiesInStudy": "CT"}, fields=["00080061"], limit=10
    )
    assert study["00100010"]["Value"] == [{"Alphabetic": "林晓渝"}]
    patient = study["00100020"]["Value"][0]
    assert len(client.search_for_studies(search_filters={"PatientID": patient})) == 1
    series = client.search_for_series(STUDY)
    assert [each["0020000E"]["Value"][0] for each in series] == [each.SeriesInstanceUID for each in sent]
    found = client.search_for_instances(STUDY)
    assert {each["00080018"]["Value"][0] for each in found} == {each.SOPInstanceUID for each in sent}
    one = sent[0]
    assert len(client.search_for_instances(STUDY, one.SeriesInstanceUID, offset=0, limit=5)) == 1


def test_instances_come_back_as_they_were_sent(sent: list[Dataset], client: DICOMwebClient) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {each.SOPInstanceUID: each for each in client.retrieve_study(STUDY)}
        assert found.keys() == {each.SOPInstanceUID for each in sent}
        for each in sent:
            back = found[each.SOPInstanceUID]
            assert back == each
            assert back.file_meta.TransferSyntaxUID == each.file_meta.TransferSyntaxUID
            assert back.PixelData == each.PixelData
        first = sent[0]
        uids = first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID
        assert client.retrieve_series(*uids[:2]) == [first]
        assert client.retrieve_instance(*uids) == first


@pytest.mark.parametrize("number", range(len(FILES)), ids=FILES)
def test_frames_are_the_stored_bytes_in_every_encoding(
    sent: list[Dataset], client: DICOMwebClient, number: int
) -> None:
    one = sent[number]
    uids = one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID
    if one.file_meta.TransferSyntaxUID.name.startswith("Deflated"):
        with pytest.raises(requests.HTTPError):
            client.retrieve_instance_frames(*uids, [1])  # they have no places of their own in it
        return
    wanted = frames_of(one)
    numbers = list(range(1, len(wanted) + 1))
    found = client.retrieve_instance_frames(*uids, numbers, media_types=[("*/*", "*")])
    assert [frame.rstrip(b"\0") for frame in found] == [frame.rstrip(b"\0") for frame in wanted]
    assert sum(map(len, found)) <= sum(map(len, wanted)) + len(wanted)


def test_metadata_and_bulk_data_are_those_of_the_files(sent: list[Dataset], client: DICOMwebClient) -> None:
    told: dict[str, Any] = {
        each["00080018"]["Value"][0]: each for each in client.retrieve_study_metadata(STUDY)
    }
    for each in sent:
        uids = each.StudyInstanceUID, each.SeriesInstanceUID, each.SOPInstanceUID
        assert client.retrieve_instance_metadata(*uids) == told[each.SOPInstanceUID]
        assert told[each.SOPInstanceUID]["00280010"]["Value"] == [each.Rows]
    palette = next(each for each in sent if "RedPaletteColorLookupTableData" in each)
    element = told[palette.SOPInstanceUID]["00281201"]
    if "BulkDataURI" in element:
        (content,) = client.retrieve_bulkdata(element["BulkDataURI"])
        assert content == palette.RedPaletteColorLookupTableData


def test_pictures_of_every_encoding_are_rendered(sent: list[Dataset], client: DICOMwebClient) -> None:
    for one in sent:
        uids = one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID
        if one.file_meta.TransferSyntaxUID.name.startswith("Deflated"):
            with pytest.raises(requests.HTTPError):
                client.retrieve_instance_rendered(*uids)
            continue
        for kind in ("image/png", "image/jpeg"):
            shown = Image.open(BytesIO(client.retrieve_instance_rendered(*uids, media_types=(kind,))))
            assert (shown.height, shown.width) == (one.Rows, one.Columns)
        size = {"viewport": "50,50"}
        small = client.retrieve_instance_frames_rendered(*uids, [1], media_types=("image/png",), params=size)
        assert max(Image.open(BytesIO(small)).size) == 50
    assert client.retrieve_series_rendered(STUDY, sent[0].SeriesInstanceUID).startswith(b"\r\n--")


def test_everything_is_found_without_naming_the_study_above_it(
    sent: list[Dataset], client: DICOMwebClient
) -> None:
    (study,) = client.search_for_studies(search_filters={"StudyInstanceUID": STUDY})
    patient = {"PatientID": study["00100020"]["Value"][0]}
    assert len(client.search_for_series(search_filters=patient)) == len(sent)
    assert len(client.search_for_instances(search_filters=patient)) == len(sent)


def test_pieces_come_one_by_one_as_they_come_together(sent: list[Dataset], client: DICOMwebClient) -> None:
    one = sent[0]
    uids = one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID
    assert list(client.iter_series(*uids[:2])) == client.retrieve_series(*uids[:2])
    assert len(list(client.iter_study(STUDY))) == len(sent)
    assert list(client.iter_instance_frames(*uids, [1])) == client.retrieve_instance_frames(*uids, [1])
    assert client.retrieve_series_metadata(*uids[:2]) == [client.retrieve_instance_metadata(*uids)]


def test_nothing_is_deleted_by_a_client(sent: list[Dataset], client: DICOMwebClient) -> None:
    one = sent[0]
    uids = one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID
    for delete, named in (
        (client.delete_study, uids[:1]),
        (client.delete_series, uids[:2]),
        (client.delete_instance, uids),
    ):
        with pytest.raises(requests.HTTPError) as refused:
            delete(*named)
        assert refused.value.response.status_code == 405
    assert client.retrieve_instance(*uids) == one


def test_who_has_not_asked_finds_nothing(sent: list[Dataset], exchange: Running) -> None:
    assert sent
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {exchange.token('doctor', 'A')}"
        stranger = DICOMwebClient(f"{exchange.url}/dicom-web", session=session)
        assert stranger.search_for_studies(search_filters={"StudyInstanceUID": STUDY}) == []
        with pytest.raises(requests.HTTPError) as refused:
            stranger.retrieve_study_metadata(STUDY)
    assert refused.value.response.status_code == 404
