"""Laboratory results: each listed value of a report is a result of its own, with the versions of that value."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import notices
from catalog.context import Catalogue
from catalog.lab_codes import Mapped, local_codes, loinc_codes, map_codes
from catalog.records import ReportStatus
from catalog.report_records import WITHDRAWN, LabValue
from catalog.report_versions import Change, KnownVersion, change, of_value, standing
from catalog.results import list_for
from catalog.tables import LocalCode, Result
from catalog.tables_reports import Observation, Report, ReportVersion


@dataclass(frozen=True, slots=True)
class Given:
    """One version of one value: the observation, and how its report version makes it stand."""

    version: KnownVersion
    observation: Observation


def keep_values(
    session: Session,
    catalogue: Catalogue,
    report: Report,
    versions: Sequence[KnownVersion],
    values: Sequence[LabValue],
) -> None:
    """Keep the values of the last of `versions` and let what counts stand; tell who relied on other values.

    A value that is on the list and new in its report becomes a result.
    """
    earlier = _observations(session, report.id) if len(versions) > 1 else []
    added = _add_values(session, catalogue, report, versions[-1], values, earlier)
    before = _standing_by_result(earlier, versions[:-1])
    after = _standing_by_result([*earlier, *added], versions)
    _restand(session, catalogue, before, after)


def remap(session: Session, catalogue: Catalogue, hospital_id: int) -> int:
    """Give an item to the values of a hospital that had none, by its table as it is now; gives how many."""
    query = (
        select(Report)
        .join(Observation, Observation.report_id == Report.id)
        .where(Report.hospital_id == hospital_id, Observation.result_id.is_(None))
        .distinct()
        .order_by(Report.id)
    )
    return sum(_remap_report(session, catalogue, report) for report in session.scalars(query).all())


def unmapped(session: Session, hospital_id: int) -> list[dict[str, Any]]:
    """Return the codes of a hospital's values that are on no list, most frequent first."""
    columns = (
        Observation.local_codes,
        Observation.loinc_codes,
        Observation.name,
        Observation.unmapped_reason,
    )
    query = (
        select(*columns, func.count())
        .join(Report, Report.id == Observation.report_id)
        .where(Report.hospital_id == hospital_id, Observation.unmapped_reason.is_not(None))
        .group_by(*columns)
        .order_by(func.count().desc(), Observation.name)
        .limit(1000)
    )
    return [
        {"local_codes": local, "loinc_codes": loinc, "name": name, "count": count, "reason": reason}
        for local, loinc, name, reason, count in session.execute(query)
    ]


def local_table(session: Session, hospital_id: int, codes: Iterable[str]) -> dict[str, str]:
    """Return which of a hospital's own codes name which item."""
    wanted = set(codes)
    if not wanted:
        return {}
    query = select(LocalCode.code, LocalCode.item_code).where(
        LocalCode.hospital_id == hospital_id, LocalCode.code.in_(wanted)
    )
    return dict(session.execute(query).tuples().all())


def _remap_report(session: Session, catalogue: Catalogue, report: Report) -> int:
    observations = _observations(session, report.id)
    table = local_table(session, report.hospital_id, [code for o in observations for code in o.local_codes])
    results = _results(observations)
    items = list_for(session, catalogue, report.hospital_id)
    done = 0
    for observation in observations:
        if observation.result_id is not None or observation.status == ReportStatus.REGISTERED:
            continue
        found = map_codes(items, table, observation.local_codes, observation.loinc_codes)
        observation.unmapped_reason = found.unmapped_reason
        if found.item_code is None:
            continue
        if observation.key not in results:
            row = _result(report, observation.observed_at, found)
            results[observation.key] = session.scalars(insert(Result).values(row).returning(Result.id)).one()
        observation.result_id = results[observation.key]
        done += 1
    session.flush()
    rows = session.scalars(select(ReportVersion).where(ReportVersion.report_id == report.id))
    versions = [KnownVersion(ReportStatus(r.status), r.reported_at, r.id, r.digest) for r in rows]
    after = _standing_by_result(observations, versions)
    _bring_in_line(session, after)
    return done


def _standing_by_result(
    observations: Iterable[Observation], versions: Sequence[KnownVersion]
) -> dict[int, Given]:
    """Return by result the value that stands.

    A withdrawn report withdraws every value of it, also those its message does not repeat.
    """
    by_id = {version.id: version for version in versions}
    silent = [version for version in versions if version.status in WITHDRAWN]
    given: dict[int, list[Given]] = {}
    for observation in observations:
        if observation.result_id is not None:
            version = of_value(by_id[observation.report_version_id], ReportStatus(observation.status))
            given.setdefault(observation.result_id, []).append(Given(version, observation))
    return {result_id: _standing(known, silent) for result_id, known in given.items()}


def _standing(known: Sequence[Given], silent: Iterable[KnownVersion]) -> Given:
    by_version = {given.version.id: given for given in known}
    for version in silent:
        by_version.setdefault(version.id, Given(version, known[-1].observation))
    found = standing(given.version for given in by_version.values())
    return by_version[found.id] if found else known[-1]


def _restand(
    session: Session, catalogue: Catalogue, before: Mapping[int, Given], after: Mapping[int, Given]
) -> None:
    """Bring results in line with what stands now, and tell who relied on what stood before."""
    changed = {
        result_id: given
        for result_id, given in after.items()
        if result_id not in before or before[result_id].version != given.version
    }
    # what is new was written as it stands, unless it was withdrawn before it came
    _bring_in_line(
        session,
        {i: given for i, given in changed.items() if i in before or given.version.status in WITHDRAWN},
    )
    told: dict[Change, set[int]] = {}
    for result_id, given in changed.items():
        kind = _news(before.get(result_id), given)
        if kind is not None:
            told.setdefault(kind, set()).add(result_id)
    for kind, result_ids in told.items():
        notices.notify(session, catalogue, result_ids, kind)


def _bring_in_line(session: Session, standing_now: Mapping[int, Given]) -> None:
    if not standing_now:
        return
    query = select(Result).where(Result.id.in_(standing_now), Result.status.in_(("active", "withdrawn")))
    for result in session.scalars(query):
        given = standing_now[result.id]
        result.status = "withdrawn" if given.version.status in WITHDRAWN else "active"
        result.exam_time = given.observation.observed_at
    session.flush()


def _news(before: Given | None, after: Given) -> Change | None:
    """Return the kind of news for whoever relied on the value; the same value said again is none."""
    if before is None:
        return None
    found = change(before.version.status, after.version.status)
    same = _said(before.observation) == _said(after.observation)
    return None if found == "report_corrected" and same else found


def _said(observation: Observation) -> tuple[str, str, str]:
    return observation.value, observation.unit, observation.flag


def _observations(session: Session, report_id: int) -> list[Observation]:
    query = select(Observation).where(Observation.report_id == report_id).order_by(Observation.id)
    return list(session.scalars(query))


def _results(observations: Iterable[Observation]) -> dict[str, int]:
    return {each.key: each.result_id for each in observations if each.result_id is not None}


def _add_values(
    session: Session,
    catalogue: Catalogue,
    report: Report,
    version: KnownVersion,
    values: Sequence[LabValue],
    earlier: Iterable[Observation],
) -> list[Observation]:
    table = local_table(session, report.hospital_id, [c for v in values for c in local_codes(v.codings)])
    items = list_for(session, catalogue, report.hospital_id)
    mapped = {
        value.key: map_codes(items, table, local_codes(value.codings), loinc_codes(value.codings))
        for value in values
    }
    results = _results(earlier)
    fresh = [v for v in values if mapped[v.key].item_code and v.key not in results and _is_done(v)]
    results |= _add_results(session, report, fresh, mapped)
    added = [_observation(report, version.id, value, results, mapped[value.key]) for value in values]
    session.add_all(added)
    session.flush()
    return added


def _is_done(value: LabValue) -> bool:
    """An order that was only received is no examination; a cancelled one may be a final one taken back."""
    return value.status is not ReportStatus.REGISTERED


def _add_results(
    session: Session, report: Report, values: Sequence[LabValue], mapped: Mapping[str, Mapped]
) -> dict[str, int]:
    if not values:
        return {}
    rows = [_result(report, value.observed_at, mapped[value.key]) for value in values]
    made = session.scalars(insert(Result).returning(Result.id, sort_by_parameter_order=True), rows)
    return dict(zip((value.key for value in values), made, strict=True))


def _result(report: Report, observed_at: datetime, mapped: Mapped) -> dict[str, Any]:
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
    report: Report, version_id: int, value: LabValue, results: Mapping[str, int], mapped: Mapped
) -> Observation:
    return Observation(
        report_id=report.id,
        report_version_id=version_id,
        result_id=results.get(value.key),
        key=value.key,
        local_codes=local_codes(value.codings),
        loinc_codes=loinc_codes(value.codings),
        name=next((coding.name for coding in value.codings if coding.name), ""),
        value=value.value,
        unit=value.unit,
        reference_range=value.reference_range,
        method=value.method,
        flag=value.flag,
        status=value.status.value,
        observed_at=value.observed_at,
        unmapped_reason=mapped.unmapped_reason,
    )
