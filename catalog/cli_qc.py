"""Commands about quality evaluations: what gives a hospital's items their HR mark."""

import getpass
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from catalog import qc as evaluations
from catalog.console import HERE, AsJson, DataDir, day, show
from catalog.context import Caller
from catalog.errors import InvalidInput
from catalog.qc_import import import_evaluations
from catalog.workplace import open_workplace

qc = typer.Typer(no_args_is_help=True, help="质量评价与 HR 标识 / quality evaluations and HR marks")


@qc.command("add")
def qc_add(
    code: Annotated[str, typer.Argument(metavar="HOSPITAL", help="机构代码 / hospital code")],
    item: Annotated[
        str | None, typer.Argument(help="项目代码或项目组 / item code or group (CT, MR, imaging)")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="全部项目 / every item")] = False,
    scope: Annotated[
        str, typer.Option(help="互认范围:地区代码或名称,或 national municipality district / scope")
    ] = "municipality",
    first: Annotated[str, typer.Option("--from", help="起始日 / first day")] = "",
    last: Annotated[str, typer.Option("--to", help="截止日(含) / last day, inclusive")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="评价不合格 / the evaluation was failed")] = False,
    data_dir: DataDir = HERE,
) -> None:
    """登记质量评价,合格者在有效期内带 HR 标识。 Record a quality evaluation; passed ones carry the HR mark.

    例 / example:  huren qc add A CT07 --scope 50 --from 2026-01-01 --to 2026-12-31
    """
    if (item is None) is not every:
        raise InvalidInput("请给出项目代码或 --all", "Give an item code or --all", field="item")
    with open_workplace(data_dir) as place:
        made = evaluations.add(
            place.catalogue,
            _caller(),
            hospital_code=code,
            targets=["imaging", "laboratory"] if item is None else [item],
            scope=scope,
            valid_from=day(first, "from"),
            valid_to=day(last, "to"),
            passed=not failed,
        )
    typer.echo(f"已登记 / recorded: {len(made)}")


@qc.command("import")
def qc_import(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV 或 XLSX / CSV or XLSX")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只检查不登记 / check only")] = False,
    data_dir: DataDir = HERE,
) -> None:
    """导入质量评价:hospital,item,scope,result,from,to。 Read evaluations; one bad line refuses the whole file.

    result 为 合格/passed 或 不合格/failed;已有的行不重复登记。Rows that are on record already are passed over.

    例 / example:  huren qc import evaluations.csv --dry-run
    """
    with open_workplace(data_dir) as place:
        found = import_evaluations(place.catalogue, _caller(), file.name, file.read_bytes(), dry_run=dry_run)
    verb = "可新增 / would add" if dry_run else "新增 / new"
    typer.echo(f"{verb}: {found.new}, 已有 / there already: {found.present}")


@qc.command("list")
def qc_list(
    hospital: Annotated[str, typer.Option(help="只列该机构 / of this hospital only")] = "",
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """列出质量评价及其标识。 List quality evaluations and their marks.

    例 / example:  huren qc list
    """
    with open_workplace(data_dir) as place:
        show(evaluations.evaluations(place.catalogue, hospital_code=hospital, limit=100_000), as_json=json)


@qc.command("expiring")
def qc_expiring(
    days: Annotated[int, typer.Option(help="今后多少天内 / within so many days")] = 60,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """列出即将到期且无后续的评价。 List evaluations that will end with nothing to go on from them.

    例 / example:  huren qc expiring --days 60
    """
    with open_workplace(data_dir) as place:
        show(evaluations.expiring(place.catalogue, days), as_json=json)


@qc.command("end")
def qc_end(
    evaluation_id: Annotated[int, typer.Argument(metavar="ID", help="编号,见 qc list / id, see qc list")],
    on: Annotated[str, typer.Option("--on", help="最后有效日 / last day on which it counts")],
    data_dir: DataDir = HERE,
) -> None:
    """提前终止评价;已给出的答复不变。 End an evaluation early; answers already given stay as they are.

    例 / example:  huren qc end 12 --on 2026-06-30
    """
    last_day: date = day(on, "on")
    with open_workplace(data_dir) as place:
        ended = evaluations.end(place.catalogue, _caller(), evaluation_id, last_day)
    typer.echo(f"终止于 / ends on: {ended['to']}")


@qc.command("consortium")
def qc_consortium(
    code: Annotated[str, typer.Argument(help="医联体代码,大写字母开头 / code, capital letters")],
    name: Annotated[str, typer.Option(help="名称,HR 之前的文字 / name, the text before HR")],
    member: Annotated[list[str], typer.Option(help="成员机构,可多次 / member hospital, again for each")],
    data_dir: DataDir = HERE,
) -> None:
    """登记医联体为互认范围。 Make a consortium of hospitals a scope; given again, its members are set anew.

    例 / example:  huren qc consortium YUXI --name 渝西医联体 --member A --member B
    """
    with open_workplace(data_dir) as place:
        evaluations.add_consortium(place.catalogue, _caller(), code=code, name=name, hospital_codes=member)
    typer.echo(f"已登记 / registered: {code}")


def _caller() -> Caller:
    return Caller(f"{getpass.getuser()}@console", "curator")
