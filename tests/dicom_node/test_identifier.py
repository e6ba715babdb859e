"""Identifiers as another reader reads them, and retrievals cut to what one association can propose."""

from io import BytesIO

import pytest
from pydicom.filereader import read_dataset

from dicom_node.archive_index import Located
from dicom_node.carriers import batches
from dicom_node.identifier import encode_identifier, read_identifier, uid_list
from tests.packs import CT, EXPLICIT, IMPLICIT

ROW = {
    "00080005": {"vr": "CS", "Value": ["GB18030"]},
    "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Lin^Xiaoyu", "Ideographic": "林^晓渝"}]},
    "00200013": {"vr": "IS", "Value": [7]},
    "00280010": {"vr": "US", "Value": [512]},
    "00281050": {"vr": "DS", "Value": [None, 2.5]},
    "00400275": {"vr": "SQ", "Value": [{}]},
}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize(
    ("character_set", "declared"), [("GB18030", "GB18030"), ("ISO_IR 192", "ISO_IR 192")]
)
def test_another_reader_reads_what_was_written(syntax: str, character_set: str, declared: str) -> None:
    row = ROW | {"00080005": {"vr": "CS", "Value": [declared]}}
    raw = encode_identifier(row, syntax, character_set)
    found = read_dataset(BytesIO(raw), syntax == IMPLICIT, True)
    assert found.PatientName == "Lin^Xiaoyu=林^晓渝"
    assert list(found.ModalitiesInStudy) == ["CT", "SR"]
    assert (found.InstanceNumber, found.Rows) == (7, 512)
    assert list(found.RequestAttributesSequence) == []
    asked = read_identifier(raw, syntax)
    assert asked.character_set == character_set
    assert asked.get("00100010") == "Lin^Xiaoyu=林^晓渝"
    assert asked.get("00080061") == "CT\\SR"


def test_a_list_of_uids_is_cut_to_what_an_element_holds() -> None:
    uids = [f"2.25.{number:039}" for number in range(5_000)]
    raw = encode_identifier(uid_list("00080058", uids), EXPLICIT, "ISO_IR 192")
    kept = read_dataset(BytesIO(raw), False, True).FailedSOPInstanceUIDList
    assert list(kept) == uids[: len(kept)]
    assert 1_000 < len(kept) < 5_000


def test_more_contexts_than_one_association_has_are_several_associations() -> None:
    many = [Located("2.25.1", f"2.25.1.{n}", (CT, f"1.2.{n % 300}"), "k", 0, 2) for n in range(600)]
    cut = list(batches(many))
    assert [each for batch in cut for each in batch] == many
    assert max(len({each.context for each in batch}) for batch in cut) == 128
