"""Is it alive, can it answer, what has it counted."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from catalog.errors import HurenError
from exchange.answers import Json

router = APIRouter(tags=["health"])
Probe = Callable[[], Mapping[str, Any]]
_EVERY_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 2.0


class Health:
    """Asks each store in the background, so that asking for readiness never waits for a store."""

    def __init__(self, required: Mapping[str, Probe], optional: Mapping[str, Probe]) -> None:
        self._required = frozenset(required)
        self._probes = {**required, **optional}
        self._seen: dict[str, dict[str, Any]] = {name: {"state": "starting"} for name in self._probes}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(name,), name=f"health-{name}", daemon=True)
            for name in self._probes
        ]

    def start(self) -> None:
        """Begin asking."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop asking; returns once no store is being asked, or after a moment where one does not answer."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_STOP_SECONDS)

    def components(self) -> dict[str, dict[str, Any]]:
        """Return the last answer of each store; one older than a few seconds counts as down."""
        now = time.monotonic()
        return {name: _public(seen, now) for name, seen in self._seen.items()}

    def whole(self) -> dict[str, dict[str, Any]]:
        """Return the last answer of each store with what only operators are told: keys that begin with `_`."""
        shown = self.components()
        return {name: {**self._seen[name], **shown[name]} for name in shown}

    def ready(self) -> bool:
        """Say whether everything that a check or a C-STORE needs is up."""
        components = self.components()
        return all(components[name]["state"] == "up" for name in self._required)

    def _watch(self, name: str) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                seen = {"state": "up", **self._probes[name]()}
            except HurenError as error:
                seen = {"state": "down", "code": error.code}
            except OSError:
                seen = {"state": "down", "code": "io_error"}
            ended = time.monotonic()
            self._seen[name] = seen | {"_at": ended, "_milliseconds": round((ended - began) * 1000, 1)}
            self._stop.wait(_EVERY_SECONDS)


def _public(seen: dict[str, Any], now: float) -> dict[str, Any]:
    stale = now - seen.get("_at", now) > 5 * _EVERY_SECONDS
    shown = {key: value for key, value in seen.items() if not key.startswith("_")}
    return shown | {"state": "down", "code": "no_answer"} if stale else shown


@router.get("/healthz", summary="进程存活 / alive")
def healthz() -> Json:
    """Say that the process is alive."""
    return Json({"status": "ok"})


@router.get("/readyz", summary="可以接收和应答 / ready")
def readyz(request: Request) -> Json:
    """Say whether checks can be answered, and how each store is; the object store may still be starting."""
    health: Health = request.app.state.health
    ready = health.ready()
    return Json({"ready": ready, "components": health.components()}, 200 if ready else 503)


@router.get("/metrics", summary="计数 / counters (Prometheus text)")
def metrics(request: Request) -> PlainTextResponse:
    """Return the counters of this machine's services in the Prometheus text format 0.0.4."""
    own = {
        "http_paced_total": request.app.state.pace.refused,
        "http_harvest_alarms_total": request.app.state.harvest.alarms,
    }
    counted = {**request.app.state.counters(), **own}
    lines = [f"huren_{name} {value}" for name, value in sorted(counted.items())]
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")
