"""Commands of the HTTP service: serve, and describe what is served."""

import ctypes
import gc
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, Final

import orjson
import typer
import uvicorn

from catalog.console import HERE, DataDir
from catalog.db import ping
from catalog.scope import COURIER, acting_as
from catalog.workplace import Workplace, keys_dir, open_workplace
from exchange.app import create_app, described
from exchange.connection import guarded
from exchange.counters import read_counters
from exchange.deposit import Deposits, OpenDeposits
from exchange.health import Health
from exchange.settings import ExchangeSettings
from exchange.spool_state import spool_state
from exchange.tokens import open_token_key
from exchange.webhook_courier import Courier, delivering, open_webhook_key

_M_ARENA_MAX: Final = -8
_ARENAS: Final = 2


def api(
    context: typer.Context,
    data_dir: DataDir = HERE,
    host: Annotated[str | None, typer.Option(help="监听地址 / address to listen on")] = None,
    port: Annotated[int | None, typer.Option("--http-port", help="HTTP 端口 / port")] = None,
    stow: Annotated[
        bool | None, typer.Option("--stow/--no-stow", help="接收 STOW-RS 上传 / take images by STOW-RS")
    ] = None,
) -> None:
    """启动 HTTP 服务。 Serve HTTP; loopback unless told.

    例 / example:  huren api --data-dir var --http-port 8080
    """
    given: dict[str, Any] = {"http_host": host, "http_port": port, "stow": stow}
    settings = ExchangeSettings(**{name: value for name, value in given.items() if value is not None})
    with (
        open_workplace(data_dir, s3=True, acting="api") as place,
        place.open_store(workers=16) as store,
        _deposits(settings, place, context.obj) as deposits,
    ):
        app = create_app(
            place.catalogue,
            open_token_key(keys_dir(place.data_dir) / "token.pem"),
            settings,
            _health(place),
            lambda: read_counters(place.run_dir / "metrics"),
            store,
            deposits,
            place.data_dir / "audit" / "heads.jsonl",
        )
        _rest_what_stays()
        outbound = settings.outbound()
        courier = Courier(
            acting_as(place.catalogue, COURIER),
            outbound,
            open_webhook_key(keys_dir(place.data_dir)),
            public_url=settings.address,
        )
        with delivering(courier, wanted=bool(outbound.hosts)):
            uvicorn.run(
                app,
                host=settings.http_host,
                port=settings.http_port,
                log_config=None,
                access_log=False,
                server_header=False,
                http=guarded(settings.connection_limits()),
                ws="none",
                timeout_keep_alive=15,
                timeout_graceful_shutdown=5,
            )


def _deposits(
    settings: ExchangeSettings, place: Workplace, open_deposits: OpenDeposits | None
) -> AbstractContextManager[Deposits | None]:
    """Open the spool for what is handed in over HTTP, where that is wanted and who started us has given the means."""
    if not settings.stow or open_deposits is None:
        return nullcontext()
    return open_deposits(place.spool_dir, place.run_dir)


def _rest_what_stays() -> None:
    """Keep what was loaded so far out of every later look for garbage: one over all of it stops everybody for 100 ms.

    What a request leaves is freed as it ends, all but little: to look after every 700 objects finds next to nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    _keep_few_arenas()


def _keep_few_arenas() -> None:
    """Let threads share what was freed: glibc keeps megabytes back for each of them (mallopt(3), M_ARENA_MAX)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def openapi() -> None:
    """打印接口说明(OpenAPI),无需数据库。 Print the description of the interface; it needs no database.

    例 / example:  huren openapi > openapi.json
    """
    sys.stdout.write(orjson.dumps(described(), option=orjson.OPT_INDENT_2).decode() + "\n")


def _health(place: Workplace) -> Health:
    store = place.open_store(workers=2)

    def database() -> dict[str, Any]:
        ping(place.catalogue.engine)
        return {}

    def objects() -> dict[str, Any]:
        store.ping()
        return {}

    return Health(
        {"database": database, "spool": lambda: spool_state(place.spool_dir)}, {"object_store": objects}
    )
