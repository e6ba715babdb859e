"""Quality evaluations: what gives and ends the HR mark (Measures 2022, art. 13 and 14; DOMAIN §1.1 rows 5, 6, 7, 15).

An evaluation is a hospital's, for an item or a group of items, within a scope, between two days. The mark is not
stored: it is computed for the day of the examination at every check, and kept in the check as it was shown.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import audit, item_lists, registry
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.rules import local_day
from catalog.tables import Hospital, QcEvaluation, Region

LONGEST_AHEAD_DAYS: Final = 3660
_CONSORTIUM_CODE: Final = re.compile(r"[A-Z][A-Z0-9_-]{2,31}")


def add(
    catalogue: Catalogue,
    caller: Caller,
    *,
    hospital_code: str,
    targets: Iterable[str],
    scope: str,
    valid_from: date,
    valid_to: date,
    passed: bool,
) -> list[int]:
    """Record evaluations for items or groups of items, by their codes; returns their ids.

    Raises as `registry.add_evaluation`.
    """
    with transaction(catalogue.engine) as session:
        items = item_lists.every_item(session, catalogue)
        rows = [
            registry.add_evaluation(
                session,
                items,
                hospital_code=hospital_code,
                item=None if target in items.groups else target,
                group=target if target in items.groups else None,
                scope=scope,
                valid_from=valid_from,
                valid_to=valid_to,
                passed=passed,
            )
            for target in targets
        ]
        for row in rows:
            audit.record(session, caller, "qc.add", hospital_id=row.hospital_id, evaluation_id=row.id)
        return [row.id for row in rows]


def end(catalogue: Catalogue, caller: Caller, evaluation_id: int, last_day: date) -> dict[str, Any]:
    """End an evaluation early: `last_day` is the last on which it counts. Returns it as it stands now.

    Checks already given keep the mark they showed. Raises NotFound, InvalidInput for a day outside its validity.
    """
    with transaction(catalogue.engine) as session:
        row = session.get(QcEvaluation, evaluation_id, with_for_update=True)
        if row is None:
            raise NotFound("没有该评价", "No such evaluation", code="unknown_evaluation")
        if not row.valid_from <= last_day <= row.valid_to:
            raise InvalidInput(
                f"终止日应在 {row.valid_from} 至 {row.valid_to} 之间",
                f"The last day lies between {row.valid_from} and {row.valid_to}",
                field="last_day",
            )
        before, row.valid_to = row.valid_to, last_day
        session.flush()
        audit.record(
            session,
            caller,
            "qc.end",
            hospital_id=row.hospital_id,
            evaluation_id=row.id,
            before=before.isoformat(),
            after=last_day.isoformat(),
        )
        return _listed(session, QcEvaluation.id == evaluation_id)[0]


def evaluations(
    catalogue: Catalogue, *, hospital_code: str = "", after: int = 0, limit: int = 1000
) -> list[dict[str, Any]]:
    """Return evaluations with the text of their marks, in the order in which they were recorded."""
    where = [QcEvaluation.id > after]
    if hospital_code:
        where.append(Hospital.code == hospital_code)
    with transaction(catalogue.engine) as session:
        return _listed(session, *where, limit=limit)


def expiring(catalogue: Catalogue, days: int) -> list[dict[str, Any]]:
    """Return the passed evaluations that end within so many days and that no other goes on from, soonest first.

    Raises InvalidInput for days outside 0 to 3660.
    """
    if not 0 <= days <= LONGEST_AHEAD_DAYS:
        raise InvalidInput("天数应为 0 到 3660", "The days are 0 to 3660", field="days")
    today = local_day(catalogue.clock())
    with transaction(catalogue.engine) as session:
        rows = _listed(session, QcEvaluation.passed, QcEvaluation.valid_to >= today, limit=None)
    until = today + timedelta(days=days)
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        alike[_what(row)].append(row)
    ending = [
        row
        for row in rows
        if row["to"] <= until and not any(_goes_on(row, other) for other in alike[_what(row)])
    ]
    ending.sort(key=lambda row: (row["to"], row["hospital"], row["item"]))
    return [row | {"days_left": (row["to"] - today).days} for row in ending]


def add_consortium(
    catalogue: Catalogue, caller: Caller, *, code: str, name: str, hospital_codes: Iterable[str]
) -> None:
    """Make a consortium of hospitals a scope, or set its members anew; its mark is its name before HR.

    Raises InvalidInput for a malformed code or name, Conflict where the code is another kind of region,
    NotFound for an unknown hospital.
    """
    members = sorted(set(hospital_codes))
    if not _CONSORTIUM_CODE.fullmatch(code):
        raise InvalidInput(
            "医联体代码为 3 到 32 位大写字母、数字、_ 或 -,以字母开头",
            "A consortium's code takes 3 to 32 capital letters, digits, _ or -, a letter first",
            field="code",
        )
    if not name.strip() or not members:
        raise InvalidInput("医联体须有名称和成员", "A consortium needs a name and members", field="name")
    with transaction(catalogue.engine) as session:
        _refuse_borrowed_name(session, code, name.strip())
        for member in members:
            registry.hospital_by_code(session, member)
        row = {
            "code": code,
            "name": name.strip(),
            "name_en": name.strip(),
            "kind": "consortium",
            "mark_name": name.strip(),
        }
        session.execute(insert(Region).values(row).on_conflict_do_nothing())
        region = session.get_one(Region, code, with_for_update=True)
        if region.kind != "consortium" or region.name != row["name"]:
            raise Conflict("该代码已被使用", "This code is taken", code="region_exists")
        region.members = members
        audit.record(session, caller, "qc.consortium", code=code, members=members)


def _refuse_borrowed_name(session: Session, code: str, name: str) -> None:
    """A consortium called 重庆 would carry the city's mark."""
    query = select(Region.code).where(
        Region.code != code, or_(Region.name == name, Region.mark_name == name, Region.code == name)
    )
    if session.scalars(query.limit(1)).first() is not None:
        raise Conflict("该名称已属于另一互认范围", "Another scope has this name", code="region_exists")


def _listed(session: Session, *where: Any, limit: int | None = 1000) -> list[dict[str, Any]]:
    query = (
        select(QcEvaluation, Hospital.code, Region.mark_name)
        .join(Hospital, Hospital.id == QcEvaluation.hospital_id)
        .join(Region, Region.code == QcEvaluation.scope_code)
        .where(*where)
        .order_by(QcEvaluation.id)
        .limit(limit)
    )
    return [
        {
            "id": row.id,
            "hospital": code,
            "item": row.item_code or f"[{row.item_group}]",
            "scope": row.scope_code,
            "mark": f"{mark_name}HR" if row.passed else None,
            "passed": row.passed,
            "from": row.valid_from,
            "to": row.valid_to,
        }
        for row, code, mark_name in session.execute(query)
    ]


def _goes_on(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Say whether `other`, of the same mark, goes beyond the last day of `row` without a day between."""
    next_day = row["to"] + timedelta(days=1)
    return bool(other["from"] <= next_day <= other["to"])


def _what(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["hospital"], row["item"], row["scope"]
