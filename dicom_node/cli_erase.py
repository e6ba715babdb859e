"""The command that erases by law."""

import getpass
from collections.abc import Callable
from typing import Annotated

import typer
from rich.progress import Progress
from sqlalchemy.orm import Session

from catalog import erasures
from catalog.cli_people import IdNumber, IdType, Issuer, document_asked
from catalog.console import HERE, AsJson, DataDir, show
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.workplace import open_workplace
from dicom_node.acceptor import open_spool
from dicom_node.erase import Removed, remove_erased
from dicom_node.settings import NodeSettings

ScopeOf = Callable[[Session], erasures.Scope]


def erase(
    basis: Annotated[str, typer.Option(help="法律依据,不写患者信息 / legal ground, naming nobody")] = "",
    study: Annotated[str, typer.Option(metavar="UID", help="只删除此检查 / this study only")] = "",
    id_type: IdType = "01",
    id_number: IdNumber = None,
    issuer: Issuer = "",
    confirm: Annotated[
        int | None, typer.Option(help="确认:要删除的对象数,见试运行 / number of objects a dry run named")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="继续未完成的删除 / finish what was begun")
    ] = False,
    listing: Annotated[
        bool, typer.Option("--list", help="删除记录及进度 / erasures and their state")
    ] = False,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """依法删除一个人或一份检查;不加 --confirm 只试运行。 Erase a person or a study by law; a dry run unless confirmed.

    影像、索引、暂存副本和患者信息不可恢复地删除;账目与审计保留,但不再指向任何人。
    Objects, sidecars, copies in the spool and what names the patient are gone for good; books and audit stay and
    point to nobody. Other nodes drop their copies by themselves.

    例 / example:  huren erase --study 2.25.1001 --basis 个人信息保护法第四十七条 --confirm 2
    """
    if listing:
        with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
            show(erasures.listed(session, limit=1000), as_json=json)
        return
    with open_workplace(data_dir, s3=True) as place:
        if not resume:
            scope_of = _scope(place.catalogue, study, id_type, id_number, issuer)
            if not _begin(place.catalogue, scope_of, basis, confirm):
                return
        if place.embedded is not None:
            place.embedded.wait_s3()
        spool = open_spool(NodeSettings(), place.spool_dir)
        with place.open_store() as store, Progress() as progress:
            task = progress.add_task("erase", total=None)
            removed = remove_erased(
                place.catalogue,
                store,
                spool,
                lambda done, total: progress.update(task, completed=done, total=total),
            )
    _report(removed, len(spool.quarantined()))


def _scope(catalogue: Catalogue, study: str, id_type: str, id_number: str | None, issuer: str) -> ScopeOf:
    if study:
        return lambda session: erasures.scope_of_study(session, study)
    document = document_asked(catalogue, id_type, id_number, issuer)
    return lambda session: erasures.scope_of_person(session, catalogue, document)


def _begin(catalogue: Catalogue, scope_of: ScopeOf, basis: str, confirm: int | None) -> bool:
    with transaction(catalogue.engine) as session:
        planned = scope_of(session)
    typer.echo(
        f"检查 / studies: {len(planned.studies)}, 结果 / results: {len(planned.results)}, "
        f"对象 / objects: {len(planned.object_keys)} ({planned.size_bytes} 字节 / bytes), "
        f"待确认 / held: {planned.held}"
    )
    if confirm is None:
        typer.echo(f"试运行,未作更改 / dry run, nothing changed; --confirm {len(planned.object_keys)}")
        return False
    if confirm != len(planned.object_keys):
        raise InvalidInput(
            "确认的对象数与实际不符", "The number confirmed is not the number of objects", field="confirm"
        )
    caller = Caller(f"{getpass.getuser()}@console", "operator")
    number, _ = erasures.erase(catalogue, caller, scope_of, basis)
    typer.echo(f"删除编号 / erasure: {number}")
    return True


def _report(removed: Removed, quarantined: int) -> None:
    typer.echo(
        f"已删除 / removed: {removed.objects} 对象 / objects, {removed.copies} 暂存副本 / copies in the spool"
    )
    if quarantined:
        typer.echo(f"隔离区另有 {quarantined} 个包,须人工查看 / packs in quarantine to be looked at by hand")
    if removed.copies_kept:
        typer.echo(
            f"{removed.copies_kept} 个副本还被别的检查需要:先运行 huren scrub,再 huren erase --resume\n"
            "copies are still needed by other studies: run `huren scrub`, then `huren erase --resume`",
            err=True,
        )
        raise typer.Exit(1)
