"""Which examinations repeated what was there already, and how that came: a pure function.

What it asks of the rules is told beforehand: which earlier results were recognisable at the moment of the later
examination. A hospital's orders say the rest: whether it asked, was shown one, and what it decided.
"""

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

from catalog.rules import local_day
from catalog.settlement import Examination, fulfils

Kind = Literal["no_check", "no_answer", "recognised_and_done", "refused", "lawfully_repeated", "not_visible"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
# What nobody could have avoided, or was lawful to repeat, is told beside them.
AVOIDABLE: Final[tuple[Kind, ...]] = ("no_check", "no_answer", "recognised_and_done", "refused")


@dataclass(frozen=True, slots=True)
class Prior:
    """An earlier result as it stands towards a later examination.

    `in_time`: it was in the catalogue by then. Where it is not `recognisable` by what is known now, it counts only if
    a check had shown it as that.
    """

    result_id: int
    hospital_id: int
    own_hospital: bool
    in_time: bool
    recognisable: bool


@dataclass(frozen=True, slots=True)
class Done:
    """An examination with the priors that may count against it, the best first."""

    examination: Examination
    priors: tuple[Prior, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """One order of one check; `shown` are the results that it showed as recognisable.

    `decided` says what the decision that stands for the order makes of an examination done all the same.
    """

    number: int
    check_id: uuid.UUID
    order_number: str
    hospital_id: int
    answered_by: frozenset[str]
    laterality: str | None
    body_part: str | None
    window_days: int
    asked_at: datetime
    emergency: bool
    shown: frozenset[int]
    decision_id: int | None = None
    decided: Kind | None = None


@dataclass(frozen=True, slots=True)
class Repetition:
    """An examination that repeated a prior, and the check and decision that tell how it came."""

    prior_result_id: int
    prior_hospital_id: int
    kind: Kind
    own_hospital: bool
    emergency: bool = False
    check_id: uuid.UUID | None = None
    order_number: str | None = None
    decision_id: int | None = None


def classify(done: Iterable[Done], asked: Collection[Asked]) -> dict[int, Repetition]:
    """Return the repeats among one person's examinations, by result.

    An order lies behind one examination, the first that fulfils it; of several open ones the latest does.
    """
    used: set[tuple[int, str]] = set()
    found: dict[int, Repetition] = {}
    for each in sorted(done, key=lambda d: (d.examination.exam_time, d.examination.result_id)):
        asks = [ask for ask in asked if _may_lie_behind(ask, each.examination)]
        order = _order(asks, used)
        used |= {_key(ask) for ask in order}
        repeat = _repeat(each.priors, asks, order)
        if repeat is not None:
            found[each.examination.result_id] = repeat
    return found


def _may_lie_behind(ask: Asked, examination: Examination) -> bool:
    last_day = local_day(ask.asked_at) + timedelta(days=ask.window_days)
    return (
        ask.asked_at <= examination.exam_time
        and local_day(examination.exam_time) <= last_day
        and fulfils(examination, ask)
    )


def _order(asks: Iterable[Asked], used: Collection[tuple[int, str]]) -> list[Asked]:
    """Return every question about the order that lies behind an examination, the latest last; none where none does."""
    fresh = sorted((ask for ask in asks if _key(ask) not in used), key=lambda ask: (ask.asked_at, ask.number))
    return [ask for ask in fresh if _key(ask) == _key(fresh[-1])]


def _key(ask: Asked) -> tuple[int, str]:
    return ask.hospital_id, ask.order_number


def _repeat(priors: Iterable[Prior], asks: Iterable[Asked], order: Sequence[Asked]) -> Repetition | None:
    seen, told = _shown(asks), _shown(order)
    counted = [prior for prior in priors if prior.recognisable or prior.result_id in seen]
    if not counted:
        return None
    in_time = [prior for prior in counted if prior.in_time or prior.result_id in seen]
    answered = [prior for prior in in_time if prior.result_id in told]
    prior = (answered or in_time or counted)[0]
    kind = _kind(order, in_time=bool(in_time), told=bool(answered))
    if not order:
        return Repetition(prior.result_id, prior.hospital_id, kind, prior.own_hospital)
    last = order[-1]
    return Repetition(
        prior.result_id,
        prior.hospital_id,
        kind,
        prior.own_hospital,
        last.emergency,
        last.check_id,
        last.order_number,
        last.decision_id,
    )


def _kind(order: Sequence[Asked], *, in_time: bool, told: bool) -> Kind:
    if not in_time:
        return "not_visible"
    if not order:
        return "no_check"
    if order[-1].decided is not None:
        return order[-1].decided
    return "no_answer" if told else "not_visible"


def _shown(asks: Iterable[Asked]) -> frozenset[int]:
    return frozenset().union(*(ask.shown for ask in asks))
