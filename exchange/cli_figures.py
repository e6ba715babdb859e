"""What every command about figures takes and gives: months, a file to write, JSON."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from catalog.console import day
from catalog.rules import local_day
from catalog.workplace import Workplace
from exchange import table_files

First = Annotated[str, typer.Option("--from", help="起始月 YYYY-MM / first month")]
Last = Annotated[str, typer.Option("--to", help="截止月 YYYY-MM(含) / last month")]


def written_as(form_of: Callable[[Path], object]) -> Callable[[Path | None], Path | None]:
    """Return what refuses a name that asks for no form we write before anything is read: InvalidInput."""

    def checked(out: Path | None) -> Path | None:
        if out is not None:
            form_of(out)
        return out

    return checked


Out = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False,
        callback=written_as(table_files.form_of),
        help="写入 .csv 或 .xlsx 文件 / write this file, CSV or XLSX",
    ),
]


def print_json(found: dict[str, Any]) -> None:
    """Print an answer as JSON."""
    typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())


def write_table(out: Path, table: table_files.Table) -> None:
    """Write a table to a file, in the form its name asks for."""
    keep(out, table_files.write(table, table_files.form_of(out)))


def keep(out: Path, content: bytes) -> None:
    """Write a file and say so."""
    out.write_bytes(content)
    typer.echo(f"已写入 / written: {out}", err=True)


def months_of(place: Workplace, first: str, last: str) -> tuple[date, date]:
    """Return the months asked for: this year's until now where none is. Raises InvalidInput."""
    today = local_day(place.catalogue.clock())
    return (
        day(f"{first}-01", "from") if first else today.replace(month=1, day=1),
        day(f"{last}-01", "to") if last else today,
    )


@contextmanager
def progress(begun: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yield what is told how far a long task is, and shows it on the terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(begun)
        yield lambda what, done, total: bar.update(task, completed=done, total=total, description=what)
