"""Commands beside the service: issue a token, ask before ordering. What serves is not imported for them."""

import getpass
import sys
import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
import typer

from catalog import audit, people, recognition
from catalog.console import HERE, AsJson, DataDir, show
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.identity import Demographics, normalise_document
from catalog.orders import OrderRequest
from catalog.pricing import format_yuan
from catalog.records import Laterality, Urgency
from catalog.registry import hospital_by_code
from catalog.workplace import keys_dir, open_workplace
from exchange.tokens import HOSPITAL_ROLES, ROLES, open_token_key


def token(
    role: Annotated[str, typer.Option(help=" | ".join(ROLES))],
    hospital: Annotated[str, typer.Option(help="机构代码 / hospital code")] = "",
    subject: Annotated[str, typer.Option(help="持有人 / who holds it")] = "local",
    minutes: Annotated[int, typer.Option(help="有效分钟 / minutes it is good for")] = 60,
    data_dir: DataDir = HERE,
) -> None:
    """签发访问令牌,记入审计。 Issue a bearer token signed by the local key; audited.

    例 / example:  huren token --role doctor --hospital B --subject dr.li
    """
    key = open_token_key(keys_dir(data_dir.expanduser().resolve()) / "token.pem")
    jti, lifetime = uuid.uuid4().hex, timedelta(minutes=minutes)
    issued = key.issue(subject=subject, role=role, hospital=hospital, lifetime=lifetime, jti=jti)
    told: dict[str, Any] = {
        "jti": jti,
        "subject": subject,
        "role": role,
        "exp": int((datetime.now(UTC) + lifetime).timestamp()),
    }
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        known = hospital_by_code(session, hospital) if hospital and role in HOSPITAL_ROLES else None
        operator = Caller(f"{getpass.getuser()}@console", "operator")
        audit.record(session, operator, "token.issue", hospital_id=known.id if known else None, **told)
    typer.echo(issued)
    typer.echo(f"编号 jti {jti};提前收回 / to take it back: huren revoke --jti {jti}", err=True)


def check(
    hospital: Annotated[str, typer.Option(help="询问机构 / asking hospital")],
    item: Annotated[list[str], typer.Option(help="项目代码,侧别写作 XR12:L / item, with a side XR12:L")],
    id_number: Annotated[
        str | None, typer.Option(help="证件号码;不给则从标准输入读 / number; read from stdin if absent")
    ] = None,
    id_type: Annotated[str, typer.Option(help="证件类型 / document type")] = "01",
    country: Annotated[str, typer.Option(help="护照签发国 / who issued the passport, CHN")] = "",
    name: Annotated[str | None, typer.Option(help="姓名 / name")] = None,
    emergency: Annotated[bool, typer.Option("--emergency", help="急诊 / emergency")] = False,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """开单前询问。 Ask before ordering, as the hospital's doctor would.

    例 / example:  echo 999999198001010011 | huren check --hospital B --item CT07 --item XR12:L
    """
    number = id_number if id_number is not None else sys.stdin.readline().strip()
    urgency: Urgency = "emergency" if emergency else "routine"
    with open_workplace(data_dir) as place:
        request = recognition.CheckRequest(
            document=normalise_document(
                id_type, number, people.today_of(place.catalogue), issuer=hospital, country=country
            ),
            demographics=Demographics(name=name, birth_date=None, sex=None),
            orders=tuple(_order(index, text) for index, text in enumerate(item, 1)),
            urgency=urgency,
        )
        answer = recognition.check(place.catalogue, Caller("huren check", "operator", hospital), request)
    if json:
        typer.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(f"{answer['answer']}  {answer['check_id']}")
    show([row for order in answer["orders"] for row in _rows(order)], as_json=False)


def _order(index: int, text: str) -> OrderRequest:
    code, _, side = text.partition(":")
    if side not in ("", "L", "R", "B"):
        raise InvalidInput("侧别为 L、R 或 B", "A side is L, R or B", field="item")
    laterality: Laterality | None = side or None  # type: ignore[assignment]
    return OrderRequest(
        order_number=f"cli-{uuid.uuid4().hex[:12]}-{index}", item_code=code, laterality=laterality
    )


def _rows(order: dict[str, Any]) -> list[dict[str, Any]]:
    item = order["item"]["name"] if order["item"] else "?"
    if order.get("error"):
        return [{"项目 item": item, "结论 verdict": order["error"]["text"]}]
    if not order["candidates"]:
        return [{"项目 item": item, "结论 verdict": "无既往结果 / no prior"}]
    return [
        {
            "项目 item": item,
            "结论 verdict": candidate["verdict"],
            "机构 hospital": candidate["hospital"]["name"],
            "标识 marks": " ".join(candidate["hr_marks"]),
            "检查时间 exam": candidate["exam_time"][:16],
            "原因 reasons": ",".join(reason["text"] for reason in candidate["reasons"]),
            "可节约 saving": format_yuan(candidate["saving_fen"]),
        }
        for candidate in order["candidates"]
    ]
