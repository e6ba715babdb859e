"""`huren demo`: one study from a PACS to another hospital's doctor, and a saving in the regulator's report.

It is a visitor from outside: it starts `huren up`, sends by real DICOM and asks by real HTTP.
"""

import json as json_library
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from catalog import registry
from catalog.clock import system_clock
from catalog.db import transaction
from catalog.errors import HurenError
from catalog.pricing import format_yuan
from catalog.rules import local_day
from catalog.workplace import keys_dir, open_workplace
from exchange import demo_city
from exchange.demo_house import DemoHouse, call, demo_folder, huren_command, running
from exchange.demo_images import DemoPerson, DemoStudy, charset_files, write_study
from exchange.tokens import open_token_key

WAIT_SECONDS: Final = 60.0
PERSON: Final = DemoPerson("林晓渝", date(1980, 5, 17), "F", 2, "A0001")
HOSPITALS: Final = (
    ("A", "渝中甲医院(演示)", 3, "500103", ("A_PACS",)),
    ("B", "九龙坡乙医院(演示)", 2, "500107", ("B_PACS",)),
    ("C", "万州丙医院(演示)", 2, "500101", ("C_PACS",)),
)


def studies_of(today: date) -> tuple[DemoStudy, ...]:
    """Return what hospital A did before the patient came to hospital B."""
    return (
        DemoStudy("CT_small.dcm", "胸部CT平扫", "CHEST", today - timedelta(days=7), 8),
        DemoStudy("MR_small.dcm", "头颅MR平扫", "HEAD", today - timedelta(days=5), 5),
        DemoStudy("CT_small.dcm", "头颅CT平扫", "HEAD", today - timedelta(days=75), 3),
    )


ORDERS: Final = (
    {"order_id": "B-1001", "item_code": "CT07"},
    {"order_id": "B-1002", "item_code": "MR01"},
    {"order_id": "B-1003", "text": "头颅CT平扫"},
    {"order_id": "B-1004", "item_code": "MR10", "laterality": "L"},
)


@dataclass
class Story:
    """What is told: tables for a person, or everything as one object for a script."""

    quiet: bool
    told: dict[str, Any] = field(default_factory=dict)

    def step(self, zh: str, en: str) -> None:
        """Begin a chapter."""
        if not self.quiet:
            _console().print(f"\n[bold]{zh}[/bold]\n[dim]{en}[/dim]", highlight=False)

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Show the chapter's facts and keep them."""
        self.told[name] = rows
        if self.quiet:
            return
        table = Table(*rows[0], header_style="bold")
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        _console().print(table)

    def line(self, name: str, value: Any, zh: str) -> None:
        """Say one thing and keep it."""
        self.told[name] = value
        if not self.quiet:
            _console().print(zh, highlight=False)


def _console() -> Console:
    """Return the terminal; what is no terminal gets lines wide enough for the tables."""
    console = Console()
    if not console.is_terminal:
        console.width = 140
    return console


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="只输出一个 JSON 对象 / one JSON object")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="演示后保持运行 / stay up afterwards")] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="数据目录;不给则用临时目录 / folder; a temporary one if absent"),
    ] = None,
) -> None:
    """演示:一份检查从医院 A 走到医院 B 的医生面前,节约的费用进入监管报表。

    One study travels from hospital A's PACS to hospital B's doctor, and a saving appears in the report.
    The images are real, the people and hospitals are invented.

    例 / example:  huren demo   ·   huren demo --json   ·   huren demo --serve
    """
    with demo_folder(data_dir) as folder, running(folder, open_to_visitors=serve) as house:
        story = Story(quiet=as_json)
        if serve:
            story.step(
                "〇、生成一座虚构城市两年的账目,约半分钟",
                "0. Two years of an invented city's books, half a minute",
            )
            demo_city.fill(folder)
        tokens = _tell(story, house, folder)
        if as_json:
            typer.echo(json_library.dumps(story.told, ensure_ascii=False, indent=2, default=str))
        if serve:
            _open_to_visitors(story, house, folder, tokens)
            _stay(house, folder)


def _tell(story: Story, house: DemoHouse, folder: Path) -> dict[str, str]:
    tokens = _register(story, folder)
    before = _count_studies(house, tokens["operator"])
    sent = _send(story, house, folder)
    _wait_for(house, tokens["operator"], before + sent)
    _show_received(story, house, tokens["operator"])
    answer = _ask(story, house, tokens["doctor"])
    _decide(story, house, tokens["doctor"], answer)
    _report(story, house, tokens["regulator"])
    return tokens


def _open_to_visitors(story: Story, house: DemoHouse, folder: Path, tokens: dict[str, str]) -> None:
    """Make accounts for whoever looks around, and something for each of them to do."""
    story.step("七、为四种角色各备好账号和待办", "7. An account for each of four roles, and work for them")
    before = _count_studies(house, tokens["operator"])
    demo_city.send_work(
        house, folder, tokens, _store, lambda sent: _wait_for(house, tokens["operator"], before + sent)
    )
    made = demo_city.open_accounts(folder)
    story.table(
        "accounts",
        [
            {"角色 role": each.role, "账号 account": each.name, "口令 password": each.password}
            for each in made
        ],
    )
    patient = demo_city.PATIENT
    story.line(
        "patient",
        {"name": patient.name, "id_number": patient.id_number},
        f"医生可输入的患者 / a patient for the doctor: [bold]{patient.id_number}[/bold] {patient.name},CT07",
    )
    story.line("url", house.url, f"[bold]{house.url}[/bold]")


def _register(story: Story, folder: Path) -> dict[str, str]:
    """Register the hospitals, their evaluations and issue a token per role."""
    story.step("一、登记机构与质量评价", "1. Hospitals and their quality evaluations")
    with open_workplace(folder) as place, transaction(place.catalogue.engine) as session:
        today = local_day(place.catalogue.clock())
        for code, name, tier, region, titles in HOSPITALS:
            registry.add_hospital(session, code=code, name=name, tier=tier, region=region, ae_titles=titles)
            registry.add_evaluation(
                session,
                place.catalogue.items,
                hospital_code=code,
                item=None,
                group="imaging",
                scope="50",
                valid_from=today - timedelta(days=365),
                valid_to=today + timedelta(days=365),
            )
    story.table(
        "hospitals",
        [
            {"机构 code": code, "名称 name": name, "等级 tier": tier, "AE": ae[0], "互认标识 mark": "重庆HR"}
            for code, name, tier, _, ae in HOSPITALS
        ],
    )
    key = open_token_key(keys_dir(folder) / "token.pem")
    hour = timedelta(hours=8)
    return {
        "doctor": key.issue(subject="李医生(演示)", role="doctor", hospital="B", lifetime=hour),
        "operator": key.issue(subject="运行员(演示)", role="operator", lifetime=hour),
        "regulator": key.issue(subject="监管员(演示)", role="regulator", lifetime=hour),
        "hospital_system": key.issue(
            subject="HIS(演示)", role="hospital_system", hospital="A", lifetime=hour
        ),
    }


def _send(story: Story, house: DemoHouse, folder: Path) -> int:
    """Let the PACS of hospital A and of hospital C send; returns how many studies."""
    story.step(
        "二、医院 A 的 PACS 以 C-STORE 推送(姓名为 GB18030)",
        "2. Hospital A's PACS pushes by C-STORE, names in GB18030",
    )
    outbox = folder / "outbox"
    shutil.rmtree(outbox, ignore_errors=True)
    done = studies_of(local_day_now())
    for number, study in enumerate(done, 1):
        write_study(outbox / "A" / str(number), PERSON, study, character_set="GB18030")
    (outbox / "C").mkdir()
    others = charset_files()
    for path in others:
        shutil.copy(path, outbox / "C")
    rows = [_store(house, outbox / name, f"{name}_PACS") for name in ("A", "C")]
    story.table("sent", rows)
    return len(done) + len(others)


def _store(house: DemoHouse, files: Path, calling: str) -> dict[str, Any]:
    tool = shutil.which("storescu")
    count = sum(1 for _ in files.rglob("*.dcm"))
    if tool:
        command = [
            tool,
            "-aet",
            calling,
            "-aec",
            "HUREN",
            "+sd",
            "+r",
            "127.0.0.1",
            str(house.dicom_port),
            str(files),
        ]
    else:
        to = f"127.0.0.1:{house.dicom_port}"
        command = [
            *huren_command(),
            "send",
            str(files),
            "--to",
            to,
            "--called",
            "HUREN",
            "--calling",
            calling,
        ]
    environment = os.environ | {"TCP_NODELAY": "1"}
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise HurenError("推送失败", f"Sending failed: {done.stderr.strip()[:300]}", code="demo_failed")
    return {
        "发送方 calling": calling,
        "工具 by": "dcmtk storescu" if tool else "huren send",
        "实例 instances": count,
        "秒 seconds": f"{time.monotonic() - started:.2f}",
    }


def _wait_for(house: DemoHouse, token: str, studies: int) -> None:
    """Wait until every study is archived, read back and in the catalogue."""
    deadline = time.monotonic() + WAIT_SECONDS
    while _count_studies(house, token) < studies:
        if time.monotonic() > deadline:
            raise HurenError("检查未能按时入库", "The studies did not arrive in time", code="demo_failed")
        time.sleep(0.1)


def _count_studies(house: DemoHouse, token: str) -> int:
    return len(call(house, "GET", "/v1/admin/studies?limit=1000", token)["studies"])


def _show_received(story: Story, house: DemoHouse, token: str) -> None:
    story.step(
        "三、归档到对象存储、逐字节核对后入库", "3. Archived in the object store, read back, catalogued"
    )
    studies = call(house, "GET", "/v1/admin/studies?limit=1000", token)["studies"]
    story.table(
        "studies",
        [
            {
                "机构": study["hospital"],
                "姓名 PatientName": study["PatientName"],
                "检查 StudyDescription": study["StudyDescription"],
                "实例": study["instances"],
                "项目 items": " ".join(study["items"]) or "未对应 unmapped",
                "身份 identity": study["identity"],
            }
            for study in studies
            if study["hospital"] in {code for code, *_ in HOSPITALS}
        ],
    )


def _ask(story: Story, house: DemoHouse, token: str) -> dict[str, Any]:
    story.step(
        "四、医院 B 的李医生开单之前:系统先说话",
        "4. Before hospital B's doctor orders, the system speaks first",
    )
    body = {
        "patient": {
            "id_type": "01",
            "id_number": PERSON.id_number,
            "name": PERSON.name,
            "birth_date": PERSON.birth_date.isoformat(),
            "sex": "female",
        },
        "orders": list(ORDERS),
        "department": "呼吸内科",
        "urgency": "routine",
    }
    answer = call(house, "POST", "/v1/checks", token, body)
    story.table("check", [_row(order) for order in answer["orders"]])
    return answer


def _row(order: dict[str, Any]) -> dict[str, Any]:
    first = order["candidates"][0] if order["candidates"] else None
    verdicts = {"recognisable": "可互认 recognisable", "reference": "仅供参考 reference"}
    return {
        "医嘱 order": order["order_id"],
        "项目 item": order["item"]["name"],
        "结论 verdict": verdicts[first["verdict"]] if first else "未做过 none",
        "来自 from": first["hospital"]["name"] if first else "",
        "检查日 exam": first["exam_time"][:10] if first else "",
        "标识 mark": " ".join(first["hr_marks"]) if first else "",
        "原因 reasons": ",".join(reason["text"] for reason in first["reasons"]) if first else "",
        "可节约(元)": format_yuan(first["saving_fen"]) if first else "",
    }


def _decide(story: Story, house: DemoHouse, token: str, answer: dict[str, Any]) -> None:
    story.step("五、医生决定", "5. The doctor decides")
    orders = {order["order_id"]: order for order in answer["orders"]}
    decisions = (
        {"order_id": "B-1001", "action": "recognise"},
        {"order_id": "B-1002", "action": "override", "reason_code": "1", "explained_to_patient": True},
    )
    rows = []
    for decision in decisions:
        candidate = orders[str(decision["order_id"])]["candidates"][0]
        path = f"/v1/checks/{answer['check_id']}/decisions"
        made = call(house, "POST", path, token, decision | {"result_id": candidate["result_id"]}, key=True)
        rows.append(
            {
                "医嘱 order": made["order_id"],
                "决定 action": made["action"],
                "理由 reason": made["reason_code"] or "",
                "节约(元) saved": format_yuan(made["standing_fen"]),
            }
        )
    story.table("decisions", rows)


def _report(story: Story, house: DemoHouse, token: str) -> None:
    story.step("六、监管报表与重新核算", "6. The regulator's report, recounted from the decisions")
    report = call(house, "GET", "/v1/savings?group_by=hospital,item,month&hospital=B", token)
    whole = call(house, "GET", "/v1/savings?from=2000-01", token)["total"]["net_fen"]
    story.table(
        "savings",
        [
            {
                "机构": row["hospital_name"],
                "项目": row["item_name"],
                "月份": row["month"],
                "提醒": row["reminders"],
                "认可": row["recognised"],
                "复检": row["refused"],
                "互认率": "—" if row["rate"] is None else f"{row['rate']:.0%}",
                "节约(元)": format_yuan(row["net_fen"]),
            }
            for row in report["rows"]
        ],
    )
    recount = call(house, "POST", "/v1/savings/verify", token)
    story.told["net_fen"] = report["total"]["net_fen"]
    verdict = "一致" if recount["agrees"] else "不一致"
    story.line(
        "recount",
        {"agrees": recount["agrees"], "net_fen": recount["net_fen"]},
        f"\n患者节约 [bold]{format_yuan(whole)} 元[/bold];由决定重新核算 {format_yuan(recount['net_fen'])} 元,{verdict}。"
        f"\nSaved for patients: {format_yuan(whole)} yuan; the recount {'agrees' if recount['agrees'] else 'DISAGREES'}.",
    )
    if not recount["agrees"] or recount["net_fen"] != whole:
        raise HurenError("核算不一致", "The recount disagrees", code="demo_failed")


def _stay(house: DemoHouse, folder: Path) -> None:
    typer.echo(
        f"\n{house.url}  DICOM HUREN@127.0.0.1:{house.dicom_port}  data {folder}\nCtrl-C 结束 / to end",
        err=True,
    )
    signal.signal(signal.SIGTERM, lambda *_: house.process.terminate())
    try:
        house.process.wait()
    except KeyboardInterrupt:
        return


def local_day_now() -> date:
    """Return today in the hospitals' zone."""
    return local_day(system_clock())
