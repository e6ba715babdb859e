"""One small JSON document from one configured address: TLS or loopback, no redirects, bounded in size and time."""

import http.client
import time
from contextlib import closing
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

import orjson

from catalog.settings import is_loopback

_MOST_BYTES: Final = 256 * 1024
_SECONDS: Final = 5.0
_CHUNK: Final = 16 * 1024


class FetchFailed(Exception):
    """The document could not be had; the message names no content of it."""


def is_fit(url: str) -> bool:
    """Say whether an address may be fetched at all: https, or http on this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or parts.username or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def origin_of(url: str) -> tuple[str, str]:
    """Return scheme, and host with port, of an address."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def fetch_json(url: str) -> Any:
    """Return what stands at an address. Raises FetchFailed."""
    if not is_fit(url):
        raise FetchFailed("neither https nor loopback")
    deadline = time.monotonic() + _SECONDS
    parts = urlsplit(url)
    connection = _connection(parts)
    try:
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        connection.request("GET", target, headers={"Accept": "application/json"})
        with closing(connection.getresponse()) as answer:
            if answer.status != http.client.OK:  # a redirect too: only the configured address is asked
                raise FetchFailed(f"status {answer.status}")
            return orjson.loads(_read(answer, deadline))
    except (OSError, http.client.HTTPException, orjson.JSONDecodeError) as error:
        raise FetchFailed(type(error).__name__) from error
    finally:
        connection.close()


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=_SECONDS)


def _read(answer: http.client.HTTPResponse, deadline: float) -> bytes:
    content = b""
    while chunk := answer.read1(_CHUNK):
        content += chunk
        if len(content) > _MOST_BYTES:
            raise FetchFailed("too large")
        if time.monotonic() > deadline:
            raise FetchFailed("too slow")
    return content
