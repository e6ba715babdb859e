"""The audit as FHIR AuditEvent: BALP's shapes, for auditors, page by page, and no patient's number in a URL."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fhir.resources.R4B.auditevent import AuditEvent as Model
from fhir.resources.R4B.bundle import Bundle
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import event

from catalog import audit
from catalog.audit_chain import Entry
from catalog.audit_reading import Told
from catalog.context import Caller
from catalog.db import transaction
from exchange import cli_audit
from exchange.fhir_audit import audit_event
from tests.city import id_number
from tests.exchange.conftest import Service

CHECK = {"patient": {"id_number": id_number(2)}, "orders": [{"order_id": "1", "item_code": "CT07"}]}
BALP = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."


@pytest.fixture
def told(service: Service) -> Service:
    """A check, a reading of it, a decision, a list, and a refused association."""
    check = service.call("POST", "/v1/checks", json=CHECK).json()
    path = f"/v1/checks/{check['check_id']}"
    service.call("GET", path)
    candidate = check["orders"][0]["candidates"][0]["result_id"]
    decision = {"order_id": "1", "action": "recognise", "result_id": candidate}
    service.call("POST", f"{path}/decisions", json=decision, headers={"Idempotency-Key": "k"})
    service.call("GET", "/v1/admin/studies", role="curator")
    with transaction(service.city.catalogue.engine) as session:
        audit.record(session, Caller("dicom_node", "system"), "association_refused", address="10.0.0.9")
    return service


def resources(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    Bundle.model_validate(answer.json())
    return [entry["resource"] for entry in answer.json()["entry"]]


def auditor(service: Service, path: str = "/fhir/AuditEvent", **more: Any) -> Any:
    return service.call(more.pop("method", "GET"), path, role="auditor", **more)


def search(service: Service, **form: str) -> Any:
    return auditor(service, "/fhir/AuditEvent/_search", method="POST", data=form)


def test_records_have_the_shapes_of_balp_newest_first(told: Service) -> None:
    found = resources(auditor(told))
    profiles = [each.get("meta", {}).get("profile", [""])[0].removeprefix(BALP) for each in found]
    assert profiles == ["", "Query", "PatientCreate", "PatientRead", "PatientQuery"]
    for resource in found:
        Model.model_validate(resource)
    alert, _, create, read, query = found
    assert (alert["outcome"], alert["agent"][1]["network"]) == ("4", {"address": "10.0.0.9", "type": "2"})
    assert [each["action"] for each in (create, read, query)] == ["C", "R", "E"]
    assert [each["subtype"][0]["code"] for each in (create, read, query)] == ["create", "read", "search"]
    for each in (create, read, query):
        assert (each["type"]["code"], each["outcome"]) == ("rest", "0")
        patient = next(e for e in each["entity"] if e["role"]["code"] == "1")
        assert patient["what"]["identifier"]["system"] == "urn:huren:person"
        assert [agent["requestor"] for agent in each["agent"]] == [True, False, False]
        assert each["agent"][2]["who"] == each["source"]["observer"]
        assert each["agent"][0]["who"]["identifier"]["value"] == "test doctor"
        assert each["agent"][1]["who"]["identifier"]["value"] == "B"
    assert [agent["type"]["coding"][0]["code"] for agent in read["agent"]] == ["IRCP", "110152", "110153"]
    assert [agent["type"]["coding"][0]["code"] for agent in query["agent"]] == ["IRCP", "110153", "110152"]
    asked = next(e for e in query["entity"] if e["role"]["code"] == "24")
    assert json.loads(base64.b64decode(asked["query"]))["action"] == "check"
    assert read["entity"][1]["role"]["code"] == "4"


def test_no_document_number_and_no_name_stands_in_what_is_exported(told: Service) -> None:
    answer = auditor(told)
    entities = [entity for each in resources(answer) for entity in each["entity"]]
    queries = [base64.b64decode(entity["query"]).decode() for entity in entities if "query" in entity]
    assert len(queries) == 2
    for text in (answer.text, *queries):
        assert id_number(2) not in text
        assert "林晓渝" not in text


def test_pages_go_on_without_gap_or_repeat_while_new_records_come(told: Service) -> None:
    whole = [each["id"] for each in resources(auditor(told))]
    seen: list[str] = []
    path = "/fhir/AuditEvent?_count=2"
    first_newest = None
    while path:
        answer = auditor(told, path)
        seen += [each["id"] for each in resources(answer)]
        first_newest = first_newest or seen[0]
        links = {link["relation"]: link["url"] for link in answer.json()["link"]}
        path = links.get("next", "").removeprefix("http://testserver")
    assert seen[1:] == whole  # the first search's own record came on top
    assert len(set(seen)) == len(seen)


def test_by_date_by_agent_and_by_patient(told: Service) -> None:
    assert len(resources(auditor(told, "/fhir/AuditEvent?agent-name=DICOM"))) == 1
    exact = {"agent:identifier": "urn:huren:caller|test doctor"}
    assert len(resources(auditor(told, "/fhir/AuditEvent", params=exact))) == 3
    newest = resources(auditor(told, "/fhir/AuditEvent?_count=1"))[0]["recorded"]
    day = newest[:4]
    assert resources(auditor(told, f"/fhir/AuditEvent?date=ge{day}&date=le{day}"))
    assert resources(auditor(told, "/fhir/AuditEvent?date=lt2020")) == []
    assert resources(auditor(told, "/fhir/AuditEvent?date=gt2099-12")) == []
    assert resources(auditor(told, "/fhir/AuditEvent", params={"date": newest}))
    person = resources(auditor(told, "/fhir/AuditEvent", params=exact))[0]["entity"][0]["what"]["identifier"]
    found = resources(search(told, **{"patient:identifier": f"urn:huren:person|{person['value']}"}))
    assert len(found) == 3
    assert resources(search(told, **{"patient:identifier": "999"})) == []


def test_a_patient_stands_in_no_url_neither_asked_for_nor_in_the_next_link(told: Service) -> None:
    for name in ("patient", "patient:identifier", "patient.identifier", "entity"):
        answer = auditor(told, "/fhir/AuditEvent", params={name: "1"})
        assert answer.status_code == 400
        assert answer.json()["issue"][0]["details"]["coding"][0]["code"] == "patient_in_url"
    answer = search(told, **{"patient:identifier": "1", "_count": "1"})
    link = answer.json()["link"][1]
    assert "patient" not in link["url"]
    following = resources(auditor(told, link["url"].removeprefix("http://testserver")))
    assert following
    assert {each["entity"][0]["what"]["identifier"]["value"] for each in following} == {"1"}


WRONG = [
    "_count=0",
    "_count=x",
    "date=2026-02-30",
    "date=ne2026",
    "date=x",
    "name=x",
    "_page=AAAA",
    "_page=é",
    "_sort=x",
]


@pytest.mark.parametrize("query", WRONG)
def test_a_wrong_parameter_is_refused_and_discloses_nothing(told: Service, query: str) -> None:
    answer = auditor(told, f"/fhir/AuditEvent?{query}")
    assert (answer.status_code, answer.json()["resourceType"]) == (400, "OperationOutcome")


def test_reading_the_audit_is_audited(told: Service) -> None:
    record_id = resources(auditor(told))[0]["id"]
    Model.model_validate(auditor(told, f"/fhir/AuditEvent/{record_id}").json())
    actions = [each["subtype"][-1]["code"] for each in resources(auditor(told))]
    assert actions[:2] == ["audit.read", "audit.search"]
    assert auditor(told, "/fhir/AuditEvent/999999").status_code == 404


TEXT = st.text(min_size=1, max_size=20).filter(lambda text: text.strip() and "\x00" not in text)
DETAIL = st.dictionaries(
    TEXT, st.none() | st.booleans() | st.integers(-9, 9) | st.text() | st.lists(st.integers(0, 9))
)
ACTIONS = [
    "check",
    "check.read",
    "decision.undo",
    "erasure",
    "association_refused",
    "people.queue",
    "new.thing",
]


@example("check.read", {"\x85": "\x85", "check_id": "\x1c"}, None, "")
@given(st.sampled_from(ACTIONS), DETAIL, st.none() | st.integers(1, 9), st.sampled_from(["", "A"]))
def test_whatever_a_record_says_its_resource_is_valid(
    action: str, detail: dict[str, Any], person: int | None, hospital: str
) -> None:
    entry = Entry(
        7, "2026-06-30T04:00:00.000001Z", action, "dr.li", "doctor", None, person, json.dumps(detail)
    )
    Model.model_validate(audit_event(Told(entry, hospital)))


def test_the_export_writes_each_sealed_record_once(tmp_path: Path, told: Service) -> None:
    from catalog.audit_reading import every_sealed
    from catalog.audit_seal import open_signer, seal

    catalogue = told.city.catalogue
    with transaction(catalogue.engine) as session:
        assert list(every_sealed(session)) == []
    list(seal(catalogue.engine, open_signer(tmp_path / "audit.pem"), catalogue.clock))
    with transaction(catalogue.engine) as session:
        found = [audit_event(each)["id"] for each in every_sealed(session)]
    assert found == sorted(found, key=int)
    assert len(found) == 5


def test_a_form_of_too_many_fields_is_a_bad_request(quiet: Service) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    path, many = "/fhir/AuditEvent/_search", b"date=2026&" * 51
    assert quiet.call("POST", path, role="auditor", content=many, headers=headers).status_code == 400


def test_an_export_holds_up_no_sealing_and_asks_once_how_far_it_is_sealed(
    tmp_path: Path, told: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that has written to the audit stops the sealing until it ends."""
    from catalog import audit_reading
    from catalog.audit_seal import open_signer, seal, settled_id

    catalogue = told.city.catalogue
    list(seal(catalogue.engine, open_signer(tmp_path / "audit.pem"), catalogue.clock))
    settled: list[int] = []
    asked: list[str] = []
    read = audit_reading._up_to

    def slow(*given: Any) -> Any:
        settled.append(settled_id(catalogue.engine, 0))
        return read(*given)

    def note(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    @contextmanager
    def place(_folder: Path) -> Iterator[Any]:
        yield SimpleNamespace(catalogue=catalogue)

    monkeypatch.setattr(audit_reading, "_up_to", slow)
    monkeypatch.setattr(cli_audit, "open_workplace", place)
    event.listen(catalogue.engine, "before_cursor_execute", note)
    cli_audit.audit_export(tmp_path / "out.ndjson", fhir=True, after=0, data_dir=tmp_path)
    event.remove(catalogue.engine, "before_cursor_execute", note)
    assert min(settled) > 0
    assert len([each for each in asked if "FROM audit_seal" in each]) == 1
    assert all("max(" not in each for each in asked)
    assert len((tmp_path / "out.ndjson").read_bytes().splitlines()) >= 5
