"""What the archive of a browser's tests holds: encodings, colours, and a deep CT, all of one patient."""

from typing import Final

import numpy as np
import pytest

from tests.browser.conftest import House
from tests.browser.pictures import (
    EXPLICIT,
    HTJ2K,
    JPEG_2000,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    Array,
    Study,
    blocks,
    numbered,
)

ENCODED, COLOURS, SLICES = "2.25.8001", "2.25.8002", "2.25.8003"
SYNTAXES: Final = {
    "uncompressed": EXPLICIT,
    "RLE": RLE,
    "JPEG lossless": JPEG_LOSSLESS,
    "JPEG-LS": JPEG_LS,
    "JPEG 2000": JPEG_2000,
    "HTJ2K": HTJ2K,
}
INVERTED, PALETTE, ULTRASOUND = 7, 1, 2
FRAMES, DEEP = 6, 500


@pytest.fixture(scope="module", autouse=True)
def archive(house: House) -> None:
    """Three studies of person 2: a series for each encoding, one in colours, and a CT of 500 slices."""
    encoded = Study(ENCODED, **house.told(days_ago=7))
    sent = [
        encoded.ct(blocks(number), number, syntax=syntax)
        for number, syntax in enumerate(SYNTAXES.values(), 1)
    ]
    house.images.send(
        "A", *sent, encoded.ct(blocks(INVERTED), INVERTED, PhotometricInterpretation="MONOCHROME1")
    )
    colours = Study(COLOURS, **house.told(days_ago=5))
    frames = [blocks(90 + number) for number in range(FRAMES)]
    house.images.send("A", colours.palette(blocks(80), PALETTE), colours.ultrasound(frames, ULTRASOUND))
    slices = Study(SLICES, **house.told(days_ago=3))
    house.images.send("A", *[slices.ct(numbered(number), 1, number) for number in range(1, DEEP + 1)])
    house.open_person()


def grey(values: Array) -> Array:
    """Return what a canvas shows of fractions of white."""
    return np.repeat(values[:, :, None] * 255, 3, axis=2)
