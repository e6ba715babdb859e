"""A doctor's browser before the viewer: what he opens, what he sees, and what the page did on the way."""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from playwright.sync_api import Browser, ConsoleMessage, Page, Response

from tests.browser.pictures import Array, seen_blocks

_VIEWPORTS = "canvas.cornerstone-canvas"
_CANVASES = "canvas => canvas.map(each => each.toDataURL('image/png'))"


@dataclass
class Reading:
    """One page, its errors, and every address it asked for."""

    page: Page
    origin: str
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    canvases: str = _VIEWPORTS

    def open(self, path: str) -> None:
        """Go to an address of the exchange."""
        self.page.goto(f"{self.origin}{path}", wait_until="commit")

    def seen(self) -> list[Array]:
        """Return what each canvas shows now, as blocks; those that are black are left out."""
        found: list[str] = self.page.locator(self.canvases).evaluate_all(_CANVASES)
        told = (seen_blocks(base64.b64decode(each.partition(",")[2])) for each in found)
        return [each for each in told if each is not None]

    def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Wait for a condition and return what it gave; fails with what the page said where it never comes."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"it never came; the page said {self.errors} {self.refused}"
            self.page.wait_for_timeout(40)  # the page's events are handled meanwhile
        return found

    def shows(self, wanted: Array, within: float, viewport: int = 0) -> bool:
        """Say whether a canvas shows these blocks, each within so many grey levels."""
        seen = self.seen()
        return len(seen) > viewport and bool(np.abs(seen[viewport] - wanted).max() <= within)

    def assert_clean(self) -> None:
        """Fail where the page had an error, asked elsewhere, or was refused anything."""
        assert not self.errors, self.errors
        assert self.refused == []
        elsewhere = [url for url in self.asked if not url.startswith((f"{self.origin}/", "data:", "blob:"))]
        assert elsewhere == []


def start_reading(browser: Browser, origin: str, **context: Any) -> Reading:
    """Open a page of a browser of its own, and note all that happens to it."""
    opened = browser.new_context(viewport={"width": 1280, "height": 800}, **context)
    page = opened.new_page()
    reading = Reading(page, origin)

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            reading.errors.append(message.text)

    def answered(response: Response) -> None:
        if response.status >= 400:
            reading.refused.append((response.status, response.url))

    page.on("console", said)
    page.on("pageerror", lambda error: reading.errors.append(str(error)))
    page.on("response", answered)
    opened.on("request", lambda request: reading.asked.append(request.url))
    return reading
