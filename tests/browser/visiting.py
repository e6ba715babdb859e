"""Somebody at a page: signed in, in a language, before a screen of some width; what he sees must be good for everybody."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Response

PASSWORD: Final = "correct horse battery staple"
WIDTHS: Final = (390, 1280, 1920)
# What every page looks like in every language at every width is seen by HUREN_SOAK=1; else each once.
SOAK: Final = float(os.environ.get("HUREN_SOAK", "0")) > 0
# (language, width): each of them once, and with HUREN_SOAK=1 each with each.
SCREENS: Final = (
    [(lang, width) for lang in ("zh", "en") for width in WIDTHS]
    if SOAK
    else [("en", 390), ("zh", 1280), ("en", 1920)]
)
_LOCALES: Final = {"zh": "zh-CN", "en": "en-GB"}
_CHINESE: Final = re.compile("[\u3400-\u9fff]")
_HOW_WIDE: Final = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
_ASKED_ABOUT: Final[set[tuple[str, str]]] = set()
# What the page says itself: not what people, hospitals and reports are called, which is of class `theirs`.
_OWN_WORDS: Final = """() => {
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const at = walker.currentNode.parentElement;
    if (at.closest("script, style, .theirs, [lang='zh-CN'], .brand, .who .name") || !at.checkVisibility()) continue;
    if (walker.currentNode.data.trim()) found.push(walker.currentNode.data.trim());
  }
  return found;
}"""


@dataclass
class Visit:
    """One page of a browser of its own, what went wrong on it, and what it fetched."""

    page: Page
    origin: str
    lang: str
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    answers: list[Response] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Go to an address, and wait until the page is there."""
        self.page.goto(f"{self.origin}{path}", wait_until="load")

    def sent_bytes(self) -> int:
        """Return how much came over the wire since the last question; what is kept from before counts as nothing."""
        sizes = [each.request.sizes() for each in self.answers]
        self.answers.clear()
        return sum(each["responseBodySize"] + each["responseHeadersSize"] for each in sizes)

    def assert_good(self, name: str, *, refused: tuple[int, ...] = ()) -> None:
        """Fail where not everybody can use the page, where it had a fault, asked elsewhere, or scrolls sideways.

        `refused` are the statuses that were to come: of what was tried on purpose.
        """
        self._keep(name)
        self._assert_for_everybody(name)
        unexpected = [
            each for each in self.errors if not any(f"status of {status}" in each for status in refused)
        ]
        assert unexpected == [], f"{name}: {unexpected}"
        assert [each for each in self.refused if each[0] not in refused] == [], name
        elsewhere = [url for url in self.asked if not url.startswith((f"{self.origin}/", "data:", "blob:"))]
        assert elsewhere == [], name
        wide, seen = self.page.evaluate(_HOW_WIDE)
        assert wide <= seen, f"{name}: {wide} of {seen} px"
        if self.lang == "en":
            words: list[str] = self.page.evaluate(_OWN_WORDS)
            assert [each for each in words if _CHINESE.search(each)] == [], name

    def _assert_for_everybody(self, name: str) -> None:
        """Fail where axe-core finds that somebody cannot use the page; it is asked once for each page and language."""
        if not SOAK and (name, self.lang) in _ASKED_ABOUT:
            return
        found = Axe().run(self.page).response["violations"]
        told = [
            (each["id"], each["help"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found
        ]
        assert told == [], f"{name}: {told}"
        _ASKED_ABOUT.add((name, self.lang))

    def _keep(self, name: str) -> None:
        """Keep a picture of the whole page to be looked at, where a folder for them is named."""
        if folder := os.environ.get("HUREN_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            size = self.page.viewport_size or {"width": 0}
            picture = Path(folder) / f"{name}-{self.lang}-{size['width']}.png"
            self.page.screenshot(path=picture, full_page=True)


def visit(browser: Browser, origin: str, *, lang: str = "zh", width: int = 1280, **context: Any) -> Visit:
    """Open a browser of its own for somebody who has not signed in."""
    height = 844 if width < 500 else 800 if width < 1500 else 1080
    opened = browser.new_context(
        viewport={"width": width, "height": height}, locale=_LOCALES[lang], timezone_id="UTC", **context
    )
    page = opened.new_page()
    page.set_default_timeout(20_000)
    found = Visit(page, origin, lang)

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            found.errors.append(message.text)

    def answered(response: Response) -> None:
        found.answers.append(response)
        if response.status >= 400:
            found.refused.append((response.status, response.url))

    page.on("console", said)
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on("response", answered)
    opened.on("request", lambda request: found.asked.append(request.url))
    return found


def signed_in(
    browser: Browser,
    house: Any,
    role: str,
    hospital: str = "",
    *,
    lang: str = "zh",
    width: int = 1280,
    **context: Any,
) -> Visit:
    """Open a browser of somebody who has just signed in, as an account that is made at the first time.

    `house` has `url` and `account(role, hospital)`, which returns the account's name; its password is PASSWORD.
    """
    found = visit(browser, house.url, lang=lang, width=width, **context)
    found.open("/sign-in")
    found.page.locator("[name=name]").fill(house.account(role, hospital))
    found.page.locator("[name=password]").fill(PASSWORD)
    found.page.locator("main button").click()
    found.page.wait_for_url(lambda url: "/sign-in" not in url)
    return found
