"""What everybody may read: items, institutions and the marks they carry today, and nothing else."""

from datetime import date, timedelta
from typing import Any

from sqlalchemy import event

from catalog import registry
from catalog.db import transaction
from catalog.public_list import HELD_SECONDS, PublicList
from tests.exchange.conftest import Service


def found(service: Service, **asked: Any) -> Any:
    answer = service.call("GET", "/v1/public/institutions", role="", params=asked)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=60"
    return answer.json()


def evaluate(service: Service, hospital: str, **given: Any) -> None:
    with transaction(service.city.catalogue.engine) as session:
        registry.add_evaluation(
            session,
            service.city.catalogue.items,
            hospital_code=hospital,
            **{"item": None, "group": None, "scope": "50", "passed": True} | given,
        )


def test_the_items_of_today_are_there_for_everybody(service: Service) -> None:
    told = service.call("GET", "/v1/public/items", role="").json()
    own = service.call("GET", "/v1/items", hospital="B").json()
    assert told["day"] == "2026-06-30"
    assert [item["code"] for item in told["items"]] == [item["code"] for item in own["items"]]
    assert set(told["items"][0]) == {"code", "name", "name_en", "category", "window_days", "negative"}


def test_an_institution_shows_the_marks_that_a_check_would_show(service: Service) -> None:
    service.city.hospital("N", marked=False)
    told = found(service)
    by_code = {each["code"]: each for each in told["institutions"]}
    (mark,) = by_code["A"]["marks"]
    assert (mark["mark"], mark["categories"]) == ("重庆HR", ["imaging"])
    imaging = [item.code for item in service.city.catalogue.items if item.category == "imaging"]
    assert mark["items"] == imaging
    assert by_code["N"]["marks"] == []
    assert set(by_code["A"]) == {
        *("code", "name", "tier", "district", "district_name", "district_name_en", "marks")
    }


def test_a_mark_that_was_lost_or_has_not_begun_is_not_shown(service: Service) -> None:
    today = date(2026, 6, 30)
    lost = {"passed": False, "valid_from": today, "valid_to": today + timedelta(days=300)}
    evaluate(service, "A", item="CT07", **lost)
    later = {"valid_from": today + timedelta(days=1), "valid_to": today + timedelta(days=300)}
    evaluate(service, "B", group="laboratory", **later)
    by_code = {each["code"]: each for each in found(service)["institutions"]}
    assert "CT07" not in by_code["A"]["marks"][0]["items"]
    assert "CT08" in by_code["A"]["marks"][0]["items"]
    assert by_code["B"]["marks"][0]["categories"] == ["imaging"]


def test_institutions_are_found_by_a_part_of_their_name_by_code_and_by_district(service: Service) -> None:
    assert [each["code"] for each in found(service, text="a医")["institutions"]] == ["A"]
    assert [each["code"] for each in found(service, text="b")["institutions"]] == ["B"]
    assert [each["code"] for each in found(service, district="500107")["institutions"]] == ["B"]
    assert found(service, text="没有这家")["institutions"] == []
    assert [each["code"] for each in found(service)["districts"]] == ["500103", "500107"]


def test_pages_of_them_hold_each_once(service: Service) -> None:
    for number in range(7):
        service.city.hospital(f"H{number}")
    pages = [found(service, offset=offset, limit=4) for offset in (0, 4, 8)]
    assert {page["total"] for page in pages} == {9}
    codes = [each["code"] for page in pages for each in page["institutions"]]
    assert len(codes) == len(set(codes)) == 9


def test_however_many_ask_the_database_is_asked_once_in_a_while(service: Service) -> None:
    now, asked = [0.0], list[str]()
    held = PublicList(service.city.catalogue, lambda: now[0])
    event.listen(
        service.city.catalogue.engine, "before_cursor_execute", lambda *given: asked.append(given[2])
    )
    held.now()
    first = len(asked)
    assert first > 0
    for _ in range(100):
        held.now()
    assert len(asked) == first
    now[0] += HELD_SECONDS
    held.now()
    assert len(asked) > first


def test_a_closed_institution_is_on_no_list(service: Service) -> None:
    with transaction(service.city.catalogue.engine) as session:
        registry.hospital_by_code(session, "B").active = False
    assert [each["code"] for each in found(service)["institutions"]] == ["A"]
