"""From the codes a laboratory sends to items of the list: the hospital's own table first, then LOINC."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from catalog.items import Item, ItemList
from catalog.report_records import LOINC, Coding


@dataclass(frozen=True, slots=True)
class Mapped:
    """The item of one value and the rule that found it, or why there is none."""

    item_code: str | None
    rule: str = ""
    explanation: str = ""
    unmapped_reason: str | None = None


def local_codes(codings: Iterable[Coding]) -> list[str]:
    """Return the codes that are a hospital's own."""
    return [coding.code for coding in codings if coding.system != LOINC and coding.code]


def loinc_codes(codings: Iterable[Coding]) -> list[str]:
    """Return the LOINC codes."""
    return [coding.code for coding in codings if coding.system == LOINC and coding.code]


def map_codes(
    items: ItemList, table: Mapping[str, str], local: Iterable[str], loinc: Iterable[str]
) -> Mapped:
    """Return the laboratory item that the codes of one value name.

    `table` maps the hospital's own codes to item codes, to an empty one where it says that none fits: then LOINC is
    not asked. Codes that name different items map to none: better unmapped than wrong.
    """
    local, loinc = list(local), list(loinc)
    by_local = {table[code] for code in local if code in table}
    if by_local == {""}:
        return Mapped(None, unmapped_reason="said_unlisted")
    by_loinc = {item.code for item in items if item.loinc and item.loinc in loinc}
    found = {code for code in by_local | by_loinc if _is_laboratory(items.get(code))}
    if len(found) > 1 or "" in by_local:
        return Mapped(None, unmapped_reason="codes_contradict")
    if not found:
        return Mapped(None, unmapped_reason="not_on_list")
    (item_code,) = found
    if item_code in by_local:
        return Mapped(item_code, "local_code", f"本机构代码 {'、'.join(c for c in local if c in table)}")
    return Mapped(item_code, "loinc", f"LOINC {'、'.join(loinc)}")


def _is_laboratory(item: Item | None) -> bool:
    return item is not None and item.category == "laboratory"
