"""CDS clients: who may call the CDS Hooks services, with which keys."""

import http.client
import json
import ssl
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from catalog import cds_clients
from catalog.console import HERE, AsJson, DataDir, show
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.registry import hospital_by_code
from catalog.workplace import open_workplace
from exchange.settings import ExchangeSettings

cds_client = typer.Typer(no_args_is_help=True, help="CDS Hooks 客户端 / CDS Hooks clients")
_OPERATOR: Final = Caller("huren cds-client", "operator")
_LARGEST_SET: Final = 256 * 1024

Issuer = Annotated[str, typer.Argument(help="JWT 的 iss / the issuer of its tokens")]
Tenant = Annotated[str, typer.Option(help="JWT 的 tenant,多机构共用 iss 时 / the tenant claim")]


@cds_client.command("add")
def add(
    code: Annotated[str, typer.Argument(metavar="HOSPITAL", help="机构代码 / hospital code")],
    iss: Issuer,
    jwks: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="公钥 JWK Set 文件 / its JWK Set")
    ] = None,
    jku: Annotated[
        str, typer.Option(help="JWK Set 地址,仅此时读取一次 / where its JWK Set is, read now and never again")
    ] = "",
    tenant: Tenant = "",
    code_system: Annotated[
        list[str] | None,
        typer.Option(help="本机构项目代码的 system,可多次给出 / coding system of the hospital's own codes"),
    ] = None,
    data_dir: DataDir = HERE,
) -> None:
    """登记 CDS 客户端及其公钥,再次登记则换用新密钥。 Register a CDS client with its public keys.

    例 / example:  huren cds-client add B https://his.b.example/ --jwks b-jwks.json
    """
    if (jwks is None) == (not jku):
        raise InvalidInput("须给出 --jwks 或 --jku 之一", "Give either --jwks or --jku", field="jwks")
    keys = _read(jwks.read_bytes()) if jwks is not None else _fetched(jku, ExchangeSettings().cds_jku_hosts)
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        hospital = hospital_by_code(session, code)
        cds_clients.add(
            session,
            _OPERATOR,
            hospital,
            iss,
            keys,
            tenant=tenant,
            jku=jku,
            code_systems=code_system or (),
        )
    typer.echo(f"已登记 / registered: {iss}")


@cds_client.command("list")
def list_clients(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出 CDS 客户端。 List the CDS clients.

    例 / example:  huren cds-client list
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        rows = cds_clients.listed(session)
    show(rows, as_json=json)


@cds_client.command("disable")
def disable(iss: Issuer, tenant: Tenant = "", data_dir: DataDir = HERE) -> None:
    """停用 CDS 客户端。 Take no more calls of a CDS client.

    例 / example:  huren cds-client disable https://his.b.example/
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        cds_clients.disable(session, _OPERATOR, iss, tenant)
    typer.echo(f"已停用 / disabled: {iss}")


def _fetched(jku: str, hosts: tuple[str, ...]) -> Any:
    """Return the JWK Set at an address: https, a host of the settings, no redirects, no large answer."""
    url = urlsplit(jku)
    if url.scheme != "https" or url.hostname not in hosts or url.username or url.fragment:
        raise InvalidInput(
            "jku 须为 https,主机须在 HUREN_CDS_JKU_HOSTS 之内",
            "A jku is https, its host one of HUREN_CDS_JKU_HOSTS",
            field="jku",
        )
    connection = http.client.HTTPSConnection(
        url.hostname, url.port or 443, timeout=10, context=ssl.create_default_context()
    )
    try:
        connection.request("GET", url._replace(scheme="", netloc="").geturl() or "/")
        answer = connection.getresponse()
        content = answer.read(_LARGEST_SET + 1)
    except (OSError, http.client.HTTPException) as error:
        raise InvalidInput("无法读取该 jku", "The jku cannot be read", field="jku") from error
    finally:
        connection.close()
    if answer.status != 200 or len(content) > _LARGEST_SET:
        raise InvalidInput("该 jku 未给出 JWK Set", "The jku gives no JWK Set", field="jku")
    return _read(content)


def _read(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("不是 JSON", "This is not JSON", field="jwks", code="bad_jwks") from error
