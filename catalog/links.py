"""Claims as they are kept, and the links of studies to people that follow from them (catalog.linking)."""

from collections.abc import Iterable
from typing import Final, Literal

from sqlalchemy import ColumnElement, delete, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import groups, settling
from catalog.context import Catalogue
from catalog.identity import Demographics, conflicts
from catalog.linking import Claim, Link, alias_states, resolve
from catalog.scope import books
from catalog.tables import Alias, IdentityHold, Person, Result, Study
from catalog.tables_people import StudyClaim

Kind = Literal["PatientID", "AccessionNumber"]
Source = Literal["registration", "header", "report", "curator"]
_IN_PASSING: Final = ("header", "report")
AliasKey = tuple[int, str, str]
_OF_SEVERAL: Final = "accession_number_of_several_patients"


def lock_numbers(session: Session, hospital_id: int, **numbers: str) -> frozenset[int]:
    """Let one transaction at a time work on these numbers of a hospital, `PatientID` or `AccessionNumber`.

    Whoever claims a number and whoever sends a study under it come one after the other, so that neither misses
    the other. Returns who claims them so far.
    """
    given = sorted((kind, number) for kind, number in numbers.items() if number)
    if not given:
        return frozenset()
    keys = [f"{hospital_id}:{kind}:{number}" for kind, number in given]
    session.execute(select(*(func.pg_advisory_xact_lock(func.hashtextextended(key, 1)) for key in keys)))
    query = select(Alias.person_id).where(
        Alias.hospital_id == hospital_id, tuple_(Alias.kind, Alias.number).in_(given)
    )
    return frozenset(session.scalars(query))


def claim_number(
    session: Session, key: AliasKey, person_id: int, reasons: tuple[str, ...], source: Source
) -> bool:
    """Keep that a hospital's number is said to be a person's, and say whether that is news.

    The caller holds the number (`lock_numbers`).
    What a hospital registers outweighs a header or a report: one may be right where another is wrong, while a
    registration that contradicts what is known stays in doubt until a curator has ruled.
    """
    hospital_id, kind, number = key
    row = {"hospital_id": hospital_id, "kind": kind, "number": number, "person_id": person_id}
    statement = insert(Alias).values(**row, state="doubtful", source=source, reasons=list(reasons))
    made = session.execute(statement.on_conflict_do_nothing().returning(Alias.id)).scalar_one_or_none()
    if made is not None:
        return True
    alias = session.scalars(select(Alias).filter_by(**row).execution_options(populate_existing=True)).one()
    before = alias.source, alias.reasons
    if source not in _IN_PASSING and alias.source in _IN_PASSING:
        alias.source, alias.reasons = source, list(reasons)
    elif source in _IN_PASSING and alias.source in _IN_PASSING:
        alias.reasons = alias.reasons if reasons else []
    elif source not in _IN_PASSING:
        alias.reasons = sorted({*alias.reasons, *reasons})
    return (alias.source, alias.reasons) != before


@books
def claim_study(
    session: Session, study: Study, person_id: int, reasons: tuple[str, ...], source: Source
) -> None:
    """Keep that one study is said to be a person's; another contradiction is added to those known."""
    row = {"study_id": study.id, "person_id": person_id, "source": source, "reasons": list(reasons)}
    session.execute(insert(StudyClaim).values(row).on_conflict_do_nothing())
    claim = session.get_one(StudyClaim, (study.id, person_id))
    if not set(reasons) <= set(claim.reasons):
        claim.reasons = sorted({*claim.reasons, *reasons})


def studies_under(session: Session, key: AliasKey) -> list[Study]:
    """Return the studies that carry a hospital's number."""
    hospital_id, kind, number = key
    column = Study.patient_id if kind == "PatientID" else Study.accession_number
    query = select(Study).where(Study.hospital_id == hospital_id, column == number).order_by(Study.id)
    return list(session.scalars(query.with_for_update()))


def studies_claimed_for(session: Session, person_ids: Iterable[int]) -> list[Study]:
    """Return every study that is claimed for one of these people, by itself or by a number it carries."""
    wanted = set(person_ids)
    own = select(StudyClaim.study_id).where(StudyClaim.person_id.in_(wanted))
    carried = select(Study.id).join(Alias, Alias.hospital_id == Study.hospital_id)
    carried = carried.where(Alias.person_id.in_(wanted), _carries())
    query = select(Study).where(or_(Study.id.in_(own), Study.id.in_(carried))).order_by(Study.id)
    return list(session.scalars(query.with_for_update()))


def keys_claimed_for(session: Session, person_ids: Iterable[int]) -> list[AliasKey]:
    """Return every number that is said to be of one of these people; studies need not carry it."""
    query = select(Alias.hospital_id, Alias.kind, Alias.number).where(Alias.person_id.in_(set(person_ids)))
    return list(session.execute(query.distinct()).tuples())


def is_claimed(session: Session, key: AliasKey) -> bool:
    """Say whether anybody is said to have this number."""
    return bool(_claims_on(session, key))


@books
def restate_numbers(session: Session, keys: Iterable[AliasKey]) -> None:
    """Bring the state of each number in line with the claims on it."""
    session.flush()
    for key in sorted(set(keys)):
        claims = _claims_on(session, key)
        of_each = _groups(people(session, (alias.person_id for alias in claims)))
        states = alias_states([_claim(alias) for alias in claims], of_each)
        for alias in claims:
            alias.state = states[alias.person_id]


@books
def relink(session: Session, catalogue: Catalogue, studies: Iterable[Study]) -> int:
    """Bring the link of each study in line with the claims on it; returns how many changed.

    The books of everybody concerned are settled.
    """
    session.flush()
    changed, touched = 0, set()
    for study in studies:
        before = study.person_id
        if _apply(session, study, _resolve(session, study)):
            changed += 1
            touched |= {before, study.person_id} - {None}
    for person_id in sorted(groups.lock(session, (each for each in touched if each is not None))):
        settling.settle(session, catalogue, person_id)
    return changed


def study_demographics(study: Study) -> Demographics:
    """Return what a study's own header says of its patient."""
    return Demographics(name=study.patient_name or None, birth_date=study.birth_date, sex=study.sex)


def demographics(person: Person) -> Demographics:
    """Return what is known of a person beside the number."""
    return Demographics(name=person.name or None, birth_date=person.birth_date, sex=person.sex)


def keys_of(study: Study) -> list[AliasKey]:
    """Return the hospital's numbers that a study carries."""
    carried: dict[Kind, str] = {"PatientID": study.patient_id, "AccessionNumber": study.accession_number}
    return [(study.hospital_id, kind, number) for kind, number in carried.items() if number]


def _resolve(session: Session, study: Study) -> Link:
    query = select(StudyClaim).where(StudyClaim.study_id == study.id)
    own = [_claim(claim) for claim in session.scalars(query)]
    numbers = [number_claims(session, key) for key in keys_of(study)]
    claimants = people(session, (claim.person_id for claims in (own, *numbers) for claim in claims))
    said = study_demographics(study)
    clashes = {person.id: conflicts(demographics(person), said, None) for person in claimants}
    return resolve(own, numbers, _groups(claimants), clashes)


def people(session: Session, person_ids: Iterable[int]) -> list[Person]:
    """Return these people as they are now, not as they were before the lock on them."""
    wanted = set(person_ids)
    if not wanted:
        return []
    query = select(Person).where(Person.id.in_(wanted)).order_by(Person.id)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def _groups(found: Iterable[Person]) -> dict[int, int]:
    return {person.id: person.group_id or person.id for person in found}


def number_claims(session: Session, key: AliasKey) -> list[Claim]:
    """Return the claims on a number; all are in doubt where it stands on studies of several patients."""
    claims = [_claim(alias) for alias in _claims_on(session, key)]
    hospital_id, kind, number = key
    if not claims or kind == "PatientID":
        return claims
    query = select(func.count(func.distinct(Study.patient_id))).where(
        Study.hospital_id == hospital_id, Study.accession_number == number
    )
    if (session.scalar(query) or 0) < 2:
        return claims
    return [Claim(claim.person_id, (*claim.reasons, _OF_SEVERAL), claim.ruling) for claim in claims]


def _apply(session: Session, study: Study, link: Link) -> bool:
    changed = (study.identity, study.person_id) != (link.identity, link.person_id)
    if not changed and not link.concerned:
        return False
    study.identity, study.person_id = link.identity, link.person_id
    session.flush()
    if changed:
        session.execute(update(Result).where(Result.study_id == study.id).values(person_id=link.person_id))
    session.execute(
        delete(IdentityHold).where(
            IdentityHold.study_id == study.id, IdentityHold.person_id.not_in(link.concerned)
        )
    )
    for person_id in sorted(link.concerned):
        row = {"person_id": person_id, "study_id": study.id, "reasons": list(link.reasons)}
        held = insert(IdentityHold).values(row)
        fresh = {"reasons": held.excluded.reasons}
        session.execute(held.on_conflict_do_update(index_elements=["person_id", "study_id"], set_=fresh))
    return changed


def _claims_on(session: Session, key: AliasKey) -> list[Alias]:
    hospital_id, kind, number = key
    query = select(Alias).where(Alias.hospital_id == hospital_id, Alias.kind == kind, Alias.number == number)
    return list(session.scalars(query.order_by(Alias.id)))


def _carries() -> ColumnElement[bool]:
    by_patient = (Alias.kind == "PatientID") & (Alias.number == Study.patient_id)
    return by_patient | ((Alias.kind == "AccessionNumber") & (Alias.number == Study.accession_number))


def _claim(row: Alias | StudyClaim) -> Claim:
    return Claim(row.person_id, tuple(row.reasons), row.ruling)  # type: ignore[arg-type]
