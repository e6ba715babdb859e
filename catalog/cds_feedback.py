"""Cards as they were given, and what a CDS client reports of them: a decision where the rules allow one.

CDS Hooks 2.0 tells the service what the doctor did with a card. Taking a suggestion recognises its result.
Dismissing a card is a decision only with a reason of the list and the statement that the patient was told
(Measures of 2022); without either it is kept as a report, no decision is made and the order stays unanswered.
"""

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import decisions
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.decisions import DecisionRequest
from catalog.errors import HurenError, InvalidInput, NotFound, Unavailable
from catalog.tables_cds import CdsCard, CdsFeedback


@dataclass(frozen=True, slots=True)
class GivenCard:
    """A card about an order of a check; `suggestions` are result ids by the uuid of their suggestion."""

    card: uuid.UUID
    order_number: str
    suggestions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Feedback:
    """What became of a card. `explained` only where the client says in so many words that the patient was told."""

    card: uuid.UUID
    outcome: Literal["accepted", "overridden"]
    outcome_at: datetime
    suggestions: tuple[str, ...] = ()
    reason_code: str | None = None
    comment: str | None = None
    explained: bool = False


@dataclass(frozen=True, slots=True)
class Sender:
    """A registered client, the service it called, and its hospital."""

    client_id: int
    service: str
    hospital_code: str


def keep_cards(
    session: Session, sender: Sender, check_id: str, caller: Caller, cards: Iterable[GivenCard]
) -> None:
    """Remember cards, so that feedback finds its check, order and result."""
    rows = [
        {
            "id": card.card,
            "client_id": sender.client_id,
            "service": sender.service,
            "check_id": uuid.UUID(check_id),
            "order_number": card.order_number,
            "caller": caller.subject,
            "suggestions": dict(card.suggestions),
        }
        for card in cards
    ]
    if rows:
        session.execute(insert(CdsCard).values(rows))


def take(catalogue: Catalogue, sender: Sender, reports: Sequence[Feedback]) -> list[dict[str, Any]]:
    """Record what a client reports and return, for each, the decision made or the code of why there is none.

    The same report again gives the same answer. Raises NotFound where a card is not this client's, InvalidInput
    for suggestions that are not its card's (nothing is recorded then), Unavailable where a store is down.
    """
    with transaction(catalogue.engine) as session:
        cards = [_card(session, sender, report) for report in reports]
    return [_take(catalogue, sender, card, report) for card, report in zip(cards, reports, strict=True)]


def _card(session: Session, sender: Sender, report: Feedback) -> CdsCard:
    card = session.get(CdsCard, report.card)
    if card is None or (card.client_id, card.service) != (sender.client_id, sender.service):
        raise NotFound("没有这张卡片", "No such card", code="unknown_card")
    if report.outcome == "accepted" and len(report.suggestions) != 1:
        raise InvalidInput(
            "每张卡片只能采纳一条建议", "One suggestion of a card is accepted", field="acceptedSuggestions"
        )
    if not card.suggestions.keys() >= set(report.suggestions):
        raise InvalidInput(
            "该建议不属于这张卡片", "The suggestion is not of this card", field="acceptedSuggestions"
        )
    return card


def _take(catalogue: Catalogue, sender: Sender, card: CdsCard, report: Feedback) -> dict[str, Any]:
    digest = _digest(report)
    with transaction(catalogue.engine) as session:
        known = session.get(CdsFeedback, (card.id, digest))
    if known is not None:
        return _answer(known.card_id, known.outcome, known.decision_id, known.code)
    decision_id, code = _decide(catalogue, sender, card, report, digest)
    row = {
        "card_id": card.id,
        "digest": digest,
        "outcome": report.outcome,
        "reason_code": report.reason_code,
        "decision_id": decision_id,
        "code": code,
        "outcome_at": report.outcome_at,
    }
    with transaction(catalogue.engine) as session:
        session.execute(insert(CdsFeedback).values(row).on_conflict_do_nothing())
    return _answer(card.id, report.outcome, decision_id, code)


def _decide(
    catalogue: Catalogue, sender: Sender, card: CdsCard, report: Feedback, digest: str
) -> tuple[int | None, str | None]:
    """Return the decision made, or the code of why there is none."""
    if report.outcome == "overridden" and (missing := _lacks(catalogue, card, report)):
        return None, missing
    caller = Caller(subject=card.caller, role="doctor", hospital_code=sender.hospital_code)
    request = _request(card, report)
    try:
        made = decisions.decide(
            catalogue, caller, card.check_id, request, idempotency_key=f"cds-{card.id}-{digest}"
        )
    except Unavailable:
        raise
    except HurenError as error:
        return None, error.code
    return int(made["decision_id"]), None


def _lacks(catalogue: Catalogue, card: CdsCard, report: Feedback) -> str | None:
    """Return what an override lacks to be a lawful decision."""
    if not card.suggestions:
        return "nothing_to_override"
    if report.reason_code not in catalogue.override_reasons:
        return "reason_required"
    return None if report.explained else "explanation_outstanding"


def _request(card: CdsCard, report: Feedback) -> DecisionRequest:
    if report.outcome == "accepted":
        return DecisionRequest(
            card.order_number, "recognise", result_id=card.suggestions[report.suggestions[0]]
        )
    return DecisionRequest(
        card.order_number,
        "override",
        reason_code=report.reason_code,
        reason_text=report.comment,
        explained_to_patient=report.explained,
    )


def _digest(report: Feedback) -> str:
    said = [
        report.outcome,
        report.outcome_at.isoformat(),
        report.suggestions,
        report.reason_code,
        report.comment,
        report.explained,
    ]
    return hashlib.sha256(orjson.dumps(said)).hexdigest()


def _answer(card: uuid.UUID, outcome: str, decision_id: int | None, code: str | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"card": str(card), "outcome": outcome}
    return answer | ({"decision": str(decision_id)} if code is None else {"code": code})
