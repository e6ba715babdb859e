"""One-time passwords: the vectors of RFC 6238 (Appendix B, SHA-1), each code once, and clocks that differ a little."""

from datetime import UTC, datetime, timedelta

import pytest

from catalog.totp import address_of, code_at, new_secret, step_of

SECRET = b"12345678901234567890"
VECTORS = {
    59: "94287082",
    1111111109: "07081804",
    1111111111: "14050471",
    1234567890: "89005924",
    2000000000: "69279037",
    20000000000: "65353130",
}
NOON = datetime(2026, 6, 30, 4, 0, tzinfo=UTC)
STEP = int(NOON.timestamp()) // 30


@pytest.mark.parametrize(("seconds", "code"), VECTORS.items())
def test_the_vectors_of_the_rfc(seconds: int, code: str) -> None:
    assert code_at(SECRET, seconds // 30, 8) == code
    assert code_at(SECRET, seconds // 30) == code[2:]


@pytest.mark.parametrize("drift", [-1, 0, 1])
def test_a_code_is_good_one_step_early_or_late_and_once(drift: int) -> None:
    code = code_at(SECRET, STEP + drift)
    assert step_of(SECRET, code, NOON, 0) == STEP + drift
    assert step_of(SECRET, code, NOON, STEP + drift) is None


@pytest.mark.parametrize("drift", [-2, 2])
def test_a_code_of_another_minute_is_not_good(drift: int) -> None:
    assert step_of(SECRET, code_at(SECRET, STEP + drift), NOON, 0) is None


def test_what_is_no_code_is_not_good() -> None:
    for code in ("", "12345", "一二三四五六", code_at(SECRET, STEP) + "0"):
        assert step_of(SECRET, code, NOON, 0) is None
    assert step_of(SECRET, code_at(SECRET, STEP), NOON + timedelta(minutes=2), 0) is None


def test_each_secret_is_another_and_is_shown_as_authenticators_read_it() -> None:
    assert len({new_secret() for _ in range(10)}) == 10
    assert address_of(SECRET, "a.b") == (
        "otpauth://totp/Huren:a.b?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Huren"
    )
