"""Packs for tests: real spool, real writer, data sets made here or taken from files."""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from dicom_node.pack import PackIndex, read_pack
from dicom_node.part10 import read_file_meta
from dicom_node.spool import Spool

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"


def on_the_wire(dataset: bytes) -> bytes:
    """What a sender makes of a file's data set: fragments are even, so an odd one ends with a NULL (PS3.8 Annex E.2)."""
    return dataset + b"\0" * (len(dataset) % 2)


@dataclass(frozen=True, slots=True)
class Sent:
    """One data set as a sender puts it on the wire."""

    SOPClassUID: str
    SOPInstanceUID: str
    TransferSyntaxUID: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def ct(study: str, number: int, *, pixels: bytes | None = None, **attributes: object) -> Sent:
    """A small CT instance `study`.1.`number` of an invented patient; `attributes` by keyword replace or add."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = f"{study}.1.{number}"
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = f"{study}.1"
    dataset.PatientID = "TEST-0001"
    dataset.PatientName = "测试^甲"
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "F"
    dataset.Modality = "CT"
    dataset.BodyPartExamined = "CHEST"
    dataset.StudyDescription = "胸部CT平扫"
    dataset.StudyDate = "20250102"
    dataset.StudyTime = "101500"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = 8
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels if pixels is not None else bytes([number % 256]) * 128
    dataset["PixelData"].VR = "OW"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return Sent(CT, dataset.SOPInstanceUID, EXPLICIT, encode(dataset))


def encode(dataset: Dataset, TransferSyntaxUID: str = EXPLICIT) -> bytes:
    """Write a data set without any file around it."""
    out = DicomBytesIO()
    syntax = UID(TransferSyntaxUID)
    out.is_little_endian, out.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    write_dataset(out, dataset)
    return out.getvalue()


def compressed(sent: Sent, TransferSyntaxUID: str, frames: Iterable[bytes]) -> Sent:
    """The same instance with its pixels encapsulated, a fragment for each frame (PS3.5 §A.4)."""
    head = sent.data[: sent.data.rindex(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))]
    items = [b"", *(frame + b"\0" * (len(frame) % 2) for frame in frames)]
    pixels = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    start = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    data = head + start + pixels + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return Sent(sent.SOPClassUID, sent.SOPInstanceUID, TransferSyntaxUID, data)


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One explicit little endian element with exactly these bytes."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def from_file(path: Path) -> Sent:
    """The data set of a Part 10 file, as its sender would send it."""
    content = path.read_bytes()
    meta = read_file_meta(content)
    return Sent(meta.SOPClassUID, meta.SOPInstanceUID, meta.TransferSyntaxUID, content[meta.dataset_offset :])


def receive(
    spool: Spool,
    instances: Iterable[Sent],
    *,
    hospital: str = "H-A",
    calling_ae: str = "PACS_A",
    released: bool = True,
) -> PackIndex:
    """Put instances into one sealed pack, as an association would; gives the first pack it made."""
    known = {pack.path for pack in spool.sealed()}
    intake = spool.intake(
        PackIndex(Path(), "", hospital, calling_ae, "HUREN", "127.0.0.1", "2025-01-02T03:04:05+00:00")
    )
    for instance in instances:
        intake.begin(instance.SOPClassUID, instance.SOPInstanceUID, instance.TransferSyntaxUID)
        stream = BytesIO(instance.data)
        while fragment := stream.read(128 << 10):
            intake.write(memoryview(fragment))
        intake.commit()
    intake.close(released=released)
    return read_pack(next(pack.path for pack in spool.sealed() if pack.path not in known))
