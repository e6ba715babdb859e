"""The conformance statement says what the code does: its tables are compared with the code, row by row."""

import ast
import inspect
from dataclasses import MISSING, fields
from pathlib import Path

from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import keyword_for_tag
from pydicom.uid import UID
from pynetdicom import sop_class

import dicom_node
from dicom_node import admission, association, command, gate, part10, peers, query_rows
from dicom_node.negotiation import ACCEPTED, negotiate
from dicom_node.pdu import APPLICATION_CONTEXT, AssociateRequest, ProposedContext
from dicom_node.settings import NodeSettings
from dicom_node.sop_classes import STORAGE_CLASSES, TRANSFER_SYNTAXES

STATEMENT = (Path(dicom_node.__file__).parent / "CONFORMANCE.md").read_text("utf-8")


def table(first_heading: str) -> list[list[str]]:
    """Return the rows of the one table whose first column is headed so."""
    lines = STATEMENT.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith(f"| {first_heading} |")]
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert len({tuple(row) for row in rows}) == len(rows)
    return rows


def accepted(abstract_syntax: str, transfer_syntax: str) -> bool:
    request = AssociateRequest(b"HUREN", b"ANY", max_length=0)
    request.contexts = [ProposedContext(1, abstract_syntax, (transfer_syntax,))]
    return negotiate(request)[0][0].result == ACCEPTED


def test_the_sop_classes_are_those_that_are_accepted() -> None:
    rows = table("SOP class UID") + table("storage SOP class UID")
    explicit = "1.2.840.10008.1.2.1"
    known = {*UID_dictionary, *STORAGE_CLASSES}
    assert {row[0] for row in rows} == {uid for uid in known if accepted(uid, explicit)}
    assert {row[0] for row in table("storage SOP class UID")} == STORAGE_CLASSES
    assert [row for row in rows if row[1] != UID(row[0]).name] == []


def test_the_classes_and_syntaxes_are_those_of_the_libraries() -> None:
    """Every storage class of PS3.4 Annex B and the retired ones; every syntax that encodes a stored data set."""
    current = set(map(str, sop_class._STORAGE_CLASSES.values()))
    retired = {
        str(uid)
        for uid, (name, kind, _, is_retired, _) in UID_dictionary.items()
        if kind == "SOP Class" and uid.startswith("1.2.840.10008.5.1.4.1.1.") and "Storage" in name
        if is_retired or name.endswith("Trial")
    }
    # MIME, XML, Papyrus and DICOM real-time video are registered as transfer syntaxes too.
    others = ("1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7.", "1.2.840.10008.1.20")
    syntaxes = {str(uid) for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"}
    assert current | retired == STORAGE_CLASSES
    assert {uid for uid in syntaxes if not uid.startswith(others)} == TRANSFER_SYNTAXES


def test_the_transfer_syntaxes_are_those_that_are_accepted() -> None:
    rows = table("transfer syntax UID")
    ct = "1.2.840.10008.5.1.4.1.1.2"
    assert {row[0] for row in rows} == {uid for uid in UID_dictionary if accepted(ct, uid)}
    assert [row for row in rows if row[1] != UID(row[0]).name] == []


def test_the_statuses_are_those_the_code_names() -> None:
    numbers = {
        value
        for name, value in vars(command).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, int)
        if not name.endswith("_RQ") and name != "RESPONSE"
    }
    assert {int(row[0], 16) for row in table("status")} == numbers


def test_the_keys_of_queries_are_those_the_code_has() -> None:
    said = {row[0]: row[1] for row in table("level")}
    assert list(said) == list(query_rows.LEVELS)
    for level, known in query_rows._OF_LEVEL.items():
        assert set(said[level].split(", ")) == {keyword_for_tag(int(tag, 16)) for tag in known}


def test_the_rejections_are_those_the_code_makes() -> None:
    made = set()
    for call in ast.walk(ast.parse(inspect.getsource(association))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Rejection":
            made.add(tuple(str(ast.literal_eval(number)) for number in call.args[:3]))
    rows = table("result")
    assert {tuple(row[:3]) for row in rows} == made
    sources = "".join(map(inspect.getsource, (association, admission, gate, peers)))
    assert [row[3] for row in rows if f'"{row[3]}"' not in sources] == []
    codes = {
        keyword.value.value
        for call in ast.walk(
            ast.parse(inspect.getsource(peers.PeerDirectory.find).lstrip().replace("\n    ", "\n"))
        )
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    assert codes <= {row[3] for row in rows}


def test_the_settings_and_their_defaults_are_those_of_the_code() -> None:
    said = {row[0]: row[1] for row in table("setting")}
    defaults = {
        f"HUREN_DICOM_{one.name.upper()}": _shown(one.default)
        for one in fields(NodeSettings)
        if one.default is not MISSING
    }
    assert said == {**defaults, "HUREN_DICOM_WORKERS": "number of processors"}


def _shown(default: object) -> str:
    if default is None:
        return "not set"
    return '["HUREN"]' if default == ("HUREN",) else str(default)


def test_the_implementation_is_identified_as_on_the_wire() -> None:
    assert [row[1] for row in table("identification")] == [
        APPLICATION_CONTEXT,
        part10.IMPLEMENTATION_CLASS_UID,
        part10.IMPLEMENTATION_VERSION_NAME,
    ]
