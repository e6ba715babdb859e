"""What the regulator's pages are narrowed to: months, places, items and a moment, as the address of a page has them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import Request

_NAMES: Final = ("from", "to", "hospital", "district", "tier", "item", "category")
_LONGEST: Final = 64


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What somebody asked to see; the API decides whether that can be."""

    given: Mapping[str, str]

    @classmethod
    def of(cls, request: Request, *more: str) -> Self:
        """Return what an address asks for: months and filters, and `more` that this page knows."""
        asked = {name: request.query_params.get(name, "").strip()[:_LONGEST] for name in (*_NAMES, *more)}
        return cls({name: value for name, value in asked.items() if value})

    def __getitem__(self, name: str) -> str:
        """Return what is asked for of one kind, or nothing."""
        return self.given.get(name, "")

    def month(self, name: str) -> str:
        """Return a month as a field for months takes it, or nothing where that is none."""
        return _written(f"{self[name][:7]}-01")[:7]

    def day(self, name: str) -> str:
        """Return a day as a field for days takes it, or nothing where that is none."""
        return _written(self[name][:10])

    def within(self, answer: Mapping[str, Any]) -> Self:
        """Return it with the months that an answer is of, where none were asked for."""
        return replace(self, given={"from": answer["from"], "to": answer["to"], **self.given})

    def but(self, **more: str) -> Self:
        """Return it with more."""
        return replace(self, given={**self.given, **more})

    def query(self, **more: Any) -> dict[str, Any]:
        """Return what to ask the API."""
        return {**self.given, **more}

    def only(self, *names: str) -> dict[str, str]:
        """Return some of it."""
        return {name: value for name, value in self.given.items() if name in names}

    def link(self, path: str, **more: Any) -> str:
        """Return an address with all of it; `more` changes parts, and None leaves a part out."""
        asked = {name: value for name, value in {**self.given, **more}.items() if value not in (None, "")}
        return f"{path}?{urlencode(asked)}" if asked else path


def _written(day: str) -> str:
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        return ""


def page_of(path: str, address: str) -> str:
    """Return the page that shows what an address of the API tells: the same question at another place."""
    asked = urlencode(parse_qsl(urlsplit(address).query))
    return f"{path}?{asked}"
