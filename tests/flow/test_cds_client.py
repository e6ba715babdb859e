"""An ordering system connects by CDS Hooks over HTTP: registration, discovery, prefetch, cards, feedback."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.cds_client import BASE, CdsClient, accepted, call, filled, order, overridden, patient
from tests.city import id_number
from tests.flow.conftest import register
from tests.flow.running import PATIENT, Running, huren, make_instance, until

pytestmark = [pytest.mark.flow, pytest.mark.long]
ORIGIN = "https://his.b.test"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`huren up`, known to its callers as BASE, with hospitals A and B and a chest CT that A did."""
    told = {"HUREN_PUBLIC_URL": BASE, "HUREN_CDS_SECONDS": "20", "HUREN_CDS_ORIGINS": json.dumps([ORIGIN])}
    links = {"HUREN_CDS_PAGE_URL": f"{BASE}/checks", "HUREN_CDS_SMART_URL": f"{BASE}/launch"}
    running = Running(tmp_path_factory.mktemp("cds") / "data", PATIENT | told | links).start()
    register(running)
    outbox = tmp_path_factory.mktemp("outbox")
    make_instance(
        outbox / "1.dcm",
        PatientID=id_number(2),
        PatientName="LIN^XIAOYU",
        PatientBirthDate="19800517",
        PatientSex="F",
        StudyDescription="Chest CT",
        BodyPartExamined="CHEST",
        AcquisitionDate=f"{datetime.now(UTC) - timedelta(days=2):%Y%m%d}",
    )
    running.run("send", outbox, "--to", f"127.0.0.1:{running.dicom_port}", "--calling", "A_PACS")
    token = running.token("operator")
    until(lambda: any(study["items"] for study in running.studies(token)))
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log()


@pytest.fixture
def client(house: Running, tmp_path: Path) -> Iterator[CdsClient]:
    """The ordering system of hospital B, registered by its JWK Set in a file."""
    with httpx2.Client(timeout=30, trust_env=False, base_url=house.url) as http:
        made = CdsClient(http.request)
        keys = tmp_path / "jwks.json"
        keys.write_text(json.dumps({"keys": [made.key.public()]}))
        house.run("cds-client", "add", "B", made.iss, "--jwks", keys)
        yield made


def ordering(client: CdsClient, hook: str, *orders: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the service for a hook and the call an ordering system makes of it, by discovery and its own records."""
    services = client.send("GET", "/cds-services").json()["services"]
    service = next(each for each in services if each["hook"] == hook)
    body = call(*orders, hook=hook)
    drafts = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": each} for each in orders]}
    records: dict[str, Any] = {"Patient/p1": patient(name=[{"text": "LIN^XIAOYU"}])}
    records["ServiceRequest?patient=p1&status=draft"] = drafts
    queries = {key: filled(template, body["context"]) for key, template in service["prefetch"].items()}
    body["prefetch"] = {key: records[query] for key, query in queries.items() if query in records}
    return service["id"], body


def test_an_ordering_system_selects_signs_and_reports(house: Running, client: CdsClient) -> None:
    service, body = ordering(client, "order-select", order("CDS-1"))
    (selected,) = client.cards(body, service)
    service, body = ordering(client, "order-sign", order("CDS-1"))
    (signed,) = client.cards(body, service)
    assert selected["summary"] == signed["summary"]
    assert selected["uuid"] != signed["uuid"]
    links = {link["type"]: link for link in signed["links"]}
    check_id = links["absolute"]["url"].rpartition("/")[2]
    assert json.loads(links["smart"]["appContext"]) == {"check_id": check_id, "order_id": "CDS-1"}
    (action,) = signed["suggestions"][0]["actions"]
    assert (action["type"], action["resourceId"]) == ("delete", "ServiceRequest/draft-CDS-1")
    (said,) = client.report(accepted(signed), service=service).json()["feedback"]
    kept = house.call("GET", f"/v1/checks/{check_id}", house.token("doctor", "B")).json()
    assert [(each["decision_id"], each["action"]) for each in kept["decisions"]] == [
        (said["decision"], "recognise")
    ]
    assert client.report(accepted(signed), service=service).json()["feedback"] == [said]


def test_an_ordering_system_repeats_with_a_reason(client: CdsClient) -> None:
    service, body = ordering(client, "order-sign", order("CDS-2"))
    (card,) = client.cards(body, service)
    (said,) = client.report(overridden(card, "3"), service=service).json()["feedback"]
    assert said["decision"]


def test_a_disabled_client_is_refused_at_once(house: Running, client: CdsClient) -> None:
    service, body = ordering(client, "order-sign", order("CDS-3"))
    house.run("cds-client", "disable", client.iss)
    assert client.call(body, service).status_code == 401
    (row,) = json.loads(house.run("cds-client", "list", "--json").stdout)
    assert (row["hospital"], row["keys"], row["active"]) == ("B", "k1", False)


def test_a_page_of_a_configured_origin_may_call_and_no_other(client: CdsClient) -> None:
    """CDS Hooks 2.0, Cross-Origin Resource Sharing."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    path = "/cds-services/huren-order-sign"
    allowed = client.send("OPTIONS", path, headers=asked | {"Origin": ORIGIN})
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
    refused = client.send("OPTIONS", path, headers=asked | {"Origin": "https://evil.test"})
    assert "access-control-allow-origin" not in refused.headers
    elsewhere = client.send("OPTIONS", "/v1/checks", headers=asked | {"Origin": ORIGIN})
    assert "access-control-allow-origin" not in elsewhere.headers


@pytest.mark.parametrize(
    "jku", ["http://127.0.0.1/jwks", "https://127.0.0.1/jwks", "https://evil.test/jwks", "file:///etc/passwd"]
)
def test_keys_are_read_from_allow_listed_hosts_only(house: Running, jku: str) -> None:
    done = huren("cds-client", "add", "B", "https://x.test/", "--jku", jku, "--data-dir", house.data_dir)
    assert done.returncode == 1
    assert "HUREN_CDS_JKU_HOSTS" in done.stderr
