"""Mapping again what came before: after new rules, a new list, a hospital's table or a curator's answer.

A job goes through every study in the order they came and remembers how far it is, so that one that was
interrupted goes on; going through twice changes nothing more.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

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
TRIED: Final = 50  # of the newest studies, for whoever waits to see what would change

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Remapped:
    """How far a job is: studies looked at of `total`, and of how many a result changed.

    `resumed`: it went on where an earlier call had stopped.
    """

    job_id: int
    done: bool
    studies: int
    total: int
    changed: int
    resumed: bool

    def report(self) -> dict[str, Any]:
        """Return it as JSON would have it."""
        return {
            "job": self.job_id,
            "state": "done" if self.done else "running",
            "studies": self.studies,
            "total": self.total,
            "changed": self.changed,
            "resumed": self.resumed,
        }


def remap(
    catalogue: Catalogue,
    *,
    on_progress: Progress = lambda _done, _all: None,
    most_batches: int | None = None,
) -> Remapped:
    """Map every study again, going on with a job that was interrupted; new ones are mapped as they come.

    With `most_batches` it stops after so many, and the next call goes on. Raises DatabaseDown; what was done
    until then stays done.
    """
    job_id, resumed = _job(catalogue)
    batches, everything = 0, False
    while most_batches is None or batches < most_batches:
        with transaction(catalogue.engine) as session:
            job = session.get_one(RemapJob, job_id)
            ids, stale = _stale(session, catalogue, job.cursor, job.last_study_id)
        if not ids:
            everything = True
            break
        changed = remap_studies(catalogue, stale)
        reached = _advance(catalogue, job_id, job.cursor, ids, changed)
        on_progress(reached.studies, reached.total)
        batches += 1
    return _reached(catalogue, job_id, resumed=resumed, everything=everything)


def remap_studies(catalogue: Catalogue, study_ids: Iterable[int]) -> int:
    """Map these studies again, each in a transaction of its own; return of how many a result changed.

    What changes may be the very examinations that earlier decisions claimed to avoid: the books follow.
    """
    changed = 0
    for study_id in study_ids:
        with transaction(catalogue.engine) as session:
            study = session.scalars(select(Study).where(Study.id == study_id).with_for_update()).one_or_none()
            if study is None or study.withdrawn:  # what was withdrawn must not come back as a new result
                continue
            if results.map_results(session, catalogue, study):
                studies.settle(session, catalogue, study)
                changed += 1
    return changed


def newest_stale(session: Session, catalogue: Catalogue, hospital_id: int | None = None) -> tuple[int, int]:
    """Return how many of the newest studies were looked at, TRIED at most, and how many would be mapped otherwise."""
    query = select(Study).where(~Study.withdrawn).order_by(Study.id.desc()).limit(TRIED)
    if hospital_id is not None:
        query = query.where(Study.hospital_id == hospital_id)
    found = session.scalars(query).all()
    lists = {each: results.list_for(session, catalogue, each) for each in {s.hospital_id for s in found}}
    return len(found), sum(not results.is_settled(session, s, lists[s.hospital_id]) for s in found)


def state(session: Session, catalogue: Catalogue, *, effect: bool) -> dict[str, Any]:
    """Return how far the last job is; with `effect` also what mapping the newest studies again would change now."""
    job = session.scalars(select(RemapJob).order_by(RemapJob.id.desc()).limit(1)).one_or_none()
    looked, stale = newest_stale(session, catalogue) if effect else (None, None)
    told = None
    if job is not None:
        told = Remapped(
            job.id, job.state == "done", job.studies, job.total, job.changed, resumed=False
        ).report() | {"started_at": job.started_at, "finished_at": job.finished_at}
    return {"last": told, "looked_at": looked, "would_change": stale}


def _job(catalogue: Catalogue) -> tuple[int, bool]:
    with transaction(catalogue.engine) as session:
        newest, total = session.execute(select(func.coalesce(func.max(Study.id), 0), func.count())).one()
        made = session.scalars(
            insert(RemapJob)
            .values(last_study_id=newest, total=total, started_at=catalogue.clock())
            .on_conflict_do_nothing()
            .returning(RemapJob.id)
        ).one_or_none()
        return session.scalars(select(RemapJob.id).where(RemapJob.state == "running")).one(), made is None


def _advance(catalogue: Catalogue, job_id: int, cursor: int, ids: list[int], changed: int) -> RemapJob:
    """Remember how far a job is; where another call was faster, its figures stand."""
    with transaction(catalogue.engine) as session:
        session.execute(
            update(RemapJob)
            .where(RemapJob.id == job_id, RemapJob.cursor == cursor)
            .values(cursor=ids[-1], studies=RemapJob.studies + len(ids), changed=RemapJob.changed + changed)
        )
        return session.get_one(RemapJob, job_id)


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


def _reached(catalogue: Catalogue, job_id: int, *, resumed: bool, everything: bool) -> Remapped:
    with transaction(catalogue.engine) as session:
        job = session.get_one(RemapJob, job_id, with_for_update=True)
        if job.state == "running" and everything:
            job.state, job.finished_at = "done", catalogue.clock()
        return Remapped(
            job_id=job.id,
            done=job.state == "done",
            studies=job.studies,
            total=job.total,
            changed=job.changed,
            resumed=resumed,
        )
