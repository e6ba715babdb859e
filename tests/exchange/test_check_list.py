"""The list of one's own checks of a day, and how each order of a check stands now."""

import uuid
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from catalog import sharing
from catalog.context import Caller
from catalog.db import transaction
from catalog.identity import Demographics, Document
from tests.city import City, id_number
from tests.exchange.conftest import Service

CT07 = {"order_number": "1", "item_code": "CT07"}
ME = Caller("test doctor", "doctor", "B")
COLLEAGUE = Caller("other doctor", "doctor", "B")


def listed(service: Service, query: str = "", **more: Any) -> Any:
    answer = service.call("GET", f"/v1/checks{query}", **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ask(city: City, number: str, caller: Caller = ME, person: int = 2, item: str = "CT07") -> Any:
    city.now += timedelta(seconds=1)
    return city.check(caller, [{"order_number": number, "item_code": item}], person)


def test_one_sees_ones_own_checks_newest_first_and_nobody_elses(service: Service) -> None:
    mine = [ask(service.city, number) for number in ("1", "2", "3")]
    ask(service.city, "4", COLLEAGUE)
    ask(service.city, "5", Caller("test doctor", "doctor", "A"))
    told = listed(service)
    assert [each["check_id"] for each in told["checks"]] == [each["check_id"] for each in reversed(mine)]
    assert told["day"] == "2026-06-30"
    assert id_number(2) not in str(told)
    assert {each["patient_name"] for each in told["checks"]} == {"林晓渝"}


def test_a_day_is_that_of_the_hospitals_and_pages_hold_each_check_once(service: Service) -> None:
    city = service.city
    city.now = city.now.replace(hour=15, minute=59, second=58)  # 23:59:58 in Shanghai
    late = [ask(city, str(number))["check_id"] for number in range(3)]  # :59, 00:00:00, 00:00:01
    assert [each["check_id"] for each in listed(service, "?day=2026-06-30")["checks"]] == late[:1]
    first = listed(service, "?limit=1")
    assert (first["day"], [each["check_id"] for each in first["checks"]]) == ("2026-07-01", [late[2]])
    second = listed(service, f"?limit=1&cursor={first['next_cursor']}")
    assert [each["check_id"] for each in second["checks"]] == [late[1]]
    assert second["next_cursor"] is None


def test_checks_of_one_moment_are_each_on_one_page(service: Service) -> None:
    city = service.city
    wanted = [city.check(ME, [CT07 | {"order_number": str(n)}])["check_id"] for n in range(5)]
    found, query = [], "?limit=2"
    while True:
        page = listed(service, query)
        found += [each["check_id"] for each in page["checks"]]
        if page["next_cursor"] is None:
            break
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert found == wanted[::-1]


def test_a_cursor_of_somebody_elses_check_and_a_day_beyond_time_are_refused(service: Service) -> None:
    theirs = ask(service.city, "1", COLLEAGUE)["check_id"]
    for query, field in (
        (f"?cursor={theirs}", "cursor"),
        (f"?cursor={uuid.uuid4()}", "cursor"),
        ("?day=9999-12-31", "day"),
        ("?day=0001-01-01", "day"),
    ):
        answer = service.call("GET", f"/v1/checks{query}")
        assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_each_order_says_its_best_verdict_and_what_stands(service: Service) -> None:
    city = service.city
    city.study("A", 4, days_ago=90)
    recognised = ask(city, "1")
    made = city.decide(ME, recognised, "1", "recognise")
    city.decide(ME, recognised, "1", "cite", result_id=made["result_id"])
    old = ask(city, "2", person=4)
    none = ask(city, "3", person=98)
    wrong = city.check(ME, [{"order_number": "4", "item_code": "ZZ99"}])
    unsure = city.check(ME, [CT07 | {"order_number": "5"}], demographics=Demographics(sex="male"))
    bests = {row["check_id"]: row["orders"][0] for row in listed(service)["checks"]}
    for check, best in (
        (recognised, "recognisable"),
        (old, "reference"),
        (none, "none"),
        (wrong, "refused"),
        (unsure, "unknown"),
    ):
        assert bests[check["check_id"]]["best"] == best
        read = service.call("GET", f"/v1/checks/{check['check_id']}").json()["state"][0]
        row = bests[check["check_id"]]
        assert {name: row[name] for name in ("best", "standing", "cited", "position")} == {
            name: read[name] for name in ("best", "standing", "cited", "position")
        }
    stands = bests[recognised["check_id"]]
    assert stands["standing"]["saving_fen"] == made["saving_fen"] > 0
    assert stands["standing"]["action"] == "recognise"
    assert stands["cited"] == [made["result_id"]]
    assert bests[old["check_id"]]["standing"] is None


def test_an_undone_decision_stands_no_more_and_one_of_a_later_check_stands_for_both(
    service: Service,
) -> None:
    city = service.city
    first = ask(city, "1")
    city.decide(ME, first, "1", "recognise")
    city.decide(ME, first, "1", "undo")
    assert listed(service)["checks"][0]["orders"][0]["standing"] is None
    again = ask(city, "1")
    city.decide(ME, again, "1", "override", reason_code="61", explained_to_patient=True)
    told = [row["orders"][0]["standing"]["action"] for row in listed(service)["checks"]]
    assert told == ["override", "override"]


def test_a_decision_on_an_order_number_of_somebody_else_does_not_stand_here(service: Service) -> None:
    city = service.city
    city.study("A", 4)
    city.decide(ME, ask(city, "1"), "1", "recognise")
    other = ask(city, "1", person=4)
    found = {row["check_id"]: row["orders"][0]["standing"] for row in listed(service)["checks"]}
    assert found.pop(other["check_id"]) is None
    assert all(found.values())


def test_once_somebody_opts_out_the_list_reads_as_if_nothing_had_been_found(service: Service) -> None:
    city = service.city
    ask(city, "1")
    ask(city, "2", person=98)
    document = Document("01", id_number(2))
    sharing.set_sharing(city.catalogue, ME, document, Demographics(), shared=False)
    rows = listed(service)["checks"]
    assert [row["patient_name"] for row in rows] == [None, None]
    assert [row["orders"][0]["best"] for row in rows] == ["none", "none"]


def test_the_days_left_are_counted_from_today_also_on_the_day_after(service: Service) -> None:
    check = ask(service.city, "1")
    (candidate,) = check["orders"][0]["candidates"]
    until = date.fromisoformat(candidate["valid_until"])
    for ahead in (0, 1):
        service.city.now += timedelta(days=ahead)
        read = service.call("GET", f"/v1/checks/{check['check_id']}").json()
        today = service.city.now.date()  # noon in Shanghai
        assert read["state"][0]["days_left"] == {candidate["result_id"]: (until - today).days}


def test_the_list_is_read_from_its_index_and_never_from_every_check(service: Service) -> None:
    engine = service.city.catalogue.engine
    with transaction(engine) as session:
        session.execute(
            text("""insert into order_check (id, hospital_id, department, urgency, answer, caller, disclosed, given,
                                            asked_at, expires_at)
                    select gen_random_uuid(), 1 + n % 2, '', 'routine', 'complete', 'dr.' || n % 500, false, '{}',
                           now() - n * interval '1 minute', now()
                    from generate_series(1, 50000) n""")
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("analyze order_check"))
        plan = connection.scalars(
            text("""explain (costs off) select * from order_check where hospital_id = 2 and caller = 'dr.7'
                    and asked_at >= now() - interval '1 day' and asked_at < now()
                    order by asked_at desc, number desc limit 51""")
        ).all()
    told = "\n".join(plan)
    assert "ix_order_check_caller" in told
    assert "Sort" not in told


@pytest.mark.parametrize("role", ["regulator", "auditor", "curator", "operator"])
def test_only_who_may_ask_may_list(service: Service, role: str) -> None:
    assert service.call("GET", "/v1/checks", role=role).status_code == 403
