"""Studies as they are shown to whom their patient is open: a check, a stated purpose, an emergency (catalog.grants).

UIDs are no secret: of a study that is not the caller's to see he learns no more than of one that is not there. A
viewing is audited once for each study and caller, and again after VIEWING.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import audit, chart, sealed_numbers
from catalog.chart import Chart, Entry, Page, Question, Told
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import NotFound
from catalog.identity import Sex, display_name
from catalog.image_index import ShownPatient
from catalog.tables import Pack, Study
from catalog.tables_access import StudyViewing
from catalog.whose import Whose, of_study_uid

VIEWING: Final = timedelta(hours=1)
_MOST: Final = 1_000  # studies of one person

Counted = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class ShownStudy:
    """A study and its patient as they are told to who may see them."""

    id: int
    StudyInstanceUID: str
    exam_time: datetime
    accession_number: str = field(repr=False)
    hospital: str
    modalities: tuple[str, ...]
    description: str
    series_count: int
    instance_count: int
    patient_id: int
    patient_name: str = field(repr=False)
    birth_date: date | None = field(repr=False)
    sex: Sex

    @property
    def patient(self) -> ShownPatient:
        """Return what its images say of the patient."""
        return ShownPatient(self.patient_id, self.patient_name, self.accession_number)


@dataclass(frozen=True, slots=True)
class ViewedStudy:
    """A study that is being looked at, and its packs as (key, key of the sidecar), in the order they came."""

    shown: ShownStudy
    packs: tuple[tuple[str, str], ...]


def search(
    catalogue: Catalogue, caller: Caller, whose: tuple[Whose, ...], tell: Told, counted: Counted
) -> Page:
    """Return what `tell` makes of each study of the one person that all of `whose` name; audited.

    Its entries have a ShownStudy as `study`.
    """
    question = Question("imaging_study.search", whose, _studies, tell, counted, limit=_MOST)
    return chart.ask(catalogue, caller, question)


def view(catalogue: Catalogue, caller: Caller, StudyInstanceUID: str, counted: Counted) -> ViewedStudy:
    """Return a study to look at, if this caller may now; audited where a viewing begins with it.

    Raises NotFound where there is no such study for him.
    """
    with transaction(catalogue.engine) as session:
        opened, study = _opened(session, catalogue, caller, StudyInstanceUID, counted)
        packs = packs_of(session, study.id) if study else ()
        if opened is None or study is None or not packs:
            raise NotFound("没有该检查", "No such study", code="unknown_study")
        hospital_id, person_id = opened.asking.hospital_id, opened.person.id
        if _begins(session, hospital_id, caller.subject, study.id, opened.asking.now):
            audit.record(
                session,
                caller,
                "imaging_study.read",
                hospital_id=hospital_id,
                person_id=person_id,
                shown=[str(study.id)],
            )
        return ViewedStudy(study, packs)


def shown(
    session: Session, catalogue: Catalogue, caller: Caller, StudyInstanceUID: str, counted: Counted
) -> ShownStudy | None:
    """Return a study as it is told to a caller who may look at it now; what is made of it is for who asks to audit."""
    return _opened(session, catalogue, caller, StudyInstanceUID, counted)[1]


def _opened(
    session: Session, catalogue: Catalogue, caller: Caller, StudyInstanceUID: str, counted: Counted
) -> tuple[Chart | None, ShownStudy | None]:
    opened = chart.open_one(session, catalogue, caller, of_study_uid(StudyInstanceUID), counted)
    studies: list[ShownStudy] = [entry.told["study"] for entry in _studies(opened)] if opened else []
    return opened, next((each for each in studies if each.StudyInstanceUID == StudyInstanceUID), None)


def _studies(of: Chart) -> Iterable[Entry]:
    """Return the studies of a chart that may be looked at: one that its hospital withdrew, by that hospital alone."""
    for entry in chart.images(of):
        study = of.asking.session.get_one(Study, entry.id)
        if study.withdrawn and study.hospital_id != of.asking.hospital_id:
            continue
        accession = "" if sealed_numbers.is_document(study.accession_number) else study.accession_number
        shown = ShownStudy(
            id=study.id,
            StudyInstanceUID=study.uid,
            exam_time=study.exam_time,
            accession_number=accession,
            hospital=entry.told["results"][0]["hospital"]["name"],
            modalities=tuple(study.modalities),
            description=study.description,
            series_count=study.series_count,
            instance_count=study.instance_count,
            patient_id=of.id,
            patient_name=display_name(of.person.name or study.patient_name),
            birth_date=of.person.birth_date,
            sex=of.person.sex,
        )
        yield Entry(entry.id, entry.at, {"study": shown})


def packs_of(session: Session, study_id: int) -> tuple[tuple[str, str], ...]:
    """Return the packs of a study as (key, key of the sidecar), in the order they came."""
    query = select(Pack.key, Pack.sidecar_key).where(Pack.study_id == study_id, Pack.role == "archive")
    return tuple((key, sidecar_key) for key, sidecar_key in session.execute(query.order_by(Pack.id)).tuples())


def _begins(session: Session, hospital_id: int, subject: str, study_id: int, now: datetime) -> bool:
    """Remember that somebody looks at a study; say whether a viewing begins with it."""
    added = insert(StudyViewing).values(
        hospital_id=hospital_id, subject=subject, study_id=study_id, begun_at=now
    )
    begun = added.on_conflict_do_update(
        index_elements=[StudyViewing.hospital_id, StudyViewing.subject, StudyViewing.study_id],
        set_={"begun_at": now},
        where=StudyViewing.begun_at <= now - VIEWING,
    ).returning(StudyViewing.study_id)
    return session.scalar(begun) is not None
