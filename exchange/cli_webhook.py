"""Commands about webhooks: where hospitals are told of news."""

import getpass
from typing import Annotated

import typer

from catalog import webhooks
from catalog.console import HERE, AsJson, DataDir, show
from catalog.context import Caller
from catalog.workplace import keys_dir, open_workplace
from exchange.settings import ExchangeSettings
from exchange.webhook_courier import Courier, open_webhook_key, public_text

webhook = typer.Typer(no_args_is_help=True, help="通知地址 / webhooks: where hospitals are told of news")

WebhookId = Annotated[int, typer.Argument(help="地址编号,见 list / webhook_id of the list")]


def _operator() -> Caller:
    return Caller(f"{getpass.getuser()}@console", "operator")


@webhook.command("add")
def webhook_add(
    hospital: Annotated[str, typer.Argument(help="机构代码 / hospital code")],
    url: Annotated[str, typer.Argument(help="https 地址,主机须在 HUREN_WEBHOOK_HOSTS 中 / https address")],
    data_dir: DataDir = HERE,
) -> None:
    """登记通知地址。 Let a hospital be told at an address.

    例 / example:  HUREN_WEBHOOK_HOSTS=hooks.b.example huren webhook add B https://hooks.b.example/huren
    """
    with open_workplace(data_dir) as place:
        made = webhooks.add(place.catalogue, ExchangeSettings().outbound(), _operator(), hospital, url)
    typer.echo(f"已登记 / registered: {made['webhook_id']}")


@webhook.command("list")
def webhook_list(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出通知地址及投递情况。 List webhooks and how their deliveries stand.

    例 / example:  huren webhook list
    """
    with open_workplace(data_dir) as place:
        show(webhooks.listed(place.catalogue), as_json=json)


@webhook.command("remove")
def webhook_remove(webhook_id: WebhookId, data_dir: DataDir = HERE) -> None:
    """停用通知地址。 Tell an address nothing more.

    例 / example:  huren webhook remove 1
    """
    with open_workplace(data_dir) as place:
        webhooks.remove(place.catalogue, _operator(), webhook_id)
    typer.echo("已停用 / removed")


@webhook.command("retry")
def webhook_retry(webhook_id: WebhookId, data_dir: DataDir = HERE) -> None:
    """重新投递已放弃的通知。 Queue again what was given up.

    例 / example:  huren webhook retry 1
    """
    with open_workplace(data_dir) as place:
        found = webhooks.retry(place.catalogue, _operator(), webhook_id)
    typer.echo(f"待投递 / queued: {found['queued']}")


@webhook.command("deliver")
def webhook_deliver(data_dir: DataDir = HERE) -> None:
    """立即投递到期的通知一轮;`huren api` 运行时会自动投递。 Deliver what is due, once; `huren api` does so all the time.

    例 / example:  huren webhook deliver
    """
    with open_workplace(data_dir) as place:
        settings = ExchangeSettings()
        key = open_webhook_key(keys_dir(place.data_dir))
        courier = Courier(place.catalogue, settings.outbound(), key, public_url=settings.address)
        typer.echo(f"已尝试 / attempts: {courier.deliver_due()}")


@webhook.command("key")
def webhook_key(data_dir: DataDir = HERE) -> None:
    """打印接收方验签用的公钥。 Print the public key with which receivers verify signatures (Standard Webhooks).

    例 / example:  huren webhook key > webhook.pub
    """
    typer.echo(public_text(open_webhook_key(keys_dir(data_dir.expanduser().resolve()))))
