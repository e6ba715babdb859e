"""Commands about the systems that get tokens with a key of their own, and about whom to let in no more."""

import getpass
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from catalog import clients, revocations
from catalog.console import HERE, AsJson, DataDir, show
from catalog.context import Caller
from catalog.errors import InvalidInput
from catalog.workplace import keys_dir, open_workplace
from exchange.clients import registration
from exchange.jose import BadToken, read_unverified
from exchange.jwk import registered_keys
from exchange.tokens import LONGEST, open_token_key

client = typer.Typer(no_args_is_help=True, help="以私钥换取令牌的系统 / systems that get tokens with a key")
subject_app = typer.Typer(
    no_args_is_help=True, help="不再放行的人 / who is let in no more, whoever issues his tokens"
)
Subject = Annotated[
    str, typer.Argument(help="审计中的调用者名,如 zhang@idp-a / the caller as the audit names him")
]
KeysFile = Annotated[Path, typer.Option(exists=True, dir_okay=False, help="公钥 JWK Set 文件 / public keys")]
ClientId = Annotated[str, typer.Argument(help="客户端标识 / client id")]


@client.command("add")
def client_add(
    client_id: ClientId,
    keys: KeysFile,
    hospital: Annotated[str, typer.Option(help="机构代码 / hospital code")] = "",
    role: Annotated[str, typer.Option(help="角色 / role")] = "hospital_system",
    scope: Annotated[list[str] | None, typer.Option(help="授权范围,可多次 / scope, may repeat")] = None,
    data_dir: DataDir = HERE,
) -> None:
    """登记一个系统。 Register a system.

    例 / example:  huren client add his-a --hospital A --keys his-a.jwks.json --scope checks.write
    """
    given = registration(client_id, role, hospital, scope or None, _read(keys))
    with open_workplace(data_dir) as place:
        show([_row(clients.add(place.catalogue, _operator(), given))], as_json=False)


@client.command("list")
def client_list(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出已登记的系统。 List the systems.

    例 / example:  huren client list
    """
    with open_workplace(data_dir) as place:
        show([_row(each) for each in clients.listed(place.catalogue)], as_json=json)


@client.command("rotate")
def client_rotate(client_id: ClientId, keys: KeysFile, data_dir: DataDir = HERE) -> None:
    """更换公钥;过渡期内文件可同时含新旧两个。 Take other keys; the file may hold both for a while.

    例 / example:  huren client rotate his-a --keys his-a.jwks.json
    """
    with open_workplace(data_dir) as place:
        found = clients.rotate(place.catalogue, _operator(), client_id, registered_keys(_read(keys)))
        show([_row(found)], as_json=False)


@client.command("disable")
def client_disable(client_id: ClientId, data_dir: DataDir = HERE) -> None:
    """停用一个系统,其令牌随即失效。 Shut a system out; its tokens end within seconds.

    例 / example:  huren client disable his-a
    """
    with open_workplace(data_dir) as place:
        show([_row(clients.set_active(place.catalogue, _operator(), client_id, active=False))], as_json=False)


@client.command("enable")
def client_enable(client_id: ClientId, data_dir: DataDir = HERE) -> None:
    """恢复一个系统。 Let a system in again.

    例 / example:  huren client enable his-a
    """
    with open_workplace(data_dir) as place:
        show([_row(clients.set_active(place.catalogue, _operator(), client_id, active=True))], as_json=False)


def revoke(
    jti: Annotated[str, typer.Option(help="令牌编号 / its number, where the token is not at hand")] = "",
    data_dir: DataDir = HERE,
) -> None:
    """收回一个令牌(从标准输入读取,或以 --jti 指明)。 Take a token back before its time: from stdin, or by its jti.

    例 / example:  huren revoke < token.txt
    """
    if jti:
        with open_workplace(data_dir) as place:
            revocations.revoke(place.catalogue, _operator(), jti, datetime.now(UTC) + LONGEST)
        typer.echo(f"已收回 / revoked: {jti}")
        return
    token = sys.stdin.readline().strip()
    key = open_token_key(keys_dir(data_dir.expanduser().resolve()) / "token.pem")
    try:
        verified = key.verify(token, read_unverified(token))
    except BadToken as error:
        raise InvalidInput(
            "不是本服务签发的有效令牌", "Not a token of ours that is still good", code="not_a_token"
        ) from error
    with open_workplace(data_dir) as place:
        expires_at = datetime.fromtimestamp(verified.expires_at, UTC)
        revocations.revoke(place.catalogue, _operator(), verified.jti, expires_at)
    typer.echo(f"已收回 / revoked: {verified.caller.subject}")


@subject_app.command("disable")
def subject_disable(
    subject: Subject,
    reason: Annotated[str, typer.Option(help="原因 / why")],
    data_dir: DataDir = HERE,
) -> None:
    """停用一个人,其所有令牌数秒内失效。 Let somebody in no more: all his tokens end within seconds.

    例 / example:  huren subject disable zhang@idp-a --reason "离职"
    """
    with open_workplace(data_dir) as place:
        revocations.block(place.catalogue, _operator(), subject, reason)
    typer.echo(f"已停用 / disabled: {subject}")


@subject_app.command("enable")
def subject_enable(subject: Subject, data_dir: DataDir = HERE) -> None:
    """恢复一个人。 Let somebody in again.

    例 / example:  huren subject enable zhang@idp-a
    """
    with open_workplace(data_dir) as place:
        revocations.unblock(place.catalogue, _operator(), subject)
    typer.echo(f"已恢复 / enabled: {subject}")


@subject_app.command("list")
def subject_list(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出已停用的人。 List who is shut out.

    例 / example:  huren subject list
    """
    with open_workplace(data_dir) as place:
        show(revocations.blocked(place.catalogue), as_json=json)


def _row(found: dict[str, Any]) -> dict[str, Any]:
    names = " ".join(key["kid"] for key in found["keys"])
    return {**found, "scopes": " ".join(found["scopes"]), "keys": names}


def _read(file: Path) -> Any:
    try:
        return orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InvalidInput("不是 JSON", "Not JSON", field="keys", code="invalid_keys") from error


def _operator() -> Caller:
    return Caller(f"{getpass.getuser()}@console", "operator")
