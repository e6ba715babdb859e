"""UIDs come from outside and are hostile until checked; keys are made here."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import InvalidInput
from catalog.uids import check_uid, is_uid, new_uid, pack_key, sidecar_key

SHA256 = "ab" + "0123456789abcdef" * 3 + "0123456789abcd"

HOSTILE = (
    "",
    ".",
    "1.",
    ".1",
    "1..2",
    "1.2.٣",  # an Arabic-Indic digit is a digit to Unicode
    "1.2.３",
    "٣.2",
    "1.2.²",
    "../../../../evil",
    "1.2/../3",
    "/etc/passwd",
    "1.2.%2e",
    "1.2\0.3",
    "\0",
    " 1.2",
    "1.2\n",
    "1.2 .3",
    "1.2.3\\1.2.4",
    "CON",
    "1.2.x",
    "1" * 65,
    "1.2." + "3" * 61,
)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_not_a_uid_is_refused_without_being_repeated(text: str) -> None:
    assert not is_uid(text)
    with pytest.raises(InvalidInput) as refusal:
        check_uid(text, field="StudyInstanceUID")
    assert refusal.value.field == "StudyInstanceUID"
    assert refusal.value.code == "uid_invalid"
    assert not text.strip("\0 .") or text not in str(refusal.value)


@pytest.mark.parametrize("text", ["1.2.840.10008.1.1", "0", "1.2.840.09.01", "12345", "1.2." + "3" * 60])
def test_what_real_senders_write_is_accepted_as_given(text: str) -> None:
    assert check_uid(text, field="StudyInstanceUID") == text


def test_trailing_padding_is_taken_off() -> None:
    assert check_uid("1.2.3\0", field="SOPInstanceUID") == "1.2.3"
    assert check_uid("1.2.3  ", field="SOPInstanceUID") == "1.2.3"


def test_a_new_uid_is_a_uuid_under_2_25_and_never_the_same() -> None:
    made = {new_uid() for _ in range(100)}
    assert len(made) == 100
    assert all(is_uid(uid) and re.fullmatch(r"2\.25\.(0|[1-9][0-9]*)", uid) for uid in made)


def test_pack_and_sidecar_lie_side_by_side_under_their_digest() -> None:
    assert pack_key(SHA256) == f"packs/ab/{SHA256}.tar"
    assert sidecar_key(SHA256) == f"packs/ab/{SHA256}.json.gz"


@pytest.mark.parametrize(
    "digest", ["", "../x", SHA256.upper(), SHA256[:-1], SHA256 + "0", SHA256[:-1] + "/", SHA256 + "\n"]
)
def test_a_key_is_made_of_nothing_but_a_digest(digest: str) -> None:
    with pytest.raises(InvalidInput):
        pack_key(digest)
    with pytest.raises(InvalidInput):
        sidecar_key(digest)


@given(st.text(st.sampled_from("0123456789./\\\0 %e٣x"), max_size=70))
def test_an_accepted_uid_is_only_digits_and_dots(text: str) -> None:
    if is_uid(text):
        assert set(text) <= set("0123456789.")
        assert ".." not in text
        assert 0 < len(text) <= 64
