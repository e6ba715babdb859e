"""The one command. It imports a command's package only when that command is run: most are run often."""

import importlib
import resource
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
import typer.core

from catalog.console import HERE, DataDir
from catalog.errors import HurenError
from catalog.logs import set_up_logging

if TYPE_CHECKING:
    from exchange.deposit import Deposits

ELSEWHERE: Final = {
    "demo": "exchange.demo:demo",
    "node": "dicom_node.cli_node:node",
    "ship": "dicom_node.cli:ship",
    "api": "exchange.cli_api:api",
    "migrate": "catalog.cli:migrate",
    "scrub": "dicom_node.cli_archive:scrub",
    "rebuild": "dicom_node.cli_archive:rebuild",
    "hospital": "catalog.cli:hospital",
    "qc": "catalog.cli_qc:qc",
    "quality": "catalog.cli_quality:quality",
    "items": "catalog.cli_items:items",
    "prices": "catalog.cli_money:prices",
    "send": "dicom_node.cli_send:send",
    "check": "exchange.cli:check",
    "token": "exchange.cli:token",
    "openapi": "exchange.cli_api:openapi",
    "account": "exchange.cli_accounts:account",
    "client": "exchange.cli_clients:client",
    "revoke": "exchange.cli_clients:revoke",
    "subject": "exchange.cli_clients:subject_app",
    "savings": "exchange.cli_savings:savings_app",
    "reports": "catalog.cli_reports:reports",
    "hl7": "exchange.cli_hl7:hl7",
    "cds-client": "exchange.cli_cds:cds_client",
    "people": "catalog.cli_people:people_app",
    "keys": "catalog.cli_keys:keys",
    "withdraw": "catalog.cli_withdrawal:withdraw",
    "notices": "catalog.cli_withdrawal:notices",
    "audit": "exchange.cli_audit:audit",
    "webhook": "exchange.cli_webhook:webhook",
    "erase": "dicom_node.cli_erase:erase",
    "seed": "catalog.cli_seed:seed",
    "viewer": "exchange.cli_viewer:viewer",
}


class Commands(typer.core.TyperGroup):
    """The commands of this file and of the three packages."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return every name, in the order in which a newcomer meets them."""
        return ["demo", "up", *(name for name in ELSEWHERE if name != "demo"), "env"]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, importing it from its package if it is not of this file."""
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, _, name = ELSEWHERE[cmd_name].partition(":")
        found = getattr(importlib.import_module(module), name)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        single = typer.Typer(add_completion=False)
        single.command(name=cmd_name)(found)
        return typer.main.get_command(single)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="""互认:开单之前,让医生看到患者在别家医院已做过的检查。
    Huren shows a doctor, before ordering, the examination already done in another hospital.

    从这里开始 / start here:  huren demo   ·   huren up
    """,
)


@app.command()
def env(data_dir: DataDir = HERE) -> None:
    """打印正在使用的设置,可供 psql 或 S3 工具使用。 Print the settings in use as shell assignments.

    例 / example:  eval "$(huren env --data-dir var)" && psql "$HUREN_DATABASE_URL"
    """
    from catalog.workplace import open_workplace

    with open_workplace(data_dir, s3=True) as place:
        for name, value in place.environment().items():
            typer.echo(f"{name}={shlex.quote(value)}")


@app.command()
def up(
    data_dir: DataDir = HERE,
    dicom_port: Annotated[int | None, typer.Option(help="DICOM 端口,0 为任选 / port, 0 picks one")] = None,
    http_port: Annotated[int | None, typer.Option(help="HTTP 端口,0 为任选 / port, 0 picks one")] = None,
) -> None:
    """启动全部服务:接收、归档、应答。 Start everything on this machine: receive, archive, answer.

    可以接收和应答时打印一行 ready;对象存储较慢时在后台等待,见 /readyz。
    Prints one line `ready ...` as soon as it can receive and answer; on a terminal, also the pages' address and, while
    nobody can, how the first operator comes in. Stop it with Ctrl-C or SIGTERM.

    例 / example:  huren up --data-dir var --dicom-port 11112 --http-port 8080
    """
    from catalog.house import House, reserved_port
    from catalog.signals import stop_on_signals
    from catalog.workplace import open_workplace
    from dicom_node.settings import NodeSettings
    from exchange.cli_accounts import welcome
    from exchange.settings import ExchangeSettings

    stop = threading.Event()
    stop_on_signals(stop)
    with (
        reserved_port(NodeSettings.read().port if dicom_port is None else dicom_port) as dicom,
        reserved_port(ExchangeSettings().http_port if http_port is None else http_port) as http,
        open_workplace(data_dir, own=True, s3=True, on_wait=lambda text: typer.echo(text, err=True)) as place,
    ):
        stow = ExchangeSettings().stow is not False
        house = House(place, _roles(place.data_dir, dicom, http, stow=stow))
        try:
            house.start()
            if house.wait_until_answering((dicom, http), stop):
                typer.echo(
                    f"ready http://127.0.0.1:{http} dicom HUREN@127.0.0.1:{dicom} data {place.data_dir}"
                )
                welcome(place, f"http://127.0.0.1:{http}")
                sys.stdout.flush()
            while not stop.wait(1.0):
                house.mend()
        finally:
            house.stop()


def _roles(data_dir: Path, dicom: int, http: int, *, stow: bool) -> dict[str, list[str]]:
    run, data = [sys.executable, str(Path(__file__).resolve())], ["--data-dir", str(data_dir)]
    return {
        "node": [*run, "node", *data, "--dicom-port", str(dicom)],
        "api": [*run, "api", *data, "--http-port", str(http), "--stow" if stow else "--no-stow"],
        "ship": [*run, "ship", *data],
        "audit": [*run, "audit", "seal", "--follow", *data],
    }


@contextmanager
def open_deposits(spool_dir: Path, run_dir: Path) -> Iterator["Deposits"]:
    """Yield what keeps images that are handed in over HTTP: `exchange` asks for it, `dicom_node` has it."""
    from dicom_node import deposit

    with deposit.open_deposits(spool_dir, run_dir) as deposits:
        yield deposits


def main() -> None:
    """Run the command; what goes wrong is one clear line and an exit code, never a traceback."""
    resource.setrlimit(
        resource.RLIMIT_CORE, (0, 0)
    )  # a core dump, of it or of what it starts, would hold patients
    set_up_logging()
    try:
        app(obj=open_deposits)
    except HurenError as error:
        typer.echo(f"错误:{error.zh}\nerror: {error.en} [{error.code}]", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
