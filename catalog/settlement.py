"""Which savings stand: a pure function of one person's decisions and examinations at a hospital.

A saving is reversed by the examination it claimed to avoid: one of the ordered item, or of one that
covers it, done after the check and within the item's window counted from the decision's day. One
examination reverses one saving, the earliest standing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from catalog.rules import local_day


class Ordered(Protocol):
    """What an order asked for: a side or a part that it does not name may be any."""

    @property
    def hospital_id(self) -> int: ...
    @property
    def answered_by(self) -> frozenset[str]: ...
    @property
    def laterality(self) -> str | None: ...
    @property
    def body_part(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Recognition:
    """A decision to recognise; `undone_by` is the decision that undid it, if any."""

    decision_id: int
    hospital_id: int
    answered_by: frozenset[str]
    laterality: str | None
    body_part: str | None
    window_days: int
    checked_at: datetime
    decided_at: datetime
    price_fen: int
    undone_by: int | None = None


@dataclass(frozen=True, slots=True)
class Examination:
    """A result that stands at a hospital."""

    result_id: int
    hospital_id: int
    item_code: str
    laterality: str | None
    body_part: str | None
    exam_time: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """What a decision's ledger must add up to, and what took the saving away."""

    net_fen: int
    cause: str = "decision"
    cause_id: int | None = None


def settle(recognitions: Iterable[Recognition], examinations: Iterable[Examination]) -> dict[int, Standing]:
    """Return what stands for each decision id."""
    in_order = sorted(recognitions, key=lambda r: (r.decided_at, r.decision_id))
    found = {r.decision_id: Standing(0, "undo", r.undone_by) for r in in_order if r.undone_by is not None}
    open_ones = [r for r in in_order if r.undone_by is None]
    for examination in sorted(examinations, key=lambda e: (e.exam_time, e.result_id)):
        hit = next(
            (r for r in open_ones if r.decision_id not in found and _contradicts(examination, r)), None
        )
        if hit is not None:
            found[hit.decision_id] = Standing(0, "examination", examination.result_id)
    kept = {r.decision_id: Standing(r.price_fen) for r in open_ones if r.decision_id not in found}
    return found | kept


def fulfils(examination: Examination, ordered: Ordered) -> bool:
    """Return whether an examination is what an order asked for, whenever it was done."""
    return (
        examination.hospital_id == ordered.hospital_id
        and examination.item_code in ordered.answered_by
        and _same_part(examination.laterality, ordered.laterality, both="B")
        and _same_part(examination.body_part, ordered.body_part, both=None)
    )


def _contradicts(examination: Examination, recognition: Recognition) -> bool:
    last_day = local_day(recognition.decided_at) + timedelta(days=recognition.window_days)
    return (
        fulfils(examination, recognition)
        and examination.exam_time > recognition.checked_at
        and local_day(examination.exam_time) <= last_day
    )


def _same_part(done: str | None, ordered: str | None, *, both: str | None) -> bool:
    return ordered is None or done is None or done == ordered or (both is not None and done == both)
