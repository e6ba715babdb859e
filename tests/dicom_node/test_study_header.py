"""What the headers of its instances say of a study, and when it was done."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.exam_time import exam_time
from dicom_node.facts import study_header
from dicom_node.header import HeaderReader, ReadInstance
from dicom_node.spool import Spool
from tests.dicom_node.headers import STUDY, read, read_one
from tests.packs import ct

RECEIVED = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "at", "source"),
    [
        (
            {"AcquisitionDateTime": "20250102101500.5+0900"},
            "2025-01-02T01:15:00.500000",
            "AcquisitionDateTime",
        ),
        ({"AcquisitionDateTime": "20250102101500"}, "2025-01-02T02:15:00", "AcquisitionDateTime"),
        ({"AcquisitionDateTime": "2025"}, "2024-12-31T16:00:00", "AcquisitionDateTime"),
        (
            {"AcquisitionDate": "20250102", "AcquisitionTime": "1015"},
            "2025-01-02T02:15:00",
            "AcquisitionDate",
        ),
        ({"AcquisitionDate": "bad", "StudyDate": "20250102"}, "2025-01-01T16:00:00", "StudyDate"),
        ({"SeriesDate": "20250102", "SeriesTime": "10:15:60"}, "2025-01-02T02:15:59", "SeriesDate"),
        ({"StudyDate": "2025.01.02", "StudyTime": "noon"}, "2025-01-01T16:00:00", "StudyDate"),
        (
            {"StudyDate": "20250102", "StudyTime": "101500", "TimezoneOffsetFromUTC": "+0000"},
            "2025-01-02T10:15:00",
            "StudyDate",
        ),
        (
            {"ContentDate": "20250101", "AcquisitionDate": "20250102", "AcquisitionTime": "000000"},
            "2025-01-01T16:00:00",
            "AcquisitionDate",
        ),
    ],
)
def test_the_time_of_an_examination_is_read_from_the_best_attribute(
    values: dict[str, str], at: str, source: str
) -> None:
    found = exam_time(values)
    assert found is not None
    assert (found.at.replace(tzinfo=None).isoformat(), found.source) == (at, source)


@pytest.mark.parametrize("text", ["", "0000", "20251301", "20250230", "99999999999", "٢٠٢٥٠١٠٢", "1700"])
def test_what_is_no_date_gives_no_time(text: str) -> None:
    assert exam_time({"StudyDate": text, "AcquisitionDateTime": text}) is None


@given(st.text(max_size=30), st.text(max_size=20))
def test_no_text_breaks_the_reading_of_dates(day: str, clock: str) -> None:
    found = exam_time({"AcquisitionDateTime": day + clock, "StudyDate": day, "StudyTime": clock})
    assert found is None or found.at.tzinfo is UTC


def test_a_study_takes_the_earliest_time_and_every_description(reader: HeaderReader, spool: Spool) -> None:
    other = Dataset()
    other.PatientID = "999999198001010019"
    found = read(
        reader,
        spool,
        ct(
            STUDY,
            1,
            StudyTime="110000",
            SeriesDescription="肺窗",
            Laterality="L",
            OtherPatientIDs=["X1", "X2"],
        ),
        ct(
            STUDY,
            2,
            StudyTime="100000",
            SeriesDescription="纵隔窗",
            Laterality="R",
            BodyPartExamined="ABDOMEN",
        ),
        ct(STUDY, 3, StudyTime="", SeriesDescription="肺窗", OtherPatientIDsSequence=Sequence([other])),
    )
    header = study_header([one.facts for one in found if isinstance(one, ReadInstance)], RECEIVED)
    assert header.exam_time == datetime(2025, 1, 2, 2, 0, tzinfo=UTC)
    assert header.exam_time_source == "StudyDate"
    assert header.series_descriptions == ("肺窗", "纵隔窗")
    assert header.Laterality == "B"
    assert header.BodyPartExamined == "CHEST/ABDOMEN"
    assert header.identifiers == ("TEST-0001", "X1", "X2", "999999198001010019")
    assert (header.PatientName, header.name_rule) == ("测试^甲", "declared")
    assert (header.PatientBirthDate, header.PatientSex, header.modalities) == (date(1970, 1, 1), "F", ("CT",))


def test_a_study_without_any_date_has_the_time_it_was_received(reader: HeaderReader, spool: Spool) -> None:
    found = read_one(reader, spool, ct(STUDY, 1, StudyDate="", StudyTime=""))
    header = study_header([found.facts], RECEIVED)
    assert (header.exam_time, header.exam_time_source) == (RECEIVED, "received")
