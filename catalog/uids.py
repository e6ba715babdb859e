"""DICOM unique identifiers that come from outside, and the object keys that are made here."""

import re
import uuid

from catalog.errors import InvalidInput

MAX_UID_LENGTH = 64

# PS3.5 §9.1 forbids leading zeros in a component; senders in the field write them ("1.2.840.09.01"),
# and rewriting an identifier would break its references, so they are accepted as given. A missing root
# (a single component) is accepted for the same reason. Everything else of §9.1 holds.
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_uid(text: str) -> bool:
    """Say whether `text`, without padding, is a UID that may be stored (PS3.5 §9.1)."""
    return len(text) <= MAX_UID_LENGTH and _UID.fullmatch(text) is not None


def check_uid(text: str, *, field: str) -> str:
    """Return the UID without its trailing NUL or space padding (PS3.5 §6.2, VR UI).

    Raises InvalidInput (code `uid_invalid`), which never repeats the text.
    """
    uid = text.rstrip("\0 ")
    if not is_uid(uid):
        raise InvalidInput(
            "UID 只能由数字和点组成，各段不为空，总长不超过 64 个字符",
            "a UID consists of digits and dots, has no empty component and at most 64 characters",
            field=field,
            code="uid_invalid",
        )
    return uid


def new_uid() -> str:
    """Make a UID from a random UUID: 2.25. and the UUID as a decimal number (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def pack_key(sha256_hex: str) -> str:
    """Return the object key of the pack with this content, like `packs/ab/abcd….tar`."""
    return f"{_stem(sha256_hex)}.tar"


def sidecar_key(sha256_hex: str) -> str:
    """Return the object key of the pack's sidecar, like `packs/ab/abcd….json.gz`."""
    return f"{_stem(sha256_hex)}.json.gz"


def _stem(sha256_hex: str) -> str:
    if _SHA256.fullmatch(sha256_hex) is None:
        raise InvalidInput(
            "摘要须为 64 位小写十六进制的 SHA-256",
            "the digest must be a SHA-256 of 64 lower-case hexadecimal digits",
            field="sha256",
            code="digest_invalid",
        )
    return f"packs/{sha256_hex[:2]}/{sha256_hex}"
