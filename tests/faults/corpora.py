"""Real and odd DICOM files: those that come with libraries, and those dcmtk makes of them."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import data_store
import pydicom
import pynetdicom

RLE, JPEG, JPEG_LS = "dcmcrle", "dcmcjpeg", "dcmcjpls"
# Every process dcmtk has: lossless SV1, lossless, baseline, extended, spectral, progressive; then the others.
CONVERSIONS: dict[str, tuple[str, ...]] = {
    "sv1": (JPEG, "+e1"),
    "lossless": (JPEG, "+el"),
    "baseline": (JPEG, "+eb"),
    "extended": (JPEG, "+ee"),
    "spectral": (JPEG, "+es"),
    "progressive": (JPEG, "+ep"),
    "jls": (JPEG_LS, "+el"),
    "jls-near": (JPEG_LS, "+en"),
    "rle": (RLE,),
    "implicit": ("dcmconv", "+ti"),
    "explicit": ("dcmconv", "+te"),
    "big-endian": ("dcmconv", "+tb"),
    "deflated": ("dcmconv", "+td"),
    "undefined-lengths": ("dcmconv", "-e"),
    "group-lengths": ("dcmconv", "+g"),
    "padded": ("dcmconv", "+p", "512", "64"),
}
_BASES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb.dcm",
    "color-pl.dcm",
    "emri_small.dcm",
    "liver_1frame.dcm",
    "ExplVR_BigEnd.dcm",
    "rtplan.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
    "examples_palette.dcm",
)
# What a careless or hostile workstation leaves behind: one attribute of a good file, altered by dcmodify.
_ALTERATIONS = {
    "script": "PatientName=<script>alert(1)</script>",
    "formula": "StudyDescription==cmd|' /C calc'!A0",
    "template": "StudyDescription={{7*7}}${7*7}",
    "line-ends": "InstitutionName=a\r\nb\x1b[31m",
    "override": "PatientName=\u202egnp.exe",
    "date": "StudyDate=20259999",
    "time": "StudyTime=99:99:99.99",
    "decimal": "SliceThickness=NaN",
    "integer": "InstanceNumber=99999999999999999999",
    "sex": "PatientSex=?",
    "age": "PatientAge=-1",
    "charset": "SpecificCharacterSet=NO_SUCH\\SET",
    "rows": "Rows=65535",
    "frames": "NumberOfFrames=4294967296",
    "bits": "BitsAllocated=0",
    "long-id": f"PatientID={'9' * 64}",
}


def shipped_files() -> list[Path]:
    """Return every file that pydicom, pydicom-data and pynetdicom bring for their tests."""
    data = Path(pydicom.__file__).parent / "data"
    folders = [
        data / "test_files",
        data / "charset_files",
        *map(Path, data_store.__path__),
        Path(pynetdicom.__file__).parent / "tests" / "dicom_files",
    ]
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in found if path.suffix not in (".py", ".pyc")]


def made_files(folder: Path, require_tool: Callable[[str], str]) -> Iterator[Path]:
    """Make what dcmtk can make of a few of those files, each under a SOP Instance UID of its own."""
    originals = {path.name: path for path in shipped_files()}
    bases = [originals[name] for name in _BASES]
    for base in bases:
        for name, (tool, *options) in CONVERSIONS.items():
            target = folder / f"{base.stem}-{name}.dcm"
            made = subprocess.run([require_tool(tool), *options, base, target], capture_output=True)
            if made.returncode == 0 and target.exists():  # not every process knows every kind of pixel
                _rename(require_tool("dcmodify"), target)
                yield target
    for name, change in _ALTERATIONS.items():
        target = folder / f"altered-{name}.dcm"
        target.write_bytes(bases[0].read_bytes())
        _rename(require_tool("dcmodify"), target, "-i", change)
        yield target
    yield from _from_dumps(folder, bases, require_tool)


def _from_dumps(folder: Path, bases: list[Path], require_tool: Callable[[str], str]) -> Iterator[Path]:
    """Text and back again: dcmdump of everything, dump2dcm of that."""
    for base in bases:
        dump, target = folder / f"{base.stem}.dump", folder / f"{base.stem}-dumped.dcm"
        text = subprocess.run([require_tool("dcmdump"), "+L", "-q", base], capture_output=True, check=True)
        dump.write_bytes(text.stdout)
        made = subprocess.run([require_tool("dump2dcm"), "-q", dump, target], capture_output=True)
        if made.returncode == 0 and target.exists():
            yield target


def _rename(dcmodify: str, path: Path, *options: str) -> None:
    subprocess.run([dcmodify, "-q", "-nb", "-gin", *options, path], capture_output=True, check=True)
