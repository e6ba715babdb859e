"""The service called within this process: what a server on loopback would ask of it, without one."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Request = tuple[str, str, str, Mapping[str, str], bytes]  # method, path, query, headers, body


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def alike(self) -> tuple[int, dict[str, str], str]:
        """What may not differ between another's object and none: all but its own times and numbers."""
        headers = {name.decode(): value.decode() for name, value in self.headers}
        headers.pop("content-length", None)
        if "location" in headers:
            headers["location"] = _NUMBERS.sub("", headers["location"])
        return self.status, headers, _NUMBERS.sub("", self.body.decode())


_NUMBERS = re.compile(
    r'"[a-z_]*_(id|at)":("[^"]*"|\d+)|(?<=<footer>)[^<]+|(?<=/launch/)[\w-]+|Report/\d+/_history/\d+|\d{4}-\d\d-\d\dT[\d:.+]+'
)


async def call(
    app: Any, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> Answer:
    """Call an ASGI application as a server on loopback would."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), *((k.encode(), v.encode()) for k, v in headers.items())],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8080),
    }
    sent: list[Any] = []
    coming = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if not coming:
            await asyncio.Event().wait()  # the client stays until it has its answer
        return coming.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], tuple(sent[0]["headers"]), content)
