"""Codes of public terminologies: procedures of LOINC and RadLex Playbook, regions of SNOMED CT (PS3.16 CID 4031).

Only codes that say everything an item says are here: part, technique and contrast.
"""

from functools import lru_cache
from pathlib import Path
from typing import Final

from catalog.datafile import DataFile

CODES: Final = Path(__file__).parent / "codes"
_SCHEMES: Final = {"LOINC": "LN", "RADLEX": "RADLEX", "RPID": "RADLEX", "SNM3": "SRT", "99SDM": "SRT"}


def listed_item(code: str) -> str | None:
    """Return the item a "scheme|code" of a procedure stands for, if it is known to."""
    return _procedures().get(_key(code))


def region_name(code: str) -> str:
    """Return the body part a "scheme|code" of an anatomic region stands for, or nothing."""
    return _regions().get(_key(code), "")


def _key(code: str) -> tuple[str, str]:
    scheme, _, value = code.upper().partition("|")
    return _SCHEMES.get(scheme.strip(), scheme.strip()), value.strip()


@lru_cache(maxsize=1)
def _procedures() -> dict[tuple[str, str], str]:
    return _table("procedures.csv", "item_code")


@lru_cache(maxsize=1)
def _regions() -> dict[tuple[str, str], str]:
    return _table("anatomic_regions.csv", "body_part")


def _table(name: str, meaning: str) -> dict[tuple[str, str], str]:
    table = DataFile(CODES / name, ("scheme", "code", meaning, "meaning"))
    found = {(row.text("scheme"), row.text("code")): row.text(meaning) for row in table.rows()}
    table.finish()
    return found
