"""The two look-ups of every check, each one message: who is asked about, and what he had done before, with its reports.

They are written out in SQL and read into plain values: a check is answered while a finger is on the button.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from psycopg import sql
from sqlalchemy.orm import Session

from catalog import db, result_reports, scope
from catalog.identity import Demographics, Sex
from catalog.result_reports import Said

_ASKED_ABOUT: Final = "select * from asked_about({}, cast({} as bytea[]))"
DONE_BEFORE: Final = f"""
    select result.id, result.study_id, result.hospital_id, result.item_code, result.laterality, result.body_part,
           result.exam_time, result.status, study.uid, study.description, study.patient_name, study.modalities,
           study.series_count, study.instance_count, study.images_complete, study.settles_at, study.quality_flagged,
           study.count_short, study.uid_conflict, study.withdrawn, said.*
    from result left join study on study.id = result.study_id
    left join lateral ({result_reports.SAID}) said on true
    where result.person_id = any(%(people)s::bigint[]) and result.item_code = any(%(items)s::text[])
      and result.status in ('active', 'withdrawn')
"""  # noqa: S608 (of constants)
_OF_RESULT: Final = 20  # columns, before those of what its report says


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


def asked_about(
    session: Session, id_type: str, digests: Sequence[bytes], *, begins: bool = False
) -> tuple[uuid.UUID, Known | None]:
    """Return the stamp of the registry and the person whose number has one of these hashes, if known.

    One statement, so the stamp is as old as what is known of the person, and older than what is read afterwards; it
    opens the person to the rest of the transaction (catalog.scope). `begins`: it is the first of its transaction, and
    goes out with its BEGIN.
    """
    if begins:
        (row,) = scope.first_rows(session, sql.SQL(_ASKED_ABOUT).format(id_type, list(digests)))
    else:
        asked = {"id_type": id_type, "digests": list(digests)}
        (row,) = db.rows(session, _ASKED_ABOUT.format("%(id_type)s", "%(digests)s"), asked)
    stamp, person_id, name, birth_date, sex, everybody, opted_out, held = row
    if person_id is None:
        return stamp, None
    return stamp, Known(person_id, name, birth_date, sex, tuple(everybody), opted_out, held)


def done_before(
    session: Session, people: Collection[int], items: Collection[str]
) -> list[tuple[Done, tuple[Said, ...]]]:
    """Return what these people had done of these items, whenever it was, each with what its reports say."""
    found: dict[int, tuple[Done, list[Said]]] = {}
    for row in db.rows(session, DONE_BEFORE, {"people": list(people), "items": list(items)}):
        if row[0] not in found:
            found[row[0]] = _done(*row[:_OF_RESULT]), []
        if row[_OF_RESULT] is not None:
            found[row[0]][1].append(Said.of(*row[_OF_RESULT:]))
    return [(done, tuple(said)) for done, said in found.values()]


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
