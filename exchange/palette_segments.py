"""Palettes that are stored in segments (PS3.3 C.7.9.2): runs, slopes, and repetitions of what came before. Pure."""

from collections.abc import Sequence
from typing import Final

from exchange.pixels import Undecodable

_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2
_HEAD: Final = 2  # words: the kind of a segment, and how many entries or segments


def unfold(words: Sequence[int], most: int) -> list[int]:
    """Return the entries that segments of 16-bit words stand for, `most` at the most. Raises Undecodable."""
    entries: list[int] = []
    at = 0
    while at + _HEAD <= len(words) and len(entries) < most:
        kind, count = words[at], words[at + 1]
        if kind == _INDIRECT:
            low, high = _taken(words, at + _HEAD, 2)
            _repeat(words, (low | high << 16) // 2, count, entries)
            at += _HEAD + 2
        else:
            at = _follow(words, at, entries)
    return entries[:most]


def _repeat(words: Sequence[int], at: int, count: int, entries: list[int]) -> None:
    for _ in range(count):
        at = _follow(words, at, entries)


def _follow(words: Sequence[int], at: int, entries: list[int]) -> int:
    """Take up one discrete or linear segment; return where the next begins."""
    kind, count = _taken(words, at, _HEAD)
    at += _HEAD
    if kind == _DISCRETE:
        entries += _taken(words, at, count)
        return at + count
    if kind != _LINEAR or not entries:
        raise Undecodable("palette segment")
    begin, (end,) = entries[-1], _taken(words, at, 1)
    entries += [round(begin + (end - begin) * step / count) for step in range(1, count + 1)]
    return at + 1


def _taken(words: Sequence[int], at: int, count: int) -> Sequence[int]:
    found = words[at : at + count]
    if len(found) != count:
        raise Undecodable("palette segment")
    return found
