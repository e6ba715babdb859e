"""Who is meant: the ways a caller names a person, each a look-up of one statement that finds him or nobody."""

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import people, sealed_numbers
from catalog.context import Catalogue
from catalog.identity import Document
from catalog.scope import owner_of
from catalog.tables import Alias

Whose = Callable[[Session, Catalogue, int], int | None]  # the last is the asking hospital


def person(person_id: int) -> Whose:
    """Name a person by the catalogue's own number."""
    return lambda session, _, __: owner_of(session, "person", person_id)


def holder(document: Document) -> Whose:
    """Name a person by an identity document."""

    def find(session: Session, catalogue: Catalogue, _: int) -> int | None:
        found = people.find(session, catalogue, document)
        return found.id if found else None

    return find


def patient(number: str) -> Whose:
    """Name a person by a PatientID of the asking hospital that is linked beyond doubt."""

    def find(session: Session, catalogue: Catalogue, hospital_id: int) -> int | None:
        if "\x00" in number:  # no column holds it
            return None
        kept = sealed_numbers.as_kept(session, catalogue, hospital_id, number)
        linked = select(Alias.person_id).where(
            Alias.hospital_id == hospital_id,
            Alias.kind == "PatientID",
            Alias.number == kept,
            Alias.state == people.LINKED,
        )
        found = session.scalars(linked.limit(2)).all()
        return found[0] if len(found) == 1 else None

    return find


def of_study(study_id: int) -> Whose:
    """Name the person of a study."""
    return lambda session, _, __: owner_of(session, "study", study_id)


def of_study_uid(uid: str) -> Whose:
    """Name the person of a study by its Study Instance UID."""
    return lambda session, _, __: owner_of(session, "uid", uid)


def of_result(result_id: int) -> Whose:
    """Name the person of a result."""
    return lambda session, _, __: owner_of(session, "result", result_id)


def of_report(report_id: int) -> Whose:
    """Name the person of a report: its study's, where it has one."""
    return lambda session, _, __: owner_of(session, "report", report_id)


def nobody(_session: Session, _catalogue: Catalogue, _hospital_id: int) -> None:
    """Name nobody, as a number does that cannot be anybody's."""
