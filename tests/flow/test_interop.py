"""Peers as they are: each sends to us and to a witness, and what we archived is what the witness got."""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE

from catalog.embedded import Embedded
from dicom_node.negotiation import VERIFICATION
from dicom_node.part10 import read_file_meta
from tests.faults.corpora import CONVERSIONS, shipped_files
from tests.faults.passage import STORED, Passage, open_passage
from tests.flow.dcmtk import dataset_digest, receiving

pytestmark = pytest.mark.flow

# storescu's option → transfer syntax on the wire, and how dcmtk makes such a file (none: storescu converts).
CONVERTED = {"-x=": "1.2.1", "-xe": "1.2.1", "-xi": "1.2", "-xd": "1.2.1.99"}
MADE = {
    "-xb": ("1.2.2", "big-endian"),
    "-xs": ("1.2.4.70", "sv1"),
    "-xy": ("1.2.4.50", "baseline"),
    "-xx": ("1.2.4.51", "extended"),
    "-xt": ("1.2.4.80", "jls"),
    "-xu": ("1.2.4.81", "jls-near"),
    "-xr": ("1.2.5", "rle"),
}
# dcmtk cannot make these; a file keeps its data set and says it is in that syntax, which no receiver looks into.
RELABELLED = {
    "-xv": "1.2.4.90",
    "-xw": "1.2.4.91",
    "-xm": "1.2.4.100",
    "-xh": "1.2.4.101",
    "-xn": "1.2.4.102",
    "-xl": "1.2.4.103",
    "-x2": "1.2.4.104",
    "-x3": "1.2.4.105",
    "-xo": "1.2.4.106",
    "-x4": "1.2.4.107",
    "-x5": "1.2.4.108",
}
OPTIONS = {option: f"1.2.840.10008.{syntax}" for option, syntax in {**CONVERTED, **RELABELLED}.items()} | {
    option: f"1.2.840.10008.{syntax}" for option, (syntax, _) in MADE.items()
}
FILES = {path.name: path for path in shipped_files()}


@pytest.fixture(scope="module")
def passage(
    tmp_path_factory: pytest.TempPathFactory, embedded: Embedded, database_url: str
) -> Iterator[Passage]:
    with open_passage(tmp_path_factory.mktemp("passage"), embedded, database_url) as opened:
        yield opened


def prepared(option: str, folder: Path, require_tool: Callable[[str], str]) -> Path:
    """Return a file for storescu's option, under a SOP Instance UID of its own."""
    # storescu sends an 8 bit image where the lossy process knows no other.
    base = FILES["SC_rgb_small_odd.dcm" if option in ("-xy", "-xx", "-xu") else "CT_small.dcm"]
    renamed, made = folder / "base.dcm", folder / "made.dcm"
    dataset = dcmread(FILES["JPEG2000.dcm"] if option in RELABELLED else base)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    if option in RELABELLED:
        dataset.file_meta.TransferSyntaxUID = OPTIONS[option]
    dataset.save_as(renamed, enforce_file_format=True)
    if option not in MADE:
        return renamed
    tool, *how = CONVERSIONS[MADE[option][1]]
    subprocess.run([require_tool(tool), *how, renamed, made], check=True, capture_output=True)
    return made


@pytest.mark.parametrize("option", OPTIONS)
def test_storescu_in_each_syntax_it_can_propose(
    passage: Passage, option: str, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    file = prepared(option, tmp_path, require_tool)
    # Ours takes the first proposed syntax, and so must the witness.
    preference = "+xb" if option == "-xb" else "+xa"
    with receiving(require_tool("storescp"), tmp_path / "inbox", preference) as (witness, sent):
        for port in (witness, passage.port):
            command = [require_tool("storescu"), "-R", option, "-aet", "STORESCU", "-aec", "HUREN"]
            environment = os.environ | {"TCP_NODELAY": "1"}
            done = subprocess.run(
                [*command, "127.0.0.1", str(port), file], capture_output=True, env=environment
            )
            assert done.returncode == 0, done.stderr
    passage.ship()
    ((uid, sha256),) = sent.items()
    assert passage.outcomes()[sha256] == STORED
    (kept,) = [
        one for sidecar in passage.sidecars() for one in sidecar.pack.instances if one.sha256 == sha256
    ]
    assert (kept.SOPInstanceUID, kept.TransferSyntaxUID) == (uid, OPTIONS[option])


def test_pynetdicom_verifies_and_stores_on_several_contexts(
    passage: Passage, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    files = [
        FILES[name] for name in ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm")
    ]
    with receiving(require_tool("storescp"), tmp_path / "inbox", "+xa") as (witness, _):
        for port in (witness, passage.port):
            scu = AE("RAW")
            for file in files:
                meta = read_file_meta(file.read_bytes())
                scu.add_requested_context(meta.SOPClassUID, meta.TransferSyntaxUID)
            scu.add_requested_context(VERIFICATION)
            association = scu.associate("127.0.0.1", port, ae_title="HUREN")
            assert association.is_established
            assert association.send_c_echo().Status == 0
            assert [association.send_c_store(file).Status for file in files] == [0] * len(files)
            association.release()
    passage.ship()
    outcomes = passage.outcomes()
    got = [dataset_digest(path) for path in (tmp_path / "inbox").iterdir()]
    assert len(set(got)) >= 3  # the two MR files are one instance in two encodings
    assert {outcomes[sha256] for sha256 in got} == {STORED}


def test_our_sender_sends_what_the_files_hold(
    passage: Passage, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    files = [FILES[name] for name in ("CT_small.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm")]
    contents = [file.read_bytes() for file in files]
    held = {hashlib.sha256(data[read_file_meta(data).dataset_offset :]).hexdigest() for data in contents}
    with receiving(require_tool("storescp"), tmp_path / "inbox", "+xa") as (witness, sent):
        here = Passage(**{**vars(passage), "port": witness})
        assert here.send(files).sent == len(files)
    assert set(sent.values()) == held
    assert passage.send(files).sent == len(files)
    passage.ship()
    assert {passage.outcomes()[sha256] for sha256 in held} == {STORED}
