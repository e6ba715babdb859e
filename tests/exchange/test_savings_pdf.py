"""The regulator's report on paper: read back by another reader of PDF, whole in Chinese, its totals those of the service."""

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as raw
import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from catalog.db import transaction
from exchange import savings_pdf
from exchange.cli_savings import savings_app
from exchange.pdf_pages import Pages
from exchange.savings_files import told
from exchange.table_files import Column, Table
from tests.city import START, environment_of_commands
from tests.exchange.conftest import Service
from tests.exchange.test_savings_api import JUNE, read, recognised

RARE = "𠮷野䶮喆玥昇㛃𬭎医院"
NO_GLYPH = "𤭢\ue863\u202e"


@pytest.fixture
def busy(service: Service) -> Service:
    """Two recognitions at B."""
    service.city.study("A", 4)
    recognised(service)
    recognised(service, "2", 4)
    return service


def fetch(service: Service, query: str = "") -> bytes:
    answer = service.call("GET", f"/v1/savings?{JUNE}&format=pdf{query}", role="regulator")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"] == 'attachment; filename="savings_2026-06_2026-06.pdf"'
    return answer.content


def pages_of(content: bytes) -> list[str]:
    """Return the text of each page, its lines joined, as the reader of a browser has it."""
    with pdfium.PdfDocument(content) as document:
        return [_text(page) for page in document]


def _text(page: Any) -> str:
    return "".join(page.get_textpage().get_text_range().split("\r\n"))


def fonts_of(content: bytes) -> set[tuple[str, bool]]:
    """Return the name of each font that a text is set in, and whether the file has it."""
    with pdfium.PdfDocument(content) as document:
        return {_font(each) for page in document for each in page.get_objects([raw.FPDF_PAGEOBJ_TEXT])}


def _font(each: Any) -> tuple[str, bool]:
    font = raw.FPDFTextObj_GetFont(each.raw)
    name = ctypes.create_string_buffer(128)
    raw.FPDFFont_GetBaseFontName(font, name, 128)
    return name.value.decode(), bool(raw.FPDFFont_GetIsEmbedded(font))


def rename(service: Service, name: str) -> None:
    with transaction(service.city.catalogue.engine) as session:
        session.execute(text("update hospital set name = :name where code = 'B'"), {"name": name})


@pytest.mark.parametrize("grouping", ["hospital,item,month", "district", "month", ""])
def test_the_pdf_says_what_it_is_and_has_the_totals_of_the_service(busy: Service, grouping: str) -> None:
    answer = read(busy, f"/v1/savings?{JUNE}&group_by={grouping}")
    first, *more = pages_of(fetch(busy, f"&group_by={grouping}"))
    for said in ("检查检验结果互认节约费用报告", "Savings by mutual recognition", "2026-06 — 2026-06"):
        assert said in first
    assert busy.city.now.isoformat(timespec="seconds") in first
    for name in ("net_fen", "saved_fen", "reversed_fen", "rate", "reminders"):
        assert told(answer, answer["total"], name) in first
    assert answer["total"]["net_fen"] == 39600
    assert "396.00" in first
    rest = "".join(more)
    for row in answer["rows"]:
        assert all(str(row[name]) in rest for name in answer["group_by"])
    for said in ("合计 total", "无价格的互认", "数字的含义", "重新核算", "huren savings verify"):
        assert said in rest
    assert all(f"第 {n} 页,共 {len(more) + 1} 页" in page for n, page in enumerate([first, *more], 1))


def test_the_charts_are_of_the_same_figures_by_month_and_by_place(busy: Service) -> None:
    first = pages_of(fetch(busy, "&group_by=item"))[0]
    assert "各月净节约" in first
    assert "各机构净节约" in first
    assert first.count("396.00") == 4  # net, saved, the month, the hospital
    assert "B B医院" in first
    assert "各区县净节约" in pages_of(fetch(busy, "&group_by=district"))[0]


def test_every_glyph_is_embedded_as_a_part_of_one_font(busy: Service) -> None:
    content = fetch(busy)
    ((name, embedded),) = fonts_of(content)
    assert embedded
    assert name.endswith("+NotoSansCJKSC")
    assert len(content) < 200_000  # the font has 19 million bytes


def test_rare_characters_of_names_come_back_and_what_has_no_glyph_is_seen_as_such(busy: Service) -> None:
    rename(busy, RARE)
    assert RARE in "".join(pages_of(fetch(busy, "&group_by=hospital")))
    rename(busy, f"{NO_GLYPH}院")
    shown = "".join(pages_of(fetch(busy, "&group_by=hospital")))
    assert "〔U+24B62〕〔U+E863〕〔U+202E〕院" in shown


def test_every_character_of_gb18030_of_two_bytes_has_a_glyph() -> None:
    pages = Pages("字", START)
    pairs = (bytes((high, low)) for high in range(0xB0, 0xF8) for low in range(0xA1, 0xFF))
    characters = "".join(pair.decode("gb18030", "ignore") for pair in pairs)
    shown = "".join(c for c in characters if not "\ue000" <= c <= "\uf8ff")
    assert len(shown) == 6763
    assert pages.legible(shown) == shown
    pages.finished()


def test_a_report_of_nothing_is_written_as_well(quiet: Service) -> None:
    answer = quiet.call("GET", "/v1/savings?from=2020-01&to=2020-01&format=pdf", role="regulator")
    first, *_ = pages_of(answer.content)
    assert "0.00" in first


def table(count: int) -> Table:
    columns = [Column("名称", "name", "名", "name"), Column("数", "count", "数", "count", "#,##0")]
    return Table("表", [], columns, [[f"第{n}家医院", n] for n in range(count)], ["合计 total", count])


def test_a_long_table_repeats_its_headings_on_every_page_and_loses_no_row() -> None:
    pages = Pages("表", START)
    pages.write_table(table(300))
    shown = pages_of(pages.finished())
    assert len(shown) > 3
    assert all(page.count("名称 name") == 1 for page in shown)
    assert all(sum(f"第{n}家医院" in page for page in shown) == 1 for n in range(300))
    assert "合计 total" in shown[-1]


def test_nothing_that_is_written_reaches_beyond_the_page() -> None:
    pages = Pages("宽", START)
    names = [Column(f"第{n}列很长的名称", f"a rather long heading {n}", "", "", "#,##0") for n in range(24)]
    pages.write_table(Table("表", [], names, [[10**9] * 24, ["长" * 90] * 24]))
    pages.write_lines([("长" * 300, "word " * 100)])
    for left, right, width in _edges(pages.finished()):
        assert left >= 0
        assert right <= width


def _edges(content: bytes) -> Iterator[tuple[float, float, float]]:
    with pdfium.PdfDocument(content) as document:
        for page in document:
            for each in page.get_objects([raw.FPDF_PAGEOBJ_TEXT]):
                left, _, right, _ = each.get_bounds()
                yield left, right, page.get_width()


def test_a_report_too_long_for_paper_is_refused_by_its_field(busy: Service, monkeypatch: Any) -> None:
    monkeypatch.setattr(savings_pdf, "MOST_ROWS", 0)
    answer = busy.call("GET", f"/v1/savings?{JUNE}&format=pdf", role="regulator")
    assert (answer.status_code, answer.json()["field"]) == (422, "format")


@pytest.fixture
def command(busy: Service, fresh_database_url: str, tmp_path: Path) -> Callable[..., Result]:
    """Run `huren savings …` on the database of the service, at its time."""
    environment = environment_of_commands(fresh_database_url, tmp_path, busy.city.now)
    return lambda *words: CliRunner(env=environment).invoke(savings_app, words)


def test_the_command_writes_the_pdf_that_the_service_serves(
    busy: Service, command: Callable[..., Result], tmp_path: Path
) -> None:
    out = tmp_path / "june.pdf"
    months = ("--from", "2026-06", "--to", "2026-06")
    done = command("report", *months, "--group-by", "hospital", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert pages_of(out.read_bytes()) == pages_of(fetch(busy, "&group_by=hospital"))
