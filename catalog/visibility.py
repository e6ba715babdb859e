"""What may be listed: nothing of somebody who opted out of sharing, that it exists included.

Lists for curators and operators leave such studies and reports out from the moment of the wish; they are back with
the next one. A curator sees an opted-out person in the queue of rulings only where the same number or study may be
of somebody who shares: that person's answers stay incomplete until it is ruled on (PIPL art. 8, accuracy). By
document or number a person can be shown, for corrections and undoing (art. 46), without the studies.
A notice stays: it names a hospital's own decision, whose ground has gone, and nothing of what was found.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, exists, or_, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from catalog.tables import Alias, Hospital, IdentityHold, Person, Study
from catalog.tables_reports import Report, ReportHold


def opted_out(person_id: Any) -> ColumnElement[bool]:
    """Say whether a person, or anybody merged with him, has opted out; `person_id` is a column, it may be empty."""
    mine, anybody = aliased(Person), aliased(Person)
    one = or_(anybody.id == mine.id, anybody.group_id == mine.group_id)
    found = exists().where(mine.id == person_id, anybody.opted_out, one)
    return found.correlate_except(mine, anybody)  # of whichever enclosing query the column is


def study_listed() -> ColumnElement[bool]:
    """Say whether a study may be listed: it is not, and may not be, of somebody who opted out."""
    held = exists().where(IdentityHold.study_id == Study.id, opted_out(IdentityHold.person_id))
    return ~opted_out(Study.person_id) & ~held


def studies_listed(
    condition: ColumnElement[bool] | InstrumentedAttribute[bool], *, hospital: str, before: int, limit: int
) -> Select[Study, str]:
    """Return the query of a list of studies with their hospitals' codes, newest first; `before` reads on below an id."""
    query = (
        select(Study, Hospital.code)
        .join(Hospital, Hospital.id == Study.hospital_id)
        .where(condition, study_listed())
        .order_by(Study.id.desc())
        .limit(limit)
    )
    if hospital:
        query = query.where(Hospital.code == hospital)
    if before:
        query = query.where(Study.id < before)
    return query


def report_listed() -> ColumnElement[bool]:
    """Say whether a report may be listed: it is not, and may not be, of somebody who opted out."""
    held = exists().where(ReportHold.report_id == Report.id, opted_out(ReportHold.person_id))
    hidden = exists().where(Study.id == Report.study_id, ~study_listed())
    claimed = or_(Report.person_id.is_not(None), ~opted_out(Report.claimed_person_id))
    return ~opted_out(Report.person_id) & claimed & ~held & ~hidden


def claim_needs_ruling() -> ColumnElement[bool]:
    """Say whether somebody who shares claims the number of an alias."""
    other = aliased(Alias)
    same = (
        (other.hospital_id == Alias.hospital_id) & (other.kind == Alias.kind) & (other.number == Alias.number)
    )
    return select(other.id).where(same, ~opted_out(other.person_id)).exists()


def hold_needs_ruling() -> ColumnElement[bool]:
    """Say whether a held study may be of somebody who shares."""
    other = aliased(IdentityHold)
    return (
        select(other.study_id)
        .where(other.study_id == IdentityHold.study_id, ~opted_out(other.person_id))
        .exists()
    )
