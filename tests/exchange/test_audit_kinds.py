"""Every action that the code writes to the audit is of a kind that somebody has thought about."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from catalog.audit_kinds import is_named, kind_of
from catalog.decisions import Action
from catalog.quality import State

ROOT = Path(__file__).parents[2]
# What stands behind the dot where it is known only while running.
WORDS = {
    "check.": ("sheet", "record_text"),
    "decision.": get_args(Action),
    "people.": ("merge", "accept", "reject", "undo"),
    "quality.": ("reopen", *get_args(State)),
    "sharing.": ("opt_in", "opt_out"),
}
# audit.record(session, caller, action): so do those that only pass it on
PLACES = {"record": 2, "_record": 2, "_audit_read": 2, "_audit": 2, "record_of": 1}


def written() -> Iterator[str]:
    for package in ("catalog", "exchange", "dicom_node"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and _name(node) in PLACES:
                    yield from _actions(node)


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _actions(call: ast.Call) -> Iterator[str]:
    place = PLACES[_name(call)]
    for action in call.args[place : place + 1]:
        if isinstance(action, ast.JoinedStr):
            start = action.values[0]
            assert isinstance(start, ast.Constant)
            yield from (f"{start.value}{word}" for word in WORDS[str(start.value)])
        else:
            parts = (action.body, action.orelse) if isinstance(action, ast.IfExp) else (action,)
            yield from (str(each.value) for each in parts if isinstance(each, ast.Constant))


def test_every_action_written_is_named_in_the_table() -> None:
    found = set(written())
    assert {"check", "check.sheet", "break_glass.open", "study.restore", "people.merge"} <= found
    assert sorted(each for each in found if not is_named(each)) == []


@pytest.mark.parametrize(
    ("action", "pattern"),
    [
        ("check.sheet", "Read"),
        ("check.record_text", "Read"),
        ("harvest.alarm", "Alert"),
        ("break_glass.open", "Alert"),
        ("new.thing", "Update"),
    ],
)
def test_what_was_shown_is_read_and_what_somebody_must_look_at_is_an_alert(action: str, pattern: str) -> None:
    assert kind_of(action).pattern == pattern
