"""Pictures of frames: equal to what dcmtk shows of the same files, and to pixels that are known."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_color_lut

from exchange.palette_segments import unfold
from exchange.pictures import PNG, Shades, Table, View, picture
from exchange.pixels import Stored, Undecodable, decode, is_known
from tests.exchange.pictured import by_dcmtk, negative, seen, shown

# One level of 255 may differ, where another rounds another way; two where chrominance is turned as well.
FILES = {
    "CT_small.dcm": 1,
    "MR_small.dcm": 1,
    "MR_small_RLE.dcm": 1,
    "MR_small_bigendian.dcm": 1,
    "MR_small_implicit.dcm": 1,
    "MR_small_jpeg_ls_lossless.dcm": 1,
    "JPGExtended.dcm": 1,
    "JPGLosslessP14SV1_1s_1f_8b.dcm": 1,
    "JPEGLSNearLossless_08.dcm": 1,
    "JPEGLSNearLossless_16.dcm": 1,
    "OBXXXX1A.dcm": 0,
    "OBXXXX1A_expb.dcm": 0,
    "OBXXXX1A_rle.dcm": 0,
    "RG1_UNCR.dcm": 1,
    "SC_rgb_jpeg_gdcm.dcm": 0,
    "SC_rgb_16bit.dcm": 0,
    "SC_rgb_rle_32bit.dcm": 0,
    "SC_rgb_expb_16bit.dcm": 0,
    "SC_rgb_jls_lossy_sample.dcm": 0,
    "SC_rgb_dcmtk_+eb+cr.dcm": 0,
    "SC_rgb_dcmtk_+eb+cy+np.dcm": 0,
    "SC_jpeg_no_color_transform.dcm": 0,
    "SC_rgb_small_odd_jpeg.dcm": 0,
    "SC_ybr_full_422_uncompressed.dcm": 1,
    "SC_ybr_full_uncompressed.dcm": 2,
    "color-pl.dcm": 0,
    "examples_ybr_color.dcm": 0,
    "emri_small.dcm": 1,
    "emri_small_RLE.dcm": 1,
    "liver_1frame.dcm": 0,
    "mlut_18.dcm": 1,
    "rtdose_1frame.dcm": 1,
    "vlut_04.dcm": 0,
}
# dcmtk as Debian has it decodes no JPEG 2000: these are compared with the same image, stored otherwise.
SAME_IMAGE = {
    "MR_small_jp2klossless.dcm": ("MR_small.dcm", 0),
    "MR2_J2KR.dcm": ("MR2_UNCR.dcm", 0),
    "MR2_J2KI.dcm": ("MR2_UNCI.dcm", 6),
    "RG1_J2KR.dcm": ("RG1_UNCR.dcm", 0),
    "RG3_J2KR.dcm": ("RG3_UNCR.dcm", 0),
    "US1_J2KR.dcm": ("US1_UNCR.dcm", 0),
    "US1_J2KI.dcm": ("US1_UNCI.dcm", 40),
    "emri_small_jpeg_2k_lossless.dcm": ("emri_small.dcm", 0),
    "SC_rgb_rle.dcm": ("SC_rgb.dcm", 0),
    "rtdose_expb_1frame.dcm": ("rtdose_1frame.dcm", 0),
    "gdcm-US-ALOKA-16_big.dcm": ("gdcm-US-ALOKA-16.dcm", 0),
}


def sample(name: str) -> Path:
    found = get_testdata_file(name)
    assert isinstance(found, str)
    return Path(found)


def syntax_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)


@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_what_dcmtk_shows_of_the_same_file(name: str, tmp_path: Path) -> None:
    path = sample(name)
    of = negative(path, syntax_of(path))
    has_window = of.shades.window is not None
    expected = by_dcmtk(path, tmp_path, has_window=has_window)
    assert np.abs(shown(of) - expected).max() <= FILES[name]


@pytest.mark.parametrize("name", SAME_IMAGE)
def test_the_same_image_looks_the_same_however_it_is_stored(name: str) -> None:
    other, most = SAME_IMAGE[name]
    here, there = sample(name), sample(other)
    difference = np.abs(shown(negative(here, syntax_of(here))) - shown(negative(there, syntax_of(there))))
    assert difference.max() <= most
    assert difference.mean() <= most / 20


def test_a_palette_in_segments_is_unfolded_as_another_reader_does() -> None:
    path = sample("gdcm-US-ALOKA-16.dcm")
    dataset = pydicom.dcmread(path)
    expected = apply_color_lut(dataset.pixel_array, dataset) >> 8
    assert (shown(negative(path, syntax_of(path))) == expected).all()


def _grey(bits: int = 12, *, signed: bool = False) -> Any:
    generator = np.random.default_rng(7)
    least = -(1 << (bits - 1)) if signed else 0
    rows = np.linspace(least, least + (1 << bits) - 1, 64)[:, None] + generator.integers(-3, 3, (64, 48))
    return np.clip(rows, least, least + (1 << bits) - 1).astype(np.int16 if signed else np.uint16)


def _colour() -> Any:
    generator = np.random.default_rng(7)
    return generator.integers(0, 255, (32, 40, 3)).astype(np.uint8)


ENCODERS = {
    "1.2.840.10008.1.2.1": lambda a: a.tobytes(),
    "1.2.840.10008.1.2.2": lambda a: a.astype(a.dtype.newbyteorder(">")).tobytes(),
    "1.2.840.10008.1.2.4.70": lambda a: imagecodecs.ljpeg_encode(a, bitspersample=16),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.90": lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", reversible=True),
    "1.2.840.10008.1.2.4.201": lambda a: imagecodecs.htj2k_encode(a, reversible=True),
    "1.2.840.10008.1.2.4.110": lambda a: imagecodecs.jpegxl_encode(a, lossless=True),
}


@pytest.mark.parametrize("syntax", ENCODERS)
def test_a_lossless_encoding_gives_back_every_value(syntax: str) -> None:
    values = _grey()
    stored = Stored(syntax, 64, 48, bits_stored=12, high_bit=11)
    assert (decode(bytes(ENCODERS[syntax](values)), stored) == values).all()


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.1"]
)
def test_colours_come_back_as_they_were(syntax: str) -> None:
    values = _colour()
    stored = Stored(syntax, 32, 40, 3, 8, 8, 7, photometric="RGB")
    assert (decode(bytes(ENCODERS[syntax](values)), stored) == values).all()


def test_signed_values_keep_their_sign_where_bits_above_them_are_another_s() -> None:
    values = _grey(12, signed=True)
    dirty = (values.astype(np.int16) & 0x0FFF) | 0x5000  # an overlay in the bits above
    stored = Stored("1.2.840.10008.1.2.1", 64, 48, bits_stored=12, high_bit=11, is_signed=True)
    assert (decode(dirty.astype(np.uint16).tobytes(), stored) == values).all()


def test_windows_are_those_of_the_standard() -> None:
    """PS3.3 C.11.2.1.2: the example values of linear, linear exact and sigmoid for centre 2048, width 4096."""
    values = np.array([[0, 1, 2047, 2048, 4095, 5000]], np.uint16)
    stored = Stored("1.2.840.10008.1.2.1", 1, 6)

    def levels(centre: float, width: float, function: Any, **more: Any) -> list[int]:
        view = View((centre, width, function), media_type=PNG)
        made = seen(picture(values.tobytes(), stored, Shades(**more), view))
        return [int(level) for level in made[0, :, 0]]

    assert levels(2048, 4096, "linear") == [0, 0, 127, 128, 255, 255]
    assert levels(2048, 1, "linear") == [0, 0, 0, 255, 255, 255]
    assert levels(2048, 4096, "linear-exact") == [0, 0, 127, 128, 255, 255]
    assert levels(2048, 4096, "sigmoid") == [30, 30, 127, 128, 225, 241]
    assert levels(2048, 4096, "linear", is_inverse=True) == [255, 255, 128, 127, 0, 0]
    assert levels(2048 * 2 - 100, 8192, "linear", slope=2.0, intercept=-100.0) == [0, 0, 127, 128, 255, 255]


def test_padding_does_not_count_for_the_window_of_all_that_is_there() -> None:
    values = np.array([[63536, 0, 50, 100]], np.uint16)
    stored = Stored("1.2.840.10008.1.2.1", 1, 4)
    made = seen(picture(values.tobytes(), stored, Shades(padding=63536), View(media_type=PNG)))
    assert made[0, :, 0].tolist() == [255, 0, 128, 255]


def test_a_picture_fits_into_the_size_asked_for_in_its_own_proportions() -> None:
    stored = Stored("1.2.840.10008.1.2.1", 64, 48, bits_stored=12, high_bit=11)
    for viewport, size in (((128, 128), (128, 96)), ((24, 99), (32, 24)), ((1, 1), (1, 1))):
        made = seen(picture(_grey().tobytes(), stored, Shades(), View(viewport=viewport)))
        assert made.shape[:2] == size


@given(st.binary(max_size=300), st.sampled_from(sorted(ENCODERS)), st.booleans())
def test_whatever_a_frame_holds_it_is_decoded_or_refused(frame: bytes, syntax: str, colour: bool) -> None:
    stored = Stored(
        syntax, 4, 4, 3 if colour else 1, 8 if colour else 16, 8 if colour else 16, 7 if colour else 15
    )
    try:
        assert decode(frame, stored).shape[:2] == (4, 4)
    except Undecodable:
        return


@given(st.lists(st.integers(0, 65_535), max_size=40), st.integers(1, 300))
def test_whatever_segments_say_no_more_entries_come_of_them_than_the_palette_has(
    words: list[int], most: int
) -> None:
    try:
        found = unfold(words, most)
    except Undecodable:
        return
    assert len(found) <= most
    assert all(0 <= each <= 65_535 for each in found)


def test_a_table_that_is_shorter_than_it_says_is_refused() -> None:
    stored = Stored("1.2.840.10008.1.2.1", 1, 2, 1, 8, 8, 7, photometric="PALETTE COLOR")
    table = Table(256, 0, 8, bytes(10))
    with pytest.raises(Undecodable):
        picture(b"\x00\x01", stored, Shades(palette=(table, table, table)), View())


def test_films_are_known_not_to_be_pictures() -> None:
    assert not is_known("1.2.840.10008.1.2.4.102")
    assert not is_known("1.2.3")
    assert is_known("1.2.840.10008.1.2.4.201")
