"""Files from outside: what is read of them, and what is refused before it costs anything."""

import contextlib
import io
import zipfile
from datetime import date
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.datafile import InvalidList
from catalog.spreadsheet import LONGEST_FILE_BYTES, read_header_sheet, read_sheet


def xlsx(rows: list[list[Any]], header: list[list[Any]] | None = None) -> bytes:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    for row in rows:
        sheet.append(row)
    if header is not None:
        told = workbook.create_sheet("header")
        for row in header:
            told.append(row)
    file = io.BytesIO()
    workbook.save(file)
    return file.getvalue()


def test_cells_are_told_as_a_csv_would_have_them() -> None:
    lines = read_sheet("x", xlsx([["a", "b", "c", "d"], [30.0, True, date(2026, 1, 2), None], [1.5, "胸", "", 7]]))  # fmt: skip
    assert lines.heading == ("a", "b", "c", "d")
    assert lines.rows == (
        (2, {"a": "30", "b": "true", "c": "2026-01-02", "d": ""}),
        (3, {"a": "1.5", "b": "胸", "c": "", "d": "7"}),
    )


def test_blank_lines_are_passed_over_and_the_numbers_of_the_others_stay() -> None:
    assert [line for line, _ in read_sheet("x", b"a,b\n\n1,2\n,\n3,4\n").rows] == [3, 5]
    assert [line for line, _ in read_sheet("x", xlsx([["a"], [None], ["1"]])).rows] == [3]


def test_a_line_with_more_cells_than_the_heading_is_told_apart() -> None:
    assert read_sheet("x", b"a,b\n1,2,3\n1,2,,\n").rows == ((2, None), (3, {"a": "1", "b": "2"}))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_chinese_csv_is_read_in_the_encodings_of_spreadsheets(encoding: str) -> None:
    assert read_sheet("x", "名称\n胸部\n".encode(encoding)).rows == ((2, {"名称": "胸部"}),)


def test_what_a_list_says_of_itself_may_stand_in_a_sheet_of_its_own() -> None:
    content = xlsx([["a"], ["1"]], [["version", "v1"], ["effective_from", date(2027, 1, 1)]])
    assert read_header_sheet("x", content) == {"version": "v1", "effective_from": "2027-01-01"}
    assert read_header_sheet("x", b"a\n1\n") == {}


def bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * (100 << 20))
    return file.getvalue()


def with_entities() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]><x>&a;</x>")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "is empty", id="nothing"),
        pytest.param(b"\n\n", "is empty", id="blank lines"),
        pytest.param(b"a,a\n1,2\n", "stands twice", id="a column twice"),
        pytest.param(b"\xff\xff\x00", "cannot be read", id="no text"),
        pytest.param(b"PK\x03\x04 not a zip", "not a valid XLSX", id="no zip"),
        pytest.param(b"a\n" + b"1\n" * 50_001, "more than", id="too many rows"),
        pytest.param(b"a" * (LONGEST_FILE_BYTES + 1), "too large", id="too large"),
        pytest.param(bomb(), "too large", id="a zip that inflates beyond the limit"),
        pytest.param(with_entities(), "document type", id="entities"),
    ],
)
def test_what_is_no_table_or_too_much_of_one_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(InvalidList, match=why):
        read_sheet("x", content)


@given(st.binary(max_size=400))
def test_no_bytes_make_reading_fail_otherwise(content: bytes) -> None:
    for start in (b"", b"PK\x03\x04"):
        with contextlib.suppress(InvalidList):
            read_sheet("x", start + content)
