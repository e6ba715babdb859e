"""Values of DICOM elements as DICOM JSON values (PS3.18 Table F.2.3-1), read from raw bytes."""

import base64
import re
import struct
from collections.abc import Callable
from typing import Any, Final

from catalog.charset import DecodedText, decode, split_values
from dicom_node.dataset import Encoding

BINARY_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_UNSPLIT_VRS: Final = frozenset(("LT", "ST", "UR", "UT"))
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_WORD_BYTES: Final = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[Ee][+-]?[0-9]{1,3})?")
_PN_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def values_of(vr: str, raw: bytes, declared: tuple[str, ...], encoding: Encoding) -> list[Any]:
    """Return the JSON values of an element that is neither a sequence nor binary.

    `declared` is (0008,0005) as it applies here. Raises ValueError where the length does not fit the VR.
    """
    if vr in _NUMBERS:
        return _numbers(_NUMBERS[vr], raw, encoding)
    if vr == "AT":
        words = _numbers("H", raw, encoding)
        return [f"{group:04X}{element:04X}" for group, element in zip(words[::2], words[1::2], strict=True)]
    texts = [
        text.text.strip(" ") if vr not in _UNSPLIT_VRS else text.text for text in texts_of(vr, raw, declared)
    ]
    convert = _CONVERSIONS.get(vr, str)
    values = [_value(text, convert) for text in texts]
    return [] if values == [None] else values


def texts_of(vr: str, raw: bytes, declared: tuple[str, ...]) -> tuple[DecodedText, ...]:
    """Return the texts of a string element, one for each value, with the rule that read them."""
    if vr in _UNSPLIT_VRS:
        return (decode(raw, declared, vr=vr),)
    return split_values(raw, declared, vr=vr)


def inline_binary(vr: str, raw: bytes, encoding: Encoding) -> str:
    """Return bytes as InlineBinary: base64 of the little endian form (PS3.18 F.2.7)."""
    width = _WORD_BYTES.get(vr, 1)
    if not encoding.little and width > 1 and len(raw) % width == 0:
        words = memoryview(raw).cast("c")
        raw = b"".join(words[at : at + width].tobytes()[::-1] for at in range(0, len(raw), width))
    return base64.b64encode(raw).decode("ascii")


def _value(text: str, convert: Callable[[str], Any]) -> Any:
    """An empty value among others is null (PS3.18 F.2.5), and so is a name of delimiters only."""
    value = convert(text) if text else None
    return None if value == {} else value


def _numbers(code: str, raw: bytes, encoding: Encoding) -> list[Any]:
    count, rest = divmod(len(raw), struct.calcsize(code))
    if rest:
        raise ValueError("the length is no multiple of the value's size")
    numbers = struct.unpack(f"{'<' if encoding.little else '>'}{count}{code}", raw)
    return [_finite(number) for number in numbers] if code in "fd" else list(numbers)


def _finite(number: float) -> float | str:
    """JSON has no NaN and no infinity; they are written as the strings that other readers use."""
    if number - number == 0:
        return number
    return str(number).replace("nan", "NaN")


def _integer(text: str) -> int | str:
    return int(text) if _INTEGER.fullmatch(text) else text


def _decimal(text: str) -> float | int | str:
    if not _DECIMAL.fullmatch(text):
        return text
    number = float(text)
    return text if number - number != 0 else number


def _person_name(text: str) -> dict[str, str]:
    return {
        name: group for name, group in zip(_PN_GROUPS, text.split("="), strict=False) if group.strip("^ ")
    }


_CONVERSIONS: Final[dict[str, Callable[[str], Any]]] = {"IS": _integer, "DS": _decimal, "PN": _person_name}
