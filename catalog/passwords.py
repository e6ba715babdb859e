"""Passwords: argon2id (RFC 9106). Each takes 64 MiB for a moment: whoever calls sees to it that few come at once."""

from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from catalog.errors import InvalidInput

SHORTEST: Final = 12
LONGEST: Final = 128
_HASHER: Final = PasswordHasher(
    time_cost=3, memory_cost=65536, parallelism=1
)  # argon2-cffi makes it argon2id
_NOBODYS: Final = (
    "$argon2id$v=19$m=65536,t=3,p=1$c29tZXNhbHRzb21lc2FsdA$qC+xVZ5vFVu3HVYOsPlHgKkCNZCPdwaBGQQJ7aeTmmE"
)


def hashed(password: str) -> str:
    """Return what is kept of a password. Raises InvalidInput where it is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST or len(set(password)) < 5:
        raise InvalidInput(
            f"口令须为 {SHORTEST} 到 {LONGEST} 个字符,且不可过于单一",
            f"A password has {SHORTEST} to {LONGEST} characters, not all alike",
            field="password",
            code="weak_password",
        )
    return _HASHER.hash(password)


def is_right(kept: str | None, password: str) -> bool:
    """Say whether a password is the kept one; with none kept it takes as long and is wrong."""
    if len(password) > LONGEST:
        return False
    try:
        return _HASHER.verify(kept or _NOBODYS, password) and kept is not None
    except (VerificationError, InvalidHashError):
        return False
