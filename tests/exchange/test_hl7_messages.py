"""HL7 v2 as text: what is read is what `hl7apy` reads, in every character set, whatever is escaped."""

from datetime import UTC, datetime

import pytest
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st

from exchange.hl7 import Delimiters, Malformed, escape, moment, parse, unescape
from exchange.hl7_faults import Fault, acknowledge
from tests.messages import imaging, laboratory, wire

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")))
# 誠 鉢 璣 end in 0x5C and 0x5E in GBK, 瓅 in 0x7C, 爚 in 0x7E; the last two need four bytes in GB 18030
TRAPS = "誠鉢璣區絕瓅㛃𬭎"


@pytest.mark.parametrize(
    ("codec", "declared", "used"),
    [
        ("utf-8", "UNICODE UTF-8", "ISO_IR 192"),
        ("utf-8", "", "ISO_IR 192"),
        ("utf-8", "GB 18030-2000", "ISO_IR 192"),
        ("gb18030", "GB 18030-2000", "GB18030"),
        ("gb18030", "GBK", "GB18030"),
        ("gb18030", "", "GB18030"),
        ("gb18030", "UNICODE UTF-8", "GB18030"),
    ],
)
def test_chinese_is_read_whether_its_character_set_is_declared_or_not(
    codec: str, declared: str, used: str
) -> None:
    segments = imaging("1", 2, "F-1", conclusion=f"{TRAPS}未见异常|^".replace("|^", ""))
    segments[0] = segments[0].replace("UNICODE UTF-8", declared)
    message = parse(wire(segments, codec))
    assert message.charset == used
    assert message.segments[4].whole(5) == f"{TRAPS}未见异常"
    assert message.segments[1].text(5, 2) == "晓渝"


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(Malformed) as refused:
        parse(wire(laboratory("1", 2, "F-1")) + b"NTE|1||\xff\xff\xfe\x80\x80\r")
    assert refused.value.code == "charset"


@pytest.mark.parametrize("make", [laboratory, imaging])
def test_an_independent_library_reads_the_same(make: object) -> None:
    segments = make("77", 2, "F-1")  # type: ignore[operator]
    ours = parse(wire(segments))
    theirs = parse_message("\r".join(segments), find_groups=False)
    assert len(theirs.children) == len(ours.segments)
    for segment, child in zip(ours.segments, theirs.children, strict=True):
        assert child.name == segment.name
        if segment.name != "MSH":
            assert (
                child.to_er7().split("|")[1:]
                == [field for field in segment.raw[1:] if True][: len(child.to_er7().split("|")) - 1]
            )
    assert theirs.msh.msh_10.value == ours.header.text(10) == "77"


@given(TEXT)
def test_escaping_then_reading_is_identity(text: str) -> None:
    assert unescape(escape(text), Delimiters()) == text


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    try:
        message = parse(b"MSH|^~\\&|" + raw)
    except Malformed:
        return
    for segment in message.segments:
        for number in range(len(segment.raw)):
            segment.text(number, 2)
            segment.whole(number)


def test_a_time_without_an_offset_is_the_hospitals() -> None:
    assert moment("20260630120000") == datetime(2026, 6, 30, 4, tzinfo=UTC)
    assert moment("202606301200+0000") == datetime(2026, 6, 30, 12, tzinfo=UTC)
    assert moment("20261399") is None
    assert moment("昨天") is None


def test_an_acknowledgement_is_read_by_an_independent_library_and_names_place_and_kind() -> None:
    message = parse(wire(laboratory("C-1", 2, "F-1")))
    fault = Fault("AE", "102", "PID^1^3^2^1", "校验码不符", "the check digit does not fit")
    answer = acknowledge(message, datetime(2026, 6, 30, 4, tzinfo=UTC), "C-1", fault)
    read = parse_message(answer.content.decode(), find_groups=False)
    assert (read.msa.msa_1.value, read.msa.msa_2.value) == ("AE", "C-1")
    assert read.err.err_3.value == "102^Data type error^HL70357"
    assert read.err.err_2.value == "PID^1^3^2^1"
    assert read.msh.msh_9.value == "ACK^R01^ACK"
    assert read.validate()
