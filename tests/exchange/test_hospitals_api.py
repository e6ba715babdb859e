"""Hospitals, devices, certificates and prices as a curator keeps them over HTTP."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog.peer_list import PeerList
from tests.certificates import Authority
from tests.exchange.conftest import Service

HOSPITALS = "/v1/admin/hospitals"
PRICES = "/v1/admin/prices"
HEADING = "scope_kind,scope,item,price,from,to,source\n"


def curate(service: Service, method: str, path: str, **more: Any) -> Any:
    return service.call(method, path, role="curator", **more)


def sending(service: Service) -> dict[str, tuple[str, ...]]:
    """Who may send by now, as the receiving node reads it, with their certificates."""
    url = service.city.catalogue.engine.url.render_as_string(hide_password=False)
    peers = PeerList(url)
    found = {row.ae_title: row.certificates for row in peers.read()}
    peers.close()
    return found


def test_a_hospital_is_added_changed_closed_and_opened_again(service: Service) -> None:
    told = {"code": "N", "name": "新医院", "tier": 2, "region": "渝中区"}
    made = curate(service, "POST", HOSPITALS, json=told)
    assert (made.status_code, made.json()["region"], made.json()["peers"]) == (201, "500103", [])
    assert curate(service, "POST", HOSPITALS, json=told).json()["code"] == "hospital_exists"
    changed = curate(
        service, "POST", f"{HOSPITALS}/N", json={"name": "新医院东院", "tier": 3, "region": "500107"}
    )
    assert {key: changed.json()[key] for key in ("name", "tier", "region")} == {
        "name": "新医院东院",
        "tier": 3,
        "region": "500107",
    }
    curate(service, "POST", f"{HOSPITALS}/N/peers", json={"ae_title": "N_CT", "addresses": ["10.1.2.9"]})
    assert "N_CT" in sending(service)
    assert curate(service, "POST", f"{HOSPITALS}/N/deactivate").json()["active"] is False
    assert "N_CT" not in sending(service)
    assert curate(service, "POST", f"{HOSPITALS}/N/deactivate").json()["code"] == "hospital_state"
    assert curate(service, "POST", f"{HOSPITALS}/N/activate").json()["active"] is True
    assert "N_CT" in sending(service)
    codes = [each["code"] for each in curate(service, "GET", HOSPITALS).json()["hospitals"]]
    assert codes == ["A", "B", "N"]
    after = curate(service, "GET", f"{HOSPITALS}?after=A&limit=1").json()["hospitals"]
    assert [each["code"] for each in after] == ["B"]


def test_a_device_is_registered_removed_and_restored_with_its_certificate_and_its_end(
    service: Service, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    issued = authority.issue("device")
    pem = issued.certificate.read_text()
    peers = f"{HOSPITALS}/A/peers"
    device = {"ae_title": "A_CT", "addresses": ["10.1.2.0/24"], "host": "10.1.2.9", "port": 104}
    curate(service, "POST", peers, json=device)
    bound = curate(service, "POST", f"{peers}/certificates", json={"ae_title": "A_CT", "pem": pem}).json()
    (peer,) = [each for each in bound["peers"] if each["ae_title"] == "A_CT"]
    assert (peer["addresses"], peer["host"], peer["port"]) == (["10.1.2.0/24"], "10.1.2.9", 104)
    assert peer["certificates"][0]["sha256"] == issued.fingerprint
    assert peer["certificates"][0]["ends_at"] is not None
    assert sending(service)["A_CT"] == (issued.fingerprint,)
    curate(service, "POST", f"{peers}/remove", json={"ae_title": "A_CT"})
    assert "A_CT" not in sending(service)
    curate(service, "POST", f"{peers}/restore", json={"ae_title": "A_CT"})
    assert sending(service)["A_CT"] == (issued.fingerprint,)
    plain = curate(service, "POST", f"{peers}/certificates", json={"ae_title": "A_CT"}).json()
    assert [each["certificates"] for each in plain["peers"] if each["ae_title"] == "A_CT"] == [[]]


def test_a_certificate_that_is_about_to_end_is_counted_among_what_waits(
    service: Service, tmp_path: Path
) -> None:
    issued = Authority(tmp_path / "ca").issue("device")
    body = {"ae_title": "A_PACS", "pem": issued.certificate.read_text()}
    told = curate(service, "POST", f"{HOSPITALS}/A/peers/certificates", json=body).json()
    left = told["peers"][0]["certificates"][0]["days_left"]

    def waiting() -> int:
        found: int = curate(service, "GET", "/v1/admin/queues").json()["queues"]["certificates"]["count"]
        return found

    service.city.now += timedelta(days=left - 100)
    assert waiting() == 0
    service.city.now += timedelta(days=50)
    assert waiting() == 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("", {"code": "../x", "name": "n", "tier": 2, "region": "500107"}, 422),
        ("", {"code": "N", "name": "n", "tier": 2, "region": "none"}, 404),
        ("/Z", {"name": "n", "tier": 2, "region": "500107"}, 404),
        ("/A/peers", {"ae_title": "B_PACS"}, 409),
        ("/A/peers", {"ae_title": "a\\b"}, 422),
        ("/A/peers", {"ae_title": "A_CT", "addresses": ["everywhere"]}, 422),
        ("/A/peers/remove", {"ae_title": "B_PACS"}, 404),
        ("/A/peers/certificates", {"ae_title": "A_PACS", "pem": "none"}, 422),
        ("/Z/deactivate", None, 404),
    ],
)
def test_what_cannot_be_registered_is_a_problem_and_nothing_changes(
    service: Service, path: str, body: Any, status: int
) -> None:
    before = curate(service, "GET", HOSPITALS).json()
    answer = curate(service, "POST", f"{HOSPITALS}{path}", json=body)
    assert answer.status_code == status, answer.text
    assert curate(service, "GET", HOSPITALS).json() == before


def test_an_operator_reads_hospitals_and_changes_none(service: Service) -> None:
    assert service.call("GET", HOSPITALS, role="operator").status_code == 200
    body = {"code": "N", "name": "n", "tier": 2, "region": "500107"}
    assert service.call("POST", HOSPITALS, role="operator", json=body).status_code == 403


def test_prices_are_tried_imported_and_listed_as_of_a_day(service: Service) -> None:
    file = f"{HEADING}hospital,A,CT07,231.50,2026-01-01,2026-05-31,s\nhospital,A,CT07,240,2026-06-01,,s\n"
    tried = curate(service, "POST", f"{PRICES}/import?dry_run=true", content=file.encode()).json()
    assert tried == {"new": 2, "present": 0, "dry_run": True}
    query = f"{PRICES}?scope_kind=hospital&scope=A&item=CT07"
    assert curate(service, "GET", query).json()["prices"] == []
    done = curate(service, "POST", f"{PRICES}/import?source=2026", content=file.encode("gb18030")).json()
    assert (done["new"], done["dry_run"]) == (2, False)
    now, then = (
        [each["price_fen"] for each in curate(service, "GET", f"{query}{on}").json()["prices"]]
        for on in ("", "&on=2026-05-31")
    )
    assert (now, then) == ([24000], [23150])
    assert curate(service, "POST", f"{PRICES}/import", content=file.encode()).json()["present"] == 2
    first = curate(service, "GET", f"{PRICES}?limit=2").json()["prices"]
    more = curate(service, "GET", f"{PRICES}?limit=2&after={first[-1]['id']}").json()["prices"]
    assert first[-1]["id"] < more[0]["id"]


def test_a_faulty_price_file_is_refused_whole_with_every_fault_at_its_line(service: Service) -> None:
    curate(
        service, "POST", f"{PRICES}/import", content=f"{HEADING}hospital,A,CT07,240,2026-06-01,,s\n".encode()
    )
    lines = [
        "hospital,A,CT07,250,2026-06-01,,s",
        "hospital,Z,CT07,250,2026-06-01,,s",
        "region,none,CT07,250,2026-06-01,,s",
        "tier,3,ZZ99,250,2026-06-01,,s",
        "tier,3,CT07,2.5,2020-06-01,,s",
        "hospital,B,CT07,250,2026-06-01,,s",
    ]
    answer = curate(service, "POST", f"{PRICES}/import", content=(HEADING + "\n".join(lines)).encode())
    assert answer.status_code == 422
    told = [(each["line"], each["field"]) for each in answer.json()["errors"]]
    assert told == [(2, "price"), (3, "scope"), (4, "scope"), (5, "item"), (6, "price")]
    assert curate(service, "GET", f"{PRICES}?scope_kind=hospital&scope=B").json()["prices"] == []


def test_an_item_without_a_price_is_a_gap_until_it_has_one(service: Service) -> None:
    on = "2010-01-01"  # before any price of the release
    gaps = curate(service, "GET", f"{PRICES}/gaps?on={on}").json()["gaps"]
    assert [(each["hospital"], each["missing"]) for each in gaps] == [("A", 112), ("B", 112)]
    file = f"{HEADING}hospital,A,CT07,240,2010-01-01,,s\nregion,50,CT08,240,2010-01-01,,s\n"
    curate(service, "POST", f"{PRICES}/import", content=file.encode())
    gaps = curate(service, "GET", f"{PRICES}/gaps?on={on}").json()["gaps"]
    assert [(each["hospital"], each["missing"]) for each in gaps] == [("A", 110), ("B", 111)]
    rest = curate(service, "GET", f"{PRICES}/gaps?on={on}&after=A&limit=1").json()["gaps"]
    assert [each["hospital"] for each in rest] == ["B"]
