"""How much waits for a curator, queue by queue: counted up to a bound, so that a flood costs no more than a trickle."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from catalog import audit, price_list, qc, visibility
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.linking import DOUBTFUL
from catalog.results import MAPPING, UNKNOWN_CODE
from catalog.rules import local_day
from catalog.tables import Alias, Conflict, IdentityHold, Study
from catalog.tables_dicom import Peer
from catalog.tables_quality import QualityTask
from catalog.tables_reports import Report, ReportHold
from catalog.tables_review import ReviewTask

MOST: Final = 200
EXPIRING_DAYS: Final = 60


def counts(catalogue: Catalogue, caller: Caller) -> dict[str, Any]:
    """Return what each queue holds, as its own list would show it; `more` where there are above MOST. Audited."""
    with transaction(catalogue.engine) as session:
        found = {name: _counted(session, query) for name, query in _queries(catalogue).items()}
        found["price_gaps"] = _whole(price_list.gap_count(session, catalogue, local_day(catalogue.clock())))
        found["certificates"] = _whole(ending_certificates(session, catalogue))
        audit.record(session, caller, "queues.list")
    found["qc_expiring"] = _whole(len(qc.expiring(catalogue, EXPIRING_DAYS)))
    return {"most": MOST, "expiring_days": EXPIRING_DAYS, "queues": found}


def _queries(catalogue: Catalogue) -> Mapping[str, Select[Any]]:
    listed = visibility.study_listed()
    of_study = select(Study.id).where(listed)
    alone = (Report.category == "imaging") & Report.study_id.is_(None)
    tasks = select(ReviewTask.id).where(ReviewTask.state == "open")
    return {
        "mapping": tasks.where(ReviewTask.kind == MAPPING),
        "local_codes": tasks.where(ReviewTask.kind == UNKNOWN_CODE),
        "unmapped": of_study.where(Study.unmapped_reason.is_not(None)),
        "identity_numbers": select(Alias.id).where(Alias.state == DOUBTFUL, visibility.claim_needs_ruling()),
        "identity_studies": select(IdentityHold.study_id)
        .join(Study, Study.id == IdentityHold.study_id)
        .where(visibility.hold_needs_ruling()),
        "identity_reports": select(ReportHold.report_id).where(~visibility.opted_out(ReportHold.person_id)),
        "reports": select(Report.id).where(
            or_(alone, Report.identity == DOUBTFUL), visibility.report_listed()
        ),
        "conflicts": select(Conflict.id)
        .join(Study, Study.id == Conflict.study_id)
        .where(Conflict.state == "open", listed),
        "quality": select(QualityTask.id)
        .join(Study, Study.id == QualityTask.study_id)
        .where(QualityTask.state == "open", QualityTask.due_at <= catalogue.clock(), listed),
        "withdrawn": of_study.where(Study.withdrawn),
    }


def _counted(session: Session, query: Select[Any]) -> dict[str, Any]:
    some = query.limit(MOST + 1).subquery()
    found = session.scalar(select(func.count()).select_from(some)) or 0
    return {"count": min(found, MOST), "more": found > MOST}


def _whole(count: int) -> dict[str, Any]:
    return {"count": count, "more": False}


def ending_certificates(session: Session, catalogue: Catalogue) -> int:
    """Return how many application entities have a certificate that ends within EXPIRING_DAYS, or has ended."""
    until = (catalogue.clock() + timedelta(days=EXPIRING_DAYS)).isoformat()
    ends = session.scalars(select(Peer.certificate_ends).where(Peer.active, Peer.certificate_ends != {}))
    return sum(any(str(each) <= until for each in found.values()) for found in ends)
