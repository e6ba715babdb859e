"""What commands share: their common options, tables and dates."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from catalog.errors import InvalidInput

DataDir = Annotated[Path, typer.Option("--data-dir", envvar="HUREN_DATA_DIR", help="数据目录 / data folder")]
AsJson = Annotated[bool, typer.Option("--json", help="输出 JSON / print JSON")]
HERE: Final = Path("var")


def show(rows: list[dict[str, Any]], *, as_json: bool, title: str = "") -> None:
    """Print rows as a table, or as JSON for a script."""
    if as_json:
        typer.echo(orjson.dumps(rows, default=str, option=orjson.OPT_INDENT_2).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*(rows[0] if rows else ["—"]), title=title or None)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console = Console()
    console.width = max(console.width, 120) if not console.is_terminal else console.width
    console.print(table)


def day(given: str, field: str) -> date:
    """Return a calendar day written YYYY-MM-DD. Raises InvalidInput."""
    try:
        return date.fromisoformat(given)
    except ValueError as error:
        raise InvalidInput(
            "日期格式为 YYYY-MM-DD", "A date is written YYYY-MM-DD", field=field, code="invalid_date"
        ) from error
