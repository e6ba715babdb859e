"""What pages say: the Chinese text is the name of itself, the English of each is in a catalogue for each room."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import as_file, files
from typing import Final, Literal

from babel.messages.catalog import Message
from babel.messages.pofile import read_po

Language = Literal["zh", "en"]
_ENGLISH: Final = files(__package__) / "locale" / "en"


def msgid(text: str) -> str:
    """Return the text as it is: so marked, it is found by those who translate, and said by `say` later."""
    return text


def say(text: str, language: Language) -> str:
    """Return a text in the language somebody reads; what has no English yet is said in Chinese."""
    return english().get(text, text) if language == "en" else text


def say_many(one: str, many: str, count: int, language: Language) -> str:
    """Return a text about so many; Chinese has one form for all numbers."""
    if language == "zh":
        return one
    return english().get(one if count == 1 else f"{one}\0{many}", one if count == 1 else many)


@cache
def english() -> Mapping[str, str]:
    """Return the English of every text; that of a plural is below its two texts with a NUL between."""
    found: dict[str, str] = {}
    for each in sorted(_ENGLISH.iterdir(), key=lambda file: file.name):
        with as_file(each) as path, path.open("rb") as file:
            for message in read_po(file, locale="en"):
                found.update(_said(message))
    return found


def _said(message: Message) -> dict[str, str]:
    texts, english = message.id, message.string
    if isinstance(texts, str):
        return {texts: str(english)} if texts else {}
    (one, many), said = texts, tuple(english or ())
    return {one: said[0], f"{one}\0{many}": said[1]}
