"""What humans decide about people: merge, accept, reject, and undo of each. Events; what stands follows from them."""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session, aliased

from catalog import audit, groups, links, report_identity, report_links, settling
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.identity import conflicts
from catalog.linking import groups_of
from catalog.tables import Alias, Person, Study
from catalog.tables_people import IdentityEvent, StudyClaim
from catalog.tables_reports import Report, ReportRuling

_LONGEST_REASON: Final = 500
_RULINGS: Final = ("accept", "reject")


def merge(
    catalogue: Catalogue,
    caller: Caller,
    person_id: int,
    into_id: int,
    reason: str,
    *,
    despite_conflicts: bool = False,
) -> dict[str, Any]:
    """Find two people to be one human being: whoever asks for the one sees the results of both.

    Nothing is moved, so that `undo` restores exactly what was. Raises InvalidInput without a reason, NotFound
    for an unknown person, Conflict where they are one already, or where name, sex or birth date contradict
    each other and the curator has not said that he knows.
    """
    with transaction(catalogue.engine) as session:
        locked = groups.lock(session, {person_id, into_id})
        one, other = _person(session, person_id), _person(session, into_id)
        if into_id in groups.members(session, {person_id}):
            raise Conflict("两者已是同一人", "They are one person already", code="already_merged")
        clash = conflicts(links.demographics(one), links.demographics(other), None)
        if clash and not despite_conflicts:
            raise Conflict(
                f"两者信息矛盾({'、'.join(clash)}),如确认无误请注明 despite_conflicts",
                f"They contradict each other ({', '.join(clash)}); say despite_conflicts if they still are one",
                code="merge_conflict",
            )
        event = _event(catalogue, caller, "merge", reason, person_id=person_id, other_person_id=into_id)
        return _done(session, catalogue, caller, event, locked)


def rule(
    catalogue: Catalogue,
    caller: Caller,
    kind: str,
    person_id: int,
    reason: str,
    *,
    alias_id: int | None = None,
    study_id: int | None = None,
    report_id: int | None = None,
) -> dict[str, Any]:
    """Accept or reject (`kind`) that a hospital's number, one study or one report is of this person.

    Accepting a number links its studies and reports, except those that contradict by themselves: these wait
    for a ruling of their own. Raises InvalidInput without a reason or with another kind, NotFound, Conflict where the claim of
    another person was accepted before.
    """
    if kind not in _RULINGS or (alias_id, study_id, report_id).count(None) != 2:
        raise InvalidInput(
            "请说明接受或拒绝,以及一个编号、一份检查或一份报告",
            "Say accept or reject, and one number, one study or one report",
            field="kind",
        )
    with transaction(catalogue.engine) as session:
        alias = _alias_claim(session, alias_id, person_id) if alias_id is not None else None
        study = _study(session, study_id) if study_id is not None else None
        report = _report(session, report_id) if report_id is not None else None
        locked = groups.lock(session, {person_id} | _claimants(session, alias, study, report))
        _person(session, person_id)
        if kind == "accept":
            _refuse_second(session, alias, study, report, person_id)
        event = _event(
            catalogue,
            caller,
            kind,
            reason,
            person_id=person_id,
            alias_id=alias.id if alias else None,
            study_id=study_id,
            report_id=report_id,
        )
        return _done(session, catalogue, caller, event, locked)


def undo(catalogue: Catalogue, caller: Caller, event_id: int, reason: str) -> dict[str, Any]:
    """Take back a merge or a ruling; what stood without it stands again.

    Raises NotFound, or Conflict where it cannot be undone or was undone before.
    """
    with transaction(catalogue.engine) as session:
        undone = session.get(IdentityEvent, event_id)
        if undone is None or undone.kind not in ("merge", *_RULINGS):
            raise NotFound("没有可撤销的该项决定", "No such event that could be undone", code="unknown_event")
        alias = _alias_claim(session, undone.alias_id, undone.person_id) if undone.alias_id else None
        report = _report(session, undone.report_id) if undone.report_id else None
        concerned = {undone.person_id, undone.other_person_id or undone.person_id}
        locked = groups.lock(session, concerned | _claimants(session, alias, None, report))
        if session.scalars(select(IdentityEvent.id).where(IdentityEvent.undoes_id == event_id)).first():
            raise Conflict("该决定已撤销", "It was undone before", code="already_undone")
        event = _event(
            catalogue,
            caller,
            "undo",
            reason,
            person_id=undone.person_id,
            other_person_id=undone.other_person_id,
            alias_id=undone.alias_id,
            study_id=undone.study_id,
            report_id=undone.report_id,
            undoes_id=event_id,
        )
        return _done(session, catalogue, caller, event, locked)


def _done(
    session: Session, catalogue: Catalogue, caller: Caller, event: IdentityEvent, locked: Collection[int]
) -> dict[str, Any]:
    """Keep the event, bring everything it bears on in line, and settle the books of everybody concerned."""
    session.add(event)
    session.flush()
    studies = _regroup(session, locked) if event.other_person_id else _restate(session, event)
    keys = {key for study in studies for key in links.keys_of(study)}
    links.restate_numbers(session, keys | set(links.keys_claimed_for(session, locked)))
    changed = links.relink(session, catalogue, studies)
    report_links.follow(session, catalogue, report_identity.claimed_for(session, locked))
    for person_id in sorted(locked):
        settling.settle(session, catalogue, person_id)
    audit.record(
        session,
        caller,
        f"people.{event.kind}",
        person_id=event.person_id,
        event_id=event.id,
        other_person_id=event.other_person_id,
        study_id=event.study_id,
        report_id=event.report_id,
        undoes_id=event.undoes_id,
    )
    return {"event_id": event.id, "studies_changed": changed}


def _regroup(session: Session, people: Collection[int]) -> list[Study]:
    """Write the groups that the standing merges make, and return the studies that they may link otherwise."""
    query = select(IdentityEvent.person_id, IdentityEvent.other_person_id).where(
        IdentityEvent.kind == "merge", IdentityEvent.person_id.in_(people), _stands(IdentityEvent)
    )
    merges = [(one, other) for one, other in session.execute(query) if other is not None]
    found = groups_of(people, merges)
    sizes = {group: list(found.values()).count(group) for group in found.values()}
    for person_id, group in found.items():
        group_id = group if sizes[group] > 1 else None
        session.execute(update(Person).where(Person.id == person_id).values(group_id=group_id))
    return links.studies_claimed_for(session, people)


def _restate(session: Session, event: IdentityEvent) -> list[Study]:
    """Write the ruling that stands on a claim, and return the studies that carry it."""
    query = select(IdentityEvent.kind).where(
        IdentityEvent.kind.in_(_RULINGS),
        IdentityEvent.person_id == event.person_id,
        IdentityEvent.alias_id.is_not_distinct_from(event.alias_id),
        IdentityEvent.study_id.is_not_distinct_from(event.study_id),
        IdentityEvent.report_id.is_not_distinct_from(event.report_id),
        _stands(IdentityEvent),
    )
    newest = session.scalars(query.order_by(IdentityEvent.id.desc()).limit(1)).one_or_none()
    ruling = {"accept": "accepted", "reject": "rejected", None: None}[newest]
    if event.alias_id is not None:
        alias = _alias_claim(session, event.alias_id, event.person_id)
        alias.ruling = ruling
        links.restate_numbers(session, [(alias.hospital_id, alias.kind, alias.number)])
        return links.studies_under(session, (alias.hospital_id, alias.kind, alias.number))
    if event.report_id is not None:
        _rule_on_report(session, event.report_id, event.person_id, ruling)
        return []
    study = _study(session, event.study_id or 0)
    _rule_on_study(session, study, event.person_id, ruling)
    return [study]


def _rule_on_study(session: Session, study: Study, person_id: int, ruling: str | None) -> None:
    claim = session.get(StudyClaim, (study.id, person_id))
    if claim is None and ruling is not None:
        session.add(StudyClaim(study_id=study.id, person_id=person_id, source="curator", ruling=ruling))
    elif claim is not None and ruling is None and claim.source == "curator":
        session.delete(claim)
    elif claim is not None:
        claim.ruling = ruling


def _rule_on_report(session: Session, report_id: int, person_id: int, ruling: str | None) -> None:
    session.execute(delete(ReportRuling).filter_by(report_id=report_id, person_id=person_id))
    if ruling is not None:
        session.add(ReportRuling(report_id=report_id, person_id=person_id, ruling=ruling))
    session.flush()


def _refuse_second(
    session: Session, alias: Alias | None, study: Study | None, report: Report | None, person_id: int
) -> None:
    if report is not None:
        rows = select(ReportRuling.person_id).filter_by(report_id=report.id, ruling="accepted")
    elif alias is not None:
        rows = select(Alias.person_id).filter_by(
            hospital_id=alias.hospital_id, kind=alias.kind, number=alias.number, ruling="accepted"
        )
    else:
        rows = select(StudyClaim.person_id).filter_by(study_id=study.id if study else 0, ruling="accepted")
    if set(session.scalars(rows)) - groups.members(session, {person_id}):
        raise Conflict(
            "已认定属于另一人,请先撤销该认定",
            "It was accepted for another person; undo that first",
            code="already_accepted",
        )


def _claimants(session: Session, alias: Alias | None, study: Study | None, report: Report | None) -> set[int]:
    keys = links.keys_of(study) if study else []
    keys += [(alias.hospital_id, alias.kind, alias.number)] if alias else []
    found = {study.person_id} if study and study.person_id else set()
    if report is not None:
        keys += [(report.hospital_id, "PatientID", report.patient_id)] if report.patient_id else []
        found |= report_identity.concerned(session, report)
    for hospital_id, kind, number in keys:
        found |= links.lock_numbers(session, hospital_id, **{kind: number})
    return found


def _event(
    catalogue: Catalogue, caller: Caller, kind: str, reason: str, **facts: int | None
) -> IdentityEvent:
    text = reason.strip()
    if not 0 < len(text) <= _LONGEST_REASON:
        raise InvalidInput(
            "须说明理由(500 字以内)", "A reason of at most 500 characters is needed", field="reason"
        )
    return IdentityEvent(kind=kind, reason=text, caller=caller.subject, created_at=catalogue.clock(), **facts)


def _stands(event: type[IdentityEvent]) -> Any:
    later = aliased(IdentityEvent)
    return ~exists().where(later.undoes_id == event.id)


def _person(session: Session, person_id: int) -> Person:
    person = session.get(Person, person_id)
    if person is None:
        raise NotFound("没有该人员", "No such person", code="unknown_person")
    return person


def _alias_claim(session: Session, alias_id: int, person_id: int) -> Alias:
    """Return the claim of this person on the number of which `alias_id` is any claim."""
    one = session.scalars(select(Alias).where(Alias.id == alias_id)).one_or_none()
    if one is None:
        raise NotFound("没有该编号", "No such number", code="unknown_alias")
    key = (one.hospital_id, one.kind, one.number, person_id)
    found = session.get(Alias, key)
    if found is None:
        raise NotFound("该编号未被认为属于此人", "Nobody said that the number is his", code="unknown_claim")
    return found


def _study(session: Session, study_id: int) -> Study:
    study = session.get(Study, study_id)
    if study is None:
        raise NotFound("没有该检查", "No such study", code="unknown_study")
    return study


def _report(session: Session, report_id: int) -> Report:
    report = session.get(Report, report_id)
    if report is None:
        raise NotFound("没有该报告", "No such report", code="unknown_report")
    report_links.lock_meeting(session, report.hospital_id, report.study_uid, report.number)
    session.refresh(report)
    return report
