"""Commands of the viewer: install it, and see whether it is there."""

from pathlib import Path
from typing import Annotated

import typer

from catalog.console import AsJson, show
from exchange import viewer_installation
from exchange.settings import ExchangeSettings
from exchange.viewer_package import locked_package

viewer = typer.Typer(no_args_is_help=True, help="影像浏览器 OHIF / the OHIF viewer")


@viewer.command()
def install(
    archive: Annotated[
        Path | None,
        typer.Option(
            "--from", exists=True, dir_okay=False, help="在别处取得的安装包 / a package fetched elsewhere"
        ),
    ] = None,
) -> None:
    """安装影像浏览器:取得、核对、解包、压缩;已装好则不动。 Install the viewer; what stands whole is left alone.

    需要 npm(或 --from);安装在 HUREN_VIEWER_DIR,缺省随本程序。 It needs npm, or --from; see HUREN_VIEWER_DIR.

    例 / example:  huren viewer install   ·   huren viewer install --from ohif-app-3.13.2.tgz
    """
    viewer_dir = ExchangeSettings().viewer_dir
    is_new = viewer_installation.install(
        viewer_dir, archive, lambda zh, en: typer.echo(f"{zh} / {en}", err=True)
    )
    where = viewer_installation.folder_of(viewer_dir, locked_package())
    said = "已安装 / installed" if is_new else "已经装好 / already installed"
    typer.echo(f"{said}: {locked_package().spec} {where}")


@viewer.command()
def status(as_json: AsJson = False) -> None:
    """影像浏览器是否完好;未装或损坏时退出码为 1。 Say whether the viewer is whole; exit code 1 where it is not.

    例 / example:  huren viewer status --json
    """
    viewer_dir = ExchangeSettings().viewer_dir
    found = viewer_installation.find(viewer_dir)
    damaged = found.damaged() if found else []
    state = "missing" if found is None else "damaged" if damaged else "installed"
    row = {
        "package": locked_package().spec,
        "state": state,
        "folder": str(viewer_installation.folder_of(viewer_dir, locked_package())),
        "files": len(found.files) if found else 0,
        "size_bytes": sum(file.size_bytes for file in found.files.values()) if found else 0,
        "gzip_bytes": sum(file.gzip_bytes or file.size_bytes for file in found.files.values())
        if found
        else 0,
        "damaged": damaged[:10],
    }
    show([row], as_json=as_json)
    if state != "installed":
        raise typer.Exit(1)
