"""Links to images: the address of a link stands for the address below it, asked in the name of whoever made the link.

    /dicom-web/g/{secret}/studies/…   is   /dicom-web/studies/…
    /look/g/{secret}/studies/…        is   /look/studies/…

Nothing else can be reached through a link, and nothing else that a request brings counts beside it.
"""

from collections import OrderedDict
from time import monotonic
from typing import Final

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from catalog import image_grants
from catalog.context import Catalogue
from catalog.image_grants import Held
from catalog.sessions import digest_of
from exchange.gate import Gate
from exchange.problems import Unauthenticated

_ROOTS: Final = ("/dicom-web", "/look")
_KEY: Final = "huren.image_link"
_HELD_SECONDS: Final = 2.0  # what is revoked ends within 5
_MOST: Final = 4_096
_LONGEST: Final = 128


class LinkPaths:
    """Turns the address of a link into the address it stands for, and remembers the link."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http":
            scope.update(_behind(scope))  # for what stands around us as well: it may log the address
        await self._app(scope, receive, send)


def _behind(scope: Scope) -> Scope:
    for root in _ROOTS:
        if scope["path"].startswith(f"{root}/g/"):
            secret, slash, rest = scope["path"].removeprefix(f"{root}/g/").partition("/")
            path = f"{root}{slash}{rest}"
            return {**scope, "path": path, "raw_path": path.encode(), _KEY: secret}
    return scope


def secret_of(request: Request) -> str | None:
    """Return the secret of the link by which a request came, if it came by one."""
    secret: str | None = request.scope.get(_KEY)
    return secret


def through_link(request: Request, root: str) -> str:
    """Return a root as the request reached it: through its link, if it came by one."""
    secret = secret_of(request)
    return root if secret is None else f"{root}/g/{secret}"


class ImageLinks:
    """What links stand for, asked of the catalogue every other second."""

    def __init__(self, catalogue: Catalogue, gate: Gate) -> None:
        self._catalogue = catalogue
        self._gate = gate
        self._held: OrderedDict[bytes, tuple[float, Held]] = OrderedDict()

    def forget(self) -> None:
        """Ask the catalogue anew."""
        self._held.clear()

    async def held(self, secret: str) -> Held:
        """Return what a link stands for now. Raises Unauthenticated where it has ended or never was, DatabaseDown."""
        found = await self._found(secret)
        self._gate.refuse_shut_out(found.caller)
        return found

    async def _found(self, secret: str) -> Held:
        digest = digest_of(secret)
        since, held = self._held.get(digest, (0.0, None))
        if held is not None and monotonic() - since < _HELD_SECONDS:
            return held
        self._held.pop(digest, None)
        asked_at = monotonic()
        found = None
        if len(secret) <= _LONGEST:
            found = await run_in_threadpool(image_grants.held, self._catalogue, secret)
        if found is None:
            raise Unauthenticated("link_ended")
        self._held[digest] = asked_at, found
        if len(self._held) > _MOST:
            self._held.popitem(last=False)
        return found
