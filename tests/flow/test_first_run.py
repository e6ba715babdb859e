"""The first minutes: whoever starts Huren on a terminal is told how to come in, and a visitor can look around."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.flow.running import HUREN, until

PASSWORD = "correct horse battery"
LINK = re.compile(r"(http://127\.0\.0\.1:\d+)/first#([\w-]+)")


@contextmanager
def on_a_terminal(*arguments: str, wanted: str, seconds: float) -> Iterator[str]:
    """Run a command on a terminal of its own until it has said what is `wanted`, and yield all it said."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*HUREN, *arguments],
        stdout=theirs,
        stderr=theirs,
        stdin=theirs,
        start_new_session=True,
        env=os.environ | {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"},
    )
    os.close(theirs)
    said, deadline = "", time.monotonic() + seconds
    try:
        while wanted not in said:
            assert time.monotonic() < deadline, said[-2000:]
            if select.select([ours], [], [], 1.0)[0]:
                said += os.read(ours, 65_536).decode("utf-8", "replace")
        yield said
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        os.close(ours)


def test_the_first_operator_comes_in_by_the_link_that_a_terminal_shows_and_none_is_shown_after(
    tmp_path: Path,
) -> None:
    started = ("up", "--data-dir", str(tmp_path / "var"), "--dicom-port", "0", "--http-port", "0")
    with on_a_terminal(*started, wanted="good once", seconds=90) as said:
        address, link = LINK.findall(said)[0]
        body = {"link": link, "password": PASSWORD}
        with httpx2.Client(trust_env=False, timeout=30) as http:
            assert http.get(f"{address}/first").status_code == 200
            told = http.post(f"{address}/v1/session/first", json=body).json()
            assert (told["subject"], told["role"]) == ("operator", "operator")
    assert link not in "".join(
        path.read_text("utf-8", "replace") for path in (tmp_path / "var").rglob("*.log")
    )
    with on_a_terminal(*started, wanted="/ pages", seconds=90) as said:
        assert not LINK.search(said)


def test_what_is_no_terminal_is_shown_no_link(tmp_path: Path) -> None:
    command = [*HUREN, "up", "--data-dir", str(tmp_path / "var"), "--dicom-port", "0", "--http-port", "0"]
    with (tmp_path / "said").open("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            until(lambda: "ready " in (tmp_path / "said").read_text(), 90)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    assert "first#" not in (tmp_path / "said").read_text()


@pytest.mark.alone
def test_a_visitor_of_the_demonstration_comes_in_as_each_of_four_roles(tmp_path: Path) -> None:
    with on_a_terminal(
        "demo", "--serve", "--data-dir", str(tmp_path / "demo"), wanted="Ctrl-C", seconds=240
    ) as said:
        address = re.findall(r"http://127\.0\.0\.1:\d+", said)[-1]
        accounts = dict(re.findall(r"(\w+)\.demo +│ ([0-9a-f]{12})", said))
        assert set(accounts) == {"doctor", "curator", "regulator", "operator"}
        for role, password in accounts.items():
            with httpx2.Client(base_url=address, trust_env=False, timeout=60, follow_redirects=True) as http:
                form = {"name": f"{role}.demo", "password": password}
                page = http.post("/sign-in", data=form)
                assert (page.status_code, page.url.path) == (200, f"/{role}")
                assert "所有人员、检查和费用均为虚构" in page.text
                if role == "doctor":
                    assert_something_to_recognise(http, said)


def assert_something_to_recognise(http: httpx2.Client, said: str) -> None:
    patient = re.findall(r"\b999999\d{11}[\dX]\b", said)[-1]
    token: Any = http.get("/v1/session").json()["csrf_token"]
    body = {"patient": {"id_number": patient}, "orders": [{"order_id": "v-1", "item_code": "CT07"}]}
    answer = http.post("/v1/checks", json=body, headers={"X-CSRF-Token": token}).json()
    assert answer["answer"] == "complete"
    (candidate,) = answer["orders"][0]["candidates"]
    assert candidate["verdict"] == "recognisable"
    assert candidate["report"]["conclusion"]
