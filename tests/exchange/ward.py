"""A service with a chart to be asked for by FHIR: a woman whom a check has shown, and a man nobody asked about."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.imagingstudy import ImagingStudy
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.operationoutcome import OperationOutcome
from fhir.resources.R4B.patient import Patient
from sqlalchemy import text

from catalog.db import transaction
from catalog.embedded import Services
from catalog.report_records import LOINC, Coding
from exchange.app import create_app
from exchange.health import Health
from exchange.settings import ExchangeSettings
from exchange.tokens import open_token_key
from tests.city import City, id_number, open_catalogue, serving
from tests.exchange.conftest import Service
from tests.reports import IMAGING, LABORATORY, POTASSIUM, evaluate_laboratory, of_person, take

MODELS: dict[str, Any] = {
    "Bundle": Bundle,
    "DiagnosticReport": DiagnosticReport,
    "ImagingStudy": ImagingStudy,
    "Observation": Observation,
    "OperationOutcome": OperationOutcome,
    "Patient": Patient,
}
KINDS = ("ImagingStudy", "DiagnosticReport", "Observation")
HER = f"urn:huren:id-type:01|{id_number(2)}"
HIM = f"urn:huren:id-type:01|{id_number(4)}"
SODIUM = replace(
    POTASSIUM,
    key="2951-2",
    codings=(Coding(LOINC, "2951-2", "钠"),),
    value="140",
    observed_at=POTASSIUM.observed_at - timedelta(days=30),
)


@dataclass
class Ward(Service):
    """A service with a woman whom a check of B has shown, and a man whom nobody asked about."""

    ids: dict[str, list[str]] = field(default_factory=dict)
    patient: str = ""
    man: dict[str, str] = field(default_factory=dict)


def her_results(city: City) -> None:
    """Three studies and three reports of hospital A."""
    evaluate_laboratory(city, "A")
    city.study("A", days_ago=9, AccessionNumber="ACC-9")
    city.study("A", days_ago=5)
    city.study("A", days_ago=2, modalities=("MR",), StudyDescription="头颅MR平扫", BodyPartExamined="BRAIN")
    take(city, "A", IMAGING, StudyInstanceUID="2.25.1001")
    take(city, "A", LABORATORY, **of_person(2))
    take(city, "A", LABORATORY, number="L-2", values=(SODIUM,), title="血钠", **of_person(2))


def ask_about(service: Service, person: int = 2, item: str = "CT07", **caller: str) -> Any:
    patient = {"id_number": id_number(person)}
    order = {"order_id": f"o-{service.city.count}", "item_code": item}
    service.city.count += 1
    return service.call("POST", "/v1/checks", json={"patient": patient, "orders": [order]}, **caller).json()


def search(service: Service, kind: str, hospital: str = "B", **form: Any) -> Any:
    form = {name.replace("__", ":"): value for name, value in form.items()}
    return service.call("POST", f"/fhir/{kind}/_search", hospital=hospital, data=form)


def found(answer: Any, mode: str = "match") -> list[dict[str, Any]]:
    """The resources of a searchset, each valid as R4 has it."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fhir+json"
    told = answer.json()
    Bundle.model_validate(told)
    assert told.get("entry") != []
    entries = [each for each in told.get("entry", []) if each["search"]["mode"] == mode]
    for each in entries:
        MODELS[each["resource"]["resourceType"]].model_validate(each["resource"])
        assert "fullUrl" in each or mode == "outcome"
    return [each["resource"] for each in entries]


def ids(answer: Any) -> list[str]:
    return [each["id"] for each in found(answer)]


def issue(answer: Any) -> tuple[int, str]:
    """The status and our own code of a refusal."""
    told = answer.json()
    OperationOutcome.model_validate(told)
    assert answer.headers["content-type"] == "application/fhir+json"
    return answer.status_code, told["issue"][0]["details"]["coding"][0]["code"]


@contextmanager
def open_ward(database_url: str, services: Services, folder: Path) -> Iterator[Ward]:
    """Make the ward on an empty catalogue; its keys go to the folder."""
    made: list[City] = []
    catalogue = open_catalogue(database_url, folder, lambda: made[0].now)
    made.append(City(catalogue))
    key = open_token_key(folder / "token.pem")
    served = serving(catalogue, services)
    app = create_app(served, key, ExchangeSettings(check_seconds=20), Health({}, {}))
    with TestClient(app, raise_server_exceptions=False) as client:
        for code in ("A", "B", "C"):
            made[0].hospital(code)
        ward = Ward(client, made[0], key)
        her_results(ward.city)
        ward.city.study("A", 4)
        his = take(ward.city, "A", LABORATORY, number="L-4", **of_person(4))
        with transaction(catalogue.engine) as session:
            read = "select id::text from {} where {} = (select max(person_id) from study)"
            ward.man = {
                "Patient": session.scalars(text("select max(person_id)::text from study")).one(),
                "ImagingStudy": session.scalars(text(read.format("study", "person_id"))).one(),
                "DiagnosticReport": str(his.report_id),
                "Observation": session.scalars(
                    text(read.format("result", "person_id") + " and study_id is null")
                ).one(),
            }
        ask_about(ward)
        (ward.patient,) = ids(search(ward, "Patient", identifier=HER))
        ward.ids = {kind: ids(search(ward, kind, patient=ward.patient)) for kind in KINDS}
        yield ward
    served.engine.dispose()
    catalogue.engine.dispose()
