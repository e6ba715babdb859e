"""When the images of a study are all there: what its packs say, judged anew with every pack.

The reasoning stands in `catalog.completeness`. Nothing here is added up from pack to pack: the rows of the packs
are the facts, so the same packs give the same study, in whatever order and however often they are registered.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import any_, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import quality, registry
from catalog.completeness import Judgement, judge
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.instance_index import hash_instance, split_hashes
from catalog.records import PackRecord
from catalog.tables import Pack, Study
from catalog.tables_quality import ArrivalPart

Ended = Literal["arriving", "released", "broken"]
EVIDENCE_LIMIT: Final = 100


def pack_says(record: PackRecord) -> dict[str, Any]:
    """Return what the row of a pack keeps for judging its study."""
    flawed = [instance.SOPInstanceUID for instance in record.instances if instance.flaws]
    told = {"flawed": _listed(flawed), "unreadable": record.unreadable}
    return record.completeness | {key: uids for key, uids in told.items() if uids}


def settle(session: Session, catalogue: Catalogue, study: Study, *, arriving: bool) -> None:
    """Say whether a study, locked by the caller, is complete, until when it waits, and what is in doubt.

    `arriving` says that the association that brought its newest pack has more, or did not end as it should.
    """
    packs = session.scalars(select(Pack).where(Pack.study_id == study.id, Pack.role == "archive")).all()
    counts: Counter[str] = Counter()
    for pack in packs:
        counts.update(pack.series)
    judgement = judge(counts, (pack.completeness or {} for pack in packs))
    now, limits = catalogue.clock(), catalogue.limits
    arriving = arriving or _is_arriving(session, study, now - limits.quiet)
    short_until = study.last_received_at + limits.complete_within
    standing = quality.review(session, study, _findings(packs, judgement), now, short_until=short_until)
    waits = [
        (arriving, max(now, study.last_received_at) + limits.quiet),
        (judgement.acquisition_open, study.last_received_at + limits.quiet),
        ("count_short" in standing, short_until),
    ]
    until = [moment for waiting, moment in waits if waiting]
    study.images_complete = not until
    study.settles_at = max(until, default=None)


def note_part(
    catalogue: Catalogue,
    association: str,
    part: int,
    StudyInstanceUIDs: Iterable[str],
    *,
    hospital_code: str,
    ended: Ended,
) -> None:
    """Note that a pack of an association is registered; settle its studies once all of them are.

    A broken association will never be whole: its studies wait for the quiet time, or for what is sent again.
    Repeating it changes nothing. Raises DatabaseDown, NotFound for an unknown hospital.
    """
    with transaction(catalogue.engine) as session:
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(association, 0))))
        _forget_broken(session, association, ended, catalogue.clock() - catalogue.limits.complete_within)
        if ended == "broken":
            return
        hospital = registry.hospital_by_code(session, hospital_code)
        named = select(Study.id).where(
            Study.uid.in_(set(StudyInstanceUIDs)), Study.hospital_id == hospital.id
        )
        row = {
            "association": association,
            "part": part,
            "hospital_id": hospital.id,
            "study_ids": list(session.scalars(named)),
            "released": ended == "released",
            "noted_at": catalogue.clock(),
        }
        session.execute(insert(ArrivalPart).values(row).on_conflict_do_nothing())
        parts = session.scalars(select(ArrivalPart).where(ArrivalPart.association == association)).all()
        if _is_whole(parts):
            session.execute(delete(ArrivalPart).where(ArrivalPart.association == association))
            _settle_all(session, catalogue, parts)


def _settle_all(session: Session, catalogue: Catalogue, parts: Iterable[ArrivalPart]) -> None:
    ids = set().union(*(part.study_ids for part in parts))
    query = select(Study).where(Study.id.in_(ids)).order_by(Study.id).with_for_update(key_share=True)
    for study in session.scalars(query).all():
        settle(session, catalogue, study, arriving=False)


def _is_whole(parts: Iterable[ArrivalPart]) -> bool:
    ordered = sorted(parts, key=lambda each: each.part)
    return ordered[-1].released and [each.part for each in ordered] == list(range(1, len(ordered) + 1))


def _is_arriving(session: Session, study: Study, since: datetime) -> bool:
    """Say whether another association that brought something of the study has lately not been whole."""
    query = select(ArrivalPart.part).where(
        ArrivalPart.hospital_id == study.hospital_id,
        literal(study.id) == any_(ArrivalPart.study_ids),
        ArrivalPart.noted_at > since,
    )
    return session.scalars(query.limit(1)).first() is not None


def _forget_broken(session: Session, association: str, ended: Ended, before: datetime) -> None:
    """Nobody tells the end of an association whose node died: it is forgotten when nothing waits for it."""
    session.execute(delete(ArrivalPart).where(ArrivalPart.noted_at < before - timedelta(hours=1)))
    if ended == "broken":
        session.execute(delete(ArrivalPart).where(ArrivalPart.association == association))


def _findings(packs: Iterable[Pack], judgement: Judgement) -> dict[str, tuple[str, ...]]:
    said = [pack.completeness or {} for pack in packs]
    unreadable = {uid for each in said for uid in each.get("unreadable", ())}
    if unreadable:  # what could not be read may have been sent again
        hashes = {found for pack in packs for found in split_hashes(pack.instance_hashes or b"")}
        unreadable = {uid for uid in unreadable if hash_instance(uid) not in hashes}
    return {
        "flawed": _listed({uid for each in said for uid in each.get("flawed", ())}),
        "unreadable": _listed(unreadable),
        "missing_slices": _listed(judgement.missing_slices),
        "count_short": _listed(judgement.short),
    }


def _listed(texts: Iterable[str]) -> tuple[str, ...]:
    """At most so many as a curator reads, and how many more there are."""
    ordered = sorted(set(texts))
    more = len(ordered) - EVIDENCE_LIMIT
    return (*ordered[:EVIDENCE_LIMIT], *([f"+{more}"] if more > 0 else []))
