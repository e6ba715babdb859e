"""Where an instance stands in its series: number, position along the normal of its slice, counts it declares."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from catalog.completeness import LARGEST_COUNT
from catalog.records import Placed

_MODALITY: Final = (0, 0x00080060)
_IMAGE_TYPE: Final = (0, 0x00080008)
_ACQUISITION_NUMBER: Final = (0, 0x00200012)
_INSTANCE_NUMBER: Final = (0, 0x00200013)
_POSITION: Final = (0, 0x00200032)
_ORIENTATION: Final = (0, 0x00200037)
_IMAGES_IN_ACQUISITION: Final = (0, 0x00201002)
_STUDY_INSTANCES: Final = (0, 0x00201208)
_SERIES_INSTANCES: Final = (0, 0x00201209)
PLACES: Final = frozenset(
    {
        _IMAGE_TYPE,
        _ACQUISITION_NUMBER,
        _INSTANCE_NUMBER,
        _POSITION,
        _ORIENTATION,
        _IMAGES_IN_ACQUISITION,
        _STUDY_INSTANCES,
        _SERIES_INSTANCES,
    }
)
_SLICED: Final = frozenset({"CT", "MR", "PT"})
_LARGEST_NUMBER: Final = 2**31 - 1  # VR IS
_FURTHEST_MM: Final = 1e6

Found = Mapping[tuple[int, int], Sequence[Any]]


def place(found: Found, SeriesInstanceUID: str) -> Placed:
    """Return where one instance stands; only slices of CT, MR and PET that are no localizers have a position."""
    normal = _normal(found) if _is_slice(found) else None
    return Placed(
        SeriesInstanceUID=SeriesInstanceUID,
        number=_whole(found, _INSTANCE_NUMBER),
        position_um=_along(found, normal) if normal else None,
        normal=tuple(round(part * 1000) for part in normal) if normal else None,  # type: ignore[arg-type]
        acquisition=_whole(found, _ACQUISITION_NUMBER),
        acquisition_images=_count(found, _IMAGES_IN_ACQUISITION),
        series_instances=_count(found, _SERIES_INSTANCES),
        study_instances=_count(found, _STUDY_INSTANCES),
    )


def _is_slice(found: Found) -> bool:
    kinds = {str(value).upper() for value in found.get(_IMAGE_TYPE, ())}
    return not _SLICED.isdisjoint(map(str, found.get(_MODALITY, ()))) and "LOCALIZER" not in kinds


def _normal(found: Found) -> tuple[float, float, float] | None:
    """The cross product of row and column direction (PS3.3 C.7.6.2.1.1); None where they are none."""
    six = _numbers(found, _ORIENTATION, 6)
    if six is None:
        return None
    (a, b, c), (d, e, f) = six[:3], six[3:]
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = math.hypot(*normal)
    if not 0.9 < length < 1.1:
        return None
    x, y, z = (part / length for part in normal)
    return x, y, z


def _along(found: Found, normal: tuple[float, float, float]) -> int | None:
    position = _numbers(found, _POSITION, 3)
    if position is None:
        return None
    return round(sum(a * b for a, b in zip(position, normal, strict=True)) * 1000)


def _numbers(found: Found, place: tuple[int, int], count: int) -> list[float] | None:
    values = found.get(place, ())
    good = len(values) == count and all(
        isinstance(value, int | float) and abs(value) < _FURTHEST_MM for value in values
    )
    return [float(value) for value in values] if good else None


def _whole(found: Found, place: tuple[int, int]) -> int | None:
    value = next(iter(found.get(place, ())), None)
    return value if isinstance(value, int) and abs(value) <= _LARGEST_NUMBER else None


def _count(found: Found, place: tuple[int, int]) -> int:
    value = _whole(found, place) or 0
    return value if 0 < value <= LARGEST_COUNT else 0
