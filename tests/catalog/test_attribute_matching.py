"""Matching of attributes: wildcards as an expression would match them, in a time that does not explode."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.attribute_matching import has_form, matches

TEXTS = st.text("ab?*林 ", max_size=8)


@given(TEXTS.map(lambda text: text.replace("*", "").replace("?", "")), TEXTS)
def test_a_wildcard_matches_what_the_expression_would(text: str, pattern: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)
    assert has_form(text, pattern) == bool(re.fullmatch(expression, text, re.DOTALL))


def test_many_stars_take_no_longer_than_few() -> None:
    began = time.monotonic()
    assert not has_form("a" * 20_000, "*a" * 500 + "b")
    assert time.monotonic() - began < 20  # an expression would not end at all


@pytest.mark.parametrize(
    ("vr", "value", "wanted", "found"),
    [
        ("UI", "1.2.3", "1.2\\1.2.3", True),
        ("UI", "1.2.3", "1.2.*", False),
        ("CS", "CT", "MR\\CT", True),
        ("DA", "20260623", "20260601-20260630", True),
        ("DA", "20260623", "20260624-", False),
        ("TM", "101500", "1015", True),
        ("TM", "101500", "10-11", True),
        ("LO", "胸部CT平扫", "*ct*", True),
        ("LO", "a.c", "abc", False),
        ("IS", 12, "12", True),
        ("PN", {"Alphabetic": "林晓渝"}, "林^晓*", True),
        ("PN", {"Alphabetic": "林晓渝"}, "Lin^Xiaoyu=林^晓渝", True),
        ("PN", {"Alphabetic": "林晓渝"}, "=", False),
        ("PN", {"Alphabetic": "Lin^Xiaoyu", "Ideographic": "林^晓渝"}, "林晓渝", True),
    ],
)
def test_each_kind_of_value_is_matched_in_its_own_way(
    vr: str, value: object, wanted: str, found: bool
) -> None:
    assert matches({"vr": vr, "Value": [value]}, wanted) is found
    assert not matches({"vr": vr}, wanted)
