"""People: found by document, linked to hospitals' PatientIDs, held for a human where facts conflict."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import audit, ledger, report_identity
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.identity import Demographics, Document, conflicts, document_facts, normalise_name
from catalog.registry import hospital_by_code
from catalog.rules import local_day
from catalog.tables import Alias, IdentityHold, Person, Result, Study

LINKED: Final = "linked"
DOUBTFUL: Final = "doubtful"
UNLINKED: Final = "unlinked"


def find(session: Session, catalogue: Catalogue, document: Document) -> Person | None:
    """Return the person with this document, if known."""
    digest = catalogue.vault.digest(document.id_type, document.number)
    query = select(Person).where(Person.id_type == document.id_type, Person.number_hash == digest)
    return session.scalars(query).one_or_none()


def register(
    session: Session, catalogue: Catalogue, document: Document, given: Demographics
) -> tuple[Person, tuple[str, ...]]:
    """Return the person of `document`, made if new, and the conflicts of `given` with what is known.

    Fifty simultaneous calls make one person: the unique key decides, everyone reads the winner.
    """
    known = document_facts(document)
    clash = conflicts(known, given, document)
    told = known if clash else _complete(given, known)
    values = {
        "id_type": document.id_type,
        "number_hash": catalogue.vault.digest(document.id_type, document.number),
        "number_cipher": catalogue.vault.seal(document.id_type, document.number),
        "name": told.name or "",
        "birth_date": told.birth_date,
        "sex": told.sex or "unknown",
    }
    session.execute(insert(Person).values(values).on_conflict_do_nothing())
    person = find(session, catalogue, document)
    if person is None:
        raise LookupError("a person just inserted is not there")
    clash = conflicts(demographics(person), given, document)
    if not clash:
        _fill_gaps(person, given)
    return person, clash


def demographics(person: Person) -> Demographics:
    """Return what is known of a person beside the number."""
    return Demographics(name=person.name or None, birth_date=person.birth_date, sex=person.sex)


def lock(session: Session, person_ids: Iterable[int]) -> None:
    """Serialise what changes these people's results, decisions or money until the transaction ends."""
    query = select(Person.id).where(Person.id.in_(sorted(person_ids))).order_by(Person.id)
    session.execute(query.with_for_update(key_share=True))


def register_patient(
    catalogue: Catalogue, caller: Caller, document: Document, given: Demographics, patient_id: str
) -> dict[str, Any]:
    """Link a hospital's PatientID to the person of `document`; earlier studies become findable.

    Returns `state` (linked | doubtful), the `reasons` for doubt and how many studies changed.
    Raises InvalidInput for an empty PatientID, NotFound for a hospital that is not registered.
    """
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, caller.hospital_code)
        link = link_patient(session, catalogue, hospital.id, patient_id, document, given)
        audit.record(
            session,
            caller,
            "patient.register",
            hospital_id=hospital.id,
            person_id=link.person.id,
            state=link.state,
            reasons=list(link.reasons),
        )
        return {"state": link.state, "reasons": list(link.reasons), "studies_changed": link.studies_changed}


@dataclass(frozen=True, slots=True)
class PatientLink:
    """What became of a hospital's PatientID: the person it was claimed for, and whether that is certain."""

    person: Person
    state: str
    reasons: tuple[str, ...]
    studies_changed: int


def link_patient(
    session: Session,
    catalogue: Catalogue,
    hospital_id: int,
    patient_id: str,
    document: Document,
    given: Demographics,
) -> PatientLink:
    """Link a PatientID to the person of `document` within the caller's transaction, with all that waits for it.

    Raises InvalidInput for a PatientID that is empty or longer than 64 characters.
    """
    patient_id = patient_id.strip()
    if not patient_id or len(patient_id) > 64:
        raise InvalidInput(
            "患者编号须为 1 到 64 个字符", "PatientID takes 1 to 64 characters", field="patient_id"
        )
    person, clash = register(session, catalogue, document, given)
    alias = _claim_alias(session, hospital_id, patient_id, person, clash)
    lock(session, {person.id, alias.person_id})
    changed = _relink_alias(session, catalogue, alias, person, clash)
    reasons = clash if alias.person_id == person.id else ("alias_of_another_person",)
    return PatientLink(person, alias.state, reasons, changed)


def link_study(
    session: Session, catalogue: Catalogue, study: Study, national_id: str | None, given: Demographics
) -> None:
    """Link a study to its person by the national ID it carries or by its hospital's alias, or hold it."""
    alias = session.get(Alias, (study.hospital_id, study.patient_id)) if study.patient_id else None
    if national_id is not None:
        person, clash = register(session, catalogue, Document("01", national_id), given)
        if study.patient_id:
            alias = _claim_alias(session, study.hospital_id, study.patient_id, person, clash)
        _settle_link(session, catalogue, study, person, alias, clash)
    elif alias is not None:
        person = session.get_one(Person, alias.person_id)
        _settle_link(session, catalogue, study, person, alias, conflicts(demographics(person), given, None))


def link_study_to(session: Session, catalogue: Catalogue, study: Study, person: Person) -> None:
    """Link an unlinked study to the person its report is about, or hold it where they contradict each other."""
    alias = session.get(Alias, (study.hospital_id, study.patient_id)) if study.patient_id else None
    clash = conflicts(demographics(person), study_demographics(study), None)
    _settle_link(session, catalogue, study, person, alias, clash)


def held(session: Session, person_id: int) -> bool:
    """Say whether something of this person waits for a human."""
    query = select(IdentityHold.study_id).where(
        IdentityHold.person_id == person_id, IdentityHold.state == "open"
    )
    waits = session.scalars(query.limit(1)).first() is not None
    doubt = select(Alias.patient_id).where(Alias.person_id == person_id, Alias.state == DOUBTFUL)
    doubted = session.scalars(doubt.limit(1)).first() is not None
    return waits or doubted or report_identity.held(session, person_id)


def study_demographics(study: Study) -> Demographics:
    """Return what a study's own header says of its patient."""
    return Demographics(name=study.patient_name or None, birth_date=study.birth_date, sex=study.sex)


def _settle_link(
    session: Session,
    catalogue: Catalogue,
    study: Study,
    person: Person,
    alias: Alias | None,
    clash: tuple[str, ...],
) -> None:
    lock(session, {person.id} | ({alias.person_id} if alias else set()))
    if alias is not None and alias.person_id != person.id:
        _hold_alias(session, catalogue, alias, person, ("alias_of_another_person",))
        _hold(session, study, {person.id, alias.person_id}, ("alias_of_another_person",))
    elif clash or (alias is not None and alias.state == DOUBTFUL):
        _hold(session, study, {person.id}, clash or ("alias_doubtful",))
    else:
        _link(session, study, person)
        if alias is not None:
            report_identity.follow_alias(session, alias, demographics(person))
    ledger.settle(session, catalogue, person.id)


def _link(session: Session, study: Study, person: Person) -> None:
    study.person_id, study.identity = person.id, LINKED
    session.flush()
    session.execute(update(Result).where(Result.study_id == study.id).values(person_id=person.id))


def _hold(session: Session, study: Study, person_ids: set[int], reasons: tuple[str, ...]) -> None:
    study.person_id, study.identity = None, DOUBTFUL
    session.flush()
    session.execute(update(Result).where(Result.study_id == study.id).values(person_id=None))
    for person_id in sorted(person_ids):
        row = {"person_id": person_id, "study_id": study.id, "reasons": list(reasons)}
        session.execute(insert(IdentityHold).values(row).on_conflict_do_nothing())


def _claim_alias(
    session: Session, hospital_id: int, patient_id: str, person: Person, clash: tuple[str, ...]
) -> Alias:
    """Return the alias of this PatientID, made for `person` if it is new."""
    row = {
        "hospital_id": hospital_id,
        "patient_id": patient_id,
        "person_id": person.id,
        "state": DOUBTFUL if clash else LINKED,
    }
    session.execute(insert(Alias).values(row).on_conflict_do_nothing())
    query = select(Alias).where(Alias.hospital_id == hospital_id, Alias.patient_id == patient_id)
    return session.scalars(query.with_for_update().execution_options(populate_existing=True)).one()


def _relink_alias(
    session: Session, catalogue: Catalogue, alias: Alias, person: Person, clash: tuple[str, ...]
) -> int:
    """Bring every study of the alias in line with it; returns how many changed."""
    if alias.person_id != person.id:
        return _hold_alias(session, catalogue, alias, person, ("alias_of_another_person",))
    if clash or alias.state == DOUBTFUL:
        return _hold_alias(session, catalogue, alias, person, clash or ("alias_doubtful",))
    waiting = [study for study in _studies_of(session, alias) if study.identity == UNLINKED]
    for study in waiting:
        own = conflicts(demographics(person), study_demographics(study), None)
        if own:
            _hold(session, study, {person.id}, own)
        else:
            _link(session, study, person)
    report_identity.follow_alias(session, alias, demographics(person))
    ledger.settle(session, catalogue, person.id)
    return len(waiting)


def _hold_alias(
    session: Session, catalogue: Catalogue, alias: Alias, claimant: Person, reasons: tuple[str, ...]
) -> int:
    """Hold a PatientID that two people claim, or that contradicts its person, with all its studies."""
    alias.state = DOUBTFUL
    concerned = {alias.person_id, claimant.id}
    studies = _studies_of(session, alias)
    for study in studies:
        _hold(session, study, concerned, reasons)
    report_identity.hold_alias(session, alias, claimant.id, reasons)
    for person_id in sorted(concerned):
        ledger.settle(session, catalogue, person_id)
    return len(studies)


def _studies_of(session: Session, alias: Alias) -> list[Study]:
    query = select(Study).where(Study.hospital_id == alias.hospital_id, Study.patient_id == alias.patient_id)
    return list(session.scalars(query.with_for_update()))


def _complete(given: Demographics, known: Demographics) -> Demographics:
    sex = given.sex if given.sex in ("male", "female", "other") else known.sex
    return Demographics(name=given.name, birth_date=given.birth_date or known.birth_date, sex=sex)


def _fill_gaps(person: Person, given: Demographics) -> None:
    """Learn what was missing: a name in characters replaces one in pinyin, a date or sex fills a blank."""
    if given.name and (not person.name or _better_name(person.name, given.name)):
        person.name = given.name
    person.birth_date = person.birth_date or given.birth_date
    if person.sex == "unknown" and given.sex:
        person.sex = given.sex


def _better_name(known: str, given: str) -> bool:
    return not normalise_name(known).ideographic and bool(normalise_name(given).ideographic)


def today_of(catalogue: Catalogue) -> date:
    """Return the calendar day in the hospitals' zone."""
    return local_day(catalogue.clock())
