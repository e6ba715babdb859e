"""Which items a header left open may mean: for a curator to choose from, never to be taken without one.

A curator's earlier answer to the same description comes first; then items of the same device by the parts, agent and
words that header and item share. Each says why it is there.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.anatomy import lies_within
from catalog.descriptions import read
from catalog.evidence import device_of
from catalog.items import Item, ItemList
from catalog.mapping import MODALITIES
from catalog.study_facts import Refusal, StudyFacts, agent_given
from catalog.tables import Hospital
from catalog.tables_review import ReviewTask
from catalog.wording import normalise

MOST: Final = 9  # one key of the keyboard each
_EARLIER: Final = 20
Likelihood = Literal["high", "medium", "low"]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An item that a header may mean, how likely, and why."""

    item_code: str
    name: str
    name_en: str
    laterality: str | None
    body_part: str | None
    likelihood: Likelihood
    reason: str
    reason_en: str

    def report(self) -> dict[str, Any]:
        """Return it as JSON would have it."""
        return asdict(self)


def suggestions(session: Session, facts: StudyFacts, items: ItemList) -> list[Suggestion]:
    """Return the likeliest items first, at most MOST; none where the device is on no list."""
    found: dict[str, Suggestion] = {}
    for each in [*_earlier(session, facts, items), *by_header(facts, items)]:
        found.setdefault(each.item_code, each)
    return list(found.values())[:MOST]


def by_header(facts: StudyFacts, items: ItemList) -> list[Suggestion]:
    """Return the items of the header's device that share a part, words or the use of an agent with it."""
    try:
        device = device_of(facts.modality)
    except Refusal:
        return []
    same_device = [item for item in items if set(MODALITIES[device]) & set(item.modalities)]
    weighed = [(_weigh(item, facts), place, item) for place, item in enumerate(same_device)]
    ranked = sorted(
        (each for each in weighed if each[0].score > 0), key=lambda each: (-each[0].score, each[1])
    )
    return [_suggested(item, weight) for weight, _, item in ranked[:MOST]]


@dataclass(frozen=True, slots=True)
class _Weight:
    score: float
    part: bool
    near: bool
    agent: bool
    words: str


def _weigh(item: Item, facts: StudyFacts) -> _Weight:
    texts = _texts(facts)
    parts = {claim.part for text in texts for claim in read(text).claims if claim.part}
    parts |= {claim.part for claim in read(facts.body_part_examined).claims if claim.part}
    part = item.body_part in parts
    near = any(lies_within(each, item.body_part) or lies_within(item.body_part, each) for each in parts)
    enhanced = agent_given(facts.contrast_agent) or any(
        "enhanced" in claim.contrast for text in texts for claim in (*read(text).claims, read(text).loose)
    )
    agent = item.contrast == "any" or enhanced is (item.contrast == "with")
    shared = sorted(_pairs(item.name_zh) & set().union(*(_pairs(text) for text in texts), set()))
    routine = item.technique == "routine"
    score = 4.0 * part + 2.0 * near + len(shared)
    score += (0.5 * agent + 0.25 * routine) if score else 0.0
    return _Weight(score, part, near, agent, "、".join(shared[:4]))


def _texts(facts: StudyFacts) -> list[str]:
    told = (
        facts.study_description,
        facts.requested_procedure,
        *facts.protocol_names,
        *facts.series_descriptions,
    )
    return [text for text in told[:20] if text]


def _pairs(text: str) -> set[str]:
    """Return the neighbouring Chinese characters of a text, two by two."""
    plain = normalise(text)
    return {plain[at : at + 2] for at in range(len(plain) - 1) if plain[at : at + 2] >= "\u4e00\u4e00"}


def _suggested(item: Item, weight: _Weight) -> Suggestion:
    zh = [
        "部位一致" if weight.part else "部位相近" if weight.near else "",
        f"名称同有「{weight.words}」" if weight.words else "",
        "增强与否一致" if weight.agent else "增强与否不同",
    ]
    en = [
        "same body part" if weight.part else "a nearby body part" if weight.near else "",
        f"names share {weight.words}" if weight.words else "",
        "contrast agrees" if weight.agent else "contrast differs",
    ]
    return Suggestion(
        item.code,
        item.name_zh,
        item.name_en,
        None,
        item.body_part if item.spans_body_parts else None,
        "medium" if weight.part and weight.agent else "low",
        "设备类型一致;" + ";".join(filter(None, zh)),
        "same device; " + "; ".join(filter(None, en)),
    )


def _earlier(session: Session, facts: StudyFacts, items: ItemList) -> Iterator[Suggestion]:
    """Yield what curators answered to the same description, the newest answer first."""
    if not facts.study_description:
        return
    description = ReviewTask.details[("facts", "study_description")].astext
    query = (
        select(ReviewTask.answer, Hospital.code)
        .join(Hospital, Hospital.id == ReviewTask.hospital_id)
        .where(description == facts.study_description, ReviewTask.state == "decided")
        .order_by(ReviewTask.id.desc())
        .limit(_EARLIER)
    )
    for answer, hospital in session.execute(query).tuples():
        for said in (answer or {}).get("items", ()):
            if (item := items.get(said["item_code"])) is not None:
                yield Suggestion(
                    item.code,
                    item.name_zh,
                    item.name_en,
                    said.get("laterality"),
                    said.get("body_part"),
                    "high",
                    f"{hospital} 的同一描述曾人工确认为此项目",
                    f"A curator answered so for the same description of {hospital}",
                )
