"""A small invented city for tests: hospitals, people, and studies as the shipper would register them."""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, make_url

from catalog import decisions, people, recognition, registry, studies
from catalog.context import Caller, Catalogue
from catalog.db import open_engine, transaction
from catalog.embedded import Services
from catalog.identity import Demographics, Document, check_digit
from catalog.items import load_item_list
from catalog.orders import OrderRequest
from catalog.reasons import load_reasons
from catalog.records import InstanceRecord, PackRecord, StudyHeader
from catalog.reference import load_reference_data
from catalog.schema import migrate
from catalog.vault import open_vault

START = datetime(2026, 6, 30, 4, 0, tzinfo=UTC)  # noon in Shanghai


def id_number(sequence: int, born: date = date(1980, 5, 17)) -> str:
    """Return a valid number of nobody: the region 999999 does not exist; odd sequences are male."""
    body = f"999999{born:%Y%m%d}{sequence:03d}"
    return body + check_digit(body)


def prepare(engine: Engine) -> None:
    """Give an empty database the newest schema and the reference data."""
    migrate(engine)
    with transaction(engine) as session:
        load_reference_data(session)


def open_catalogue(database_url: str, keys: Path, clock: Callable[[], datetime]) -> Catalogue:
    """Return the catalogue of a database that has the newest schema and the reference data."""
    return Catalogue(
        engine=open_engine(database_url),
        vault=open_vault(keys / "identity.json"),
        items=load_item_list(),
        override_reasons=load_reasons(),
        clock=clock,
    )


def as_role(database_url: str, role_url: str) -> str:
    """Return the address of a database for the user of another address."""
    role = make_url(role_url)
    address = make_url(database_url).set(username=role.username, password=role.password)
    return address.render_as_string(hide_password=False)


def serving(catalogue: Catalogue, services: Services) -> Catalogue:
    """Return the catalogue as the HTTP service has it: under its own role of the database."""
    address = catalogue.engine.url.render_as_string(hide_password=False)
    return replace(catalogue, engine=open_engine(as_role(address, services.api_url)))


@dataclass
class City:
    """Acts on a catalogue the way hospitals and doctors do, at a time the test sets."""

    catalogue: Catalogue
    now: datetime = START
    count: int = 0
    header: StudyHeader = field(default_factory=lambda: HEADER)
    doctors: dict[str, Caller] = field(default_factory=dict)

    def hospital(self, code: str, *, tier: int = 3, region: str = "500103", marked: bool = True) -> Caller:
        """Register a hospital, evaluated for all imaging in the city, and return its doctor."""
        with transaction(self.catalogue.engine) as session:
            registry.add_hospital(
                session, code=code, name=f"{code}医院", tier=tier, region=region, ae_titles=[f"{code}_PACS"]
            )
            if marked:
                registry.add_evaluation(
                    session,
                    self.catalogue.items,
                    hospital_code=code,
                    item=None,
                    group="imaging",
                    scope="50",
                    valid_from=date(2025, 1, 1),
                    valid_to=date(2027, 12, 31),
                )
        return Caller(f"dr.{code}", "doctor", code)

    def study(self, hospital: str, person: int | None = 2, *, days_ago: float = 7, **header: Any) -> str:
        """Register one study with a single instance and return its UID."""
        self.count += 1
        uid = header.pop("StudyInstanceUID", f"2.25.{1000 + self.count}")
        told = replace(
            self.header,
            StudyInstanceUID=uid,
            exam_time=self.now - timedelta(days=days_ago),
            PatientID=header.pop("PatientID", f"{hospital}-{person}"),
            identifiers=(id_number(person),) if person is not None else (),
            PatientSex="M" if person is not None and person % 2 else "F",
        )
        record = pack_of(hospital, replace(told, **header), self.count, self.now)
        known = studies.known_study(self.catalogue, uid)
        studies.register_pack(self.catalogue, record, expected_revision=known.revision if known else 0)
        return uid

    def check(
        self, doctor: Caller, orders: list[dict[str, Any]], person: int = 2, **more: Any
    ) -> dict[str, Any]:
        """Ask before ordering."""
        request = recognition.CheckRequest(
            document=Document("01", id_number(person)),
            demographics=more.pop("demographics", Demographics()),
            orders=tuple(OrderRequest(**order) for order in orders),
            **more,
        )
        return recognition.check(self.catalogue, doctor, request)

    def decide(
        self, doctor: Caller, check: dict[str, Any], order: str, action: str, **more: Any
    ) -> dict[str, Any]:
        """Decide on an order, by default on its first candidate and with a fresh Idempotency-Key."""
        self.count += 1
        key = more.pop("key", f"key-{self.count}")
        answer = next(o for o in check["orders"] if o["order_id"] == order)
        if action == "recognise":
            more.setdefault("result_id", answer["candidates"][0]["result_id"])
        request = decisions.DecisionRequest(order_number=order, action=action, **more)  # type: ignore[arg-type]
        return decisions.decide(
            self.catalogue, doctor, uuid.UUID(check["check_id"]), request, idempotency_key=key
        )

    def link(self, doctor: Caller, patient_id: str, person: int, **given: Any) -> dict[str, Any]:
        """Register a PatientID of the doctor's hospital for a person."""
        document = Document("01", id_number(person))
        return people.register_patient(self.catalogue, doctor, document, Demographics(**given), patient_id)


def environment_of_commands(database_url: str, folder: Path, now: datetime) -> dict[str, str]:
    """Return the environment in which a command works on this database, with the keys of `folder`, at that time."""
    clock = folder / "clock"
    clock.write_text(now.isoformat())
    return {
        "HUREN_DATABASE_URL": database_url,
        "HUREN_KEYS_DIR": str(folder),
        "HUREN_ENV": "test",
        "HUREN_TEST_CLOCK_FILE": str(clock),
        "HUREN_DATA_DIR": str(folder),
    }


def pack_of(hospital: str, header: StudyHeader, number: int, received: datetime) -> PackRecord:
    """Return the record of a pack with one instance."""
    digest = hashlib.sha256(f"{hospital}{number}{header.StudyInstanceUID}".encode()).hexdigest()
    instance = InstanceRecord(
        SOPInstanceUID=f"{header.StudyInstanceUID}.{number}",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
        SeriesInstanceUID=f"{header.StudyInstanceUID}.0",
        TransferSyntaxUID="1.2.840.10008.1.2.1",
        offset=1024,
        size_bytes=2048,
        dataset_offset=1500,
        dataset_size_bytes=1572,
        sha256=digest,
    )
    return PackRecord(
        key=f"packs/{digest[:2]}/{digest}.tar",
        sidecar_key=f"packs/{digest[:2]}/{digest}.json.gz",
        sha256=digest,
        size_bytes=4096,
        hospital_code=hospital,
        calling_ae=f"{hospital}_PACS",
        received_at=received,
        header=header,
        instances=(instance,),
    )


HEADER = StudyHeader(
    StudyInstanceUID="2.25.1",
    PatientID="A0001",
    PatientName="林^晓渝",
    name_rule="declared",
    PatientBirthDate=date(1980, 5, 17),
    PatientSex="F",
    AccessionNumber="",
    exam_time=START,
    exam_time_source="AcquisitionDate",
    identifiers=(),
    modalities=("CT",),
    BodyPartExamined="CHEST",
    Laterality="",
    ContrastBolusAgent="",
    StudyDescription="胸部CT平扫",
    RequestedProcedureDescription="",
    series_descriptions=(),
    protocol_names=(),
    view_positions=(),
    Manufacturer="",
    SpecificCharacterSet="GB18030",
)


def contradict(city: City, uid: str) -> None:
    """Register an instance that has the UID of one of the study's and other bytes."""
    city.count += 1
    record = pack_of("A", replace(HEADER, StudyInstanceUID=uid), city.count, city.now)
    told = studies.Contradiction(record.instances[0].SOPInstanceUID, "b" * 64, "a" * 64, "other_bytes")
    studies.register_conflicts(city.catalogue, record, [told])
