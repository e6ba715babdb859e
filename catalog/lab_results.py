"""Laboratory results: each listed value of a report is a result of its own, with the versions of that value."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import notices
from catalog.context import Catalogue
from catalog.lab_codes import Mapped, local_codes, loinc_codes, map_codes
from catalog.records import ReportStatus
from catalog.report_records import WITHDRAWN, LabValue
from catalog.report_versions import KnownVersion, change, standing
from catalog.tables import LocalCode, Result
from catalog.tables_reports import Observation, Report, ReportVersion


@dataclass(frozen=True, slots=True)
class Given:
    """One version of one value: the observation, and how its report version makes it stand."""

    version: KnownVersion
    observation: Observation


def keep_values(
    session: Session, catalogue: Catalogue, report: Report, version: ReportVersion, values: Sequence[LabValue]
) -> None:
    """Keep the values of one version; a value that is on the list and new in its report becomes a result."""
    if not values:
        return
    table = local_table(session, report.hospital_id, [c for v in values for c in local_codes(v.codings)])
    results = _results_of(session, report)
    mapped = {
        value.key: map_codes(catalogue.items, table, local_codes(value.codings), loinc_codes(value.codings))
        for value in values
    }
    fresh = [v for v in values if mapped[v.key].item_code and v.key not in results and _is_done(v)]
    results |= _add_results(session, report, fresh, mapped)
    rows = [_observation(report, version, value, results, mapped[value.key]) for value in values]
    session.execute(insert(Observation).values(rows))


def restand(session: Session, report: Report, before: Mapping[int, Given]) -> None:
    """Bring the results of a report in line with the versions that stand now, and tell who relied on others.

    `before` holds what stood, by result; see `standing_values`.
    """
    after = standing_values(session, report.id)
    told: dict[str, set[int]] = {}
    for result in session.scalars(select(Result).where(Result.id.in_(after))):
        given = after[result.id]
        result.status = "withdrawn" if given.version.status in WITHDRAWN else "active"
        result.exam_time = given.observation.observed_at
        kind = _news(before.get(result.id), given)
        if kind is not None:
            told.setdefault(kind, set()).add(result.id)
    session.flush()
    for kind, result_ids in told.items():
        notices.note_reliance(session, result_ids, kind)


def standing_values(session: Session, report_id: int) -> dict[int, Given]:
    """Return by result the value that stands in a report.

    A withdrawn report withdraws every value of it, also those its message does not repeat.
    """
    rows = session.execute(
        select(Observation, ReportVersion)
        .join(ReportVersion, ReportVersion.id == Observation.report_version_id)
        .where(Observation.report_id == report_id, Observation.result_id.is_not(None))
    ).tuples()
    given: dict[int, list[Given]] = {}
    for observation, version in rows:
        given.setdefault(observation.result_id or 0, []).append(value_version(observation, version))
    silent = _withdrawals(session, report_id)
    return {result_id: _standing(known, silent) for result_id, known in given.items()}


def remap(session: Session, catalogue: Catalogue, hospital_id: int) -> int:
    """Give an item to the values of a hospital that had none, by its table as it is now; gives how many."""
    query = (
        select(Observation, Report)
        .join(Report, Report.id == Observation.report_id)
        .where(Report.hospital_id == hospital_id, Observation.result_id.is_(None))
        .order_by(Observation.id)
    )
    rows = session.execute(query).tuples().all()
    table = local_table(session, hospital_id, [code for o, _ in rows for code in o.local_codes])
    done = 0
    for observation, report in rows:
        found = map_codes(catalogue.items, table, observation.local_codes, observation.loinc_codes)
        if found.item_code is None:
            continue
        result_id = _results_of(session, report).get(observation.key)
        if result_id is None:
            result = _result(report, observation.observed_at, found)
            result_id = session.scalars(insert(Result).values(result).returning(Result.id)).one()
        observation.result_id, observation.unmapped_reason = result_id, None
        session.flush()
        restand(session, report, {})
        done += 1
    return done


def local_table(session: Session, hospital_id: int, codes: Iterable[str]) -> dict[str, str]:
    """Return which of a hospital's own codes name which item."""
    wanted = set(codes)
    if not wanted:
        return {}
    query = select(LocalCode.code, LocalCode.item_code).where(
        LocalCode.hospital_id == hospital_id, LocalCode.code.in_(wanted)
    )
    return dict(session.execute(query).tuples().all())


def _standing(known: Iterable[Given], silent: Iterable[KnownVersion]) -> Given:
    by_version = {given.version.id: given for given in known}
    last = next(reversed(by_version.values()))
    for version in silent:
        by_version.setdefault(version.id, Given(version, last.observation))
    found = standing(given.version for given in by_version.values())
    return by_version[found.id] if found else last


def _news(before: Given | None, after: Given) -> str | None:
    """Return the kind of news for whoever relied on the value; the same value said again is none."""
    if before is None or before.version.id == after.version.id:
        return None
    found = change(before.version.status, after.version.status)
    same = _said(before.observation) == _said(after.observation)
    return None if found == "report_corrected" and same else found


def _said(observation: Observation) -> tuple[str, str, str]:
    return observation.value, observation.unit, observation.flag


def value_version(observation: Observation, version: ReportVersion) -> Given:
    """Return one version of a value: by its own status, unless its whole report was withdrawn."""
    withdrawn = version.status in WITHDRAWN
    status = ReportStatus(version.status if withdrawn else observation.status)
    return Given(KnownVersion(status, version.reported_at, version.id, version.digest), observation)


def _is_done(value: LabValue) -> bool:
    """An order that was only received is no examination; a cancelled one may be a final one taken back."""
    return value.status is not ReportStatus.REGISTERED


def _withdrawals(session: Session, report_id: int) -> list[KnownVersion]:
    query = select(ReportVersion).where(
        ReportVersion.report_id == report_id, ReportVersion.status.in_([*WITHDRAWN])
    )
    return [
        KnownVersion(ReportStatus(row.status), row.reported_at, row.id, row.digest)
        for row in session.scalars(query)
    ]


def _results_of(session: Session, report: Report) -> dict[str, int]:
    query = select(Observation.key, Observation.result_id).where(
        Observation.report_id == report.id, Observation.result_id.is_not(None)
    )
    return {key: result_id for key, result_id in session.execute(query) if result_id is not None}


def _add_results(
    session: Session, report: Report, values: Sequence[LabValue], mapped: Mapping[str, Mapped]
) -> dict[str, int]:
    if not values:
        return {}
    rows = [_result(report, value.observed_at, mapped[value.key]) for value in values]
    made = session.scalars(insert(Result).returning(Result.id, sort_by_parameter_order=True), rows)
    return dict(zip((value.key for value in values), made, strict=True))


def _result(report: Report, observed_at: Any, mapped: Mapped) -> dict[str, Any]:
    return {
        "person_id": report.person_id,
        "hospital_id": report.hospital_id,
        "item_code": mapped.item_code,
        "exam_time": observed_at,
        "confidence": "high",
        "rule": mapped.rule,
        "explanation": mapped.explanation,
    }


def _observation(
    report: Report, version: ReportVersion, value: LabValue, results: Mapping[str, int], mapped: Mapped
) -> dict[str, Any]:
    return {
        "report_id": report.id,
        "report_version_id": version.id,
        "result_id": results.get(value.key),
        "key": value.key,
        "local_codes": local_codes(value.codings),
        "loinc_codes": loinc_codes(value.codings),
        "name": next((coding.name for coding in value.codings if coding.name), ""),
        "value": value.value,
        "unit": value.unit,
        "reference_range": value.reference_range,
        "method": value.method,
        "flag": value.flag,
        "status": value.status.value,
        "observed_at": value.observed_at,
        "unmapped_reason": mapped.unmapped_reason,
    }
