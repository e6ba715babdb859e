"""The demonstration's studies: real CT and MR images under invented people."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.data import get_charset_files, get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from catalog.identity import check_digit

CHARSET_FILES: Final = (
    "chrX1.dcm",
    "chrX2.dcm",
    "chrH31.dcm",
    "chrI2.dcm",
    "chrGerm.dcm",
    "chrFren.dcm",
    "chrRuss.dcm",
    "chrGreek.dcm",
)


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """An invented person; the region code 999999 is given to nobody."""

    name: str
    birth_date: date
    sex: str
    sequence: int
    patient_id: str

    @property
    def id_number(self) -> str:
        """Return a national ID number with a valid check digit and an impossible region."""
        body = f"999999{self.birth_date:%Y%m%d}{self.sequence:03d}"
        return body + check_digit(body)


@dataclass(frozen=True, slots=True)
class DemoStudy:
    """One study to send: which real images, described how, done when."""

    image: str
    description: str
    body_part: str
    done: date
    slices: int
    laterality: str = ""


def write_study(folder: Path, person: DemoPerson, study: DemoStudy, *, character_set: str) -> str:
    """Write the study's files into `folder` and return its StudyInstanceUID."""
    folder.mkdir(parents=True)
    study_uid, series_uid, frame_uid = generate_uid(), generate_uid(), generate_uid()
    for number in range(1, study.slices + 1):
        dataset = dcmread(str(get_testdata_file(study.image)))
        _describe(dataset, person, study, character_set)
        dataset.StudyInstanceUID = study_uid
        dataset.SeriesInstanceUID = series_uid
        dataset.FrameOfReferenceUID = frame_uid
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = number
        dataset.save_as(folder / f"{number:03d}.dcm", enforce_file_format=True)
    return study_uid


def charset_files() -> list[Path]:
    """Return files whose patients' names are written in other character sets."""
    return [Path(get_charset_files(name)[0]) for name in CHARSET_FILES]


def _describe(dataset: Dataset, person: DemoPerson, study: DemoStudy, character_set: str) -> None:
    day = f"{study.done:%Y%m%d}"
    dataset.SpecificCharacterSet = character_set
    dataset.PatientName = f"{person.name[0]}^{person.name[1:]}"
    dataset.PatientID = person.patient_id
    dataset.OtherPatientIDs = person.id_number
    dataset.PatientBirthDate = f"{person.birth_date:%Y%m%d}"
    dataset.PatientSex = person.sex
    dataset.PatientAge = ""
    dataset.AccessionNumber = f"A{day}{study.slices:03d}"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = day
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "093000"
    dataset.StudyDescription = study.description
    dataset.BodyPartExamined = study.body_part
    dataset.InstitutionName = "渝中甲医院(演示)"
    if study.laterality:
        dataset.Laterality = study.laterality
    for keyword in (
        "AcquisitionDateTime",
        "TimezoneOffsetFromUTC",
        "ContrastBolusAgent",
        "ScanOptions",
        "ProtocolName",
        "SeriesDescription",
    ):
        if keyword in dataset:
            delattr(dataset, keyword)
