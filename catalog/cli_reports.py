"""Commands about reports: what waits, what a hospital's laboratory codes mean now."""

from typing import Annotated

import typer

from catalog import lab_results, report_views
from catalog.console import HERE, AsJson, DataDir, show
from catalog.db import transaction
from catalog.registry import hospital_by_code
from catalog.workplace import open_workplace

reports = typer.Typer(no_args_is_help=True, help="报告与检验结果 / reports and laboratory values")


@reports.command("waiting")
def reports_waiting(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出尚未找到检查或身份待核实的报告。 List reports without a study, and those held for a human.

    例 / example:  huren reports waiting
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        rows = report_views.waiting(session, limit=1000)
    show(rows, as_json=json)


@reports.command("unmapped")
def reports_unmapped(
    code: Annotated[str, typer.Argument(metavar="HOSPITAL", help="机构代码 / hospital code")],
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """列出未对应清单的检验代码及次数。 List laboratory codes that are on no list, and how often they came.

    例 / example:  huren reports unmapped A
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        rows = lab_results.unmapped(session, hospital_by_code(session, code).id)
    show(rows, as_json=json)


@reports.command("remap")
def reports_remap(
    code: Annotated[str, typer.Argument(metavar="HOSPITAL", help="机构代码 / hospital code")],
    data_dir: DataDir = HERE,
) -> None:
    """按现在的代码表对应此前未能对应的检验结果。 Map earlier laboratory values by the hospital's table as it is now.

    例 / example:  huren items map A codes.csv && huren reports remap A
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        count = lab_results.remap(session, place.catalogue, hospital_by_code(session, code).id)
    typer.echo(f"已对应 / mapped: {count}")
