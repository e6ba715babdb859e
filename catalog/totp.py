"""Time-based one-time passwords (RFC 6238) with SHA-1, six digits and 30 seconds, as every authenticator has them."""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Final
from urllib.parse import quote

SEALED_AS: Final = "totp"  # what the vault binds a kept secret to
STEP_SECONDS: Final = 30
DIGITS: Final = 6
_SECRET_BYTES: Final = 20  # RFC 4226 §4 R6
_DRIFT: Final = (0, -1, 1)  # steps that clocks may differ by (RFC 6238 §5.2)


def new_secret() -> bytes:
    """Return a fresh shared secret."""
    return secrets.token_bytes(_SECRET_BYTES)


def code_at(secret: bytes, step: int, digits: int = DIGITS) -> str:
    """Return the code of a time step (RFC 4226 §5.3)."""
    mac = hmac.new(secret, step.to_bytes(8, "big"), hashlib.sha1).digest()
    start = mac[-1] & 0x0F
    number = int.from_bytes(mac[start : start + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**digits).zfill(digits)


def step_of(secret: bytes, code: str, now: datetime, last_step: int) -> int | None:
    """Return the time step whose code this is, or None; one up to `last_step` was used and is none."""
    current = int(now.timestamp()) // STEP_SECONDS
    for step in (current + drift for drift in _DRIFT):
        if step > last_step and hmac.compare_digest(code_at(secret, step).encode(), code.encode()):
            return step
    return None


def address_of(secret: bytes, name: str) -> str:
    """Return what an authenticator scans (Key URI Format)."""
    return f"otpauth://totp/Huren:{quote(name)}?secret={text_of(secret)}&issuer=Huren"


def text_of(secret: bytes) -> str:
    """Return the secret as a person types it."""
    return base64.b32encode(secret).decode().rstrip("=")
