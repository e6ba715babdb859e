"""Commands of a curator: whose a number or a study is, merges, and a patient's wish about sharing.

A patient's number is read from standard input unless given: a command line stays in histories and process lists.
"""

import getpass
import sys
from typing import Annotated, Any

import orjson
import typer

from catalog import curation, identity_events, people, sharing
from catalog.console import HERE, AsJson, DataDir, show
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import InvalidInput, NotFound
from catalog.identity import Demographics, Document, normalise_document
from catalog.workplace import open_workplace

people_app = typer.Typer(no_args_is_help=True, help="人员归属、合并与共享意愿 / people, merges, sharing")

Person = Annotated[int, typer.Argument(help="人员编号 / number of the person")]
Reason = Annotated[str, typer.Option(help="理由 / why")]
AliasId = Annotated[
    int | None, typer.Option("--number-id", help="编号的编号,见 queue / alias_id of the queue")
]
ReportId = Annotated[
    int | None, typer.Option("--report-id", help="报告的编号,见 queue / report_id of the queue")
]
StudyId = Annotated[
    int | None, typer.Option("--study-id", help="检查的编号,见 queue / study_id of the queue")
]
IdType = Annotated[str, typer.Option(help="证件类型 / document type")]
IdNumber = Annotated[
    str | None, typer.Option(help="证件号码;不给则从标准输入读 / number; read from stdin if absent")
]
Issuer = Annotated[str, typer.Option(help="护照签发国,或临时标识的机构 / country or hospital that issued it")]


def curator() -> Caller:
    """Return who sits at this machine, as a curator."""
    return Caller(f"{getpass.getuser()}@console", "curator")


def document_asked(catalogue: Catalogue, id_type: str, id_number: str | None, issuer: str) -> Document:
    """Return the document given, or read from standard input. Raises InvalidInput."""
    number = id_number if id_number is not None else sys.stdin.readline().strip()
    return normalise_document(id_type, number, people.today_of(catalogue), issuer=issuer, country=issuer)


@people_app.command("queue")
def people_queue(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="最多条数 / at most")] = 100,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """列出待确认的归属。 List what waits for a ruling.

    例 / example:  huren people queue --data-dir var
    """
    with open_workplace(data_dir) as place:
        found = curation.queue(place.catalogue, curator(), limit=limit)
    if json:
        _print(found)
        return
    for title, rows in (
        ("编号 / numbers", found["numbers"]),
        ("检查 / studies", found["studies"]),
        ("报告 / reports", found["reports"]),
    ):
        show([_row(row) for row in rows], as_json=False, title=title)


@people_app.command("show")
def people_show(
    person: Annotated[int | None, typer.Argument(help="人员编号;不给则按证件找 / or by document")] = None,
    id_type: IdType = "01",
    id_number: IdNumber = None,
    issuer: Issuer = "",
    data_dir: DataDir = HERE,
) -> None:
    """显示一个人(证件号码已遮盖)。 Show one person, the number masked.

    例 / example:  echo 999999198001010011 | huren people show
    """
    with open_workplace(data_dir) as place:
        if person is None:
            document = document_asked(place.catalogue, id_type, id_number, issuer)
            with transaction(place.catalogue.engine) as session:
                found = people.find(session, place.catalogue, document)
            if found is None:
                raise NotFound("没有该人员", "No such person", code="unknown_person")
            person = found.id
        _print(curation.show(place.catalogue, curator(), person))


@people_app.command("register")
def people_register(
    hospital: Annotated[str, typer.Argument(help="机构代码 / hospital code")],
    patient_id: Annotated[str, typer.Argument(metavar="PATIENT_ID", help="该机构的患者编号 / its number")],
    id_type: IdType = "01",
    id_number: IdNumber = None,
    country: Annotated[str, typer.Option(help="护照签发国 / who issued the passport, CHN")] = "",
    name: Annotated[str | None, typer.Option(help="姓名 / name")] = None,
    data_dir: DataDir = HERE,
) -> None:
    """代机构登记患者编号与证件。 Link a hospital's PatientID to a person; a conflict holds it for a ruling.

    例 / example:  echo 999999198001010011 | huren people register A P0001
    """
    number = id_number if id_number is not None else sys.stdin.readline().strip()
    acting = Caller(curator().subject, "curator", hospital)
    with open_workplace(data_dir) as place:
        today = people.today_of(place.catalogue)
        document = normalise_document(id_type, number, today, issuer=hospital, country=country)
        given = Demographics(name=name)
        _print(people.register_patient(place.catalogue, acting, document, given, patient_id))


@people_app.command("merge")
def people_merge(
    person: Person,
    into: Annotated[int, typer.Argument(help="并入的人员编号 / person it is merged into")],
    reason: Reason,
    despite_conflicts: Annotated[
        bool, typer.Option("--despite-conflicts", help="姓名等矛盾仍合并 / although facts contradict")
    ] = False,
    data_dir: DataDir = HERE,
) -> None:
    """合并为同一人,可撤销。 Find two people to be one; it can be undone.

    例 / example:  huren people merge 17 4 --reason 急诊无名氏已确认身份
    """
    with open_workplace(data_dir) as place:
        _print(
            identity_events.merge(
                place.catalogue, curator(), person, into, reason, despite_conflicts=despite_conflicts
            )
        )


@people_app.command("unmerge")
@people_app.command("undo")
def people_undo(
    event: Annotated[int, typer.Argument(help="合并或认定的事件号 / event of the merge or ruling")],
    reason: Reason,
    data_dir: DataDir = HERE,
) -> None:
    """撤销合并或认定,恢复原状。 Take a merge or a ruling back; what was before is again.

    例 / example:  huren people unmerge 3 --reason 核对有误
    """
    with open_workplace(data_dir) as place:
        _print(identity_events.undo(place.catalogue, curator(), event, reason))


@people_app.command("accept")
def people_accept(
    person: Person,
    reason: Reason,
    number_id: AliasId = None,
    study_id: StudyId = None,
    report_id: ReportId = None,
    data_dir: DataDir = HERE,
) -> None:
    """确认某编号、检查或报告属于此人。 Say that a hospital's number, a study or a report is this person's.

    例 / example:  huren people accept 4 --study-id 9 --reason 已核对申请单
    """
    _rule("accept", person, reason, data_dir, alias_id=number_id, study_id=study_id, report_id=report_id)


@people_app.command("reject")
def people_reject(
    person: Person,
    reason: Reason,
    number_id: AliasId = None,
    study_id: StudyId = None,
    report_id: ReportId = None,
    data_dir: DataDir = HERE,
) -> None:
    """否定某编号、检查或报告属于此人。 Say that a hospital's number, a study or a report is not this person's.

    例 / example:  huren people reject 4 --number-id 2 --reason 患者编号录错
    """
    _rule("reject", person, reason, data_dir, alias_id=number_id, study_id=study_id, report_id=report_id)


@people_app.command("sharing")
def people_sharing(
    wish: Annotated[str, typer.Argument(help="on | off")],
    id_type: IdType = "01",
    id_number: IdNumber = None,
    issuer: Issuer = "",
    name: Annotated[str | None, typer.Option(help="姓名 / name")] = None,
    data_dir: DataDir = HERE,
) -> None:
    """记录患者退出或恢复共享的意愿。 Keep a patient's wish to opt out of sharing, or in again.

    例 / example:  echo 999999198001010011 | huren people sharing off
    """
    if wish not in ("on", "off"):
        raise InvalidInput("请写 on 或 off", "Say on or off", field="wish")
    with open_workplace(data_dir) as place:
        document = document_asked(place.catalogue, id_type, id_number, issuer)
        given = Demographics(name=name)
        sharing.set_sharing(place.catalogue, curator(), document, given, shared=wish == "on")
    typer.echo("已记录 / kept")


def _rule(kind: str, person: int, reason: str, data_dir: Any, **claim: int | None) -> None:
    with open_workplace(data_dir) as place:
        _print(identity_events.rule(place.catalogue, curator(), kind, person, reason, **claim))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    person = row["person"]
    who = f"{person['person_id']} {person['name']} {person['number']}"
    return {**row, "person": who, "reasons": " ".join(row["reasons"])}


def _print(facts: dict[str, Any]) -> None:
    typer.echo(orjson.dumps(facts, default=str, option=orjson.OPT_INDENT_2).decode())
