"""A picture of a frame, as a browser can show it: shades by window, palette or lookup table; PNG or JPEG. Pure.

PS3.3 C.11.1 (modality), C.11.2 (values of interest), C.7.6.3.1.5 (palettes); PS3.18 §8.3.5 (the window, the size).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final, Literal

import numpy as np
from PIL import Image

from exchange.palette_segments import unfold
from exchange.pixels import Array, Stored, Undecodable, decode

Function = Literal["linear", "linear-exact", "sigmoid"]
Window = tuple[float, float, Function]  # centre, width
PNG: Final = "image/png"
JPEG: Final = "image/jpeg"


@dataclass(frozen=True, slots=True)
class Table:
    """A lookup table: its descriptor (entries, first value mapped, bits) and its entries."""

    entries: int
    first: int
    bits: int
    values: tuple[int, ...] | bytes = field(repr=False, default=())  # bytes as they are stored
    is_big_endian: bool = False
    is_segmented: bool = False

    def array(self) -> Array:
        """Return the entries. Raises Undecodable where there are fewer than it says."""
        if self.is_segmented and isinstance(self.values, bytes):
            words = np.frombuffer(
                self.values[: len(self.values) & ~1], ">u2" if self.is_big_endian else "<u2"
            )
            found = np.array(unfold(words.tolist(), self.entries), np.uint16)
        elif isinstance(self.values, bytes):
            wide = len(self.values) >= 2 * self.entries
            kind = (">u2" if self.is_big_endian else "<u2") if wide else "u1"
            found = np.frombuffer(self.values[: self.entries * (1 + wide)], kind)
        else:
            found = np.array(self.values[: self.entries], np.uint16)
        if len(found) != self.entries or not self.entries:
            raise Undecodable("lookup table")
        return found

    def mapped(self, values: Array) -> Array:
        """Return what it makes of values; below and above it, its first and last entry count."""
        at = np.clip(values.astype(np.int64) - self.first, 0, self.entries - 1)
        return self.array()[at]


@dataclass(frozen=True, slots=True)
class Shades:
    """What turns stored values into grey or colour."""

    slope: float = 1.0
    intercept: float = 0.0
    modality: Table | None = None
    window: Window | None = None
    interest: Table | None = None
    palette: tuple[Table, Table, Table] | None = None
    padding: int | None = None
    is_inverse: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """How a picture is wanted: a window in place of the image's own, a size to fit into, a media type, a quality."""

    window: Window | None = None
    viewport: tuple[int, int] | None = None  # columns, rows
    media_type: str = JPEG
    quality: int = 90


def picture(frame: bytes, stored: Stored, shades: Shades, view: View) -> bytes:
    """Return a picture of a frame. Raises Undecodable."""
    values = decode(frame, stored)
    if stored.is_colour:
        shown = values
    elif shades.palette is not None:
        shown = np.dstack([_high_byte(table, values) for table in shades.palette])
    else:
        shown = _grey(values, shades, view.window)
    return _written(_fitted(Image.fromarray(np.ascontiguousarray(shown)), view.viewport), view)


def _high_byte(table: Table, values: Array) -> Array:
    mapped = table.mapped(values)
    return (mapped >> max(0, table.bits - 8)).astype(np.uint8)


def _grey(stored_values: Array, shades: Shades, wanted: Window | None) -> Array:
    if shades.modality is not None:
        values = shades.modality.mapped(stored_values).astype(np.float32)
    else:
        values = stored_values.astype(np.float32) * np.float32(shades.slope) + np.float32(shades.intercept)
    window = wanted or shades.window
    if window is None and shades.interest is not None:
        mapped = shades.interest.mapped(values)
        grey = mapped.astype(np.float32) * (255.0 / ((1 << shades.interest.bits) - 1))
    else:
        grey = _windowed(values, window or _whole(values, stored_values, shades.padding))
    shown: Array = np.clip(np.rint(np.nan_to_num(grey)), 0, 255).astype(np.uint8)
    return 255 - shown if shades.is_inverse else shown


def _windowed(values: Array, window: Window) -> Array:
    centre, width, function = window
    if function == "sigmoid":
        with np.errstate(over="ignore"):
            curve: Array = 255.0 / (1.0 + np.exp(-4.0 * (values - centre) / width))
        return curve
    if function == "linear-exact":
        return ((values - centre) / width + 0.5) * 255.0
    if width <= 1:
        return np.where(values <= centre - 0.5, 0.0, 255.0)
    return ((values - (centre - 0.5)) / (width - 1) + 0.5) * 255.0


def _whole(values: Array, stored_values: Array, padding: int | None) -> Window:
    """Return the window of all that is in the image, its padding aside."""
    real = values[np.isfinite(values) & (stored_values != padding)] if padding is not None else values
    if not real.size:
        return 0.0, 1.0, "linear-exact"
    least, most = float(np.nanmin(real)), float(np.nanmax(real))
    return (least + most) / 2, max(most - least, 1e-6), "linear-exact"


def _fitted(image: Image.Image, viewport: Sequence[int] | None) -> Image.Image:
    """Return it as large as fits, in its own proportions (PS3.18 §8.3.5.1.3)."""
    if viewport is None:
        return image
    scale = min(viewport[0] / image.width, viewport[1] / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)


def _written(image: Image.Image, view: View) -> bytes:
    out = BytesIO()
    if view.media_type == PNG:
        image.save(out, "PNG", compress_level=1)
    else:
        image.save(out, "JPEG", quality=view.quality, subsampling=0)
    return out.getvalue()
