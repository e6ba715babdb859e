"""Commands of a hospital about what it sent and what it relied on: withdraw, restore, notices."""

import getpass
from typing import Annotated

import orjson
import typer

from catalog import notices as news
from catalog import withdrawals
from catalog.console import HERE, AsJson, DataDir, show
from catalog.context import Caller
from catalog.workplace import open_workplace


def withdraw(
    uid: Annotated[str, typer.Argument(metavar="UID", help="StudyInstanceUID")],
    hospital: Annotated[str, typer.Option(help="送出该检查的机构 / hospital that sent it")],
    reason: Annotated[str, typer.Option(help="理由 / why")],
    restore: Annotated[bool, typer.Option("--restore", help="取消撤回 / take the withdrawal back")] = False,
    data_dir: DataDir = HERE,
) -> None:
    """撤回检查,并通知曾据以互认的机构。 Withdraw a study and tell whoever relied on it.

    例 / example:  huren withdraw 2.25.1001 --hospital A --reason 患者信息录入错误
    """
    turn = withdrawals.restore_study if restore else withdrawals.withdraw_study
    caller = Caller(f"{getpass.getuser()}@console", "hospital_system", hospital)
    with open_workplace(data_dir) as place:
        typer.echo(orjson.dumps(turn(place.catalogue, caller, uid, reason)).decode())


def notices(
    hospital: Annotated[str, typer.Option(help="机构代码 / hospital code")],
    unread: Annotated[bool, typer.Option("--unread", help="只看未读 / unread ones only")] = False,
    read: Annotated[int | None, typer.Option(help="把此通知标为已读 / mark this one as read")] = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """列出所依据结果被撤回或更正的通知。 List news about results that decisions relied on.

    例 / example:  huren notices --hospital B --unread
    """
    caller = Caller(f"{getpass.getuser()}@console", "hospital_system", hospital)
    with open_workplace(data_dir) as place:
        if read is not None:
            news.mark_read(place.catalogue, caller, read)
        show(news.notices(place.catalogue, caller, unread=unread, limit=1000), as_json=json)
