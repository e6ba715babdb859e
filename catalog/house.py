"""The services of one machine as child processes: started, kept alive, stopped in order."""

import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from catalog.errors import HurenError
from catalog.workplace import Workplace

STOP_SECONDS: Final = 12.0
START_SECONDS: Final = 60.0
_LOG: Final = logging.getLogger("huren.house")


class House:
    """Runs a command per role beside the stores of a workplace."""

    def __init__(self, place: Workplace, roles: Mapping[str, list[str]]) -> None:
        self._place = place
        self._roles = roles
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start every service that does not run."""
        for name, command in self._roles.items():
            if name not in self._running:
                environment = os.environ | self._place.environment_of(name)
                self._running[name] = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)

    def wait_until_answering(self, ports: tuple[int, ...], stop: threading.Event) -> bool:
        """Wait until every port takes connections; False where `stop` came first.

        Raises HurenError where a service fails or does not answer in time.
        """
        deadline = time.monotonic() + START_SECONDS
        waiting = list(ports)
        while waiting and not stop.is_set():
            if time.monotonic() > deadline or self._failed():
                raise HurenError(
                    "服务未能启动,见上方日志", "A service did not start; see above", code="not_started"
                )
            waiting = [port for port in waiting if not _answers(port)]
            stop.wait(0.05)
        return not waiting

    def mend(self) -> None:
        """Start again what has died: a store first, then services."""
        if self._place.embedded is not None:
            self._place.embedded.check()
        for name in self._failed():
            _LOG.error("%s ended with %s; starting it again", name, self._running.pop(name).returncode)
        self.start()

    def stop(self) -> None:
        """Ask every service to end, receiving first, and end by force what does not."""
        for process in self._running.values():
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _failed(self) -> list[str]:
        return [name for name, process in self._running.items() if process.poll() is not None]


@contextmanager
def reserved_port(wanted: int) -> Iterator[int]:
    """Keep the wanted port of the loopback address, or any free one for 0, for a service started meanwhile.

    Who listens with SO_REUSEADDR can have the port, outgoing connections and whoever asks for any port cannot.
    Raises HurenError where it is taken.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise HurenError(
                f"端口 {wanted} 无法使用:{error.strerror}",
                f"Port {wanted}: {error.strerror}",
                code="port_taken",
            ) from error
        yield holder.getsockname()[1]


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True
