"""Reports for tests: as a channel would bring them, of invented people."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from catalog import registry, reports
from catalog.context import Caller
from catalog.db import transaction
from catalog.identity import Demographics, Document
from catalog.records import ReportStatus
from catalog.report_records import LOINC, Coding, LabValue, ReportMessage
from catalog.reports import Taken
from catalog.tables_people import Notice
from catalog.tables_reports import ReportVersion
from tests.city import START, City, id_number

IMAGING = ReportMessage(
    number="R-1",
    category="imaging",
    status=ReportStatus.FINAL,
    reported_at=START - timedelta(days=6),
    source="fhir",
    title="胸部CT平扫",
    findings="双肺纹理清晰。",
    conclusion="未见明显异常。",
    author="王医生",
)
POTASSIUM = LabValue(
    key="2823-3",
    codings=(Coding(LOINC, "2823-3", "钾"),),
    value="4.1",
    unit="mmol/L",
    reference_range="3.5-5.3",
    method="离子选择电极法",
    status=ReportStatus.FINAL,
    observed_at=START - timedelta(days=2),
)
LABORATORY = ReportMessage(
    number="L-1",
    category="laboratory",
    status=ReportStatus.FINAL,
    reported_at=START - timedelta(days=2),
    source="hl7",
    title="电解质",
    values=(POTASSIUM,),
)


def document(person: int = 2) -> Document:
    """The identity card of an invented person."""
    return Document("01", id_number(person))


def take(city: City, hospital: str, message: ReportMessage, **changes: Any) -> Taken:
    """Bring a report from a hospital, in a transaction of its own."""
    with transaction(city.catalogue.engine) as session:
        row = registry.hospital_by_code(session, hospital)
        caller = Caller("test channel", "hospital_system", hospital)
        return reports.take(session, city.catalogue, caller, row, replace(message, **changes))


def of_person(person: int = 2, **given: Any) -> dict[str, Any]:
    """Who a report is about, as fields of a message."""
    return {"document": document(person), "demographics": Demographics(**given)}


def evaluate_laboratory(city: City, hospital: str) -> None:
    """Let a hospital carry the HR mark of the municipality for every laboratory item."""
    with transaction(city.catalogue.engine) as session:
        registry.add_evaluation(
            session,
            city.catalogue.items,
            hospital_code=hospital,
            item=None,
            group="laboratory",
            scope="50",
            valid_from=date(2025, 1, 1),
            valid_to=date(2027, 12, 31),
        )


def versions(city: City) -> list[tuple[str, datetime]]:
    """Every kept version."""
    with transaction(city.catalogue.engine) as session:
        query = select(ReportVersion.status, ReportVersion.reported_at).order_by(ReportVersion.id)
        return [(status, at) for status, at in session.execute(query)]


def notices(city: City) -> list[str]:
    """The kinds of all news."""
    with transaction(city.catalogue.engine) as session:
        return list(session.scalars(select(Notice.kind).order_by(Notice.id)))


def count(city: City, table: Any) -> int:
    """How many rows a table has."""
    with transaction(city.catalogue.engine) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0
