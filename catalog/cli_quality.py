"""Commands about doubts on images: list them, confirm or dismiss them, take that back."""

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from catalog import conflicts
from catalog import quality as doubts
from catalog.console import HERE, AsJson, DataDir, show
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.workplace import open_workplace

quality = typer.Typer(
    no_args_is_help=True, help="影像质量任务:确认或驳回 / doubts about images, confirmed or dismissed"
)
TaskId = Annotated[int, typer.Argument(metavar="TASK", help="任务编号 / task")]
Note = Annotated[str, typer.Option(help="说明 / note")]


@quality.command("list")
def quality_list(
    state: Annotated[str, typer.Option(help="open confirmed dismissed resolved")] = "open",
    hospital: Annotated[str, typer.Option(help="只列该机构的影像 / of this hospital's images only")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="最多条数 / at most")] = 1000,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """列出质量任务。 List quality tasks: a doctor's complaints, and what the archive found.

    例 / example:  huren quality list --hospital A
    """
    with open_workplace(data_dir) as place:
        rows: list[dict[str, Any]] = doubts.tasks(
            place.catalogue, _caller(), state=state, hospital_code=hospital, limit=limit
        )
    if not json:
        shown = ("task_id", "text", "StudyInstanceUID", "hospital", "asked_by", "since", "state")
        rows = [{key: row[key] for key in shown} for row in rows]
    show(rows, as_json=json)


@quality.command("conflicts")
def quality_conflicts(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="最多条数 / at most")] = 100,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """列出相互矛盾的影像,两份都保留。 List instances that contradict one kept before; both are kept.

    例 / example:  huren quality conflicts
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        show(conflicts.conflicts(session, limit=limit), as_json=json)


@quality.command("confirm")
def quality_confirm(task: TaskId, note: Note = "", data_dir: DataDir = HERE) -> None:
    """确认:该检查仅供参考。 Confirm: the study is reference only.

    例 / example:  huren quality confirm 3 --note 呼吸伪影
    """
    _decide(doubts.confirm, task, note, data_dir)


@quality.command("dismiss")
def quality_dismiss(task: TaskId, note: Note = "", data_dir: DataDir = HERE) -> None:
    """驳回:影像可用。 Dismiss: the images are good enough.

    例 / example:  huren quality dismiss 3
    """
    _decide(doubts.dismiss, task, note, data_dir)


@quality.command("reopen")
def quality_reopen(task: TaskId, note: Note = "", data_dir: DataDir = HERE) -> None:
    """撤销确认或驳回。 Take a confirmation or dismissal back.

    例 / example:  huren quality reopen 3
    """
    _decide(doubts.reopen, task, note, data_dir)


def _decide(
    act: Callable[[Catalogue, Caller, int, str], dict[str, Any]], task: int, note: str, data_dir: Path
) -> None:
    with open_workplace(data_dir) as place:
        done = act(place.catalogue, _caller(), task, note)
    typer.echo(f"{done['task_id']}: {done['state']}")


def _caller() -> Caller:
    return Caller(f"{getpass.getuser()}@console", "curator")
