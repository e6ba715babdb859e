"""Invented people in any number: valid ID numbers of nobody, hashed and sealed as real ones, as bytes for COPY.

The region 999999 does not exist. A chunk is everybody with one sequence number: one birth on each of 30,000 days.
"""

import random
import struct
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Final

from catalog.identity import CHECK_DIGITS, NATIONAL_ID, check_digit
from catalog.vault import open_vault

CHUNK: Final = 30_000
MOST_PEOPLE: Final = 1_000 * CHUNK
COPY_PEOPLE: Final = (
    "copy person (id, id_type, number_hash, number_cipher, name, birth_date, sex) from stdin (format binary)"
)
COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END: Final = b"\xff\xff"

_FIRST_BIRTH: Final = date(1940, 1, 1)
_STRIDE: Final = 7_919  # prime: neighbours in number are years apart in age
_EPOCH: Final = date(2000, 1, 1)  # of PostgreSQL's dates
_SURNAMES: Final = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕"
_GIVEN: Final = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰红梅春雪渝江山川云雨晨曦文武"
_INT: Final = struct.Struct(">i")


def number_of(index: int) -> str:
    """Return the national ID number of the person with this index, counted from 0."""
    sequence, place = divmod(index, CHUNK)
    body = f"999999{_born(place):%Y%m%d}{sequence:03d}"
    return body + check_digit(body)


def copy_rows(keys: Path, seed: int, sequence: int, count: int) -> bytes:
    """Return the rows of the first `count` people with this sequence number; their ids are their indexes plus one."""
    names = _names(seed)
    sex = _field(b"male" if sequence % 2 else b"female")
    first = sequence * CHUNK
    rows = [
        b"".join(
            (
                _SEVEN_FIELDS_ID,
                (first + place + 1).to_bytes(8, "big"),
                _NATIONAL_ID,
                _field(number_hash),
                _field(number_cipher),
                names[(first + place) * 31 % len(names)],
                _birth_dates()[place],
                sex,
            )
        )
        for place, (number_hash, number_cipher) in enumerate(
            open_vault(keys).seal_many(NATIONAL_ID, _numbers(sequence, count))
        )
    ]
    return b"".join(rows)


def _numbers(sequence: int, count: int) -> Iterator[str]:
    """Yield what `number_of` gives; the weighted sum of GB 11643 is known for each birth date already."""
    tail = f"{sequence:03d}"
    more = CHECK_DIGITS.index(check_digit(f"{tail:0>17}"))
    digits = CHECK_DIGITS[more:] + CHECK_DIGITS[:more]
    for start, so_far in _starts()[:count]:
        yield start + tail + digits[so_far]


def _born(place: int) -> date:
    return _FIRST_BIRTH + timedelta(days=place * _STRIDE % CHUNK)


@cache
def _starts() -> list[tuple[str, int]]:
    starts = (f"999999{_born(place):%Y%m%d}" for place in range(CHUNK))
    return [(start, CHECK_DIGITS.index(check_digit(f"{start}000"))) for start in starts]


@cache
def _birth_dates() -> list[bytes]:
    return [_field(_INT.pack((_born(place) - _EPOCH).days)) for place in range(CHUNK)]


@cache
def _names(seed: int) -> list[bytes]:
    chance = random.Random(seed)
    names = (chance.choice(_SURNAMES) + "".join(chance.choices(_GIVEN, k=2)) for _ in range(9_973))
    return [_field(name.encode()) for name in names]


def _field(value: bytes) -> bytes:
    return _INT.pack(len(value)) + value


_SEVEN_FIELDS_ID: Final = b"\0\7" + _INT.pack(8)
_NATIONAL_ID: Final = _field(NATIONAL_ID.encode())
