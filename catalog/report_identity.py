"""Whose reports are: it follows from the claims on them and on their PatientID, as for studies (catalog.linking)."""

from collections.abc import Collection, Iterable

from sqlalchemy import Exists, delete, exists, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from catalog import groups, links, settling
from catalog.context import Catalogue
from catalog.identity import Demographics, conflicts
from catalog.linking import Claim, Link, resolve
from catalog.scope import books
from catalog.tables import Alias, Result
from catalog.tables_reports import Observation, Report, ReportHold, ReportRuling


def under(session: Session, key: links.AliasKey) -> list[Report]:
    """Return the reports that carry a hospital's PatientID."""
    hospital_id, kind, number = key
    if kind != "PatientID":
        return []
    query = select(Report).where(Report.hospital_id == hospital_id, Report.patient_id == number)
    return list(session.scalars(query.order_by(Report.id).with_for_update()))


def claimed_for(session: Session, person_ids: Iterable[int]) -> list[Report]:
    """Return every report that is, or is claimed to be, of one of these people, by itself or by its PatientID."""
    people = set(person_ids)
    carried = select(Report.id).join(
        Alias,
        (Alias.hospital_id == Report.hospital_id)
        & (Alias.kind == "PatientID")
        & (Alias.number == Report.patient_id),
    )
    ruled = select(ReportRuling.report_id).where(ReportRuling.person_id.in_(people))
    mine = or_(
        Report.person_id.in_(people),
        Report.claimed_person_id.in_(people),
        Report.id.in_(carried.where(Alias.person_id.in_(people))),
        Report.id.in_(ruled),
    )
    return list(session.scalars(select(Report).where(mine).order_by(Report.id).with_for_update()))


@books
def relink(session: Session, catalogue: Catalogue, reports: Iterable[Report]) -> None:
    """Bring the link of each report, and of the laboratory results in it, in line with the claims on it.

    The books of everybody concerned are settled.
    """
    session.flush()
    touched: set[int] = set()
    for report in reports:
        before = report.person_id
        if _apply(session, report, _resolve(session, report)):
            touched |= {each for each in (before, report.person_id) if each is not None}
    for person_id in sorted(groups.lock(session, touched) if touched else ()):
        settling.settle(session, catalogue, person_id)


@books
def hold(session: Session, report: Report, people: Collection[int], reasons: Collection[str]) -> None:
    """Take a report from whoever had it until a human has looked; answers about `people` are incomplete."""
    _apply(session, report, Link("doubtful", None, tuple(reasons), frozenset(people)))


def concerned(session: Session, report: Report) -> set[int]:
    """Return everybody whose a report is, may be, or was ruled on to be or not."""
    held_for = select(ReportHold.person_id).where(ReportHold.report_id == report.id)
    ruled = select(ReportRuling.person_id).where(ReportRuling.report_id == report.id)
    found = {report.person_id, report.claimed_person_id, *session.scalars(held_for), *session.scalars(ruled)}
    return {person_id for person_id in found if person_id is not None}


def rejected_for(report_id: int | InstrumentedAttribute[int], people: Collection[int]) -> Exists:
    """Say whether a curator has said that a report, or the report of a row, is not of one of these people."""
    return exists().where(
        ReportRuling.report_id == report_id,
        ReportRuling.person_id.in_(people),
        ReportRuling.ruling == "rejected",
    )


def is_rejected(session: Session, report: Report, people: Collection[int]) -> bool:
    """Say whether a curator has said that a report is not of one of these people."""
    return bool(session.scalar(select(rejected_for(report.id, people))))


def is_accepted(session: Session, report: Report) -> bool:
    """Say whether a curator has said whose a report is."""
    accepted = exists().where(ReportRuling.report_id == report.id, ReportRuling.ruling == "accepted")
    return bool(session.scalar(select(accepted)))


def demographics(report: Report) -> Demographics:
    """Return what a report itself says of its patient."""
    return Demographics(name=report.patient_name or None, birth_date=report.birth_date, sex=report.sex)


def _resolve(session: Session, report: Report) -> Link:
    own = _own_claims(session, report)
    numbers = links.number_claims(session, (report.hospital_id, "PatientID", report.patient_id))
    people = links.people(session, (claim.person_id for claim in (*own, *numbers)))
    said = demographics(report)
    clashes = {each.id: conflicts(links.demographics(each), said, None) for each in people}
    return resolve(own, [numbers], {each.id: each.group_id or each.id for each in people}, clashes)


def _own_claims(session: Session, report: Report) -> list[Claim]:
    query = select(ReportRuling).where(ReportRuling.report_id == report.id)
    rulings = {each.person_id: each.ruling for each in session.scalars(query)}
    reasons = {report.claimed_person_id: tuple(report.claim_reasons)} if report.claimed_person_id else {}
    return [
        Claim(person_id, reasons.get(person_id, ()), rulings.get(person_id))  # type: ignore[arg-type]
        for person_id in sorted({*reasons, *rulings})
    ]


def _apply(session: Session, report: Report, link: Link) -> bool:
    changed = (report.identity, report.person_id) != (link.identity, link.person_id)
    if not changed and not link.concerned:
        return False
    report.identity, report.person_id, report.reasons = link.identity, link.person_id, list(link.reasons)
    session.flush()
    if changed and report.category == "laboratory" and report.version_count:
        measured = select(Observation.result_id).where(Observation.report_id == report.id)
        session.execute(update(Result).where(Result.id.in_(measured)).values(person_id=link.person_id))
    gone = delete(ReportHold).where(ReportHold.report_id == report.id)
    session.execute(gone.where(ReportHold.person_id.not_in(link.concerned)))
    for person_id in sorted(link.concerned):
        row = {"person_id": person_id, "report_id": report.id}
        session.execute(insert(ReportHold).values(row).on_conflict_do_nothing())
    return changed
