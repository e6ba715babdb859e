"""People: found by document, linked to hospitals' PatientIDs, held for a human where facts conflict."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import audit, groups, keyring, links, report_identity, scope, sealed_numbers
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.identity import (
    NATIONAL_ID,
    Demographics,
    Document,
    conflicts,
    document_facts,
    is_placeholder,
    normalise_name,
)
from catalog.linking import DOUBTFUL, LINKED, SEVERAL, UNLINKED
from catalog.links import demographics
from catalog.registry import hospital_by_code
from catalog.rules import local_day
from catalog.tables import Alias, Person, Study

__all__ = ["DOUBTFUL", "LINKED", "UNLINKED", "demographics"]
_LONGEST_NUMBER: Final = 64


def find(session: Session, catalogue: Catalogue, document: Document) -> Person | None:
    """Return the person with this document, if known, under whichever key the number was hashed."""
    digests = catalogue.vault.digests(document.id_type, document.number)
    person_id = scope.open_number(session, document.id_type, digests)
    return None if person_id is None else session.get_one(Person, person_id)


def choose(catalogue: Catalogue, documents: Sequence[Document], *, whole: bool) -> Document | None:
    """Return the document to look somebody up by: of several the first that is known.

    None without any, and where they are of different people: then it is not certain who is meant. Nor is it that
    nobody is known, where there were more that could not be read: the documents are not the `whole`.
    """
    if not documents or (whole and len(documents) == 1):
        return next(iter(documents), None)
    with transaction(catalogue.engine) as session:
        found = [(each, find(session, catalogue, each)) for each in documents]
        known = [(each, person.id) for each, person in found if person is not None]
        if not known:
            return documents[0] if whole else None
        first, person_id = known[0]
        return first if {each for _, each in known} <= groups.members(session, {person_id}) else None


def register(
    session: Session, catalogue: Catalogue, document: Document, given: Demographics
) -> tuple[Person, tuple[str, ...]]:
    """Return the person of `document`, made if new, and the conflicts of `given` with what is known.

    Fifty simultaneous calls make one person: the unique key decides, everyone reads the winner.
    """
    person = find(session, catalogue, document) or _make(session, catalogue, document, given)
    clash = conflicts(demographics(person), given, document)
    if not clash:
        _fill_gaps(person, given)
    return person, clash


def _make(session: Session, catalogue: Catalogue, document: Document, given: Demographics) -> Person:
    known = document_facts(document)
    told = known if conflicts(known, given, document) else _complete(given, known)
    keyring.share(session)
    values = {
        "id_type": document.id_type,
        "number_hash": catalogue.vault.digest(document.id_type, document.number),
        "number_cipher": catalogue.vault.seal(document.id_type, document.number),
        "name": told.name or "",
        "birth_date": told.birth_date,
        "sex": told.sex or "unknown",
    }
    # Without RETURNING: until its number is opened, the new row is not seen here either.
    session.execute(insert(Person.__table__).values(values).on_conflict_do_nothing().inline())  # type: ignore[arg-type]
    person = find(session, catalogue, document)
    if person is None:
        raise LookupError("a person just inserted is not there")
    return person


def lock(session: Session, person_ids: Iterable[int]) -> None:
    """Serialise what changes these people's results, decisions or money until the transaction ends."""
    groups.lock(session, person_ids)


def hold_still(
    session: Session, catalogue: Catalogue, hospital_id: int, document: Document | None, **numbers: str
) -> None:
    """Lock a hospital's numbers and everybody they may concern, before anything about them is read or written."""
    known = links.lock_numbers(session, hospital_id, **numbers)
    person = find(session, catalogue, document) if document else None
    groups.lock(session, known | ({person.id} if person else frozenset()))


def register_patient(
    catalogue: Catalogue, caller: Caller, document: Document, given: Demographics, patient_id: str
) -> dict[str, Any]:
    """Link a hospital's PatientID to the person of `document`; earlier studies become findable.

    Returns `state` (linked | doubtful), the `reasons` for doubt and how many studies changed.
    Raises InvalidInput for an empty PatientID, NotFound for a hospital that is not registered.
    """
    with transaction(catalogue.engine) as session:
        return link_number(session, catalogue, caller, document, given, kind="PatientID", number=patient_id)


def link_number(
    session: Session,
    catalogue: Catalogue,
    caller: Caller,
    document: Document,
    given: Demographics,
    *,
    kind: links.Kind,
    number: str,
    source: links.Source = "registration",
) -> dict[str, Any]:
    """Link a number of the caller's hospital to a person, in the caller's transaction; studies may come later.

    An AccessionNumber, as reports give it, links the study that carries it; one that stands on studies of
    several patients links none of them until a human has looked. Returns and raises as register_patient does.
    """
    number = number.strip()
    if not 0 < len(number) <= _LONGEST_NUMBER:
        raise InvalidInput("编号须为 1 到 64 个字符", f"{kind} takes 1 to 64 characters", field="patient_id")
    hospital = hospital_by_code(session, caller.hospital_code)
    if kind == "PatientID":
        number = sealed_numbers.keep(session, catalogue, hospital.id, number, document)
    hold_still(session, catalogue, hospital.id, document, **{kind: number})
    person, clash = register(session, catalogue, document, given)
    key = (hospital.id, kind, number)
    links.claim_number(session, key, person.id, clash, source)
    links.restate_numbers(session, [key])
    changed = links.relink(session, catalogue, links.studies_under(session, key))
    report_identity.relink(session, catalogue, report_identity.under(session, key))
    alias = session.get_one(Alias, (*key, person.id))
    reasons = list(clash) or ([] if alias.state == LINKED else alias.reasons or [SEVERAL])
    audit.record(
        session,
        caller,
        "patient.register",
        hospital_id=hospital.id,
        person_id=person.id,
        kind=kind,
        state=alias.state,
        reasons=reasons,
    )
    return {"state": alias.state, "reasons": reasons, "studies_changed": changed}


def link_study(
    session: Session, catalogue: Catalogue, study: Study, national_id: str | None, given: Demographics
) -> None:
    """Link a study to its person by the national ID it carries or by its hospital's numbers, or hold it."""
    concerned = [study]
    if national_id is not None:
        person, clash = register(session, catalogue, Document(NATIONAL_ID, national_id), given)
        links.claim_study(session, study, person.id, clash, "header")
        key = (study.hospital_id, "PatientID", study.patient_id)
        if study.patient_id and links.claim_number(session, key, person.id, clash, "header"):
            links.restate_numbers(session, [key])
            concerned = links.studies_under(session, key)
            report_identity.relink(session, catalogue, report_identity.under(session, key))
    links.relink(session, catalogue, _with_accession(session, study, concerned))


def _with_accession(session: Session, study: Study, studies: list[Study]) -> list[Study]:
    """Add the studies under the same accession number: this one may show that it is of several patients."""
    if not study.accession_number:
        return studies
    key = (study.hospital_id, "AccessionNumber", study.accession_number)
    under = links.studies_under(session, key) if links.is_claimed(session, key) else []
    return [*studies, *(each for each in under if each not in studies)]


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
    if is_placeholder(known):
        return not is_placeholder(given)
    return not normalise_name(known).ideographic and bool(normalise_name(given).ideographic)


def today_of(catalogue: Catalogue) -> date:
    """Return the calendar day in the hospitals' zone."""
    return local_day(catalogue.clock())
