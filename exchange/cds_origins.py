"""CORS for CDS clients that run in a browser (CDS Hooks 2.0, Cross-Origin Resource Sharing): configured origins only."""

from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send


class CdsOrigins:
    """Lets pages of these origins call what lies below /cds-services, and nothing else of the service."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._open = CORSMiddleware(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Accept-Language"],
            max_age=600,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with the headers of CORS where they belong."""
        path = scope.get("path", "")
        below = path == "/cds-services" or path.startswith("/cds-services/")
        await (self._open if below else self._app)(scope, receive, send)
