"""What `huren demo --serve` adds to the story: a year of a whole city, accounts for four roles, work for a curator.

Everybody and everything in it is invented; every page says so.
"""

import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread

from catalog import accounts, registry, reports
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.records import ReportStatus
from catalog.report_records import ReportMessage
from catalog.rules import HOSPITAL_ZONE, local_day
from catalog.seed import seed_city, size_of
from catalog.workplace import open_workplace
from exchange.demo_house import DemoHouse, call
from exchange.demo_images import DemoPerson, DemoStudy, write_study

RESULTS: Final = 6_000
CHECKS: Final = 1_500
DECISIONS: Final = 600
IN_FULL_PERCENT: Final = 5
ROLES: Final = (("doctor", "B"), ("curator", ""), ("regulator", ""), ("operator", ""))
PATIENT: Final = DemoPerson("周渝安", date(1972, 3, 8), "M", 11, "A0011")
_NAMESAKE: Final = DemoPerson("陈渝柠", date(1966, 11, 2), "F", 14, "A0012")
_OTHER: Final = DemoPerson("陈渝宁", date(1966, 11, 2), "F", 14, "A0014")
_BAD_IMAGES: Final = "61"  # the reason that doubts the quality of a prior's images
_CONSOLE: Final = Caller("demo@console", "operator")

Send = Callable[[DemoHouse, Path, str], dict[str, Any]]
Wait = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """An account of the demonstration; its password is made for this once."""

    name: str
    role: str
    password: str


def fill(folder: Path) -> None:
    """Fill the empty catalogue with a city's books of two years."""
    size = size_of(RESULTS, checks=CHECKS, decisions=DECISIONS, in_full_percent=IN_FULL_PERCENT)
    with open_workplace(folder, acting="owner") as place:
        seed_city(place.catalogue, size, lambda *_: None)


def open_accounts(folder: Path) -> list[DemoAccount]:
    """Make an account for each role that has pages, and return them with their passwords."""
    made = []
    with open_workplace(folder) as place:
        for role, hospital in ROLES:
            account = DemoAccount(f"{role}.demo", role, secrets.token_hex(6))
            link = accounts.add(place.catalogue, _CONSOLE, account.name, role, hospital)
            accounts.use_link(place.catalogue, link, account.password)
            made.append(account)
    return made


def send_work(house: DemoHouse, folder: Path, tokens: dict[str, str], send: Send, wait: Wait) -> None:
    """Give the doctor a patient with reports and images, and each of the curator's queues something to decide."""
    outbox = folder / "outbox"
    today = datetime.now(HOSPITAL_ZONE).date()
    chest = _written(outbox / "D", PATIENT, "胸部CT平扫", "CHEST", today - timedelta(days=9), 24)
    head = _written(outbox / "D", PATIENT, "头颅CT平扫", "HEAD", today - timedelta(days=16), 12)
    _written(outbox / "D", PATIENT, "特殊体位成像(演示)", "", today - timedelta(days=3), 2)
    _written(outbox / "D", _NAMESAKE, "胸部CT平扫", "CHEST", today - timedelta(days=40), 2)
    doubted = _written(outbox / "D", _OTHER, "胸部CT平扫", "CHEST", today - timedelta(days=6), 4)
    withdrawn = _written(outbox / "D", _OTHER, "头颅CT平扫", "HEAD", today - timedelta(days=8), 3)
    send(house, outbox / "D", "A_PACS")
    wait(6)
    _contradict(house, outbox, doubted, send)
    with open_workplace(folder) as place:
        _report(
            place.catalogue,
            chest,
            "D-1",
            "双肺纹理清晰,未见明确结节;纵隔未见肿大淋巴结。",
            "胸部CT平扫未见明显异常。",
        )
        _report(place.catalogue, head, "D-2", "脑实质密度未见异常,脑室系统不大。", "颅脑CT平扫未见明显异常。")
        _end_a_mark(place.catalogue)
    _rely_and_withdraw(house, tokens, withdrawn)


def _written(outbox: Path, person: DemoPerson, text: str, part: str, done: date, slices: int) -> str:
    study = DemoStudy("CT_small.dcm", text, part, done, slices)
    number = sum(1 for _ in outbox.iterdir()) + 1 if outbox.exists() else 1
    return write_study(outbox / str(number), person, study, character_set="GB18030")


def _contradict(house: DemoHouse, outbox: Path, study: str, send: Send) -> None:
    """Send an instance again under its own UID with other bytes: which is right, only a human can say."""
    again = outbox / "again"
    again.mkdir()
    for path in sorted((outbox / "D").rglob("*.dcm")):
        dataset = dcmread(path)
        if dataset.StudyInstanceUID == study:
            dataset.ImageComments = "重发(演示)"
            dataset.save_as(again / path.name, enforce_file_format=True)
            break
    send(house, again, "A_PACS")
    shutil.rmtree(again)


def _report(catalogue: Catalogue, study: str, number: str, findings: str, conclusion: str) -> None:
    message = ReportMessage(
        number=number,
        category="imaging",
        status=ReportStatus.FINAL,
        reported_at=catalogue.clock() - timedelta(days=2),
        source="fhir",
        title="CT 检查报告(演示)",
        findings=findings,
        conclusion=conclusion,
        author="演示医师",
        StudyInstanceUID=study,
    )
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, "A")
        caller = Caller("demo channel", "hospital_system", "A")
        reports.take(session, catalogue, caller, hospital, message)


def _end_a_mark(catalogue: Catalogue) -> None:
    """Let hospital C's laboratory mark end soon, so that somebody must see to it."""
    today = local_day(catalogue.clock())
    with transaction(catalogue.engine) as session:
        registry.add_evaluation(
            session,
            catalogue.items,
            hospital_code="C",
            item=None,
            group="laboratory",
            scope="50",
            valid_from=today - timedelta(days=345),
            valid_to=today + timedelta(days=20),
        )


def _rely_and_withdraw(house: DemoHouse, tokens: dict[str, str], withdrawn: str) -> None:
    """Let B's doctor doubt one prior's images and rely on another, which A then takes back."""
    body = {
        "patient": {"id_number": _OTHER.id_number, "name": _OTHER.name},
        "orders": [{"order_id": "B-2001", "item_code": "CT07"}, {"order_id": "B-2002", "item_code": "CT01"}],
        "department": "急诊科",
    }
    answer = call(house, "POST", "/v1/checks", tokens["doctor"], body)
    decided: tuple[dict[str, Any], ...] = (
        {"action": "override", "reason_code": _BAD_IMAGES, "explained_to_patient": True},
        {"action": "recognise"},
    )
    for order, decision in zip(answer["orders"], decided, strict=True):
        if order["candidates"]:
            told = {
                "order_id": order["order_id"],
                "result_id": order["candidates"][0]["result_id"],
                **decision,
            }
            path = f"/v1/checks/{answer['check_id']}/decisions"
            call(house, "POST", path, tokens["doctor"], told, key=True)
    wanted = {"StudyInstanceUID": withdrawn, "reason": "登记错误(演示)"}
    call(house, "POST", "/v1/studies/withdraw", tokens["hospital_system"], wanted)
