"""The items an order's text may mean where it does not say which: shown to the doctor, never guessed among."""

from collections.abc import Iterator
from typing import Final

from catalog.descriptions import read
from catalog.items import Item, ItemList
from catalog.mapping import MODALITIES, map_study
from catalog.study_facts import StudyFacts
from catalog.wording import normalise

MOST_CHOICES: Final = 20


def choices(text: str, item_list: ItemList) -> tuple[Item, ...]:
    """Return the listed items a free text may mean, in the list's order; none where it means nothing listed."""
    wanted = normalise(text)
    if not wanted:
        return ()
    named = {item.code for item in item_list if wanted in (normalise(item.name_zh), normalise(item.name_en))}
    found = named or set(_readings(text, item_list))
    return tuple(item for item in item_list if item.code in found)[:MOST_CHOICES]


def _readings(text: str, item_list: ItemList) -> Iterator[str]:
    """Yield the items of the text as every device it names, or as any where it names none."""
    for device in read(text).devices or frozenset(MODALITIES):
        if device in MODALITIES:
            facts = StudyFacts(MODALITIES[device][:1], study_description=text)
            yield from (item.item_code for item in map_study(facts, item_list).items)
