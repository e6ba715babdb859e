"""What an instance's DICOM JSON says of its pictures: how frames are stored, and what turns their values into shades. Pure.

Of a multi-frame image the functional groups of the frame count before what all frames share (PS3.3 C.7.6.16).
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from catalog.image_index import IndexedInstance, Json
from catalog.pack_windows import Range
from exchange.pictures import Function, Shades, Table, Window
from exchange.pixels import Stored

_SHARED, _PER_FRAME = "52009229", "52009230"
_VALUES_OF_INTEREST, _TRANSFORMATION = "00289132", "00289145"
_CENTRE, _WIDTH, _FUNCTION = "00281050", "00281051", "00281056"
_INTERCEPT, _SLOPE = "00281052", "00281053"
_MODALITY_TABLE, _INTEREST_TABLE = "00283000", "00283010"
_TABLE: Final = ("00283002", "00283006")
# Descriptor, entries, and the same in segments.
_PALETTE: Final = (
    ("00281101", "00281201", "00281221"),
    ("00281102", "00281202", "00281222"),
    ("00281103", "00281203", "00281223"),
)
_DOCUMENT_TYPE: Final = "00420012"
_BIG: Final = "1.2.840.10008.1.2.2"
_FLOATS: Final = frozenset({"7FE00008", "7FE00009"})
_FUNCTIONS: Final[Mapping[str, Function]] = {"LINEAR_EXACT": "linear-exact", "SIGMOID": "sigmoid"}


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """How a frame is stored, its shades, and its tables by name: what was told of them, and where the others lie."""

    stored: Stored
    shades: Shades
    tables: Mapping[str, bytes]
    missing: Mapping[str, Range]


def facts_of(instance: IndexedInstance, number: int) -> PictureFacts:
    """Return what is told of the frame `number`, the first being 1."""
    told: Json = orjson.loads(instance.described)
    stored = _stored(told, instance)
    groups = _groups(told, number)
    tables = _Tables(instance, stored.TransferSyntaxUID == _BIG)
    palette = None
    if stored.photometric == "PALETTE COLOR":
        palette = tuple(tables.read(f"palette.{n}", told, tags, ()) for n, tags in enumerate(_PALETTE))
    modality = _item(told, _MODALITY_TABLE)
    interest = _item(told, _INTEREST_TABLE)
    padding = _number(told, "00280120", None)
    shades = Shades(
        slope=_number(groups.get(_TRANSFORMATION, told), _SLOPE, 1.0) or 1.0,
        intercept=_number(groups.get(_TRANSFORMATION, told), _INTERCEPT, 0.0) or 0.0,
        modality=tables.read("modality", modality, _TABLE, (_MODALITY_TABLE, "0")) if modality else None,
        window=_window(groups.get(_VALUES_OF_INTEREST, told)),
        interest=tables.read("interest", interest, _TABLE, (_INTEREST_TABLE, "0")) if interest else None,
        palette=cast(tuple[Table, Table, Table], palette) if palette and all(palette) else None,
        padding=None if padding is None else int(padding),
        is_inverse=_is_inverse(told, stored),
    )
    return PictureFacts(stored, shades, tables.told, tables.missing)


def document_type(instance: IndexedInstance) -> str:
    """Return the media type of the document that an instance encapsulates (PS3.3 C.24.2)."""
    return _text(orjson.loads(instance.described), _DOCUMENT_TYPE)


def _stored(told: Json, instance: IndexedInstance) -> Stored:
    allocated = int(_number(told, "00280100", 16) or 16)
    bits = int(_number(told, "00280101", allocated) or allocated)
    return Stored(
        TransferSyntaxUID=instance.TransferSyntaxUID,
        rows=int(_number(told, "00280010", 0) or 0),
        columns=int(_number(told, "00280011", 0) or 0),
        samples=int(_number(told, "00280002", 1) or 1),
        bits_allocated=allocated,
        bits_stored=bits,
        high_bit=int(_number(told, "00280102", bits - 1) or bits - 1),
        is_signed=_number(told, "00280103", 0) == 1,
        is_float=bool(_FLOATS & instance.bulk.keys()),
        photometric=_text(told, "00280004") or "MONOCHROME2",
        is_planar=_number(told, "00280006", 0) == 1,
        is_words=told.get("7FE00010", {}).get("vr") != "OB",
    )


def _is_inverse(told: Json, stored: Stored) -> bool:
    """MONOCHROME1 begins with white; a presentation LUT shape says it over again (PS3.3 C.11.6)."""
    shape = _text(told, "20500020")
    return shape == "INVERSE" if shape else stored.photometric == "MONOCHROME1"


def _groups(told: Json, number: int) -> dict[str, Json]:
    """Return the functional groups that count for a frame, by their tags; nothing where there are none."""
    found: dict[str, Json] = {}
    frames = told.get(_PER_FRAME, {}).get("Value") or []
    of_frame = frames[number - 1] if number <= len(frames) else {}
    for group in (_item(told, _SHARED), of_frame):
        for tag in (_VALUES_OF_INTEREST, _TRANSFORMATION):
            if item := _item(group or {}, tag):
                found[tag] = item
    return found


def _window(told: Json) -> Window | None:
    centre, width = _number(told, _CENTRE, None), _number(told, _WIDTH, None)
    if centre is None or width is None or width <= 0:
        return None
    return centre, width, _FUNCTIONS.get(_text(told, _FUNCTION), "linear")


class _Tables:
    """Reads lookup tables, and notes where the entries lie that are not told."""

    def __init__(self, instance: IndexedInstance, is_big_endian: bool) -> None:
        self._instance = instance
        self._is_big_endian = is_big_endian
        self.told: dict[str, bytes] = {}
        self.missing: dict[str, Range] = {}

    def read(self, name: str, told: Json, tags: Sequence[str], inside: Sequence[str]) -> Table | None:
        """Return a table from its descriptor and its entries: the first tag of those that is there."""
        described = told.get(tags[0], {}).get("Value") or []
        data = next((tag for tag in tags[1:] if tag in told), "")
        if len(described) != 3 or not all(isinstance(each, int) for each in described) or not data:
            return None
        entries, first, bits = described
        values: tuple[int, ...] = ()
        path = ".".join((*inside, data))
        if "InlineBinary" in told[data]:
            self.told[name] = base64.b64decode(told[data]["InlineBinary"])
        elif told[data].get("Value"):
            values = tuple(each if isinstance(each, int) else 0 for each in told[data]["Value"])
        elif path in self._instance.bulk:
            self.missing[name] = (self._instance.key, *self._instance.bulk[path])
        is_big_endian = self._is_big_endian and name in self.missing  # inline it is little (PS3.18 §F.2.7)
        return Table(entries or 65_536, first, bits, values, is_big_endian, is_segmented=data in tags[2:])


def _item(told: Json, tag: str) -> Json | None:
    items = told.get(tag, {}).get("Value") or []
    return items[0] if items and isinstance(items[0], dict) else None


def _number(told: Json, tag: str, default: float | None) -> float | None:
    value = next(iter(told.get(tag, {}).get("Value") or []), None)
    return value if isinstance(value, int | float) else default


def _text(told: Json, tag: str) -> str:
    value: Any = next(iter(told.get(tag, {}).get("Value") or []), "")
    return value.strip() if isinstance(value, str) else ""
