"""Where a search goes on, as a word for a URL: sealed, so that it says nothing and nobody makes one up."""

import base64
import binascii
from typing import Any

import orjson

from catalog.context import Catalogue
from catalog.errors import IntegrityFault


def sealed(catalogue: Catalogue, kind: str, content: Any) -> str:
    """Return `content`, which is JSON, as a word that is good for searches of this kind only."""
    word = catalogue.vault.seal(f"page:{kind}", orjson.dumps(content).decode())
    return base64.urlsafe_b64encode(word).decode().rstrip("=")


def opened(catalogue: Catalogue, kind: str, word: str) -> Any:
    """Return what was sealed. Raises ValueError for a word that was not sealed here for this kind."""
    try:
        content = base64.b64decode(word + "=" * (-len(word) % 4), b"-_", validate=True)
        return orjson.loads(catalogue.vault.open(f"page:{kind}", content))
    except (binascii.Error, IntegrityFault) as error:
        raise ValueError("not sealed here") from error
