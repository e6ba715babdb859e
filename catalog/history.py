"""A doctor looks through a person's recognisable results without an order, for a stated purpose."""

import base64
import binascii
import hashlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.orm import Session

from catalog import audit, grants, lookup, recognition
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.identity import Demographics, Document
from catalog.items import Category, Item
from catalog.lookup import Known
from catalog.orders import Asking, order_of, side
from catalog.recognition import StillWanted
from catalog.registry_view import Registry
from catalog.rules import HOSPITAL_ZONE
from catalog.tables import Hospital, Result
from catalog.tables_asking import StatedPurpose

# HL7 v3 ActReason, value set PurposeOfUse: treatment and what lies under it. BTG (break the glass) is no search.
PURPOSES: Final[dict[str, tuple[str, str]]] = {
    "TREAT": ("诊疗", "treatment"),
    "ETREAT": ("急诊诊疗", "emergency treatment"),
    "COC": ("诊疗协作", "coordination of care"),
}
_LONGEST_CURSOR: Final = 200


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """Whose results, what for, and which of them; days are inclusive, in the hospitals' zone."""

    document: Document
    demographics: Demographics
    purpose: str
    reason: str
    items: tuple[str, ...] = ()
    category: Category | None = None
    modality: str | None = None
    hospital: str | None = None
    first_day: date | None = None
    last_day: date | None = None
    cursor: str | None = None
    limit: int = 50


def search(
    catalogue: Catalogue,
    caller: Caller,
    request: SearchRequest,
    *,
    still_wanted: StillWanted = lambda: True,
) -> dict[str, Any]:
    """Return one page of a person's results, newest first, each with its verdict as if its item were ordered now.

    What may be shown is what a check may show. The purpose, and what was shown, is kept and audited; `still_wanted` is
    asked before the commit, as for a check.
    Raises InvalidInput for a purpose that is none, an empty reason or a cursor of another search.
    """
    _check(request)
    digests = catalogue.vault.digests(request.document.id_type, request.document.number)
    with transaction(catalogue.engine) as session:
        stamp, person = lookup.asked_about(session, request.document.id_type, digests)
        registry = Registry(session, catalogue.registry.under(stamp))
        hospital_id, asker = registry.hospital(caller.hospital_code)
        now = catalogue.clock()
        items = registry.items(catalogue.items, asker.regions, now)
        asking = Asking(session, catalogue, asker, hospital_id, now, "routine", items)
        answer, disclosed = recognition.may_disclose(person, request.document, request.demographics)
        rows = _page(asking, request, person.everybody) if person and disclosed else []
        more = len(rows) > request.limit
        shown = described(asking, registry, person, rows[: request.limit]) if person and rows else []
        given: dict[str, Any] = {
            "search_id": str(uuid.uuid4()),
            "answer": answer,
            "purpose": request.purpose,
            "asked_at": now.astimezone(HOSPITAL_ZONE).isoformat(timespec="seconds"),
            "item_list": items.version,
            "patient": recognition.described_person(person) if shown else None,
            "results": shown,
            "next_cursor": _cursor(request, rows[request.limit - 1]) if more else None,
        }
        _keep(asking, caller, request, person, given)
        if not still_wanted():
            raise TimeoutError("nobody waits for this answer any more")
        return given


def _check(request: SearchRequest) -> None:
    if request.purpose not in PURPOSES:
        raise InvalidInput(
            f"目的须为 {'、'.join(PURPOSES)} 之一",
            f"A purpose is one of {', '.join(PURPOSES)}",
            field="purpose",
            code="unknown_purpose",
        )
    if not request.reason.strip():
        raise InvalidInput(
            "须说明查阅的缘由", "Say why this is looked at", field="reason", code="reason_required"
        )


def _page(asking: Asking, request: SearchRequest, everybody: tuple[int, ...]) -> Sequence[Any]:
    """Return the rows of one page and one more, where there is one."""
    query = (
        select(Result.id, Result.item_code, Result.laterality, Result.body_part, Result.exam_time)
        .where(
            Result.person_id.in_(everybody),
            Result.status.in_(("active", "withdrawn")),
            Result.item_code.in_(_wanted(asking, request)),
            *_filters(request),
        )
        .order_by(Result.exam_time.desc(), Result.id.desc())
        .limit(request.limit + 1)
    )
    return asking.session.execute(query).all()


def _wanted(asking: Asking, request: SearchRequest) -> list[str]:
    def fits(item: Item) -> bool:
        return (
            (not request.items or item.code in request.items)
            and request.category in (None, item.category)
            and (request.modality is None or request.modality in item.modalities)
        )

    return [item.code for item in asking.items if fits(item)]


def _filters(request: SearchRequest) -> Iterator[ColumnElement[bool]]:
    if request.hospital is not None:
        issuer = select(Hospital.id).where(Hospital.code == request.hospital)
        yield Result.hospital_id == issuer.scalar_subquery()
    if request.first_day is not None:
        yield Result.exam_time >= _midnight(request.first_day)
    if request.last_day is not None:
        yield Result.exam_time < _midnight(request.last_day) + timedelta(days=1)
    if request.cursor is not None:
        yield tuple_(Result.exam_time, Result.id) < _position(request)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), HOSPITAL_ZONE)


def described(asking: Asking, registry: Registry, person: Known, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Return rows of a person's results in their order, each judged as if its item were ordered now; hidden: absent."""
    orders = {}
    for row in rows:
        item = asking.items.get(row.item_code)
        if item is not None:
            orders[row.id] = order_of(asking, item, side(row.laterality), row.body_part)
    judged = recognition.as_if_ordered(asking, registry, person, orders)
    return [judged[row.id] for row in rows if row.id in judged]


def _cursor(request: SearchRequest, row: Any) -> str:
    exam_us = (row.exam_time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(orjson.dumps([exam_us, row.id, _same_search(request)])).decode()


def _position(request: SearchRequest) -> tuple[datetime, int]:
    """Return where the page before ended. Raises InvalidInput for a cursor that is none of this search."""
    cursor = (request.cursor or "")[: _LONGEST_CURSOR + 1]
    try:
        exam_us, result_id, search_of = orjson.loads(base64.b64decode(cursor, b"-_", validate=True))
        whole = type(exam_us) is int and type(result_id) is int and 0 < result_id < 1 << 63
        if not whole or search_of != _same_search(request):
            raise ValueError("of another search")
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=exam_us), result_id
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise InvalidInput(
            "游标无效或属于另一查询",
            "The cursor is not one of this search",
            field="cursor",
            code="invalid_cursor",
        ) from error


def _same_search(request: SearchRequest) -> str:
    """Return what binds a cursor to its filters; the person is asked anew each time and is no part of it."""
    filters = [
        sorted(request.items),
        request.category,
        request.modality,
        request.hospital,
        request.first_day,
        request.last_day,
    ]
    return hashlib.sha256(orjson.dumps(filters)).hexdigest()[:16]


def _keep(
    asking: Asking, caller: Caller, request: SearchRequest, person: Known | None, given: dict[str, Any]
) -> None:
    """Keep the stated purpose, what may be read because of it, and the audit: where an access by purpose begins."""
    session: Session = asking.session
    person_id = person.id if person is not None else None
    session.add(
        StatedPurpose(
            id=uuid.UUID(given["search_id"]),
            hospital_id=asking.hospital_id,
            person_id=person_id,
            caller=caller.subject,
            role=caller.role,
            purpose=request.purpose,
            reason=request.reason.strip(),
            answer=given["answer"],
            stated_at=asking.now,
        )
    )
    if person_id is not None and given["patient"] is not None:
        lasting = asking.catalogue.limits.decide_within
        grants.grant(session, caller, asking.hospital_id, person_id, "purpose", asking.now, lasting)
    audit.record(
        session,
        caller,
        "results.search",
        hospital_id=asking.hospital_id,
        person_id=person_id,
        search_id=given["search_id"],
        purpose=request.purpose,
        answer=given["answer"],
        shown=[each["result_id"] for each in given["results"]],
    )
