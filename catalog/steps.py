"""Work as a row of statements, each asked for when it is needed: a thread's connection or an event loop's may run it.

Those that need nothing of each other may go out together; with the last of a transaction goes its COMMIT.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString, TypeVar

T = TypeVar("T")
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement as psycopg writes it (`%(name)s`), and its values; `ends`: nothing is asked after it."""

    text: LiteralString
    values: Mapping[str, Any] = field(default_factory=dict)
    ends: bool = False


Steps = Generator[Statement, Rows, T]
