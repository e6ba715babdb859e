"""Commands about what hospitals bring and how it is used."""

from typing import Annotated, Any

import typer

from catalog import item_lists, supply, supply_refresh
from catalog.console import HERE, AsJson, DataDir, show
from catalog.db import transaction
from catalog.rules import local_day
from catalog.workplace import open_workplace
from exchange import supply_files
from exchange.cli_figures import First, Last, Out, months_of, print_json, progress, write_table


def savings_supply(
    first: First = "",
    last: Last = "",
    group_by: Annotated[str, typer.Option(help="hospital,district,tier,item,category,month")] = "hospital",
    within_hours: Annotated[
        int,
        typer.Option(help=f"及时的时限(小时) / what counts as timely: {supply.LIMITS_TOLD}"),
    ] = supply.TIMELY_HOURS,
    out: Out = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """各机构的供给与使用:及时、完整、报告、质控、调阅。 What hospitals bring, in time and whole, and how it is used.

    例 / example:  huren savings supply --from 2026-06 --to 2026-06 --group-by hospital,item --out june.xlsx
    """
    names = [name for name in group_by.split(",") if name]
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        months = months_of(place, first, last)
        answer = supply.report(
            session,
            item_lists.every_item(session, place.catalogue),
            today=local_day(place.catalogue.clock()),
            first=months[0],
            last=months[1],
            group_by=names,
            within_hours=within_hours,
        )
    if out is not None:
        write_table(out, supply_files.supply_table(answer))
    if json:
        print_json(answer)
    elif out is None:
        show([supply_files.printed(row, names) for row in [*answer["rows"], answer["total"]]], as_json=False)
        show([_freshness(month) for month in answer["months"]], as_json=False)


def savings_supply_refresh(
    everything: Annotated[
        bool, typer.Option("--everything", help="全部由事件重新统计 / count all of it from the events")
    ] = False,
    data_dir: DataDir = HERE,
) -> None:
    """立即统计有变动的月份;`huren ship` 运行时会自动统计。 Count what has changed now; `huren ship` does so all the time.

    例 / example:  huren savings supply-refresh --everything
    """
    with open_workplace(data_dir) as place, progress("统计 / counting") as told:
        counted = supply_refresh.refresh(place.catalogue, everything=everything, on_progress=told)
    typer.echo(f"已统计月份 / months counted: {len(counted)}")


def _freshness(month: dict[str, Any]) -> dict[str, Any]:
    return {
        "月份 month": month["month"],
        "截至 as of": month["as_of"],
        "有变动 changed": "是 yes" if month["changed"] else "",
        "未结束 running": "是 yes" if month["running"] else "",
    }
