"""The regulators' forms: what the catalogue knows filled in with the totals of the report, what it does not left empty."""

import csv
import io
import subprocess
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from catalog import registry, scope
from catalog.context import Caller
from catalog.db import transaction
from catalog.embedded import Services
from catalog.scope import Scope
from exchange.cli_savings import savings_app
from tests.city import environment_of_commands, serving
from tests.exchange.conftest import Service
from tests.exchange.test_savings_api import JUNE, read, recognised
from tests.exchange.test_savings_files import cells_of, fetch

INSTITUTION = f"/v1/savings/forms/institution?{JUNE}"
NATIONAL = "/v1/savings/forms/national?from=2026-05&to=2026-06"
PARTS = ("dr", "mr", "ct", "lab", "other")


@pytest.fixture
def busy(service: Service) -> Service:
    """B recognised two chest CTs, and refused a third with reason 61; it opened nothing yet."""
    service.city.study("A", 4)
    service.city.study("A", 6)
    recognised(service)
    recognised(service, "2", 4)
    refused(service, "3", 6, "61")
    return service


def refused(service: Service, order: str, person: int, reason: str) -> dict[str, Any]:
    """Return the check of an order that is examined again for a reason."""
    doctor = Caller("dr.B", "doctor", "B")
    check = service.city.check(doctor, [{"order_number": order, "item_code": "CT07"}], person)
    service.city.decide(doctor, check, order, "override", reason_code=reason, explained_to_patient=True)
    return check


def evaluate(service: Service, hospital: str, **told: Any) -> None:
    """Record an evaluation of all of 2026."""
    days = {"valid_from": date(2026, 1, 1), "valid_to": date(2026, 12, 31)} | told
    with transaction(service.city.catalogue.engine) as session:
        registry.add_evaluation(session, service.city.catalogue.items, hospital_code=hospital, **days)


def rows_of(filled: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["hospital"]: row for row in filled["rows"]}


def test_the_list_names_each_form_that_can_be_filled_in(quiet: Service) -> None:
    told = read(quiet, "/v1/savings/forms")["forms"]
    assert [each["form"] for each in told] == ["institution", "national"]
    for each in told:
        filled = read(quiet, f"/v1/savings/forms/{each['form']}?{JUNE}")
        assert {name: filled[name] for name in each} == each
        assert all(each[name] for name in ("title", "title_en", "source", "notes"))


def test_each_kind_of_item_stands_apart_and_all_add_up_to_the_report(busy: Service) -> None:
    filled, report = read(busy, INSTITUTION), read(busy, f"/v1/savings?{JUNE}")
    row = rows_of(filled)["B"]
    assert (row["ct_items"], row["ct_fen"], row["total_items"], row["total_fen"]) == (2, 39600, 2, 39600)
    assert {row[f"{part}_{kind}"] for part in PARTS if part != "ct" for kind in ("items", "fen")} == {0}
    total = filled["total"]
    assert total["total_fen"] == report["total"]["net_fen"]
    assert total["total_items"] == report["total"]["recognised"] + report["total"]["beyond_duty"]
    assert sum(total[f"{part}_fen"] for part in PARTS) == total["total_fen"]


@pytest.mark.parametrize(
    ("item", "part"), [("XR01", "dr"), ("MR01", "mr"), ("LB01", "lab"), ("XR24", "other"), ("ZZ99", "other")]
)
def test_an_item_is_counted_by_what_it_is_examined_with(busy: Service, item: str, part: str) -> None:
    with transaction(busy.city.catalogue.engine) as session:
        session.execute(text("update monthly set item_code = :item"), {"item": item})
    row = rows_of(read(busy, INSTITUTION))["B"]
    assert (row[f"{part}_items"], row[f"{part}_fen"]) == (2, 39600)
    assert row["total_fen"] == 39600


def test_what_the_catalogue_does_not_know_is_empty_and_said_so(busy: Service) -> None:
    filled = read(busy, INSTITUTION)
    for row in (*filled["rows"], *filled["summary"], filled["total"]):
        assert row["recognises_marked"] is None
        assert row["national_eqa_passed"] is None
        assert row["provincial_eqa_items"] is None
    assert any("不是 0" in note["zh"] for note in filled["notes"])
    assert any("甲等" in note["zh"] for note in filled["notes"])


def test_evaluations_fill_in_what_was_passed_failed_or_never_looked_at(busy: Service) -> None:
    laboratory = sum(item.category == "laboratory" for item in busy.city.catalogue.items)
    evaluate(busy, "A", item=None, group="laboratory", scope="CN", passed=True)
    evaluate(busy, "B", item="LB01", group=None, scope="50", passed=True)
    evaluate(busy, "B", item="LB02", group=None, scope="50", passed=False)
    evaluate(busy, "B", item="LB03", group=None, scope="50", passed=True, valid_to=date(2026, 6, 29))
    evaluate(busy, "A", item="LB01", group=None, scope="50", passed=False)
    found = rows_of(filled := read(busy, INSTITUTION))
    assert (found["A"]["national_eqa_passed"], found["A"]["national_eqa_items"]) == (1, laboratory)
    assert (found["B"]["national_eqa_passed"], found["B"]["national_eqa_items"]) == (None, None)
    assert (found["B"]["provincial_eqa_passed"], found["B"]["provincial_eqa_items"]) == (1, 1)
    assert (found["A"]["provincial_eqa_passed"], found["A"]["provincial_eqa_items"]) == (0, 0)
    assert (found["A"]["imaging_qc_passed"], found["B"]["imaging_qc_passed"]) == (1, 1)
    assert (filled["total"]["national_eqa_passed"], filled["total"]["imaging_qc_passed"]) == (1, 2)


def test_classes_are_summed_from_their_institutions_and_the_total_from_all(busy: Service) -> None:
    busy.city.hospital("C", tier=1)
    filled = read(busy, INSTITUTION)
    assert [(row["class"], row["institutions"]) for row in filled["summary"]] == [
        ("三级", 1),
        ("二级", 1),
        ("基层", 1),
    ]
    assert [row["total_fen"] for row in filled["summary"]] == [0, 39600, 0]
    assert filled["total"]["institutions"] == 3


def test_a_viewing_is_counted_where_a_report_was_opened_and_in_its_month(busy: Service) -> None:
    with transaction(busy.city.catalogue.engine) as session:
        session.execute(
            text(
                "insert into audit_event (recorded_at, action, caller, role, hospital_id)"
                " select told.at::timestamptz, told.action, 'dr.B', 'doctor', id from hospital, (values"
                " ('2026-05-31 23:59:59+08', 'report.read'), ('2026-06-01 00:00:00+08', 'report.read'),"
                " ('2026-06-30 23:59:59+08', 'imaging_study.read'), ('2026-07-01 00:00:00+08', 'report.read'),"
                " ('2026-06-15 12:00:00+08', 'report.attachment'), ('2026-06-15 12:00:00+08', 'check'))"
                " told(at, action) where code = 'B'"
            )
        )
    filled = read(busy, INSTITUTION)
    assert (rows_of(filled)["B"]["viewings"], rows_of(filled)["A"]["viewings"]) == (2, 0)
    assert filled["total"]["viewings"] == 2


@pytest.mark.parametrize(
    ("role", "hospital", "seen"),
    [
        ("regulator", "", 1),
        ("auditor", "", 1),
        ("auditor", "B", 1),
        ("auditor", "A", 0),
        ("doctor", "B", 0),
        ("curator", "", 0),
    ],
)
def test_viewings_are_seen_by_offices_of_figures_alone(
    busy: Service, services: Services, role: str, hospital: str, seen: int
) -> None:
    with transaction(busy.city.catalogue.engine) as session:
        session.execute(
            text(
                "insert into audit_event (action, caller, role, hospital_id)"
                " select 'report.read', 'dr.B', 'doctor', id from hospital where code = 'B'"
            )
        )
    served = serving(busy.city.catalogue, services)
    with transaction(scope.scoped(served.engine, Scope.of(Caller("x", role, hospital)))) as session:
        assert session.scalar(text("select count(*) from viewing")) == seen
    served.engine.dispose()


def test_a_hospitals_own_auditor_is_given_his_hospital_alone_and_no_zero_of_another(busy: Service) -> None:
    own = {"Authorization": f"Bearer {busy.token('auditor', 'B')}"}
    filled = busy.call("GET", INSTITUTION, role="", headers=own).json()
    assert list(rows_of(filled)) == ["B"]
    assert filled["total"]["total_fen"] == 39600


def test_the_month_has_the_rate_of_the_report_and_its_reasons_add_up(busy: Service) -> None:
    doctor = Caller("dr.B", "doctor", "B")
    busy.city.study("A", 8)
    busy.city.study("A", 10)
    refused(busy, "4", 8, "99")  # does not count as a refusal
    undone = refused(busy, "5", 10, "1")
    busy.city.decide(doctor, undone, "5", "undo")
    filled = read(busy, NATIONAL)
    (report,) = read(busy, f"/v1/savings?{JUNE}&group_by=month")["rows"]
    may, june = filled["rows"]
    shown = ("reminders", "recognised", "refused", "excused", "rate")
    assert [june[name] for name in shown] == [report[name] for name in shown]
    reasons = {name: count for name, count in june.items() if name.startswith("reason_")}
    assert {name for name, count in reasons.items() if count} == {"reason_61", "reason_99"}
    assert sum(reasons.values()) == report["refused"] + report["excused"] == 2
    assert (may["month"], may["reminders"], may["rate"], may["reason_61"]) == ("2026-05", 0, None, 0)
    assert filled["total"]["reason_61"] == 1
    assert len(reasons) == len(busy.city.catalogue.override_reasons)
    assert [each["key"] for each in filled["columns"]] == list(june)


@pytest.mark.parametrize("form", ["csv", "xlsx"])
@pytest.mark.parametrize("path", [INSTITUTION, NATIONAL])
def test_a_file_of_a_form_has_its_rows_and_its_total(busy: Service, form: str, path: str) -> None:
    filled = read(busy, path)
    cells = cells_of(fetch(busy, f"{path}&format={form}").content, form)
    headings = 1 if form == "csv" else 3
    rows, total = cells[headings:-1], cells[-1]
    assert [row[0] for row in rows] == [row.get("hospital", row.get("month")) for row in filled["rows"]]
    assert total[0] == "合计 total"
    money = "total_fen" if "total_fen" in filled["total"] else "reason_61"
    place = [each["key"] for each in filled["columns"]].index(money)
    assert total[place] == ("396.00" if money == "total_fen" else "1")
    if path == INSTITUTION:
        assert {row[8] for row in rows} == {""}  # unknown, no 0


def test_the_workbook_has_the_merged_headings_of_the_form_a_summary_and_notes(busy: Service) -> None:
    book = openpyxl.load_workbook(io.BytesIO(fetch(busy, f"{INSTITUTION}&format=xlsx").content))
    sheet, summary, notes = book.worksheets
    assert book.sheetnames == ["机构 institutions", "分类汇总 by class", "说明 notes"]
    merged = {str(each) for each in sheet.merged_cells.ranges}
    assert {"A1:V1", "A2:A3", "D2:E2", "F2:G2", "J2:K2", "P2:Q2", "U2:V2"} <= merged
    assert sheet["A1"].value.startswith("医疗机构检查检验结果互认情况表")
    assert (sheet["J2"].value, sheet["J3"].value) == ("DR", "互认项目数 items recognised")
    assert (sheet["A2"].value, sheet["A3"].value) == ("机构代码 code", None)
    assert sheet.freeze_panes == "A4"
    assert [cell.value for cell in summary["A"]][3:] == ["三级", "二级", "合计 total"]
    assert any("不是 0" in str(row[0]) for row in notes.values)


def test_libreoffice_opens_the_form_with_its_chinese_and_the_totals_of_the_report(
    busy: Service, require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    soffice = require_tool("soffice")
    total_fen = read(busy, f"/v1/savings?{JUNE}")["total"]["net_fen"]
    file = tmp_path / "form.xlsx"
    file.write_bytes(fetch(busy, f"{INSTITUTION}&format=xlsx").content)
    as_text = "Text - txt - csv (StarCalc):44,34,76,1"  # comma, quotes, UTF-8
    command = [soffice, f"-env:UserInstallation=file://{tmp_path}/profile", "--headless"]
    command += ["--convert-to", f"csv:{as_text}", "--outdir", str(tmp_path / "out"), str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    opened = (tmp_path / "out" / "form.csv").read_bytes().removeprefix(b"\xef\xbb\xbf").decode()
    banner, groups, headings, *rows, total = csv.reader(io.StringIO(opened, newline=""))
    assert banner[0].startswith("医疗机构检查检验结果互认情况表")
    assert "临床检验 clinical laboratory" in groups
    assert "节约检查费用(元) yuan saved" in headings
    assert [row[1] for row in rows] == ["A医院", "B医院"]
    assert Decimal(total[-1].replace(",", "")) == Decimal(total_fen) / 100


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/savings/forms/provincial", 404, "unknown_form"),
        ("/v1/savings/forms/institution?from=2026-06&to=2026-05", 422, "invalid_input"),
        ("/v1/savings/forms/national?from=2016-01&to=2026-01", 422, "invalid_input"),
        ("/v1/savings/forms/national?from=0001-01&to=9999-12", 422, "invalid_input"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(quiet: Service, path: str, status: int, code: str) -> None:
    answer = quiet.call("GET", path, role="regulator")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_the_last_month_there_is_can_be_asked_for(quiet: Service) -> None:
    assert read(quiet, "/v1/savings/forms/national?from=9999-12&to=9999-12")["rows"][0]["reminders"] == 0


@pytest.mark.parametrize("role", ["doctor", "hospital_system", "curator", "operator"])
def test_forms_are_for_those_alone_who_may_read_the_figures(quiet: Service, role: str) -> None:
    for path in ("/v1/savings/forms", INSTITUTION):
        assert quiet.call("GET", path, role=role, hospital="A").status_code == 403


def test_the_command_writes_the_form_that_the_service_serves(
    busy: Service, fresh_database_url: str, tmp_path: Path
) -> None:
    runner = CliRunner(env=environment_of_commands(fresh_database_url, tmp_path, busy.city.now))
    out = tmp_path / "form.xlsx"
    months = ["--from", "2026-06", "--to", "2026-06"]
    done = runner.invoke(savings_app, ["form", "institution", *months, "--out", str(out)])
    assert done.exit_code == 0, done.output
    served = fetch(busy, f"{INSTITUTION}&format=xlsx").content
    assert cells_of(out.read_bytes(), "xlsx") == cells_of(served, "xlsx")
