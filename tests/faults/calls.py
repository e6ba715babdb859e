"""The system calls that change anything, and how all places to be killed at are gone through."""

import itertools
from collections.abc import Callable, Sequence

from tests.faults.victim import Injection

CALLS = (
    *(
        "openat",
        "mkdir",
        "write",
        "writev",
        "pwrite64",
        "pwritev",
        "pwritev2",
        "copy_file_range",
        "ftruncate",
    ),
    *("fsync", "fdatasync", "rename", "renameat2", "link", "linkat", "unlink", "unlinkat"),
    *("sendto", "sendmsg", "shutdown", "close"),
)


def enumerate_calls(killed: Callable[[Injection], bool], calls: Sequence[str] = CALLS) -> dict[str, int]:
    """Kill at the first, second, … of each call until one is survived; gives how many there were, and in total."""
    points = {}
    for call in calls:
        points[call] = next(nth for nth in itertools.count() if not killed(Injection(call, nth + 1)))
    return {call: count for call, count in points.items() if count} | {"total": sum(points.values())}
