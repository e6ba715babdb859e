"""From the answer of a check to cards (CDS Hooks 2.0, CDS Service Response): bounded, in a fixed order. Pure."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from catalog.cds_feedback import GivenCard
from catalog.pricing import format_yuan
from catalog.reasons import OverrideReason
from exchange.cds_texts import Language, markdown, plain, say, summary
from exchange.cds_types import TOLD_REASON_SYSTEM

MOST_CARDS: Final = 10
MOST_SUGGESTIONS: Final = 5
TOPIC_SYSTEM: Final = "urn:huren:cds-topic"
_NEEDED: Final = frozenset({"ambiguous_item", "laterality_required", "body_part_required"})


@dataclass(frozen=True, slots=True)
class Desk:
    """What every card of one answer shares; `resources` are FHIR ids of draft orders by order number."""

    language: Language
    reasons: Mapping[str, OverrideReason]
    public_url: str
    page_url: str = ""
    smart_url: str = ""
    resources: Mapping[str, str] | None = None
    asks_for_details: bool = True


@dataclass(frozen=True, slots=True)
class Dealt:
    """Cards to send, and those that feedback may come for."""

    cards: list[dict[str, Any]]
    given: list[GivenCard]


def unknown_card(desk: Desk, key: str = "unknown") -> dict[str, Any]:
    """Return the card that says that nothing is known, never that there is nothing."""
    return _note(desk, say(key, desk.language), say("unknown_detail", desk.language))


def deal(desk: Desk, answer: Mapping[str, Any], unasked: int = 0) -> Dealt:
    """Return the cards of an answer: recognisable first, then reference, then what an order lacks."""
    shown = [(order, kind) for order in answer["orders"] if (kind := _kind(desk, order))]
    shown.sort(key=lambda pair: ("recognisable", "reference", "needs").index(pair[1]))
    cards, given = [], []
    for order, kind in shown[:MOST_CARDS]:
        card = _MAKERS[kind](desk, answer, order)
        cards.append(card)
        if "uuid" in card:
            given.append(_given(card, order))
    if answer["answer"] == "incomplete":
        cards.append(_note(desk, say("incomplete", desk.language), say("unknown_detail", desk.language)))
    if left := max(len(shown) - MOST_CARDS, 0) + unasked:
        cards.append(_note(desk, say("more", desk.language, count=left), say("more_detail", desk.language)))
    return Dealt(cards, given)


def _kind(desk: Desk, order: Mapping[str, Any]) -> str:
    if error := order.get("error"):
        return "needs" if desk.asks_for_details and error["code"] in _NEEDED else ""
    verdicts = {candidate["verdict"] for candidate in order["candidates"]}
    return next((kind for kind in ("recognisable", "reference") if kind in verdicts), "")


def _recognisable(desk: Desk, answer: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    found = [each for each in order["candidates"] if each["verdict"] == "recognisable"]
    item, emergency = _item(desk, order), answer["urgency"] == "emergency"
    head = say("recognisable", desk.language, item=item, count=len(found))
    newest = max(found, key=lambda each: str(each["exam_time"]))
    head += say("newest", desk.language, date=newest["exam_time"][:10], hospital=_hospital(newest, 40))
    card_id = uuid.uuid5(uuid.UUID(answer["check_id"]), order["order_id"])
    return {
        "uuid": str(card_id),
        **_common(desk, head, "info" if emergency else "warning", _detail(desk, order, emergency)),
        "suggestions": _suggestions(desk, card_id, order, found),
        "selectionBehavior": "at-most-one",
        "overrideReasons": _override_reasons(desk, answer["reason_codes"]),
        **_links(desk, answer, order),
    }


def _reference(desk: Desk, answer: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    head = say("reference", desk.language, item=_item(desk, order), count=len(order["candidates"]))
    detail = _detail(desk, order, answer["urgency"] == "emergency")
    return {**_common(desk, head, "info", detail), **_links(desk, answer, order)}


def _needs(desk: Desk, _: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    error = order["error"]
    text = error["text_en" if desk.language == "en" else "text"]
    names = [each["name_en" if desk.language == "en" else "name"] for each in error.get("choices", ())]
    detail = "\n".join(f"{number}. {markdown(name)}" for number, name in enumerate(names, 1))
    return _note(desk, say("needs", desk.language, item=_item(desk, order), error=text), detail)


_MAKERS: Final = {"recognisable": _recognisable, "reference": _reference, "needs": _needs}


def _note(desk: Desk, head: str, detail: str = "") -> dict[str, Any]:
    return _common(desk, head, "info", detail)


def _common(desk: Desk, head: str, indicator: str, detail: str) -> dict[str, Any]:
    source = {
        "label": say("label", desk.language),
        "url": desk.public_url,
        "topic": {
            "system": TOPIC_SYSTEM,
            "code": "mutual-recognition",
            "display": say("topic", desk.language),
        },
    }
    card = {"summary": summary(head), "indicator": indicator, "source": source}
    return card | ({"detail": detail} if detail else {})


def _suggestions(
    desk: Desk, card_id: uuid.UUID, order: Mapping[str, Any], found: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    made = []
    for place, candidate in enumerate(found[:MOST_SUGGESTIONS]):
        date, hospital = candidate["exam_time"][:10], _hospital(candidate, 40)
        suggestion: dict[str, Any] = {
            "label": say("recognise", desk.language, hospital=hospital, date=date),
            "uuid": str(_suggestion_id(card_id, candidate["result_id"])),
        }
        if place == 0 and len(found) > 1:
            suggestion["isRecommended"] = True
        resource = (desk.resources or {}).get(order["order_id"])
        if resource:
            description = say("delete", desk.language)
            suggestion["actions"] = [
                {"type": "delete", "description": description, "resourceId": f"ServiceRequest/{resource}"}
            ]
        made.append(suggestion)
    return made


def _suggestion_id(card_id: uuid.UUID, result_id: str) -> uuid.UUID:
    return uuid.uuid5(card_id, result_id)


def _given(card: Mapping[str, Any], order: Mapping[str, Any]) -> GivenCard:
    card_id = uuid.UUID(card["uuid"])
    offered = {suggestion["uuid"] for suggestion in card["suggestions"]}
    by_id = {
        str(_suggestion_id(card_id, each["result_id"])): each["result_id"] for each in order["candidates"]
    }
    return GivenCard(
        card_id, order["order_id"], {each: result for each, result in by_id.items() if each in offered}
    )


def _override_reasons(desk: Desk, codes: Iterable[str]) -> list[dict[str, str]]:
    """Return the reasons as data gives them; choosing one says that the patient was told (Measures of 2022)."""
    reasons = [desk.reasons[code] for code in codes]
    told = say("told", desk.language)
    return [
        {
            "system": TOLD_REASON_SYSTEM,
            "code": reason.code,
            "display": f"{reason.en if desk.language == 'en' else reason.zh}{told}",
        }
        for reason in reasons
    ]


def _links(desk: Desk, answer: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the results can be seen; addresses and context carry the check's number and no patient data."""
    links = []
    label = say("open", desk.language)
    if desk.page_url:
        links.append({"label": label, "url": f"{desk.page_url}/{answer['check_id']}", "type": "absolute"})
    if desk.smart_url:
        context = orjson.dumps({"check_id": answer["check_id"], "order_id": order["order_id"]}).decode()
        links.append({"label": label, "url": desk.smart_url, "type": "smart", "appContext": context})
    return {"links": links} if links else {}


def _detail(desk: Desk, order: Mapping[str, Any], emergency: bool) -> str:
    rows = [_row(desk, candidate) for candidate in order["candidates"][: 2 * MOST_SUGGESTIONS]]
    lines = [f"{number}. {row}" for number, row in enumerate(rows, 1)]
    end = say("emergency" if emergency else "decides", desk.language)
    return "\n".join([*lines, "", say("opinion", desk.language), "", end])


def _row(desk: Desk, candidate: Mapping[str, Any]) -> str:
    images, said = candidate["images"], desk.language
    parts = [
        f"**{markdown(candidate['hospital']['name'])}**",
        say("exam", said, time=markdown(candidate["exam_time"][:16].replace("T", " "))),
        markdown(" ".join(candidate["hr_marks"])),
        markdown(images["StudyDescription"] or "") if images else "",
        say("images", said, series=images["series"], instances=images["instances"]) if images else "",
        *(markdown(reason["text_en" if said == "en" else "text"]) for reason in candidate["reasons"]),
    ]
    if candidate["verdict"] == "recognisable":
        if candidate["valid_until"]:
            parts.append(say("valid", said, date=markdown(candidate["valid_until"])))
        if candidate["saving_fen"]:
            parts.append(say("saving", said, yuan=markdown(format_yuan(candidate["saving_fen"]))))
    return " · ".join(part for part in parts if part)


def _item(desk: Desk, order: Mapping[str, Any]) -> str:
    item = order["item"]
    if item is None:
        return say("order", desk.language)
    return plain(item["name_en" if desk.language == "en" else "name"], 50)


def _hospital(candidate: Mapping[str, Any], longest: int) -> str:
    return plain(candidate["hospital"]["name"], longest)
