"""Results: what a study is on the recognised list, each with what decided it and an explanation."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from catalog import item_lists, registry, reviews, visibility
from catalog.coded_mapping import Answered, Outcome, map_with_codes
from catalog.context import Catalogue
from catalog.fingerprint import fingerprint
from catalog.items import ItemList
from catalog.local_codes import LocalMeaning, LocalTable, plain, side
from catalog.mapping import MappedItem, StudyFacts, Unmapped
from catalog.tables import Hospital, LocalCode, Result, Study
from catalog.tables_items import MappingAnswer
from catalog.tables_review import ReviewTask

FACT_LISTS: Final = (
    "modality",
    "series_descriptions",
    "protocol_names",
    "view_positions",
    "procedure_codes",
    "anatomic_regions",
)
MAPPING: Final = "mapping"
UNKNOWN_CODE: Final = "local_code"
# These say what the study is; the other reasons say that it is not certain, and ask a curator.
_CERTAIN: Final = frozenset(
    {"modality_not_listed", "excluded_procedure", "no_image_series", "not_on_list", "said_unlisted"}
)


def merge_facts(known: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a study with those of further instances added; the first text given stays."""
    merged = {key: known.get(key) or more.get(key, "") for key in {*known, *more}}
    for key in FACT_LISTS:
        merged[key] = list(dict.fromkeys([*known.get(key, []), *more.get(key, [])]))
    return merged


def facts_of(study: Study) -> StudyFacts:
    """Return what a study said of itself, as it is kept."""
    return _facts(study.facts)


def facts_of_task(task: ReviewTask) -> StudyFacts:
    """Return what the study that raised a question said of itself."""
    return _facts(task.details.get("facts", {"modality": []}))


def _facts(kept: dict[str, Any]) -> StudyFacts:
    facts: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in kept.items()}
    return StudyFacts(**{"modality": (), **facts})


def outcome_of(session: Session, study: Study, items: ItemList) -> Outcome:
    """Return what a study is by its hospital's codes, its curators' answers, standard codes and the rules."""
    facts = facts_of(study)
    codes = [each.partition("|")[2] for each in facts.procedure_codes]
    names = [plain(text) for text in (facts.study_description, facts.requested_procedure) if text]
    table = _local_table(session, study.hospital_id, codes, names)
    answer = session.get(MappingAnswer, (study.hospital_id, fingerprint(facts)))
    answered = None if answer is None else [Answered(**each) for each in answer.items]
    return map_with_codes(facts, items, table, answered)


def _local_table(
    session: Session, hospital_id: int, codes: Sequence[str], names: Sequence[str]
) -> LocalTable:
    """Return of a hospital's own codes those that are asked for, by code or by name as `plain` writes it."""
    name = func.upper(func.regexp_replace(func.normalize(LocalCode.name, text("NFKC")), r"\s+", "", "g"))
    query = select(LocalCode).where(
        LocalCode.hospital_id == hospital_id, or_(LocalCode.code.in_(codes), name.in_(names))
    )
    return LocalTable.of(
        LocalMeaning(row.code, row.name, row.item_code, side(row.laterality), row.body_part)
        for row in session.scalars(query)
    )


def list_for(session: Session, catalogue: Catalogue, hospital_id: int) -> ItemList:
    """Return the list in force now for a hospital: what it does is mapped to it."""
    hospital = session.get_one(Hospital, hospital_id)
    place = registry.institutions(session, [hospital])[hospital_id]
    return item_lists.in_force(session, catalogue, place.regions, catalogue.clock())


def map_results(session: Session, catalogue: Catalogue, study: Study, items: ItemList | None = None) -> bool:
    """Bring a study's results in line with what is known of it; return whether any result changed.

    A result that is no longer found is superseded, never deleted: a check may have shown it.
    """
    outcome = outcome_of(session, study, items or list_for(session, catalogue, study.hospital_id))
    reason = outcome.mapping.unmapped_reason
    study.unmapped_reason = _reason(reason) if reason else None
    before, study.fingerprint = study.fingerprint, fingerprint(facts_of(study))
    changed = _bring_in_line(session, study, outcome.mapping.items)
    session.flush()
    _ask(session, catalogue, study, outcome, before)
    return changed


def is_settled(session: Session, study: Study, items: ItemList) -> bool:
    """Return whether mapping a study again would change nothing that is kept of it."""
    outcome = outcome_of(session, study, items)
    reason = outcome.mapping.unmapped_reason
    standing = {(*_key(row), row.rule, row.confidence) for row in _standing(session, study)}
    found = {(*_mapped_key(each), each.rule, each.confidence) for each in outcome.mapping.items}
    return (
        standing == found
        and study.unmapped_reason == (_reason(reason) if reason else None)
        and study.fingerprint == fingerprint(facts_of(study))
    )


def unmapped(
    session: Session, *, hospital: str = "", before: int = 0, limit: int = 100
) -> list[dict[str, Any]]:
    """Return studies that are on no list, newest first, without saying whose; `before` reads on below an id."""
    query = visibility.studies_listed(
        Study.unmapped_reason.is_not(None), hospital=hospital, before=before, limit=limit
    )
    return [
        {
            "id": study.id,
            "StudyInstanceUID": study.uid,
            "hospital": code,
            "exam_time": study.exam_time,
            "facts": study.facts,
            "reason": study.unmapped_reason,
        }
        for study, code in session.execute(query)
    ]


def _bring_in_line(session: Session, study: Study, mapped: Iterable[MappedItem]) -> bool:
    standing = {_key(row): row for row in _standing(session, study)}
    found = {_mapped_key(each): each for each in mapped}
    for key, row in standing.items():
        if key not in found and row.status == "active":
            row.status = "superseded"
    for key, each in found.items():
        if key in standing:
            _tell_anew(standing[key], each, study)
        else:
            session.add(_result(study, each))
    return standing.keys() != found.keys()


def _tell_anew(row: Result, mapped: MappedItem, study: Study) -> None:
    row.exam_time = study.exam_time
    row.confidence, row.rule = mapped.confidence, mapped.rule
    row.explanation, row.explanation_en = mapped.explanation_zh, mapped.explanation_en


def _standing(session: Session, study: Study) -> Iterable[Result]:
    """Return results that count; a withdrawn one still says what the study was."""
    return session.scalars(
        select(Result).where(Result.study_id == study.id, Result.status.in_(("active", "withdrawn")))
    )


def _key(row: Result) -> tuple[str, str | None, str | None]:
    return row.item_code, row.laterality, row.body_part


def _mapped_key(mapped: MappedItem) -> tuple[str, str | None, str | None]:
    return mapped.item_code, mapped.laterality, mapped.body_part


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
        status="withdrawn" if study.withdrawn else "active",
        confidence=mapped.confidence,
        rule=mapped.rule,
        explanation=mapped.explanation_zh,
        explanation_en=mapped.explanation_en,
    )


def _ask(session: Session, catalogue: Catalogue, study: Study, outcome: Outcome, former: str | None) -> None:
    """Open the questions a study raises, and drop the one it raised while less of it had come."""
    reason = study.unmapped_reason
    if reason is not None and reason["code"] not in _CERTAIN:
        details = {"facts": study.facts, "reason": reason}
        _open(session, study, MAPPING, study.fingerprint or "", details)
    for code in outcome.unknown_codes:
        _open(session, study, UNKNOWN_CODE, code, {"code": code, "facts": study.facts})
    for name in {former, study.fingerprint} - {None}:
        if not _asked_by_others(session, study.hospital_id, name or ""):
            reviews.drop_tasks(
                session,
                kind=MAPPING,
                hospital_id=study.hospital_id,
                subjects=[name or ""],
                at=catalogue.clock(),
            )


def _open(session: Session, study: Study, kind: str, subject: str, details: dict[str, Any]) -> None:
    reviews.open_task(
        session,
        kind=kind,
        hospital_id=study.hospital_id,
        subject=subject,
        details=details,
        study_id=study.id,
    )


def _asked_by_others(session: Session, hospital_id: int, name: str) -> bool:
    code = Study.unmapped_reason["code"].astext
    query = select(func.count()).where(
        Study.hospital_id == hospital_id,
        Study.fingerprint == name,
        Study.unmapped_reason.is_not(None),
        code.not_in(_CERTAIN),
    )
    return bool(session.scalar(query))
