"""Whether an attribute has the value asked for, as C-FIND and QIDO-RS ask (PS3.4 §C.2.2.2, PS3.18 §8.3.4). Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_IN_PARTS: Final = frozenset({"DA", "TM", "DT"})
_LISTED: Final = frozenset({"UI", "CS", "IS"})  # several values mean any of them


def listed(wanted: str) -> list[str]:
    """Return the values of a list, by comma or backslash (PS3.18 §8.3.4.2)."""
    return [each for each in re.split(r"[,\\]", wanted) if each]


def matches(element: Mapping[str, Any], wanted: str) -> bool:
    """Say whether one of an element's values (DICOM JSON) is wanted: single, one of a list, in a range, by wildcards."""
    vr, texts = element.get("vr", ""), list(_texts(element))
    if vr in _IN_PARTS:
        return any(_in_range(text, wanted) for text in texts)
    if vr == "PN":
        # A name may be asked for with all its groups and components, and be kept as characters alone.
        patterns = [_plain(group) for group in wanted.split("=") if _plain(group)]
        return any(has_form(_plain(text), pattern) for text in texts for pattern in patterns)
    patterns = listed(wanted) if vr in _LISTED else [wanted]
    if vr == "UI":
        return any(text in patterns for text in texts)
    return any(has_form(text, pattern) for text in texts for pattern in patterns)


def has_form(text: str, pattern: str) -> bool:
    """Say whether a text has the form of a wildcard value (PS3.4 §C.2.2.2.4), whatever the case of its letters.

    In the product of both lengths at most: an expression with many stars would take for ever.
    """
    text, pattern = text.lower(), pattern.lower()
    at, here, star, resumed = 0, 0, -1, 0
    while at < len(text):
        if here < len(pattern) and pattern[here] == "*":
            star, resumed = here, at
            here += 1
        elif here < len(pattern) and pattern[here] in ("?", text[at]):
            at, here = at + 1, here + 1
        elif star >= 0:
            resumed += 1
            at, here = resumed, star + 1
        else:
            return False
    return not pattern[here:].strip("*")


def _texts(element: Mapping[str, Any]) -> Iterator[str]:
    for one in element.get("Value", []):
        if isinstance(one, dict):
            yield from (str(group) for group in one.values())
        else:
            yield str(one)


def _plain(name: str) -> str:
    return name.replace("^", "").strip(" ")


def _in_range(text: str, wanted: str) -> bool:
    """Say whether a date or time lies in a range, its ends included (PS3.4 §C.2.2.2.5)."""
    first, dash, last = wanted.partition("-")
    if not dash:
        return text.startswith(first)
    return (not first or text >= first) and (not last or text[: len(last)] <= last)
