"""Commands that look after the archive: check it, and make the catalogue again from it."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import orjson
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from catalog.console import HERE, AsJson, DataDir, show
from catalog.errors import Unavailable
from catalog.objects import ObjectStore
from catalog.packs import named_bytes
from catalog.signals import stop_on_signals
from catalog.workplace import Workplace, open_workplace
from dicom_node.acceptor import open_spool
from dicom_node.orphans import Orphan, find_orphans
from dicom_node.rebuild import Rebuild, RebuildReport, Step
from dicom_node.repair import Repair
from dicom_node.scrub import Scrub, ScrubReport
from dicom_node.settings import NodeSettings

_BYTES_PER_MB = 1_000_000


def scrub(
    data_dir: DataDir = HERE,
    after: Annotated[str, typer.Option(metavar="KEY", help="从该对象之后继续 / go on after this key")] = "",
    rate_mb: Annotated[
        float | None, typer.Option(min=0.001, help="每秒最多读取的 MB / MB read per second at most")
    ] = None,
    delete_orphans: Annotated[
        bool,
        typer.Option(
            "--delete-orphans",
            help="删除超过一天且内容已另有登记的无主对象 / remove orphans older than a day that nothing needs",
        ),
    ] = False,
    json: AsJson = False,
) -> None:
    """逐一读回归档的对象,核对 SHA-256,并尽可能修复。 Read every object back, compare its SHA-256, repair it.

    缺失或损坏的包由暂存区(宽限期内)修复,缺失的索引由包重建。发现任何问题时退出码为 1。
    Packs are repaired from the spool within its grace time, sidecars from their packs. Exit code 1 where
    anything was wrong, repaired or not. A run that was stopped says the KEY after which to go on.

    例 / example:  huren scrub --data-dir var --rate-mb 50
    """
    with _at_the_archive(data_dir) as (place, store, stop):
        spool = open_spool(NodeSettings.read(), place.spool_dir)
        with _byte_progress(named_bytes(place.catalogue, after=after), hidden=json) as on_bytes:
            limit = rate_mb and rate_mb * _BYTES_PER_MB
            with Repair(spool, store, place.catalogue) as repair:
                run = Scrub(store, place.catalogue, repair, bytes_per_second=limit, on_bytes=on_bytes)
                outage = _until_outage(lambda: run.run(stop, after=after))
        orphans = []
        if run.report.complete:
            orphans = list(find_orphans(store, place.catalogue, delete=delete_orphans))
    _show_scrub(run.report, orphans, as_json=json)
    if outage is not None:
        raise outage
    if run.report.findings or not run.report.complete:
        raise typer.Exit(1)


def rebuild(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """由对象存储重建检查、包、冲突与结果的目录。 Make the catalogue of studies again from the object store alone.

    可重复运行;已有的行不变。未登记机构的包会列出并跳过:登记后再运行一次。
    It can be repeated; rows that are there stay. Packs of hospitals that are not registered are listed and left
    out: register them (`huren hospital add`) and run it again. Exit code 1 where anything was left out.

    例 / example:  huren rebuild --data-dir var
    """
    with _at_the_archive(data_dir) as (place, store, stop), _step_progress(hidden=json) as on_progress:
        run = Rebuild(store, place.catalogue, on_progress=on_progress)
        outage = _until_outage(lambda: run.run(stop))
    _show_rebuild(run.report, as_json=json)
    if outage is not None:
        raise outage
    if run.report.problems or not run.report.complete:
        raise typer.Exit(1)


@contextmanager
def _at_the_archive(data_dir: Any) -> Iterator[tuple[Workplace, ObjectStore, threading.Event]]:
    stop = threading.Event()
    stop_on_signals(stop)
    with open_workplace(data_dir, s3=True) as place, place.open_store() as store:
        if place.embedded is not None:
            place.embedded.wait_s3()
        yield place, store, stop


def _until_outage(work: Callable[[], None]) -> Unavailable | None:
    """Work; what was seen before an outage is still worth showing."""
    try:
        work()
    except Unavailable as error:
        return error
    return None


@contextmanager
def _byte_progress(total: int, *, hidden: bool) -> Iterator[Callable[[int], None]]:
    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn(), disable=hidden) as progress:
        task = progress.add_task("scrub", total=total)
        yield lambda size_bytes: progress.update(task, advance=size_bytes)


@contextmanager
def _step_progress(*, hidden: bool) -> Iterator[Callable[[Step, int, int | None], None]]:
    words: dict[Step, str] = {"read": "读取索引 / sidecars read", "registered": "登记 / registered"}
    columns = (TextColumn("{task.description} {task.completed:.0f}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=hidden) as progress:
        tasks = {step: progress.add_task(text, total=None) for step, text in words.items()}
        yield lambda step, done, total: progress.update(tasks[step], completed=done, total=total)


def _show_scrub(report: ScrubReport, orphans: list[Orphan], *, as_json: bool) -> None:
    if as_json:
        _print_json(asdict(report) | {"orphans": [asdict(orphan) for orphan in orphans]})
        return
    if report.findings:
        show([asdict(finding) for finding in report.findings], as_json=False, title="有问题 / wrong")
    if orphans:
        show([asdict(orphan) for orphan in orphans], as_json=False, title="无主对象 / orphans")
    repaired = sum(finding.repaired for finding in report.findings)
    typer.echo(
        f"已核对 / checked: {report.packs} 包 / packs, {report.documents} 报告文档 / documents, {report.bytes} 字节 / bytes; "
        f"有问题 / wrong: {len(report.findings)}, 已修复 / repaired: {repaired}; "
        f"无主 / orphans: {len(orphans)}"
    )
    if not report.complete:
        typer.echo(f"未完成,继续 / not complete, go on with:  huren scrub --after '{report.last_key}'")


def _show_rebuild(report: RebuildReport, *, as_json: bool) -> None:
    if as_json:
        problems = [asdict(problem) for problem in report.problems]
        _print_json({"counts": dict(report.counts), "problems": problems, "complete": report.complete})
        return
    if report.problems:
        show([asdict(problem) for problem in report.problems], as_json=False, title="未登记 / left out")
    counts = Counter(report.counts)
    typer.echo(
        f"已登记 / registered: {counts['pack'] + counts['overlapping']} 包 / packs, "
        f"{counts['conflict_pack']} 冲突包 / conflict packs; 原有 / present: {counts['present']}; "
        f"多余 / leftovers: {counts['leftover']}; 已依法删除 / erased: {counts['erased']}; 未登记 / left out: {len(report.problems)}"
    )
    if not report.complete:
        typer.echo("未完成,请再次运行 / not complete; run it again")


def _print_json(facts: dict[str, Any]) -> None:
    typer.echo(orjson.dumps(facts, default=str, option=orjson.OPT_INDENT_2).decode())
