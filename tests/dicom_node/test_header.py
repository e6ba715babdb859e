"""Headers are read from bytes, in a child that may die of them; what they say comes out right or is refused."""

import json
import struct
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import psutil
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.sequence import Sequence

from dicom_node.dataset import REASONS, Unreadable, open_window
from dicom_node.exam_time import exam_time
from dicom_node.facts import study_header
from dicom_node.header import HeaderReader, ReadInstance, UnreadableInstance
from dicom_node.header_child import CPU_SECONDS, MEMORY_LIMIT_BYTES
from dicom_node.metadata import MAX_DEPTH, read_metadata
from dicom_node.spool import Spool
from tests.packs import CT, EXPLICIT, IMPLICIT, Sent, ct, element, encode, from_file, receive

STUDY = "2.25.4711"
RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"  # a class without pixels
RECEIVED = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
DATA = Path(pydicom.__file__).parent / "data"
FILES = sorted([*DATA.glob("test_files/*.dcm"), *DATA.glob("charset_files/*.dcm")])
ITEM, END_OF_SEQUENCE = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


@pytest.fixture(scope="module")
def reader() -> Iterator[HeaderReader]:
    with HeaderReader() as reader:
        yield reader


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path, low_water_bytes=0)


def read(reader: HeaderReader, spool: Spool, *sent: Sent) -> list[ReadInstance | UnreadableInstance]:
    return reader.read(receive(spool, sent))


def read_one(reader: HeaderReader, spool: Spool, sent: Sent) -> ReadInstance:
    (found,) = read(reader, spool, sent)
    assert isinstance(found, ReadInstance), found
    return found


def reason_of(reader: HeaderReader, spool: Spool, sent: Sent) -> str:
    (found,) = read(reader, spool, sent)
    assert isinstance(found, UnreadableInstance), found
    return found.reason


def inserted(sent: Sent, tag: int, raw: bytes) -> Sent:
    """Put one element, as bytes, at its place among the top-level elements."""
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(b"\0" * 128 + b"DICM" + sent.data), force=True)
    before = Dataset({key: value for key, value in dataset.items() if key < tag})
    after = Dataset({key: value for key, value in dataset.items() if key > tag})
    return Sent(sent.SOPClassUID, sent.SOPInstanceUID, EXPLICIT, encode(before) + raw + encode(after))


def plain(**texts: bytes) -> Sent:
    """A readable instance without pixels whose PatientName and the like are exactly these bytes."""
    uids = {0x00080016: RAW_DATA, 0x00080018: f"{STUDY}.1.1", 0x0020000D: STUDY, 0x0020000E: f"{STUDY}.1"}
    parts = {tag: element(tag, b"UI", uid.encode() + b"\0" * (len(uid) % 2)) for tag, uid in uids.items()}
    for keyword, value in texts.items():
        tag = pydicom.datadict.tag_for_keyword(keyword)
        assert tag is not None
        vr = pydicom.datadict.dictionary_VR(tag).encode()
        parts[tag] = element(tag, vr, value + b" " * (len(value) % 2))
    return Sent(RAW_DATA, f"{STUDY}.1.1", EXPLICIT, b"".join(parts[tag] for tag in sorted(parts)))


# --- texts ----------------------------------------------------------------------------------------------

NAME = "测试^渝悦"
DESCRIPTION = "胸部CT平扫"


def iso2022(text: str) -> bytes:
    out, high = b"", False
    for char in text:
        raw = char.encode("gb2312")
        if len(raw) == 2 and not high:
            out, high = out + b"\x1b$)A", True
        out += raw
        if char == "^":
            high = False
    return out


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        (b"GB18030", "gb18030"),
        (b"GBK", "gbk"),
        (b"ISO_IR 192", "utf-8"),
        (b"\\ISO 2022 IR 58", "iso2022"),
        (b"", "gbk"),
        (b"ISO_IR 100", "gb18030"),
        (b"ISO_IR 100", "utf-8"),
        (b"ISO_IR 192", "gbk"),
        (b"\\ISO 2022 IR 58", "gbk"),
    ],
)
def test_a_chinese_name_comes_out_right_whatever_is_declared(
    reader: HeaderReader, spool: Spool, declared: bytes, codec: str
) -> None:
    name, description = (
        (iso2022(text) if codec == "iso2022" else text.encode(codec)) for text in (NAME, DESCRIPTION)
    )
    sent = plain(
        SpecificCharacterSet=declared, PatientName=name, StudyDescription=description, PatientID=b"T1"
    )
    found = read_one(reader, spool, sent)
    metadata = json.loads(found.metadata)
    assert found.facts.PatientName == NAME
    assert found.facts.texts["StudyDescription"] == DESCRIPTION
    assert metadata["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": NAME}]}
    assert metadata["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert found.facts.SpecificCharacterSet == declared.decode()


def test_the_groups_of_a_name_are_kept_apart(reader: HeaderReader, spool: Spool) -> None:
    sent = plain(
        SpecificCharacterSet=b"GB18030",
        PatientName="Ceshi^Jia=测试^甲=Ce Shi^Jia".encode("gb18030"),
        PatientID=b"",
    )
    (name,) = json.loads(read_one(reader, spool, sent).metadata)["00100010"]["Value"]
    assert name == {"Alphabetic": "Ceshi^Jia", "Ideographic": "测试^甲", "Phonetic": "Ce Shi^Jia"}


def test_an_item_may_declare_its_own_character_set(reader: HeaderReader, spool: Spool) -> None:
    def item(declared: bytes, text: bytes) -> bytes:
        content = element(0x00080005, b"CS", declared) + element(0x00080104, b"LO", text)
        return ITEM + struct.pack("<I", len(content)) + content

    items = item(b"GB18030 ", "胸部".encode("gb18030")) + item(b"ISO_IR 144", "Грудь ".encode("iso8859_5"))
    raw = element(0x00321064, b"SQ", items) + element(0x00324000, b"LT", "ü".encode("latin-1") + b" ")
    sent = inserted(plain(SpecificCharacterSet=b"ISO_IR 100", PatientID=b"T1"), 0x00321064, raw)
    metadata = json.loads(read_one(reader, spool, sent).metadata)
    texts = [one["00080104"]["Value"][0] for one in metadata["00321064"]["Value"]]
    assert texts == ["胸部", "Грудь"]
    assert metadata["00324000"]["Value"] == ["ü"]


# --- the JSON -------------------------------------------------------------------------------------------


def expected_json(path: Path) -> dict[str, Any]:
    """What pydicom says of the public attributes before the pixel data, in its spelling of empty values."""
    values = json.loads(
        pydicom.dcmread(path).to_json(bulk_data_threshold=1 << 30, suppress_invalid_tags=True)
    )
    return {
        tag: value
        for tag, value in values.items()
        if tag < "7FE00000" and tag[4:] != "0000" and tag != "00080005" and int(tag[3], 16) % 2 == 0
    }


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, dict):
        if "InlineBinary" in theirs and "InlineBinary" not in ours:
            return ours == {"vr": theirs["vr"]}  # left in the pack
        filled = {key: value for key, value in theirs.items() if value not in ([], [None], [{}])}
        return ours.keys() == filled.keys() and all(same(ours[key], filled[key]) for key in filled)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(ours == (theirs.strip(" ") or None if isinstance(theirs, str) else theirs))


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "rtdose_rle.dcm",
        "test-SR.dcm",
        "liver_1frame.dcm",
        "waveform_ecg.dcm",
        "examples_overlay.dcm",
    ],
)
def test_the_json_of_a_real_file_is_what_pydicom_makes_of_it(
    reader: HeaderReader, spool: Spool, name: str
) -> None:
    path = DATA / "test_files" / name
    if not path.exists():
        path = Path(pydicom.data.get_testdata_file(name))
    ours = json.loads(read_one(reader, spool, from_file(path)).metadata)
    theirs = expected_json(path)
    assert len(theirs) > 20
    assert [tag for tag, value in theirs.items() if not same(ours.get(tag), value)] == []


def test_long_binary_values_are_left_in_the_pack_and_found_there(reader: HeaderReader, spool: Spool) -> None:
    lut = bytes(range(256)) * 8
    raw = element(0x00282000, b"OB", lut)
    found = read_one(reader, spool, inserted(ct(STUDY, 1), 0x00282000, raw))
    at, size = found.bulk["00282000"]
    content = found.member.dataset_offset + at
    assert json.loads(found.metadata)["00282000"] == {"vr": "OB"}
    assert spool.sealed()[0].path.read_bytes()[content : content + size] == lut


def test_a_signed_value_in_implicit_vr_follows_the_pixels(reader: HeaderReader, spool: Spool) -> None:
    dataset = pydicom.dcmread(DATA / "test_files" / "CT_small.dcm")
    dataset.PixelRepresentation, dataset.PixelPaddingValue = 1, -2000
    sent = Sent(CT, dataset.SOPInstanceUID, IMPLICIT, encode(dataset, IMPLICIT))
    assert json.loads(read_one(reader, spool, sent).metadata)["00280120"] == {"vr": "SS", "Value": [-2000]}


# --- frames ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["JPEG2000.dcm", "SC_rgb_rle_2frame.dcm", "MR_small_jp2klossless.dcm", "rtdose_rle.dcm", "CT_small.dcm"],
)
def test_each_frame_is_found_by_its_position(reader: HeaderReader, spool: Spool, name: str) -> None:
    path = DATA / "test_files" / name
    dataset = pydicom.dcmread(path)
    count = int(dataset.get("NumberOfFrames", 1))
    encapsulated = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    frames = (
        list(generate_frames(dataset.PixelData, number_of_frames=count))
        if encapsulated
        else [dataset.PixelData]
    )
    found = read_one(reader, spool, from_file(path))
    content = spool.sealed()[0].path.read_bytes()[found.member.dataset_offset :]
    ours = [
        b"".join(content[at : at + size] for at, size in zip(frame[::2], frame[1::2], strict=True))
        for frame in found.frames
    ]
    assert ours == frames


def encapsulated(count: int, offsets: list[int], fragments: list[bytes], *, closed: bool = True) -> Sent:
    dataset = pydicom.dcmread(DATA / "test_files" / "CT_small.dcm")
    dataset.NumberOfFrames = count
    del dataset.PixelData
    items = [struct.pack(f"<{len(offsets)}I", *offsets), *fragments]
    value = b"".join(ITEM + struct.pack("<I", len(item)) + item for item in items)
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    data = encode(dataset).split(struct.pack("<HH", 0xFFFC, 0xFFFC))[0]
    data += head + value + (END_OF_SEQUENCE if closed else b"")
    return Sent(CT, dataset.SOPInstanceUID, "1.2.840.10008.1.2.4.50", data)


def test_a_frame_in_several_fragments_is_put_together_by_the_offset_table(
    reader: HeaderReader, spool: Spool
) -> None:
    found = read_one(reader, spool, encapsulated(2, [0, 22], [b"ab", b"cdef", b"gh"]))
    assert [frame[1::2] for frame in found.frames] == [(2, 4), (2,)]
    assert found.flaws == ()


def test_encapsulated_pixels_without_their_end_are_flagged(reader: HeaderReader, spool: Spool) -> None:
    assert read_one(reader, spool, encapsulated(1, [], [b"ab"], closed=False)).flaws == ("truncated",)


def test_fewer_fragments_than_frames_are_flagged(reader: HeaderReader, spool: Spool) -> None:
    assert read_one(reader, spool, encapsulated(3, [], [b"ab"])).flaws == ("pixel_data_frames",)


def test_a_million_frames_that_are_not_there_are_flagged(reader: HeaderReader, spool: Spool) -> None:
    found = read_one(reader, spool, ct(STUDY, 1, NumberOfFrames="1000000000"))
    assert (found.flaws, found.frames) == (("pixel_data_length",), ())


# --- hostile and damaged --------------------------------------------------------------------------------


def nested(depth: int) -> Sent:
    """Sequences of undefined length in one another."""
    head = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + ITEM + b"\xff\xff\xff\xff"
    tail = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00" + END_OF_SEQUENCE
    return inserted(plain(PatientID=b"T1"), 0x0040A730, head * depth + tail * depth)


def test_sequences_nested_to_the_limit_are_read(reader: HeaderReader, spool: Spool) -> None:
    found = read_one(reader, spool, nested(MAX_DEPTH))
    assert found.flaws == ()


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1_000, 100_000])
def test_deeper_sequences_are_refused_within_a_second(reader: HeaderReader, spool: Spool, depth: int) -> None:
    sent = nested(depth)
    began = time.monotonic()
    assert reason_of(reader, spool, sent) == "nested_too_deep"
    assert time.monotonic() - began < 1


def test_a_deflated_data_set_is_read(reader: HeaderReader, spool: Spool) -> None:
    sent = ct(STUDY, 1)
    squeezed = zlib.compressobj(wbits=-15)
    data = squeezed.compress(sent.data) + squeezed.flush()
    found = read_one(reader, spool, Sent(CT, sent.SOPInstanceUID, "1.2.840.10008.1.2.1.99", data))
    assert found.facts.StudyInstanceUID == STUDY
    assert (found.flaws, found.frames, found.bulk) == ((), (), {})


def test_a_deflate_bomb_is_refused(reader: HeaderReader, spool: Spool) -> None:
    squeezed = zlib.compressobj(9, wbits=-15)
    data = b"".join(squeezed.compress(bytes(1 << 20)) for _ in range(300)) + squeezed.flush()
    assert len(data) < 1 << 20
    began = time.monotonic()
    assert (
        reason_of(reader, spool, Sent(CT, "2.25.1", "1.2.840.10008.1.2.1.99", data)) == "inflates_too_large"
    )
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "sent", [ct(STUDY, 1), encapsulated(1, [], [b"abcdef" * 50])], ids=["native", "encapsulated"]
)
def test_a_data_set_cut_anywhere_is_flagged_or_refused(
    reader: HeaderReader, spool: Spool, sent: Sent
) -> None:
    cuts = [len(sent.data) * percent // 100 for percent in range(1, 100)]
    pieces = [
        Sent(sent.SOPClassUID, sent.SOPInstanceUID, sent.TransferSyntaxUID, sent.data[:cut]) for cut in cuts
    ]
    found = read(reader, spool, *pieces)
    unnoticed = [
        cut for cut, one in zip(cuts, found, strict=True) if isinstance(one, ReadInstance) and not one.flaws
    ]
    assert unnoticed == []


def test_an_element_longer_than_what_is_left_is_flagged(reader: HeaderReader, spool: Spool) -> None:
    lie = struct.pack("<HH2sHI", 0x0028, 0x2000, b"OB", 0, 0xFFFFFF00) + b"ab"
    assert read_one(reader, spool, inserted(plain(PatientID=b"T1"), 0x00282000, lie)).flaws == ("truncated",)


def test_an_element_that_does_not_fit_its_vr_leaves_the_others_readable(
    reader: HeaderReader, spool: Spool
) -> None:
    found = read_one(
        reader, spool, inserted(ct(STUDY, 1), 0x00280106, element(0x00280106, b"US", b"abc") + b"")
    )
    metadata = json.loads(found.metadata)
    assert found.flaws == ("unreadable_element",)
    assert metadata["00280106"] == {"vr": "UN", "InlineBinary": "YWJj"}
    assert len(found.frames) == 1


def test_a_header_that_takes_too_long_kills_its_child_and_no_other_instance(spool: Spool) -> None:
    endless = inserted(
        plain(PatientID=b"T1"),
        0x00090000,
        b"".join(struct.pack("<HH2sH", 0x0009, number & 0xFFFF, b"LO", 0) for number in range(800_000)),
    )
    good = ct(STUDY, 2)
    with HeaderReader(wall_seconds=0.2) as reader:
        reader.warm_up()
        before, stopped, after = read(reader, spool, ct(STUDY, 3), endless, good)
        assert isinstance(stopped, UnreadableInstance)
        assert stopped.reason == "header_stopped"
        assert isinstance(before, ReadInstance)
        assert isinstance(after, ReadInstance)
        assert reader.children_started == 2


def test_the_child_can_write_no_file_and_knows_no_secret(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUREN_S3_SECRET_KEY", "canary")
    with HeaderReader() as reader:
        reader.warm_up()
        child = next(one for one in psutil.Process().children() if "dicom_node.header_child" in one.cmdline())
        assert child.environ() == {"LC_ALL": "C.UTF-8"}
        assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        read_one(reader, spool, ct(STUDY, 1))
        assert 0 < child.rlimit(psutil.RLIMIT_CPU)[0] <= CPU_SECONDS + 5
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_AS) == (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES)


def test_a_child_is_replaced_after_its_number_of_packs(spool: Spool) -> None:
    with HeaderReader(packs_per_child=2) as reader:
        for number in range(5):
            read_one(reader, spool, ct(STUDY, number))
        assert reader.children_started == 3


def test_bytes_that_changed_in_the_spool_are_refused(reader: HeaderReader, spool: Spool) -> None:
    index = receive(spool, [ct(STUDY, 1), ct(STUDY, 2)])
    with index.path.open("r+b") as file:
        file.seek(index.members[0].dataset_offset + index.members[0].dataset_size_bytes - 1)
        file.write(b"\xff")
    damaged, whole = reader.read(index)
    assert isinstance(damaged, UnreadableInstance)
    assert damaged.reason == "digest_mismatch"
    assert isinstance(whole, ReadInstance)


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("StudyInstanceUID", "", "study_uid_missing"),
        ("StudyInstanceUID", "../../../etc", "study_uid_invalid"),
        ("SeriesInstanceUID", "", "series_uid_missing"),
        ("SeriesInstanceUID", "1..2", "series_uid_invalid"),
        ("SOPInstanceUID", "", "instance_uid_missing"),
        ("SOPInstanceUID", "2.25.99", "instance_uid_mismatch"),
        ("PatientID", "9" * 300, "patient_id_invalid"),
    ],
)
def test_an_instance_that_names_itself_badly_is_refused(
    reader: HeaderReader, spool: Spool, keyword: str, value: str, reason: str
) -> None:
    assert reason_of(reader, spool, plain(**{"PatientID": b"T1", keyword: value.encode()})) == reason


def test_an_empty_data_set_is_refused(reader: HeaderReader, spool: Spool) -> None:
    assert reason_of(reader, spool, Sent(CT, "2.25.1", EXPLICIT, b"")) == "empty"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_real_file_is_read_or_refused_with_a_reason(reader: HeaderReader, spool: Spool, path: Path) -> None:
    try:
        sent = from_file(path)
    except Exception:
        sent = Sent(CT, "2.25.1", IMPLICIT, path.read_bytes())
    (found,) = read(reader, spool, sent)
    if isinstance(found, UnreadableInstance):
        assert found.reason in set(REASONS) - {"header_failed", "header_stopped", "header_memory"}
    else:
        assert json.loads(found.metadata)["0020000D"]["Value"] == [found.facts.StudyInstanceUID]


SEED = ct(STUDY, 1, PatientName="测试^甲").data


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SEED) - 129), st.binary(min_size=1, max_size=4)), max_size=6))
def test_no_alteration_breaks_the_reader(changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(SEED)
    for at, raw in changes:
        data[at : at + len(raw)] = raw
    with TemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            json.loads(read_metadata(open_window(file.fileno(), 0, len(data), EXPLICIT), EXPLICIT).json)
        except Unreadable as error:
            assert error.code in REASONS  # noqa: PT017


# --- the study ------------------------------------------------------------------------------------------


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
