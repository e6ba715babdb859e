"""The two look-ups of every check, each one statement: who is asked about, and what he had done before.

They are written out in SQL and read into plain values: a check is answered while a finger is on the button.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from catalog import db
from catalog.identity import Demographics, Sex

_ASKED_ABOUT: Final = "select * from asked_about(%(id_type)s, cast(%(digests)s as bytea[]))"
DONE_BEFORE: Final = """
    select result.id, result.study_id, result.hospital_id, result.item_code, result.laterality, result.body_part,
           result.exam_time, result.status, study.uid, study.description, study.patient_name, study.modalities,
           study.series_count, study.instance_count, study.images_complete, study.settles_at, study.quality_flagged,
           study.count_short, study.uid_conflict, study.withdrawn
    from result left join study on study.id = result.study_id
    where result.person_id = any(%(people)s::bigint[]) and result.item_code = any(%(items)s::text[])
      and result.status in ('active', 'withdrawn')
"""


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


def asked_about(session: Session, id_type: str, digests: Sequence[bytes]) -> tuple[uuid.UUID, Known | None]:
    """Return the stamp of the registry and the person whose number has one of these hashes, if known.

    One statement, so the stamp is as old as what is known of the person, and older than what is read afterwards; it
    opens the person to the rest of the transaction (catalog.scope).
    """
    (row,) = db.rows(session, _ASKED_ABOUT, {"id_type": id_type, "digests": list(digests)})
    stamp, person_id, name, birth_date, sex, everybody, opted_out, held = row
    if person_id is None:
        return stamp, None
    return stamp, Known(person_id, name, birth_date, sex, tuple(everybody), opted_out, held)


def done_before(session: Session, people: Collection[int], items: Collection[str]) -> list[Done]:
    """Return what these people had done of these items, whenever it was."""
    found = db.rows(session, DONE_BEFORE, {"people": list(people), "items": list(items)})
    return [_done(*row) for row in found]


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
