"""FAULTS A13: what went out over HTTP is compared with the audit: every disclosure has one record, and none without.

A recorder around the whole application sees each answer as it leaves. Each request has a caller of its own, so that
its records are found again by who asked.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from catalog.context import Catalogue
from catalog.db import transaction
from catalog.row_security import API
from catalog.tables import AuditEvent, Result
from exchange.auth import ACCESS
from tests.city import id_number
from tests.exchange.conftest import Service, service, settings
from tests.faults.run_record import RunRecord
from tests.faults.scale import scaled
from tests.reports import IMAGING, LABORATORY, of_person, take

__all__ = ["service", "settings"]
Route = tuple[str, str]

# The list, reasons, codes, marks, clients, addresses, one's own session: nothing of a patient, and nothing decided.
REFERENCE_DATA: frozenset[Route] = frozenset(
    {
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/v1/items"),
        ("GET", "/v1/reasons"),
        ("GET", "/v1/admin/item-lists"),
        ("GET", "/v1/admin/item-lists/{version}"),
        ("GET", "/v1/admin/item-lists/{version}/diff"),
        ("GET", "/v1/admin/hospitals/{code}/local-codes"),
        ("GET", "/v1/admin/hospitals/{code}/laboratory-codes"),
        ("POST", "/v1/admin/score"),
        ("GET", "/v1/admin/remap"),
        ("GET", "/v1/admin/regions"),
        ("GET", "/v1/admin/hospitals"),
        ("GET", "/v1/admin/hospitals/{code}"),
        ("GET", "/v1/admin/prices"),
        ("GET", "/v1/admin/prices/gaps"),
        ("GET", "/v1/admin/qc"),
        ("GET", "/v1/admin/qc/expiring"),
        ("GET", "/v1/admin/clients"),
        ("GET", "/v1/admin/accounts"),
        ("GET", "/v1/admin/running"),
        ("GET", "/v1/admin/running/hospitals"),
        ("GET", "/v1/admin/running/refusals"),
        ("GET", "/v1/admin/webhooks"),
        ("GET", "/v1/session"),
        ("GET", "/v1/savings/axes"),
    }
)
# What these do is audited by whoever does it, with a test there; they say of a patient no more than they were told.
_VIEWINGS = ("/dicom-web/studies/", "/dicom-web/series", "/dicom-web/instances", "/dicom-web/wado", "/look/")
ACTS: frozenset[Route] = frozenset(
    {
        ("POST", "/fhir"),
        ("POST", "/fhir/DiagnosticReport"),
        ("POST", "/v1/admin/hospitals/{code}/laboratory-codes/remap"),
        ("POST", "/v1/admin/hospitals/{code}/local-codes"),
        ("POST", "/v1/admin/item-lists"),
        ("POST", "/v1/admin/people/accept"),
        ("POST", "/v1/admin/people/merge"),
        ("POST", "/v1/admin/people/reject"),
        ("POST", "/v1/admin/people/undo"),
        ("POST", "/v1/admin/conflicts/{conflict_id}/reopen"),
        ("POST", "/v1/admin/conflicts/{conflict_id}/settle"),
        ("POST", "/v1/admin/hospitals"),
        ("POST", "/v1/admin/hospitals/{code}"),
        ("POST", "/v1/admin/hospitals/{code}/activate"),
        ("POST", "/v1/admin/hospitals/{code}/deactivate"),
        ("POST", "/v1/admin/hospitals/{code}/peers"),
        ("POST", "/v1/admin/hospitals/{code}/peers/certificates"),
        ("POST", "/v1/admin/hospitals/{code}/peers/remove"),
        ("POST", "/v1/admin/hospitals/{code}/peers/restore"),
        ("POST", "/v1/admin/prices/import"),
        ("GET", "/v1/admin/reviews/{task_id}"),  # needs a task: tests/exchange/test_curators_queues.py
        ("POST", "/v1/admin/reviews/mapping"),
        ("POST", "/v1/admin/reviews/{task_id}/local-code"),
        ("POST", "/v1/admin/reviews/{task_id}/reopen"),
        ("POST", "/v1/admin/qc"),
        ("POST", "/v1/admin/qc/consortia"),
        ("POST", "/v1/admin/qc/import"),
        ("POST", "/v1/admin/qc/{evaluation_id}/end"),
        ("POST", "/v1/admin/quality/{task_id}/confirm"),
        ("POST", "/v1/admin/quality/{task_id}/dismiss"),
        ("POST", "/v1/admin/quality/{task_id}/reopen"),
        ("POST", "/v1/admin/remap"),
        ("POST", "/v1/admin/reviews/{task_id}/mapping"),
        ("POST", "/v1/admin/break-glass/{grant_id}/review"),
        ("POST", "/v1/admin/clients"),
        ("POST", "/v1/admin/clients/{client_id}/disable"),
        ("POST", "/v1/admin/clients/{client_id}/enable"),
        ("POST", "/v1/admin/clients/{client_id}/keys"),
        ("POST", "/v1/admin/accounts"),  # tests/exchange/test_accounts_api.py
        *(each for each in ACCESS if each[1].startswith("/v1/admin/accounts/")),
        ("POST", "/v1/session/others/end"),
        ("POST", "/v1/admin/webhooks"),
        ("POST", "/v1/admin/webhooks/{webhook_id}/remove"),
        ("POST", "/v1/admin/webhooks/{webhook_id}/retry"),
        ("POST", "/v1/image-grants"),  # tests/exchange/test_image_links.py
        ("POST", "/v1/image-grants/{grant_id}/end"),
        ("POST", "/v1/break-glass"),
        ("POST", "/v1/break-glass/{grant_id}/end"),
        ("POST", "/v1/investigations"),
        ("POST", "/v1/investigations/{investigation_id}/close"),
        ("POST", "/v1/investigations/{investigation_id}/review"),
        # answers nobody but its opener
        ("GET", "/v1/investigations/{investigation_id}/entries/{entry_id}"),
        # recorded where it is begun and, with the digest of what was found, where it ends: test_recounts.py
        ("POST", "/v1/savings/recounts"),
        ("GET", "/v1/savings/recounts/{recount_id}"),
        ("GET", "/v1/savings/recounts/{recount_id}/statement"),
        ("DELETE", "/v1/session"),
        ("GET", "/v1/session/launch"),  # answers a launched session alone: tests/exchange/test_launches.py
        ("DELETE", "/v1/session/launch"),
        ("POST", "/v1/launches"),
        ("POST", "/v1/session/password"),
        ("POST", "/v1/session/totp"),
        ("POST", "/v1/session/totp/confirm"),
        # needs an object store; audited before a byte is read: tests/catalog/test_reports.py
        ("GET", "/v1/reports/{report_id}/attachments/{attachment_id}"),
        # a viewing has one record, whatever it fetches: tests/exchange/test_dicomweb.py
        *(each for each in ACCESS if each[1].startswith(_VIEWINGS)),
        ("POST", "/dicom-web/studies"),  # needs a spool; once an hour: tests/exchange/test_stow.py
    }
)


@dataclass
class Site:
    """What the requests are about."""

    service: Service
    uid: str
    check_id: str
    result_id: str
    report_id: str
    value_id: str
    record_id: int
    notice_id: int
    order_id: str = "second"
    position: int = 1
    resource_id: int = 1  # of the only patient, and of the only study
    code: str = "A"


@dataclass(frozen=True)
class Case:
    """How one route is asked: by which role, and with what."""

    role: str
    path: str = ""
    body: Callable[[Site, str], Any] = lambda _site, _name: None
    hospital: str = ""
    form: dict[str, str] = field(default_factory=dict)
    headers: bool = False


def ask(name: str) -> Any:
    return {"patient": {"id_number": id_number(2)}, "orders": [{"order_id": name, "item_code": "CT07"}]}


def turn(site: Site, _name: str) -> Any:
    return {"StudyInstanceUID": site.uid, "reason": "录入错误"}


def erasure(site: Site, _name: str) -> Any:
    """The study's pack and its sidecar."""
    return {"StudyInstanceUID": site.uid, "basis": "个人信息保护法第四十七条", "confirm": 2}


def search(_site: Site, _name: str) -> Any:
    return {"patient": PERSON, "purpose": "TREAT", "reason": "门诊首诊,了解既往检查"}


PERSON = {"id_number": id_number(2)}
IDENTIFIER = f"urn:huren:id-type:01|{id_number(2)}"
HERS = {"patient:identifier": IDENTIFIER}
HER = {
    "resourceType": "Patient",
    "identifier": [{"system": "urn:huren:id-type:01", "value": id_number(2)}],
}
MATCH = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": HER}]}
DISCLOSING: dict[Route, Case] = {
    ("POST", "/v1/checks"): Case("doctor", body=lambda _, name: ask(name)),
    ("GET", "/v1/checks"): Case("doctor"),
    ("GET", "/v1/checks/{check_id}"): Case("doctor"),
    ("GET", "/v1/checks/{check_id}/orders/{position}/sheet"): Case("doctor"),
    ("GET", "/v1/checks/{check_id}/orders/{position}/record-text"): Case("doctor"),
    ("POST", "/v1/results/search"): Case("doctor", body=search),
    ("GET", "/v1/reports/{report_id}"): Case("doctor"),
    ("GET", "/fhir/DiagnosticReport/{report_id}"): Case("doctor"),
    ("GET", "/fhir/DiagnosticReport"): Case("doctor", "/fhir/DiagnosticReport?_id={report_id}"),
    ("POST", "/fhir/DiagnosticReport/_search"): Case("doctor", form=HERS),
    ("GET", "/dicom-web/studies"): Case("doctor", "/dicom-web/studies?StudyInstanceUID={uid}"),
    ("GET", "/fhir/ImagingStudy"): Case("doctor", "/fhir/ImagingStudy?identifier=urn:dicom:uid|{uid}"),
    ("POST", "/fhir/ImagingStudy/_search"): Case("doctor", form=HERS),
    ("GET", "/fhir/ImagingStudy/{resource_id}"): Case("doctor"),
    ("GET", "/fhir/Observation"): Case("doctor", "/fhir/Observation?patient={resource_id}"),
    ("POST", "/fhir/Observation/_search"): Case("doctor", form=HERS),
    ("GET", "/fhir/Observation/{resource_id}"): Case("doctor", "/fhir/Observation/{value_id}"),
    ("GET", "/fhir/Patient"): Case("doctor", "/fhir/Patient?_id={resource_id}"),
    ("POST", "/fhir/Patient/_search"): Case("doctor", form={"identifier": IDENTIFIER}),
    ("POST", "/fhir/Patient/$match"): Case("doctor", body=lambda *_: MATCH),
    ("GET", "/fhir/Patient/{resource_id}"): Case("doctor"),
    ("GET", "/v1/notices"): Case("doctor"),
    ("POST", "/v1/notices/{notice_id}/read"): Case("doctor"),
    ("GET", "/v1/savings"): Case("regulator"),
    ("GET", "/v1/savings/entries"): Case("regulator"),
    ("GET", "/v1/savings/entries/{entry_id}"): Case("regulator", "/v1/savings/entries/1"),
    ("GET", "/v1/savings/repeats"): Case("regulator"),
    ("GET", "/v1/savings/repeats/entries"): Case("regulator"),
    ("GET", "/v1/savings/reasons"): Case("regulator"),
    ("GET", "/v1/savings/supply"): Case("regulator"),
    ("GET", "/v1/savings/forms"): Case("regulator"),
    ("GET", "/v1/savings/forms/{form_name}"): Case("regulator", "/v1/savings/forms/institution"),
    ("POST", "/v1/savings/verify"): Case("regulator"),
    ("GET", "/v1/savings/questions"): Case("regulator"),
    ("GET", "/v1/investigations"): Case("regulator"),
    ("GET", "/fhir/AuditEvent"): Case("auditor", "/fhir/AuditEvent?_count=3"),
    ("POST", "/fhir/AuditEvent/_search"): Case("auditor", form={"_count": "2"}),
    ("GET", "/fhir/AuditEvent/{record_id}"): Case("auditor"),
    ("GET", "/v1/admin/studies"): Case("curator"),
    ("GET", "/v1/admin/unmapped"): Case("curator"),
    ("GET", "/v1/admin/conflicts"): Case("curator"),
    ("GET", "/v1/admin/reports"): Case("curator"),
    ("GET", "/v1/admin/reviews"): Case("curator"),
    ("GET", "/v1/admin/reviews/history"): Case("curator"),
    ("GET", "/v1/admin/queues"): Case("curator"),
    ("GET", "/v1/admin/withdrawn"): Case("curator"),
    ("GET", "/v1/admin/quality"): Case("curator"),
    ("GET", "/v1/admin/people/queue"): Case("curator"),
    ("GET", "/v1/admin/people/history"): Case("curator"),
    ("POST", "/v1/admin/people/show"): Case("curator", body=lambda *_: {"patient": PERSON}),
    ("POST", "/v1/admin/people/register"): Case(
        "curator", body=lambda _, name: {**PERSON, "patient_id": f"P-{name}", "hospital": "A"}
    ),
    ("GET", "/v1/admin/break-glass"): Case("auditor", hospital="B"),
    ("GET", "/v1/admin/erasures"): Case("curator"),
    ("POST", "/v1/admin/erasures/plan"): Case("curator", body=lambda *_: {"patient": PERSON}),
    ("POST", "/v1/patients"): Case(
        "hospital_system", body=lambda _, name: {**PERSON, "patient_id": f"P-{name}"}
    ),
    ("POST", "/v1/patients/sharing"): Case("hospital_system", body=lambda *_: {**PERSON, "shared": True}),
}
# Each of these is asked in a turn of its own, since it changes what the others see.
DECIDING: dict[Route, Case] = {
    ("POST", "/v1/checks/{check_id}/decisions"): Case(
        "doctor",
        body=lambda site, _: {"order_id": site.order_id, "action": "recognise", "result_id": site.result_id},
        headers=True,
    ),
    ("POST", "/v1/studies/withdraw"): Case("hospital_system", body=turn, hospital="A"),
    ("POST", "/v1/studies/restore"): Case("hospital_system", body=turn, hospital="A"),
    ("POST", "/v1/admin/hospitals/{code}/studies/withdraw"): Case("curator", body=turn),
    ("POST", "/v1/admin/hospitals/{code}/studies/restore"): Case("curator", body=turn),
    ("POST", "/v1/admin/erasures"): Case("curator", body=erasure),
}


class Recorder:
    """Stands around the application and counts what leaves it, by who asked."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.Lock()
        self.disclosed: Counter[str] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked_by = dict(scope["headers"]).get(b"x-asked-by", b"").decode()
        good = False

        async def note(message: Any) -> None:
            nonlocal good
            if message["type"] == "http.response.start":
                good = message["status"] < 300
            elif message.get("body") and good:
                with self._lock:
                    self.disclosed[asked_by] += 1
            await send(message)

        await self._app(scope, receive, note)


@pytest.fixture
def site(service: Service) -> Site:
    """A study with its report, shown to B, relied on, withdrawn and back again."""
    city = service.city
    uid = "2.25.1001"
    report_id = take(city, "A", IMAGING, StudyInstanceUID=uid).report_id
    take(city, "A", LABORATORY, **of_person(2))
    with transaction(city.catalogue.engine) as session:
        value_id = session.scalars(select(Result.id).where(Result.study_id.is_(None))).one()
    check = service.call("POST", "/v1/checks", json=ask("first")).json()
    path, shown = f"/v1/checks/{check['check_id']}", check["orders"][0]["candidates"][0]["result_id"]
    decision = {"order_id": "first", "action": "recognise", "result_id": shown}
    service.call("POST", f"{path}/decisions", json=decision, headers={"Idempotency-Key": "k"})
    for way in ("withdraw", "restore"):
        body = {"StudyInstanceUID": uid, "reason": "录入错误"}
        service.call("POST", f"/v1/studies/{way}", role="hospital_system", hospital="A", json=body)
    notice = service.call("GET", "/v1/notices").json()["notices"][0]["notice_id"]
    check = service.call("POST", "/v1/checks", json=ask("second")).json()
    return Site(service, uid, check["check_id"], shown, str(report_id), str(value_id), 1, notice)


def call(site: Site, route: Route, case: Case, name: str) -> Any:
    """Ask as a caller of this request alone."""
    method, template = route
    held = case.hospital or ("B" if case.role in ("doctor", "hospital_system") else "")
    token = site.service.key.issue(subject=name, role=case.role, hospital=held, lifetime=timedelta(hours=1))
    headers = {"Authorization": f"Bearer {token}", "X-Asked-By": name}
    if case.headers:
        headers["Idempotency-Key"] = name
    path = (case.path or template).format(**vars(site))
    more = {"data": case.form} if case.form else {"json": case.body(site, name)} if method == "POST" else {}
    return site.service.client.request(method, path, headers=headers, **more)


def records(catalogue: Catalogue) -> Counter[str]:
    with transaction(catalogue.engine) as session:
        return Counter(session.scalars(select(AuditEvent.caller)))


def test_every_route_is_sorted_by_what_the_audit_keeps_of_it() -> None:
    """A route that is added stands here, or this fails."""
    kinds = [set(DISCLOSING), set(DECIDING), REFERENCE_DATA, ACTS]
    assert set().union(*kinds) == set(ACCESS)
    assert sum(map(len, kinds)) == len(ACCESS)


def test_each_disclosure_has_exactly_one_record(site: Site, record: RunRecord) -> None:
    """A13: every route that discloses; `test_busy_day.py` asks ten thousand times."""
    recorder = Recorder(site.service.client.app)
    site.service.client.app = recorder  # type: ignore[assignment]
    site.service.client._transport.app = recorder  # type: ignore[attr-defined]
    rounds, made = scaled(6, 400), 0
    for number in range(rounds):
        for place, (route, case) in enumerate(DISCLOSING.items()):
            answer = call(site, route, case, f"r{number}-{place}")
            assert answer.status_code < 300, (route, answer.text)
            made += 1
    record.note(requests=made)
    assert sum(recorder.disclosed.values()) == made == rounds * len(DISCLOSING)
    kept = records(site.service.city.catalogue)
    wrong = {name: kept[name] for name in recorder.disclosed if kept[name] != 1}
    assert {list(DISCLOSING)[int(name.partition("-")[2])]: count for name, count in wrong.items()} == {}
    assert {name for name in kept if name.startswith("r")} == set(recorder.disclosed)


def test_each_decision_has_exactly_one_record(site: Site) -> None:
    for place, (route, case) in enumerate(DECIDING.items()):
        answer = call(site, route, case, f"d{place}")
        assert answer.status_code < 300, (route, answer.text)
        assert records(site.service.city.catalogue)[f"d{place}"] == 1, route


@contextmanager
def without_insert(site: Site) -> Iterator[None]:
    """Let the service's role do all but write the audit."""
    owner = site.service.city.catalogue.engine
    with transaction(owner) as session:
        session.execute(text(f"revoke insert on audit_event from {API}"))
    try:
        yield
    finally:
        with transaction(owner) as session:
            session.execute(text(f"grant insert on audit_event to {API}"))


def test_while_the_audit_cannot_be_written_every_one_refuses_and_discloses_nothing(site: Site) -> None:
    """A13: audit store down, reads refuse."""
    before = records(site.service.city.catalogue)
    with without_insert(site):
        for route, case in {**DISCLOSING, **DECIDING}.items():
            if route[1].endswith("/restore"):
                continue  # nothing to restore: the withdrawal before it was refused
            answer = call(site, route, case, f"m{route[1]}")
            assert answer.status_code == 503, (route, answer.status_code, answer.text)
            assert answer.headers["retry-after"]
            assert "audit_down" in answer.text
            for told in ("林晓渝", "双肺纹理清晰", "未见明显异常", site.uid, id_number(2)):
                assert told not in answer.text
    assert records(site.service.city.catalogue) == before
