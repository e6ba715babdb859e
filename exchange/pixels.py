"""The pixels of one stored frame, decoded by the libraries of their encodings. Pure; meant for a limited process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from imagecodecs import (
    dicomrle_decode,
    htj2k_decode,
    jpeg2k_decode,
    jpeg8_decode,
    jpegls_decode,
    jpegsof3_decode,
    jpegxl_decode,
)
from numpy.typing import NDArray

Array = NDArray[Any]
_BIG: Final = "1.2.840.10008.1.2.2"
_NATIVE: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", _BIG})
_RLE: Final = "1.2.840.10008.1.2.5"
_ENCAPSULATED: Final = "1.2.840.10008.1.2.4."
_MARKERS: Final = (b"\xff\xe0", b"\xff\xee")  # JFIF, Adobe: they say what the components are


class Undecodable(ValueError):
    """The frame cannot be decoded: an encoding that is not known here, or bytes that are not what they should be."""


@dataclass(frozen=True, slots=True)
class Stored:
    """How a frame is stored: the attributes of the Image Pixel module (PS3.3 C.7.6.3) that decoding needs."""

    TransferSyntaxUID: str
    rows: int
    columns: int
    samples: int = 1
    bits_allocated: int = 16
    bits_stored: int = 16
    high_bit: int = 15
    is_signed: bool = False
    is_float: bool = False
    photometric: str = "MONOCHROME2"
    is_planar: bool = False
    is_words: bool = True  # OW, not OB: big endian then swaps bytes of pixels too (PS3.5 §7.3)

    @property
    def is_colour(self) -> bool:
        """Say whether each pixel has three samples."""
        return self.samples == 3


def is_known(TransferSyntaxUID: str) -> bool:
    """Say whether frames of a transfer syntax can be decoded; films (MPEG, HEVC) cannot."""
    return TransferSyntaxUID in _NATIVE or TransferSyntaxUID == _RLE or _codec(TransferSyntaxUID) is not None


def decode(frame: bytes, stored: Stored) -> Array:
    """Return the stored values of a frame, (rows, columns), or (rows, columns, 3) as red, green and blue of 8 bits.

    Raises Undecodable.
    """
    if stored.rows < 1 or stored.columns < 1:
        raise Undecodable("size")
    try:
        found = _decoded(frame, stored)
    except MemoryError:
        raise
    except Exception as error:  # each library has errors of its own
        raise Undecodable(type(error).__name__) from None
    shape = (stored.rows, stored.columns, 3) if stored.is_colour else (stored.rows, stored.columns)
    if found.shape != shape:
        raise Undecodable("shape")
    return _eight_bits(found, stored) if stored.is_colour else _values(found, stored)


def _decoded(frame: bytes, stored: Stored) -> Array:
    syntax = stored.TransferSyntaxUID
    if syntax in _NATIVE:
        return _in_colour(_native(frame, stored), stored)
    if syntax == _RLE:
        return _in_colour(_run_lengths(frame, stored), stored)
    codec = _codec(syntax)
    if codec is None:
        raise Undecodable("transfer syntax")
    return codec(frame, stored)


def _native(frame: bytes, stored: Stored) -> Array:
    if stored.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")
        return bits[: stored.rows * stored.columns].reshape(stored.rows, stored.columns)
    if stored.TransferSyntaxUID == _BIG and stored.bits_allocated == 8 and stored.is_words:
        frame = np.frombuffer(frame[: len(frame) & ~1], ">u2").astype("<u2").tobytes()
    values = np.frombuffer(frame, _type(stored))
    # Y Y Cb Cr: two pixels share their chrominance (PS3.3 C.7.6.3.1.2)
    if stored.photometric == "YBR_FULL_422":
        pairs = values.reshape(stored.rows, stored.columns // 2, 4)
        chrominance = np.repeat(pairs[:, :, 2:], 2, axis=1)
        return np.dstack((pairs[:, :, :2].reshape(stored.rows, stored.columns), chrominance))
    if not stored.is_colour:
        return values[: stored.rows * stored.columns].reshape(stored.rows, stored.columns)
    count = stored.rows * stored.columns * 3
    if stored.is_planar:
        return values[:count].reshape(3, stored.rows, stored.columns).transpose(1, 2, 0)
    return values[:count].reshape(stored.rows, stored.columns, 3)


def _run_lengths(frame: bytes, stored: Stored) -> Array:
    """Decode PS3.5 Annex G; samples are always plane after plane there."""
    little = np.dtype(_type(stored)).newbyteorder("<")
    values = np.frombuffer(dicomrle_decode(frame, little), little)
    count = stored.rows * stored.columns
    if stored.is_colour:
        return values[: count * 3].reshape(3, stored.rows, stored.columns).transpose(1, 2, 0)
    return values[:count].reshape(stored.rows, stored.columns)


def _type(stored: Stored) -> str:
    kind = "f" if stored.is_float else "i" if stored.is_signed else "u"
    order = ">" if stored.TransferSyntaxUID == _BIG else "<"
    return f"{order}{kind}{stored.bits_allocated // 8}"


def _jpeg(frame: bytes, stored: Stored) -> Array:
    """Decode to red, green and blue; what the file does not say of its components, the data set does."""
    if stored.is_colour and stored.photometric == "RGB" and not any(m in frame[:64] for m in _MARKERS):
        return np.asarray(jpeg8_decode(frame, colorspace="RGB", outcolorspace="RGB"))
    return np.asarray(jpeg8_decode(frame))


def _jpeg_lossless(frame: bytes, stored: Stored) -> Array:
    return _in_colour(np.asarray(jpegsof3_decode(frame)), stored)


def _jpeg_ls(frame: bytes, stored: Stored) -> Array:
    return _in_colour(np.asarray(jpegls_decode(frame)), stored)


def _jpeg_2000(frame: bytes, stored: Stored) -> Array:
    return _in_colour(np.asarray(jpeg2k_decode(frame, numthreads=1)), stored)


def _high_throughput(frame: bytes, stored: Stored) -> Array:
    return _in_colour(np.asarray(htj2k_decode(frame)), stored)


def _jpeg_xl(frame: bytes, _: Stored) -> Array:
    return np.asarray(jpegxl_decode(frame, numthreads=1))


_CODECS: Final[dict[str, Callable[[bytes, Stored], Array]]] = {
    **dict.fromkeys(("50", "51"), _jpeg),
    **dict.fromkeys(("57", "70"), _jpeg_lossless),
    **dict.fromkeys(("80", "81"), _jpeg_ls),
    **dict.fromkeys(("90", "91"), _jpeg_2000),
    **dict.fromkeys(("201", "202", "203"), _high_throughput),
    **dict.fromkeys(("110", "111", "112"), _jpeg_xl),
}


def _codec(TransferSyntaxUID: str) -> Callable[[bytes, Stored], Array] | None:
    if not TransferSyntaxUID.startswith(_ENCAPSULATED):
        return None
    return _CODECS.get(TransferSyntaxUID.removeprefix(_ENCAPSULATED))


def _in_colour(values: Array, stored: Stored) -> Array:
    """Turn luminance and chrominance into red, green and blue (PS3.3 C.7.6.3.1.2).

    A transform of JPEG 2000 (YBR_ICT, YBR_RCT) its decoder has turned back already.
    """
    if not stored.photometric.startswith("YBR_FULL"):
        return values
    luminance, blue, red = (values[:, :, each].astype(np.float32) for each in range(3))
    blue, red = blue - 128, red - 128
    turned = (luminance + 1.402 * red, luminance - 0.344136 * blue - 0.714136 * red, luminance + 1.772 * blue)
    shown: Array = np.clip(np.rint(np.dstack(turned)), 0, 255).astype(np.uint8)
    return shown


def _eight_bits(values: Array, stored: Stored) -> Array:
    if values.dtype == np.uint8:
        return values
    return (values.astype(np.uint32) >> max(0, stored.bits_stored - 8)).astype(np.uint8)


def _values(values: Array, stored: Stored) -> Array:
    """Return the stored values in their own range: what lies beside their bits is not theirs (PS3.5 §8.1.1)."""
    if stored.is_float or stored.bits_allocated == 1:
        return values
    bits, spare = stored.bits_stored, values.dtype.itemsize * 8 - stored.high_bit - 1
    unsigned = values.astype(values.dtype.newbyteorder("=")).view(f"u{values.dtype.itemsize}")
    if stored.is_signed:
        left = (unsigned << max(0, spare)).view(f"i{values.dtype.itemsize}")
        return left >> (values.dtype.itemsize * 8 - bits)
    shifted: Array = unsigned >> max(0, stored.high_bit + 1 - bits)
    return shifted & ((1 << bits) - 1)
