"""Pictures made of blocks with known values, in the encodings hospitals send; and what a canvas shows of them."""

import io
from collections.abc import Callable
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import RLELossless

from tests.packs import EXPLICIT, Sent, encode

SIDE: Final = 128
BLOCKS: Final = 8
CT: Final = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
ULTRASOUND: Final = "1.2.840.10008.5.1.4.1.1.3.1"
RLE: Final = "1.2.840.10008.1.2.5"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.70"
JPEG_LS: Final = "1.2.840.10008.1.2.4.80"
JPEG_2000: Final = "1.2.840.10008.1.2.4.90"
HTJ2K: Final = "1.2.840.10008.1.2.4.201"
CENTRE, WIDTH, INTERCEPT = 40, 400, -1024
Array = NDArray[Any]


def _rle(pixels: Array) -> bytes:
    encoder = get_encoder(RLELossless)
    shape = {"rows": SIDE, "columns": SIDE, "samples_per_pixel": 1, "bits_allocated": 16, "bits_stored": 12}
    told = shape | {
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "number_of_frames": 1,
    }
    return encoder.encode(pixels.tobytes(), encoding_plugin="pydicom", **told)


ENCODERS: Final[dict[str, Callable[[Array], bytes]]] = {
    RLE: _rle,
    JPEG_LOSSLESS: lambda pixels: imagecodecs.jpeg8_encode(
        pixels, lossless=True, predictor=1, bitspersample=12
    ),
    JPEG_LS: imagecodecs.jpegls_encode,
    JPEG_2000: lambda pixels: imagecodecs.jpeg2k_encode(
        pixels, codecformat="j2k", reversible=True, bitspersample=12
    ),
    HTJ2K: imagecodecs.htj2k_encode,
}


def blocks(seed: int) -> Array:
    """Return 8 × 8 values between 0 and 1 of a kind that no other seed gives, none of them black."""
    return (
        np.random.default_rng(seed)
        .permutation(np.linspace(0.1, 1.0, BLOCKS * BLOCKS))
        .reshape(BLOCKS, BLOCKS)
    )


def numbered(number: int) -> Array:
    """Return blocks that tell a number: a frame of light ones, and inside it its binary digits."""
    values = np.full((BLOCKS, BLOCKS), 0.9)
    digits = [number >> place & 1 for place in range(16)]
    values[2:4, :] = 0.3 + 0.6 * np.array(digits).reshape(2, BLOCKS)
    return values


def number_of(seen: Array) -> int:
    """Return the number that blocks tell, given as grey levels."""
    digits = seen[2:4, :].reshape(-1) > 0.6 * 255
    return int(sum(1 << place for place, digit in enumerate(digits) if digit))


def _grown(values: Array) -> Array:
    return np.kron(values, np.ones((SIDE // BLOCKS, SIDE // BLOCKS)))


def stored(values: Array) -> Array:
    """Return the stored values of a CT that shows these fractions of white in its window (PS3.3 C.11.2.1.2.1)."""
    shown = (values - 0.5) * (WIDTH - 1) + CENTRE - 0.5
    return np.asarray(np.rint(_grown(shown) - INTERCEPT), np.uint16)


class Study:
    """Makes the instances of one study of a patient, each in a series of its own or together in one.

    All say that they are CT: what is on no list of recognised items is shown to nobody, and ultrasound is on none.
    """

    def __init__(self, uid: str, **told: Any) -> None:
        self.uid = uid
        self._told = told

    def image(self, series: int, number: int = 1, **attributes: Any) -> Dataset:
        """Return a data set with a header and no pixels."""
        dataset = Dataset()
        told = {
            "SpecificCharacterSet": "ISO_IR 192",
            "SOPClassUID": CT,
            "SOPInstanceUID": f"{self.uid}.{series}.{number}",
            "StudyInstanceUID": self.uid,
            "SeriesInstanceUID": f"{self.uid}.{series}",
            "Modality": "CT",
            "SeriesNumber": str(series),
            "InstanceNumber": str(number),
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": SIDE,
            "Columns": SIDE,
            "BitsAllocated": 16,
            "BitsStored": 12,
            "HighBit": 11,
            "PixelRepresentation": 0,
            "PixelSpacing": [0.5, 0.5],
        }
        for keyword, value in (told | self._told | attributes).items():
            setattr(dataset, keyword, value)
        return dataset

    def ct(self, values: Array, series: int, number: int = 1, syntax: str = EXPLICIT, **more: Any) -> Sent:
        """Return a CT image that shows these values in its window."""
        told = {
            "RescaleSlope": "1",
            "RescaleIntercept": str(INTERCEPT),
            "RescaleType": "HU",
            "WindowCenter": str(CENTRE),
            "WindowWidth": str(WIDTH),
            "ImagePositionPatient": [0, 0, -2.5 * number],  # from head to feet, as they are numbered
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "SliceThickness": "2.5",
            "FrameOfReferenceUID": f"{self.uid}.0.{series}",
        }
        dataset = self.image(series, number, **told, **more)
        return with_pixels(dataset, stored(values), syntax)

    def palette(self, values: Array, series: int) -> Sent:
        """Return an image in palette colours: red falls, green rises, blue stays."""
        table = np.arange(256, dtype="<u2") * 257
        told = {
            "SOPClassUID": SECONDARY_CAPTURE,
            "PhotometricInterpretation": "PALETTE COLOR",
            "BitsAllocated": 8,
            "BitsStored": 8,
            "HighBit": 7,
            **{
                f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 16]
                for colour in ("Red", "Green", "Blue")
            },
            "RedPaletteColorLookupTableData": table[::-1].tobytes(),
            "GreenPaletteColorLookupTableData": table.tobytes(),
            "BluePaletteColorLookupTableData": np.full(256, 0x8000, "<u2").tobytes(),
        }
        pixels = np.asarray(np.rint(_grown(values) * 255), np.uint8)
        return with_pixels(self.image(series, **told), pixels, EXPLICIT)

    def ultrasound(self, frames: list[Array], series: int) -> Sent:
        """Return a cine loop in colour, as ultrasound machines send it: JPEG baseline, YBR, 4:2:2."""
        told = {
            "SOPClassUID": ULTRASOUND,
            "SamplesPerPixel": 3,
            "PlanarConfiguration": 0,
            "PhotometricInterpretation": "YBR_FULL_422",
            "BitsAllocated": 8,
            "BitsStored": 8,
            "HighBit": 7,
            "NumberOfFrames": str(len(frames)),
            "FrameTime": "40",
            "FrameIncrementPointer": 0x00181063,
            "LossyImageCompression": "01",
        }
        dataset = self.image(series, **told)
        encoded = [imagecodecs.jpeg8_encode(coloured(each), 95, subsampling="422") for each in frames]
        dataset.PixelData = encapsulate([each + b"\0" * (len(each) % 2) for each in encoded])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        return Sent(ULTRASOUND, dataset.SOPInstanceUID, JPEG_BASELINE, encode(dataset))


def coloured(values: Array) -> Array:
    """Return an image in colours: each block's red, green and blue differ."""
    grown = _grown(values)
    return np.asarray(np.rint(np.stack([grown, 1 - grown, 0.5 * grown], axis=-1) * 255), np.uint8)


def coloured_blocks(values: Array) -> Array:
    """Return what a canvas shows of a picture in colours."""
    return np.stack([values, 1 - values, 0.5 * values], axis=-1) * 255


def palette_blocks(values: Array) -> Array:
    """Return what a canvas shows of a picture in palette colours."""
    stored_values = np.rint(values * 255)
    return np.stack([255 - stored_values, stored_values, np.full_like(values, 128)], axis=-1)


def with_pixels(dataset: Dataset, pixels: Array, syntax: str) -> Sent:
    """Return an instance with its pixels, encoded as a transfer syntax has it."""
    if syntax == EXPLICIT:
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW"
    else:
        fragment = ENCODERS[syntax](pixels)
        dataset.PixelData = encapsulate([fragment + b"\0" * (len(fragment) % 2)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    return Sent(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), syntax, encode(dataset))


def seen_blocks(png: bytes) -> Array | None:
    """Return the colours in the middle of each block of what a canvas shows, 8 × 8 × 3; None where it is black."""
    canvas = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.float64)
    lit = canvas.max(axis=2) > 12
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    if not rows.size:
        return None
    picture = canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    middles = (np.arange(BLOCKS) + 0.5) / BLOCKS
    down, right = (
        np.clip(np.rint(middles * size).astype(int)[:, None] + (-2, 0, 2), 0, size - 1).reshape(-1)
        for size in picture.shape[:2]
    )
    around = picture[down][:, right]
    return np.asarray(around.reshape(BLOCKS, 3, BLOCKS, 3, 3).mean(axis=(1, 3)))
