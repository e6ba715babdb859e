"""What a header says comes out right: texts, the JSON, and where the frames are."""

import json
import struct
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.encaps import generate_frames

from dicom_node.header import HeaderReader
from dicom_node.spool import Spool
from tests.dicom_node.headers import (
    DATA,
    ITEM,
    STUDY,
    encapsulated,
    inserted,
    plain,
    read_one,
)
from tests.packs import CT, IMPLICIT, Sent, ct, element, encode, from_file

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
