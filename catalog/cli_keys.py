"""Commands about the keys for ID numbers."""

import getpass
from dataclasses import asdict
from typing import Annotated

import typer

from catalog import keyring, sealed_numbers
from catalog.console import HERE, AsJson, DataDir, show
from catalog.context import Caller
from catalog.workplace import open_workplace

keys = typer.Typer(no_args_is_help=True, help="证件号码的密钥 / the keys for ID numbers")


def _operator() -> Caller:
    return Caller(f"{getpass.getuser()}@console", "operator")


@keys.command("list")
def keys_list(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出密钥及仍在使用它的人数和号码数。 List the keys, and how many people and numbers still have each.

    例 / example:  huren keys list
    """
    with open_workplace(data_dir) as place:
        show([asdict(row) for row in keyring.state(place.catalogue)], as_json=json)


@keys.command("rotate")
def keys_rotate(
    prepare: Annotated[
        bool, typer.Option("--prepare", help="先分发密钥文件,暂不启用 / only to be looked up under yet")
    ] = False,
    data_dir: DataDir = HERE,
) -> None:
    """启用新密钥;旧密钥仍可查找和解密。 Let a new key write; numbers under older ones are still found.

    例 / example:  huren keys rotate && huren keys rehash
    """
    with open_workplace(data_dir) as place:
        typer.echo(keyring.rotate(place.catalogue, _operator(), prepare=prepare))


@keys.command("rehash")
def keys_rehash(data_dir: DataDir = HERE) -> None:
    """把已有号码改用当前密钥,可中断后继续。 Give every number the current key; it can stop and go on later.

    例 / example:  huren keys rehash
    """
    from rich.progress import Progress

    with open_workplace(data_dir) as place, Progress() as progress:
        task = progress.add_task("rehash", total=None)
        left = keyring.rehash(
            place.catalogue, lambda done, total: progress.update(task, completed=done, total=total)
        )
    if left:
        typer.echo(f"同号两人,请合并 / one number twice, merge them: {' '.join(map(str, left))}", err=True)
        raise typer.Exit(1)
    typer.echo("全部号码已用当前密钥 / every number has the current key")


@keys.command("seal")
def keys_seal(data_dir: DataDir = HERE) -> None:
    """把旧版本明文存放的证件号码(用作患者编号)加密,可中断后继续。 Seal PatientIDs that are ID numbers.

    升级时 huren migrate 已做一遍;中断过,或不放心,再运行即可。 `huren migrate` does it once when it upgrades.

    例 / example:  huren keys seal
    """
    with open_workplace(data_dir) as place:
        count = sealed_numbers.seal_all(place.catalogue)
    typer.echo(f"已加密 / sealed: {count}")


@keys.command("retire")
def keys_retire(
    name: Annotated[str, typer.Argument(help="密钥名,见 list / name, see list")], data_dir: DataDir = HERE
) -> None:
    """删除不再使用的密钥。 Take a key out of the file that nobody has any more.

    例 / example:  huren keys retire 1f0c9a3e
    """
    with open_workplace(data_dir) as place:
        keyring.retire(place.catalogue, _operator(), name)
    typer.echo(f"已删除 / retired: {name}")
