"""What the forms of pages hold: texts, numbers, and a file that is handed on from one page to the next."""

import base64
from binascii import Error as NotBase64
from typing import Final

from starlette.datastructures import FormData, UploadFile

# A small file stands in the page that shows what it would do, so that it need not be chosen twice.
_KEPT_BYTES: Final = 500_000


def typed(form: FormData, name: str) -> str:
    """Return what was typed into a field, as it was typed: a blank may belong to a password."""
    value = form.get(name)
    return value if isinstance(value, str) else ""


def text_of(form: FormData, name: str) -> str:
    """Return what stands in a field, without blanks around it, never shortened: what is too long, the API says."""
    return typed(form, name).strip()


def number_of(form: FormData, name: str) -> int | None:
    """Return the number in a field, or None."""
    return whole(text_of(form, name))


def numbers_of(form: FormData, name: str) -> list[int]:
    """Return the numbers of all fields of a name."""
    found = (whole(value) for value in form.getlist(name) if isinstance(value, str))
    return [each for each in found if each is not None]


def whole(text: str) -> int | None:
    """Return a text as a number from 1 on that the catalogue can hold, or None."""
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < 19 and int(text) else None


async def file_of(form: FormData, name: str = "file") -> bytes:
    """Return the bytes of the file that was chosen now, or that the page kept from before; none is empty."""
    chosen = form.get(name)
    if isinstance(chosen, UploadFile):
        content = await chosen.read()
        await chosen.close()
        if content:
            return content
    kept = form.get("kept")
    try:
        return base64.b64decode(kept, validate=True) if isinstance(kept, str) else b""
    except (NotBase64, ValueError):
        return b""


def kept(content: bytes) -> str:
    """Return a file as the page holds it for the next step; nothing where it is too large for that."""
    return base64.b64encode(content).decode() if len(content) <= _KEPT_BYTES else ""
