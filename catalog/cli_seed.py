"""The command that fills an empty catalogue with a synthetic city."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import orjson
import typer

from catalog.console import HERE, AsJson, DataDir
from catalog.seed import IN_FULL_PERCENT, OnProgress, seed_city, size_of
from catalog.workplace import open_workplace


def seed(
    results: Annotated[int, typer.Option(help="检查结果条数 / how many results")],
    people: Annotated[
        int | None, typer.Option(help="人数;不给则每三人十三条 / people; 13 results to three if absent")
    ] = None,
    number: Annotated[int, typer.Option("--seed", help="随机种子 / the seed of all chance")] = 1,
    in_full: Annotated[
        int, typer.Option(help="影像与报告齐全者的百分比 / per cent of people with studies and reports too")
    ] = IN_FULL_PERCENT,
    checks: Annotated[
        int, typer.Option(min=0, help="询问次数 / checks, each with a result of days before")
    ] = 0,
    decisions: Annotated[int, typer.Option(min=0, help="其中已作决定的 / of them decided on")] = 0,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """在空库中生成合成城市,用于按规模测速;全部写入或全不写入。

    Fill an empty catalogue with a synthetic city, to measure speed at size; all of it or nothing.

    例 / example:  huren seed --results 1000000 --checks 200000 --decisions 30000 --data-dir var-seed
    """
    size = size_of(results, people, in_full_percent=in_full, seed=number, checks=checks, decisions=decisions)
    with open_workplace(data_dir, acting="owner") as place, _progress() as on_progress:
        seeded = seed_city(place.catalogue, size, on_progress)
    if json:
        typer.echo(orjson.dumps(seeded, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(f"已生成 / written: {size.results:,} 条结果 results, {size.people:,} 人 people", err=True)
    for part, seconds in seeded.seconds.items():
        typer.echo(f"{part:<20}{seconds:>8.1f} s")


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """Show one line for each part on the terminal's error output, so that `--json` stays clean."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    with Progress(console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield told
