"""The two look-ups of every check, each one message: who is asked about, and what he had done before, with its reports.

They are written out in SQL and read into plain values: a check is answered while a finger is on the button.
"""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from catalog import db
from catalog.identity import Demographics, Sex
from catalog.result_reports import Said
from catalog.steps import Rows, Statement

_ASKED_ABOUT: Final = "select * from asked_about(%(id_type)s, cast(%(digests)s as bytea[]))"
_DONE: Final = """
    select person_id, id, study_id, hospital_id, item_code, laterality, body_part, exam_time, status, uid, description,
           patient_name, modalities, series_count, instance_count, images_complete, settles_at, quality_flagged,
           count_short, uid_conflict, withdrawn, report_id, standing_number, version_count,
           version_id, version_status, reported_at, digest, received_at, title, conclusion, attachment_count, name,
           local_codes, loinc_codes, value, unit, reference_range, method, flag, value_status, observed_at
    from opened_result
    where person_id = any(
"""
_OF_PEOPLE: Final = "string_to_array(%(people)s, ',')::bigint[])"
# Of whom asked_about has opened, in the same transaction and before anything else.
_OF_ASKED: Final = "nullif(current_setting('huren.people', true), '')::bigint[])"
_OF_ITEMS: Final = "and item_code = any(string_to_array(%(items)s, ','))"
DONE_BEFORE: Final = f"{_DONE} {_OF_PEOPLE} {_OF_ITEMS}"
_DONE_OF_ASKED: Final = f"{_DONE} {_OF_ASKED} {_OF_ITEMS}"
_ONE_DONE: Final = f"{_DONE} {_OF_PEOPLE} and id = %(result)s"
_OF_RESULT: Final = 21  # columns, the person first, before those of what its report says


@dataclass(frozen=True, slots=True)
class Known:
    """A person as a check sees him, with everybody merged with him; `held`: something waits for a human."""

    id: int
    name: str = field(repr=False)
    birth_date: date | None = field(repr=False)
    sex: Sex
    everybody: tuple[int, ...]
    opted_out: bool
    held: bool

    @property
    def demographics(self) -> Demographics:
        """Return what confirms or contradicts the person."""
        return Demographics(name=self.name or None, birth_date=self.birth_date, sex=self.sex)


@dataclass(frozen=True, slots=True)
class Images:
    """The study of a result, as far as a check asks about it."""

    uid: str
    description: str
    patient_name: str = field(repr=False)
    modalities: list[str]
    series_count: int
    instance_count: int
    images_complete: bool
    settles_at: datetime | None
    quality_flagged: bool
    count_short: bool
    uid_conflict: bool
    withdrawn: bool


@dataclass(frozen=True, slots=True)
class Done:
    """A result, active or withdrawn, and its study if it has one."""

    id: int
    study_id: int | None
    hospital_id: int
    item_code: str
    laterality: str | None
    body_part: str | None
    exam_time: datetime
    status: str
    images: Images | None


def asking(id_type: str, digests: Iterable[bytes]) -> Statement:
    """Return the statement whose row `known` reads.

    One, so the stamp of the registry is as old as what is known of the person, and older than what is read afterwards;
    it opens the person to the rest of the transaction (catalog.scope).
    """
    # An array as PostgreSQL writes it: the driver takes its time for lists.
    listed = "{" + ",".join(f'"\\\\x{digest.hex()}"' for digest in digests) + "}"
    return Statement(_ASKED_ABOUT, {"id_type": id_type, "digests": listed})


def known(stamp: uuid.UUID, person_id: int | None, *of_person: Any) -> tuple[uuid.UUID, Known | None]:
    """Return the stamp of the registry and the person whose number has one of the hashes, if known."""
    if person_id is None:
        return stamp, None
    name, birth_date, sex, everybody, opted_out, held = of_person
    return stamp, Known(person_id, name, birth_date, sex, tuple(everybody), opted_out, held)


def asked_about(session: Session, id_type: str, digests: Iterable[bytes]) -> tuple[uuid.UUID, Known | None]:
    """Return what `asking` comes to in the session's transaction."""
    statement = asking(id_type, digests)
    (row,) = db.rows(session, statement.text, statement.values)
    return known(*row)


def done_before(people: Iterable[int], items: Iterable[str]) -> Statement:
    """Return the statement for what these people had done of these items, whenever it was, for `done`."""
    return Statement(DONE_BEFORE, {"people": ",".join(map(str, people)), "items": ",".join(items)})


def done_of_asked(items: Iterable[str]) -> Statement:
    """Return the same of whom `asking` has just opened, to go out with it."""
    return Statement(_DONE_OF_ASKED, {"items": ",".join(items)})


def one_done(people: Iterable[int], result_id: int) -> Statement:
    """Return the statement for one result, if it is of one of these people, for `done`."""
    return Statement(_ONE_DONE, {"people": ",".join(map(str, people)), "result": result_id})


def done(people: Collection[int], rows: Rows) -> list[tuple[Done, tuple[Said, ...]]]:
    """Return each result of these people with what its reports say. Raises LookupError for one that is somebody else's."""
    found: dict[int, tuple[Done, list[Said]]] = {}
    for person_id, *row in rows:
        if person_id not in people:
            raise LookupError("a result of another person was about to be shown")
        of_result, said = row[: _OF_RESULT - 1], row[_OF_RESULT - 1 :]
        if of_result[0] not in found:
            found[of_result[0]] = _done(*of_result), []
        if said[0] is not None:
            found[of_result[0]][1].append(Said.of(*said))
    return [(result, tuple(said)) for result, said in found.values()]


def _done(  # one parameter for each column of a result
    result_id: int,
    study_id: int | None,
    hospital_id: int,
    item_code: str,
    laterality: str | None,
    body_part: str | None,
    exam_time: datetime,
    status: str,
    *of_study: Any,
) -> Done:
    images = None if study_id is None else Images(*of_study)
    return Done(result_id, study_id, hospital_id, item_code, laterality, body_part, exam_time, status, images)
