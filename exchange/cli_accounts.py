"""Commands about local accounts; the first operator comes in by the link they print."""

import getpass
import sys
from typing import Annotated

import typer

from catalog import accounts
from catalog.console import HERE, AsJson, DataDir, show
from catalog.context import Caller
from catalog.workplace import Workplace, open_workplace
from exchange.settings import ExchangeSettings
from exchange.tokens import ROLES, refuse_role

account = typer.Typer(
    no_args_is_help=True, help="本地账号 / local accounts, for people without an identity provider"
)
Name = Annotated[str, typer.Argument(help="账号名 / name")]


@account.command("add")
def account_add(
    name: Name,
    role: Annotated[str, typer.Option(help=" | ".join(ROLES))],
    hospital: Annotated[str, typer.Option(help="机构代码 / hospital code")] = "",
    data_dir: DataDir = HERE,
) -> None:
    """新建账号,并给出一次性链接。 Make an account, and print the link that sets its password once.

    例 / example:  huren account add operator.zhao --role operator
    """
    refuse_role(role, hospital)
    with open_workplace(data_dir) as place:
        _tell(accounts.add(place.catalogue, _operator(), name, role, hospital))


@account.command("reset")
def account_reset(name: Name, data_dir: DataDir = HERE) -> None:
    """清除口令和动态码,重新给出链接。 Forget password and second factor, and print another link.

    例 / example:  huren account reset operator.zhao
    """
    with open_workplace(data_dir) as place:
        _tell(accounts.reset(place.catalogue, _operator(), name))


@account.command("disable")
def account_disable(name: Name, data_dir: DataDir = HERE) -> None:
    """停用账号,其会话立即结束。 Shut an account out; its sessions end at once.

    例 / example:  huren account disable operator.zhao
    """
    with open_workplace(data_dir) as place:
        accounts.disable(place.catalogue, _operator(), name)
    typer.echo(f"已停用 / disabled: {name}")


@account.command("unlock")
def account_unlock(name: Name, data_dir: DataDir = HERE) -> None:
    """解除登录失败造成的锁定。 Let an account that failed sign-ins shut out try again at once.

    例 / example:  huren account unlock operator.zhao
    """
    with open_workplace(data_dir) as place:
        accounts.unlock(place.catalogue, _operator(), name)
    typer.echo(f"已解锁 / unlocked: {name}")


@account.command("list")
def account_list(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出账号。 List the accounts.

    例 / example:  huren account list
    """
    with open_workplace(data_dir) as place:
        show(accounts.listed(place.catalogue), as_json=json)


def welcome(place: Workplace, address: str) -> None:
    """Tell whoever starts Huren on a terminal how the first operator comes in, as long as there is none.

    The link goes to a terminal and nowhere else: what a service manager reads, it keeps in a log.
    """
    if not sys.stdout.isatty():
        return
    link = accounts.first_operator(place.catalogue, _operator())
    typer.echo(f"页面 / pages      {address}/")
    if link is not None:
        typer.echo(f"首位管理员 / first operator  {address}/first#{link}")
        typer.echo("24 小时内有效,只能用一次 / good once, within 24 hours")


def _tell(link: str) -> None:
    """Print the link; what follows # is sent to no server and stands in no log."""
    typer.echo(f"{ExchangeSettings().address}/first#{link}")
    typer.echo("24 小时内有效,只能用一次 / good once, within 24 hours", err=True)


def _operator() -> Caller:
    return Caller(f"{getpass.getuser()}@console", "operator")
