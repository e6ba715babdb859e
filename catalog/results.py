"""Results: what a study is on the recognised list, by rule and with an explanation."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.items import ItemList
from catalog.mapping import MappedItem, StudyFacts, Unmapped, map_study
from catalog.tables import Hospital, Result, Study

FACT_LISTS = ("modality", "series_descriptions", "protocol_names", "view_positions")


def merge_facts(known: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a study with those of further instances added; the first text given stays."""
    merged = {key: known.get(key) or more.get(key, "") for key in {*known, *more}}
    for key in FACT_LISTS:
        merged[key] = list(dict.fromkeys([*known.get(key, []), *more.get(key, [])]))
    return merged


def map_results(session: Session, items: ItemList, study: Study) -> None:
    """Bring a study's results in line with what the rules make of its facts.

    A result that is no longer found is superseded, never deleted: a check may have shown it.
    """
    facts: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in study.facts.items()}
    mapping = map_study(StudyFacts(**facts), items)
    study.unmapped_reason = _reason(mapping.unmapped_reason) if mapping.unmapped_reason else None
    standing = {_key(row): row for row in _active(session, study)}
    found = {(m.item_code, m.laterality, m.body_part): m for m in mapping.items}
    for key, row in standing.items():
        if key not in found:
            row.status = "superseded"
    for key, mapped in found.items():
        if key in standing:
            standing[key].exam_time = study.exam_time
        else:
            session.add(_result(study, mapped))
    session.flush()


def unmapped(session: Session, *, limit: int = 100) -> list[dict[str, Any]]:
    """Return studies that are on no list, newest first, without saying whose they are."""
    query = (
        select(Study, Hospital.code)
        .join(Hospital, Hospital.id == Study.hospital_id)
        .where(Study.unmapped_reason.is_not(None))
        .order_by(Study.id.desc())
        .limit(limit)
    )
    return [
        {
            "StudyInstanceUID": study.uid,
            "hospital": code,
            "exam_time": study.exam_time,
            "facts": study.facts,
            "reason": study.unmapped_reason,
        }
        for study, code in session.execute(query)
    ]


def _active(session: Session, study: Study) -> Iterable[Result]:
    return session.scalars(select(Result).where(Result.study_id == study.id, Result.status == "active"))


def _key(row: Result) -> tuple[str, str | None, str | None]:
    return row.item_code, row.laterality, row.body_part


def _reason(unmapped: Unmapped) -> dict[str, str]:
    return {"code": unmapped.code, "text": unmapped.zh, "text_en": unmapped.en}


def _result(study: Study, mapped: MappedItem) -> Result:
    return Result(
        person_id=study.person_id,
        study_id=study.id,
        hospital_id=study.hospital_id,
        item_code=mapped.item_code,
        laterality=mapped.laterality,
        body_part=mapped.body_part,
        exam_time=study.exam_time,
        confidence=mapped.confidence,
        rule=mapped.rule,
        explanation=mapped.explanation_zh,
    )
