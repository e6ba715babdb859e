"""Instances made for the tests of headers, and what a reader says of them."""

import struct
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from dicom_node.header import HeaderReader, ReadInstance, UnreadableInstance
from dicom_node.spool import Spool
from tests.packs import CT, EXPLICIT, Sent, element, encode, receive

STUDY = "2.25.4711"
RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"  # a class without pixels
DATA = Path(pydicom.__file__).parent / "data"
ITEM, END_OF_SEQUENCE = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


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
