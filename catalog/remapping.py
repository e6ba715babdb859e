"""Mapping again what came before: after new rules, a new list, a hospital's table or a curator's answer.

A job goes through every study in the order they came and remembers how far it is, so that one that was
interrupted goes on; going through twice changes nothing more.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import results, studies
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.items import ItemList
from catalog.tables import Study
from catalog.tables_items import RemapJob

BATCH: Final = 200

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Remapped:
    """What a job has done so far; `resumed` where an interrupted one went on."""

    job_id: int
    studies: int
    changed: int
    resumed: bool


def remap(catalogue: Catalogue, *, on_progress: Progress = lambda _done, _all: None) -> Remapped:
    """Map every study again, going on with a job that was interrupted; new ones are mapped as they come.

    Raises DatabaseDown; what was done until then stays done.
    """
    job_id, cursor, last, resumed = _job(catalogue)
    while True:
        with transaction(catalogue.engine) as session:
            ids, stale = _stale(session, catalogue, cursor, last)
            total = session.scalar(select(func.count()).where(Study.id <= last)) or 0
        if not ids:
            return _finish(catalogue, job_id, resumed=resumed)
        changed = remap_studies(catalogue, stale)
        with transaction(catalogue.engine) as session:
            session.execute(
                update(RemapJob)
                .where(RemapJob.id == job_id, RemapJob.cursor == cursor)
                .values(
                    cursor=ids[-1],
                    studies=RemapJob.studies + len(ids),
                    changed=RemapJob.changed + changed,
                )
            )
            done = session.get_one(RemapJob, job_id).studies
        cursor = ids[-1]
        on_progress(done, total)


def remap_studies(catalogue: Catalogue, study_ids: Iterable[int]) -> int:
    """Map these studies again, each in a transaction of its own; return of how many a result changed.

    What changes may be the very examinations that earlier decisions claimed to avoid: the books follow.
    """
    changed = 0
    for study_id in study_ids:
        with transaction(catalogue.engine) as session:
            study = session.scalars(select(Study).where(Study.id == study_id).with_for_update()).one_or_none()
            if study is not None and results.map_results(session, catalogue, study):
                studies.settle(session, catalogue, study)
                changed += 1
    return changed


def _job(catalogue: Catalogue) -> tuple[int, int, int, bool]:
    with transaction(catalogue.engine) as session:
        newest = session.scalar(select(func.max(Study.id))) or 0
        made = session.scalars(
            insert(RemapJob)
            .values(last_study_id=newest, started_at=catalogue.clock())
            .on_conflict_do_nothing()
            .returning(RemapJob.id)
        ).one_or_none()
        job = session.scalars(select(RemapJob).where(RemapJob.state == "running")).one()
        return job.id, job.cursor, job.last_study_id, made is None


def _stale(session: Session, catalogue: Catalogue, cursor: int, last: int) -> tuple[list[int], list[int]]:
    """Return the next studies, and which of them would be mapped otherwise now."""
    query = select(Study).where(Study.id > cursor, Study.id <= last).order_by(Study.id).limit(BATCH)
    found = session.scalars(query).all()
    lists: dict[int, ItemList] = {}
    for study in found:
        if study.hospital_id not in lists:
            lists[study.hospital_id] = results.list_for(session, catalogue, study.hospital_id)
    stale = [s.id for s in found if not results.is_settled(session, s, lists[s.hospital_id])]
    return [study.id for study in found], stale


def _finish(catalogue: Catalogue, job_id: int, *, resumed: bool) -> Remapped:
    with transaction(catalogue.engine) as session:
        job = session.get_one(RemapJob, job_id)
        if job.state == "running":
            job.state, job.finished_at = "done", catalogue.clock()
        return Remapped(job_id, job.studies, job.changed, resumed)
