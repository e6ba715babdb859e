"""Headers every answer carries: nothing of an API's answer is a page, and nobody on the way keeps it.

The list is that of the OWASP REST Security Cheat Sheet; a route that serves pages sets its own policy.
"""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_OVER_TLS: Final = {"strict-transport-security": "max-age=63072000; includeSubDomains"}


class SecurityHeaders:
    """Adds what a route has not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; the answer gets its headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = _HEADERS | (_OVER_TLS if scope["scheme"] == "https" else {})

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in wanted.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)
