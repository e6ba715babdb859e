"""The other side of the account: repeats by how they came, each of them, and refusals by reason; over HTTP and beside it."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from catalog.repetition import AVOIDABLE, KINDS
from exchange.cli_savings import savings_app
from tests.city import environment_of_commands, id_number
from tests.exchange.conftest import Service
from tests.exchange.test_api import CHECK, decide
from tests.exchange.test_savings_api import JUNE, read
from tests.exchange.test_savings_files import cells_of

PRICE_FEN = 19800
NAMES = ("name", "patient", "id_number", "birth_date", "PatientID", "person_id")


@pytest.fixture
def busy(service: Service) -> Service:
    """Hospital B examined six people again, whom A had examined: each kind once, one of the own besides."""
    city = service.city
    reasons = {4: None, 6: "1", 8: "98"}
    city.now += timedelta(hours=1)
    for person, reason in reasons.items():
        city.study("A", person)
        check = asked(service, person)
        if reason is not None:
            body = {"action": "override", "reason_code": reason, "explained_to_patient": True}
            assert decide(service, check, {**body, "order_id": f"o{person}"}, f"k{person}").status_code == 200
    city.study("A", 10)
    check = asked(service, 10, urgency="emergency")
    candidate = check["orders"][0]["candidates"][0]
    body = {"action": "recognise", "result_id": candidate["result_id"], "order_id": "o10"}
    assert decide(service, check, body, "k10").status_code == 200
    city.now += timedelta(hours=1)
    for person in (2, 4, 6, 8, 10, 12):
        city.study("B", person, days_ago=0)
    city.now += timedelta(hours=1)
    city.study("A", 12)
    city.study("B", 14, days_ago=40)
    city.study("B", 14, days_ago=35)  # of its own
    return service


def asked(service: Service, person: int, **more: Any) -> dict[str, Any]:
    order = {"order_id": f"o{person}", "item_code": "CT07"}
    given = {**CHECK, "patient": {"id_number": id_number(person)}, "orders": [order], **more}
    found: dict[str, Any] = service.call("POST", "/v1/checks", json=given).json()
    return found


def test_each_kind_is_counted_with_what_it_cost(busy: Service) -> None:
    report = read(busy, f"/v1/savings/repeats?{JUNE}&group_by=hospital")
    (row,) = report["rows"]
    assert (row["hospital"], row["hospital_name"]) == ("B", "B医院")
    for kind in (
        *("no_check", "no_answer", "recognised_and_done", "refused", "lawfully_repeated", "not_visible"),
    ):
        assert (row[kind], row[f"{kind}_fen"]) == (1, PRICE_FEN), kind
    assert (row["avoidable"], row["avoidable_fen"]) == (4, 4 * PRICE_FEN)
    assert row["emergency"]["recognised_and_done"] == row["emergency"]["avoidable"] == 1
    assert row["own_hospital"]["avoidable"] == 0
    assert report["total"] == {name: row[name] for name in report["total"]}
    (own,) = read(busy, "/v1/savings/repeats?from=2026-05&to=2026-05&group_by=district")["rows"]
    assert own["not_visible"] == own["own_hospital"]["not_visible"] == 1, "both were sent weeks later"


def test_pages_of_the_report_lie_end_to_end(busy: Service) -> None:
    path = "/v1/savings/repeats?from=2026-01&to=2026-12&group_by=month"
    whole = read(busy, path)
    first = read(busy, f"{path}&limit=1")
    second = read(busy, f"{path}&limit=1&offset={first['next']}")
    assert [*first["rows"], *second["rows"]] == whole["rows"]
    assert second["next"] is whole["next"] is None


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 6),
        ("&kind=no_check", 1),
        ("&hospital=B", 6),
        ("&hospital=A", 0),
        ("&item=CT09", 0),
        ("&limit=4", 4),
    ],
)
def test_repeats_are_listed_by_number_and_without_names(busy: Service, query: str, count: int) -> None:
    found = read(busy, f"/v1/savings/repeats/entries?{JUNE}{query}")
    assert len(found["entries"]) == count
    assert not [name for each in found["entries"] for name in each if name in NAMES]
    assert (found["next"] is None) == ("limit" not in query)


def test_what_did_not_hold_is_told_when_it_is_asked_for(busy: Service) -> None:
    answer = busy.call(
        "POST",
        "/v1/studies/withdraw",
        role="hospital_system",
        hospital="A",
        json={"StudyInstanceUID": "2.25.1001", "reason": "录入错误"},
    )
    assert answer.status_code == 200, answer.text
    path = f"/v1/savings/repeats/entries?{JUNE}&kind=no_check"
    assert read(busy, path)["entries"] == []
    (gone,) = read(busy, f"{path}&superseded=true")["entries"]
    assert gone["superseded_at"] > gone["posted_at"]


def test_refusals_stand_by_their_reason_and_reminders_by_their_answer(busy: Service) -> None:
    answer = read(busy, f"/v1/savings/reasons?{JUNE}")
    rows = {row["reason"]: row for row in answer["rows"]}
    assert list(rows) == ["1", "98"]
    assert [rows[code]["counts_as_refusal"] for code in rows] == [True, False]
    assert rows["98"]["national"] == "6"
    assert rows["98"]["text"]
    assert rows["98"]["national_text_en"] == "Other circumstances that truly need re-examination"
    assert (rows["1"]["standing"], rows["1"]["undone"]) == (1, 0)
    assert answer["reminders"] == {
        "reminders": 4,
        "unanswered": 1,
        "unanswered_own_hospital": 0,
        "unanswered_emergency": 0,
    }
    assert decide(busy, asked(busy, 6), {"action": "undo", "order_id": "o6"}, "k6u").status_code == 200
    answer = read(busy, f"/v1/savings/reasons?{JUNE}&hospital=B&item=CT07")
    assert {row["reason"]: (row["standing"], row["undone"]) for row in answer["rows"]} == {
        "1": (0, 1),
        "98": (1, 0),
    }
    assert answer["reminders"]["unanswered"] == 2
    assert read(busy, f"/v1/savings/reasons?{JUNE}&hospital=A")["rows"] == []


@pytest.mark.parametrize("path", ["repeats", "repeats/entries", "reasons"])
def test_a_reversed_range_an_unknown_grouping_or_kind_is_refused(busy: Service, path: str) -> None:
    answer = busy.call("GET", f"/v1/savings/{path}?from=2026-07&to=2026-06", role="regulator")
    assert (answer.status_code, answer.json()["field"]) == (422, "from")
    assert busy.call("GET", "/v1/savings/repeats?group_by=doctor", role="regulator").status_code == 422
    assert busy.call("GET", "/v1/savings/repeats/entries?kind=x", role="regulator").status_code == 422


def test_a_hospitals_own_reviewer_sees_what_that_hospital_repeated(busy: Service) -> None:
    path = f"/v1/savings/repeats?{JUNE}&group_by=hospital"
    seen = {}
    for code in "AB":
        held = {"Authorization": f"Bearer {busy.token('auditor', code)}"}
        seen[code] = busy.call("GET", path, role="", headers=held).json()["total"]["avoidable"]
    assert seen == {"A": 0, "B": 4}


def test_the_recount_agrees_with_what_the_service_itself_kept(busy: Service) -> None:
    assert busy.call("POST", "/v1/savings/verify", role="regulator").json()["faults"] == []


@pytest.fixture
def command(busy: Service, fresh_database_url: str, tmp_path: Path) -> Callable[..., Result]:
    environment = environment_of_commands(fresh_database_url, tmp_path, busy.city.now)
    return lambda *words: CliRunner(env=environment).invoke(savings_app, words)


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_the_commands_write_what_the_service_serves(
    busy: Service, command: Callable[..., Result], tmp_path: Path, form: str
) -> None:
    for words, path in (
        (("repeats", "--group-by", "hospital"), "repeats?group_by=hospital"),
        (("repeats", "--each", "--limit", "2"), "repeats/entries?limit=2"),
        (("reasons",), "reasons?"),
    ):
        out = tmp_path / f"{len(words)}.{form}"
        done = command(*words, "--from", "2026-06", "--to", "2026-06", "--out", str(out))
        assert done.exit_code == 0, done.output
        served = busy.call("GET", f"/v1/savings/{path}&{JUNE}&format={form}", role="regulator")
        rows = cells_of(out.read_bytes(), form)
        assert rows == cells_of(served.content, form)
        assert len(rows) > 1


def test_the_commands_show_each_kind_by_its_chinese_name(command: Callable[..., Result]) -> None:
    assert "未答复" in command("repeats", "--from", "2026-06", "--group-by", "hospital").output
    assert "未及可见" in command("repeats", "--each", "--from", "2026-06").output
    assert "未答复 / unanswered 1" in command("reasons", "--from", "2026-06").output
    refused = command("repeats", "--each", "--kind", "x")
    assert refused.exit_code == 1


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("hospital=B", 6),
        ("hospital=A&hospital=B", 6),
        ("hospital=A", 0),
        ("district=500107", 6),
        ("district=500103", 0),
        ("tier=2&category=imaging", 6),
        ("tier=3", 0),
        ("category=laboratory", 0),
        ("item=CT07", 6),
        ("item=CT09", 0),
    ],
)
def test_repeats_and_refusals_are_narrowed_as_savings_are(busy: Service, query: str, count: int) -> None:
    report = read(busy, f"/v1/savings/repeats?{JUNE}&{query}&group_by=month")
    assert sum(report["total"][kind] for kind in KINDS) == count
    assert len(read(busy, f"/v1/savings/repeats/entries?{JUNE}&{query}")["entries"]) == count
    reasons = read(busy, f"/v1/savings/reasons?{JUNE}&{query}")
    assert reasons["reminders"]["reminders"] == (4 if count else 0)
    assert sum(row["standing"] for row in reasons["rows"]) == (2 if count else 0)


def test_repeats_are_told_as_they_stood_at_a_moment(busy: Service) -> None:
    path = f"/v1/savings/repeats?{JUNE}&group_by=hospital"
    then = busy.city.now
    (stood,) = read(busy, path)["rows"]
    busy.city.now += timedelta(hours=1)
    busy.call(
        "POST",
        "/v1/studies/withdraw",
        role="hospital_system",
        hospital="A",
        json={"StudyInstanceUID": "2.25.1001", "reason": "录入错误"},
    )
    moment = then.isoformat().replace("+", "%2B")
    (now,) = read(busy, path)["rows"]
    assert now["avoidable"] == stood["avoidable"] - 1
    past = read(busy, f"{path}&as_of={moment}")
    assert (past["rows"], past["as_of"]) == ([stood], then.isoformat())
    entries = read(busy, f"/v1/savings/repeats/entries?{JUNE}&as_of={moment}")["entries"]
    assert sum(each["kind"] in AVOIDABLE for each in entries) == stood["avoidable"]
    before = (then - timedelta(days=1)).isoformat().replace("+", "%2B")
    assert read(busy, f"{path}&as_of={before}")["rows"] == []
    every = f"/v1/savings/repeats/entries?{JUNE}&superseded=true"
    assert read(busy, f"{every}&as_of={before}")["entries"] == []


def test_what_cost_most_comes_first_where_that_is_asked_for(busy: Service) -> None:
    path = "/v1/savings/repeats?from=2026-05&to=2026-06&group_by=month"
    assert [row["month"] for row in read(busy, path)["rows"]] == ["2026-05", "2026-06"]
    assert [row["month"] for row in read(busy, f"{path}&order=cost")["rows"]] == ["2026-06", "2026-05"]
    assert busy.call("GET", f"{path}&order=x", role="regulator").status_code == 422
