"""From a figure to its entries, from an entry to everything behind it, and a recount that is signed."""

from datetime import timedelta
from typing import Any

import jwt
import pytest
from sqlalchemy import text

from catalog.db import transaction
from catalog.figure_filters import CATEGORIES
from exchange import statements
from tests.city import id_number
from tests.exchange.conftest import Service
from tests.exchange.test_api import CHECK, PATIENT, decide

JUNE = "from=2026-06&to=2026-06"


def recognised(service: Service, order: str = "1", person: int = 2) -> dict[str, Any]:
    """Return the check of an order whose prior has been recognised."""
    asked = {**CHECK, "orders": [{"order_id": order, "item_code": "CT07"}]}
    if person != 2:
        asked["patient"] = {"id_number": id_number(person)}
    check: dict[str, Any] = service.call("POST", "/v1/checks", json=asked).json()
    candidate = check["orders"][0]["candidates"][0]
    body = {"action": "recognise", "result_id": candidate["result_id"], "order_id": order}
    assert decide(service, check, body, f"k{order}").status_code == 200
    return check


def read(service: Service, path: str, **more: Any) -> Any:
    return service.call("GET", path, role="regulator", **more).json()


def test_every_row_of_the_report_leads_to_the_entries_that_make_it(service: Service) -> None:
    service.city.study("A", 4)
    recognised(service)
    recognised(service, "2", 4)
    service.city.now += timedelta(hours=1)
    service.city.study("B", 4, days_ago=0)  # what the second recognition was to avoid
    for grouping in ("hospital,item,month", "hospital", "month", "item"):
        report = read(service, f"/v1/savings?{JUNE}&group_by={grouping}")
        (row,) = report["rows"]
        entries = read(service, row["entries"])["entries"]
        assert [(each["kind"], each["amount_fen"]) for each in entries] == [
            ("saving", 19800),
            ("saving", 19800),
            ("reversal", -19800),
        ]
        assert sum(each["amount_fen"] for each in entries) == row["net_fen"] == 19800


@pytest.mark.parametrize(
    ("query", "count"),
    [
        (JUNE, 3),
        (f"{JUNE}&hospital=B", 3),
        (f"{JUNE}&hospital=A", 0),
        (f"{JUNE}&item=CT07", 3),
        (f"{JUNE}&item=CT09", 0),
        ("from=2026-07&to=2026-12", 0),
        ("from=2025-12&to=2026-05", 0),
        ("from=2026-01&to=2026-12", 3),
    ],
)
def test_entries_are_narrowed_by_month_hospital_and_item(service: Service, query: str, count: int) -> None:
    service.city.study("A", 4)
    service.city.study("A", 6)
    for order, person in (("1", 2), ("2", 4), ("3", 6)):
        recognised(service, order, person)
    assert len(read(service, f"/v1/savings/entries?{query}")["entries"]) == count


def test_pages_of_entries_follow_each_other_without_a_gap(service: Service) -> None:
    service.city.study("A", 4)
    service.city.study("A", 6)
    for order, person in (("1", 2), ("2", 4), ("3", 6)):
        recognised(service, order, person)
    whole = read(service, f"/v1/savings/entries?{JUNE}")
    assert whole["next"] is None
    seen: list[Any] = []
    after = 0
    while after is not None:
        page = read(service, f"/v1/savings/entries?{JUNE}&limit=2&after={after}")
        assert page["entries"]
        seen += page["entries"]
        after = page["next"]
    assert seen == whole["entries"]


def test_one_entry_is_explained_from_the_money_to_the_order_without_a_name(service: Service) -> None:
    check = recognised(service)
    candidate = check["orders"][0]["candidates"][0]
    (entry,) = read(service, f"/v1/savings/entries?{JUNE}")["entries"]
    answer = service.call("GET", f"/v1/savings/entries/{entry['entry_id']}", role="regulator")
    chain = answer.json()
    assert chain["entry"] == entry
    assert (chain["net_fen"], chain["undone_by"], chain["contradicted_by"]) == (19800, None, None)
    assert (chain["decision"]["order_id"], chain["decision"]["hospital"]["code"]) == ("1", "B")
    assert (chain["check"]["check_id"], chain["check"]["department"]) == (check["check_id"], "呼吸内科")
    assert chain["verdict"]["hr_marks"] == candidate["hr_marks"]
    assert (chain["prior"]["result_id"], chain["prior"]["hospital"]) == (candidate["result_id"], "A")
    assert chain["prior"]["StudyInstanceUID"] == candidate["images"]["StudyInstanceUID"]
    assert [len(pack["sha256"]) for pack in chain["prior"]["packs"]] == [64]
    assert [each["passed"] for each in chain["evaluations"]] == [True]
    assert chain["price"]["price_fen"] == chain["decision"]["price_fen"] == entry["amount_fen"]
    assert [each["action"] for each in chain["audit"]] == ["check", "decision.recognise"]
    for private in (PATIENT["name"], PATIENT["id_number"], PATIENT["birth_date"], "林"):
        assert private not in answer.text


def test_a_reversal_names_the_undo_or_the_examination_that_made_it(service: Service) -> None:
    service.city.study("A", 4)
    undone, repeated = recognised(service), recognised(service, "2", 4)
    service.city.now += timedelta(hours=1)
    assert decide(service, undone, {"action": "undo"}, "k3").status_code == 200
    uid = service.city.study("B", 4, days_ago=0)
    by_cause = {
        each["cause"]: read(service, f"/v1/savings/entries/{each['entry_id']}")
        for each in read(service, f"/v1/savings/entries?{JUNE}")["entries"]
        if each["kind"] == "reversal"
    }
    assert by_cause["undo"]["undone_by"] is not None
    assert by_cause["undo"]["contradicted_by"] is None
    assert [each["action"] for each in by_cause["undo"]["audit"]][-1] == "decision.undo"
    assert by_cause["examination"]["undone_by"] is None
    assert by_cause["examination"]["contradicted_by"]["StudyInstanceUID"] == uid
    assert by_cause["examination"]["check"]["check_id"] == repeated["check_id"]
    assert {chain["net_fen"] for chain in by_cause.values()} == {0}


def test_money_taken_back_by_something_else_than_before_comes_back_first(service: Service) -> None:
    """An examination reversed it; then the decision was undone: when the examination is withdrawn nothing comes back."""
    check = recognised(service)
    service.city.now += timedelta(hours=1)
    uid = service.city.study("B", 2, days_ago=0)
    assert decide(service, check, {"action": "undo"}, "k3").status_code == 200
    turn = {"StudyInstanceUID": uid, "reason": "录入错误"}
    service.call("POST", "/v1/studies/withdraw", role="hospital_system", json=turn)
    entries = read(service, f"/v1/savings/entries?{JUNE}")["entries"]
    assert [(each["kind"], each["cause"], each["amount_fen"]) for each in entries] == [
        ("saving", "decision", 19800),
        ("reversal", "examination", -19800),
        ("reinstatement", "decision", 19800),
        ("reversal", "undo", -19800),
    ]
    assert service.call("POST", "/v1/savings/verify", role="regulator").json()["agrees"]


def test_a_hospitals_own_auditor_is_explained_his_hospitals_entries_and_no_others(service: Service) -> None:
    recognised(service)
    (entry,) = read(service, f"/v1/savings/entries?{JUNE}")["entries"]
    path = f"/v1/savings/entries/{entry['entry_id']}"

    def told(hospital: str, path: str) -> Any:
        own = {"Authorization": f"Bearer {service.token('auditor', hospital)}"}
        return service.call("GET", path, role="", headers=own)

    mine = told("B", path).json()
    assert mine["prior"]["packs"]
    assert len(mine["audit"]) == 2
    assert told("A", path).status_code == 404
    assert told("A", f"/v1/savings/entries?{JUNE}").json()["entries"] == []


@pytest.mark.parametrize("entry", ["99", str(2**63 - 1)])
def test_an_entry_that_is_not_there_is_not_found(service: Service, entry: str) -> None:
    answer = service.call("GET", f"/v1/savings/entries/{entry}", role="regulator")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_entry")


@pytest.mark.parametrize("path", ["0", "x", str(2**63), "1.5"])
def test_a_number_that_no_entry_can_have_is_refused(quiet: Service, path: str) -> None:
    assert quiet.call("GET", f"/v1/savings/entries/{path}", role="regulator").status_code == 422


def test_a_recount_is_signed_over_all_that_it_says(service: Service) -> None:
    recognised(service)
    found = service.call("POST", "/v1/savings/verify", role="regulator").json()
    (published,) = service.call("GET", "/.well-known/jwks.json", role="").json()["keys"]
    signed = found.pop("signed")
    claims = jwt.decode(signed, jwt.PyJWK(published), algorithms=["EdDSA"])
    assert claims["sha256"] == statements.digest_of(found)
    assert (claims["agrees"], claims["net_fen"], claims["range"]) == (True, 19800, found["range"])
    assert claims["by"] == {"subject": "test regulator", "role": "regulator", "hospital": ""}
    assert statements.digest_of({**found, "net_fen": 19801}) != claims["sha256"]
    with transaction(service.city.catalogue.engine) as session:
        kept = session.scalar(
            text("select detail ->> 'sha256' from audit_event where action = 'savings.verify'")
        )
    assert kept == claims["sha256"]


def test_a_signed_recount_is_no_token(service: Service) -> None:
    signed = service.call("POST", "/v1/savings/verify", role="regulator").json()["signed"]
    answer = service.call("GET", "/v1/savings", role="", headers={"Authorization": f"Bearer {signed}"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("grouping", "keys"),
    [
        ("district", {"district": "500107", "district_name": "九龙坡区"}),
        ("tier", {"tier": "2"}),
        ("district,tier,month", {"district": "500107", "tier": "2", "month": "2026-06"}),
        ("month", {"month": "2026-06"}),
    ],
)
def test_figures_are_grouped_by_where_and_what_hospitals_are(
    service: Service, grouping: str, keys: dict[str, str]
) -> None:
    recognised(service)
    (row,) = read(service, f"/v1/savings?{JUNE}&group_by={grouping}")["rows"]
    assert {name: row[name] for name in keys} == keys
    assert (row["net_fen"], row["recognised"], row["rate"]) == (19800, 1, 1.0)


def test_pages_of_figures_follow_each_other_and_each_tells_the_whole_total(service: Service) -> None:
    for person, item, text_ in ((4, "CT09", "胸部CT增强"), (6, "CT01", "头颅CT平扫")):
        service.city.study("A", person, StudyDescription=text_, BodyPartExamined="")
        asked = {
            "patient": {"id_number": id_number(person)},
            "orders": [{"order_id": item, "item_code": item}],
        }
        assert service.call("POST", "/v1/checks", json=asked).json()["orders"][0]["candidates"]
    recognised(service)
    whole = read(service, f"/v1/savings?{JUNE}")
    assert (len(whole["rows"]), whole["next"]) == (3, None)
    seen: list[Any] = []
    offset = 0
    while offset is not None:
        page = read(service, f"/v1/savings?{JUNE}&limit=2&offset={offset}")
        assert page["total"] == whole["total"]
        seen += page["rows"]
        offset = page["next"]
    assert seen == whole["rows"]
    assert sum(row["reminders"] for row in seen) == whole["total"]["reminders"] == 3


def two_districts(service: Service) -> None:
    """Have A, whose code comes first, save once and B twice."""
    service.city.study("A", 4)
    recognised(service)
    recognised(service, "2", 4)
    service.city.study("B", 6)
    asked = {
        **CHECK,
        "patient": {"id_number": id_number(6)},
        "orders": [{"order_id": "3", "item_code": "CT07"}],
    }
    check = service.call("POST", "/v1/checks", json=asked, hospital="A").json()
    (candidate,) = check["orders"][0]["candidates"]
    path = f"/v1/checks/{check['check_id']}/decisions"
    body = {"action": "recognise", "result_id": candidate["result_id"], "order_id": "3"}
    answer = service.call("POST", path, json=body, hospital="A", headers={"Idempotency-Key": "k3"})
    assert answer.status_code == 200


@pytest.mark.parametrize("as_of", ["", "&as_of=2026-06-30T04:00:00Z"])
def test_what_saved_most_comes_first_where_that_is_asked_for(service: Service, as_of: str) -> None:
    two_districts(service)
    path = f"/v1/savings?{JUNE}&group_by=hospital{as_of}"
    by_key, by_net = read(service, path), read(service, f"{path}&order=net")
    assert [row["hospital"] for row in by_key["rows"]] == ["A", "B"]
    assert by_net["rows"] == sorted(by_key["rows"], key=lambda row: -row["net_fen"])
    assert by_net["total"] == by_key["total"]
    pages = [read(service, f"{path}&order=net&limit=1&offset={offset}") for offset in (0, 1)]
    assert [row for page in pages for row in page["rows"]] == by_net["rows"]
    assert [page["next"] for page in pages] == [1, None]


def test_an_order_by_net_is_of_one_grouping_and_of_no_publication(quiet: Service) -> None:
    for query, field in (("group_by=hospital,month", "order"), ("publication=true", "publication")):
        answer = quiet.call("GET", f"/v1/savings?{JUNE}&order=net&{query}", role="regulator")
        assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_districts_and_items_are_named_in_both_languages(service: Service) -> None:
    recognised(service)
    (row,) = read(service, f"/v1/savings?{JUNE}&group_by=district,item")["rows"]
    assert (row["district_name"], row["district_name_en"]) == ("九龙坡区", "Jiulongpo District")
    assert (row["item_name"], row["item_name_en"]) == ("胸部CT平扫", "CT chest without contrast")
    (row,) = read(service, f"/v1/savings?{JUNE}&group_by=district&publication=true")["rows"]
    assert row["district_name_en"] == "Jiulongpo District"


def test_the_axes_name_what_figures_can_be_narrowed_to(service: Service) -> None:
    axes = read(service, "/v1/savings/axes")
    assert [(each["code"], each["tier"], each["district"]) for each in axes["hospitals"]] == [
        ("A", "3", "500103"),
        ("B", "2", "500107"),
    ]
    assert [each["code"] for each in axes["districts"]] == ["500103", "500107"]
    assert {each["code"] for each in axes["categories"]} == set(CATEGORIES)
    assert {"code": "CT07", "name": "胸部CT平扫", "name_en": "CT chest without contrast"}.items() <= next(
        each for each in axes["items"] if each["code"] == "CT07"
    ).items()
    for tier in axes["tiers"]:
        assert read(service, f"/v1/savings?{JUNE}&tier={tier['code']}")["rows"] == []
