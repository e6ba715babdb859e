"""The command that sends: a C-STORE SCU with a progress bar."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from catalog.console import HERE, AsJson, DataDir
from catalog.errors import InvalidInput
from dicom_node.sender import SendSummary, send_folder


def send(
    folder: Annotated[
        Path, typer.Argument(exists=True, metavar="DIR", help="DICOM 文件或目录 / file or folder")
    ],
    to: Annotated[str, typer.Option(help="HOST:PORT")],
    called: Annotated[str, typer.Option(help="被叫 AE 标题 / called AE title")] = "HUREN",
    calling: Annotated[str, typer.Option(help="主叫 AE 标题 / calling AE title")] = "HUREN_SCU",
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """以 C-STORE 发送一个目录,数据集逐字节不变。 Send a folder by C-STORE, data sets byte for byte.

    例 / example:  huren send ./study --to 127.0.0.1:11112 --called HUREN --calling A_PACS
    """
    host, _, port = to.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidInput("目的地写作 HOST:PORT", "The destination is written HOST:PORT", field="to")
    started = time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=json) as progress:
        task = progress.add_task("C-STORE", total=None)
        summary = send_folder(
            [folder],
            host.strip("[]"),
            int(port),
            called=called,
            calling=calling,
            on_progress=lambda so_far, files: progress.update(
                task, completed=so_far.sent + so_far.failed + so_far.skipped, total=files
            ),
        )
    _summarise(summary, time.monotonic() - started, as_json=json)


def _summarise(summary: SendSummary, seconds: float, *, as_json: bool) -> None:
    """Print what came of it; exits 1 where anything was not stored."""
    facts = {
        "sent": summary.sent,
        "failed": summary.failed,
        "skipped": summary.skipped,
        "refused": {f"{status:04X}": count for status, count in summary.refused.items()},
        "bytes": summary.bytes,
        "seconds": round(seconds, 3),
        "failures": [asdict(failure) for failure in summary.failures],
    }
    if as_json:
        typer.echo(orjson.dumps(facts, default=str, option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(f"已存 / stored: {facts['sent']}, 失败 / failed: {facts['failed']}, {facts['seconds']} s")
    if summary.failed or not summary.sent:
        raise typer.Exit(1)
