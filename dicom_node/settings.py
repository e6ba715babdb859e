"""Settings of the receiving node, read once from the environment (prefix `HUREN_DICOM_`).

A plain dataclass: every worker holds one, and pydantic would be a third of a worker's memory.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from catalog.errors import InvalidInput

PREFIX: Final = "HUREN_DICOM_"


def _within(default: Any, *, least: float, most: float | None = None, above: bool = False) -> Any:
    """A number with bounds; `above` leaves the least itself out."""
    return field(default=default, metadata={"least": least, "most": most, "above": above})


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How the node listens and what it allows; frozen. Times in seconds, sizes in bytes.

    Raises:
        InvalidInput: a number is out of its bounds; `field` names it.
    """

    # where it listens, and under which titles
    host: str = "127.0.0.1"
    port: int = _within(11112, least=0, most=65535)  # 0 picks a free one
    called_ae_titles: tuple[str, ...] = ("HUREN",)
    workers: int = field(default_factory=lambda: os.cpu_count() or 1, metadata={"least": 1})

    # TLS (PS3.15 Annex B.12, BCP 195): on where a certificate is named; peers prove themselves with theirs
    tls_port: int = _within(2762, least=0, most=65535)
    tls_certificate: Path | None = None  # PEM, with its chain
    tls_key: Path | None = None
    tls_authorities: Path | None = None  # PEM, who may sign the peers' certificates
    tls_revocations: Path | None = None  # PEM, lists of certificates that count no more

    # how many associations at once, over all workers
    max_associations: int = _within(200, least=1)
    max_associations_per_address: int = _within(50, least=1)
    max_associations_per_hospital: int = _within(50, least=1)

    # who guesses titles or certificates: this many refusals in `lockout_seconds` shut an address out for as long
    lockout_tries: int = _within(20, least=0)  # 0: never
    lockout_seconds: float = _within(300.0, least=0, above=True)

    # how long a peer may take; after its first byte a message lives on a lease that bytes renew
    association_seconds: float = _within(8.0, least=0, above=True)  # connect → whole A-ASSOCIATE-RQ
    idle_seconds: float = _within(300.0, least=0, above=True)  # between messages
    grace_seconds: float = _within(30.0, least=0, above=True)  # the lease at its fullest
    min_bytes_per_second: float = _within(4096.0, least=0, above=True)
    artim_seconds: float = _within(5.0, least=0, above=True)  # PS3.8 §9.1.5
    drain_seconds: float = _within(8.0, least=0, above=True)  # SIGTERM → the last association is cut

    # how many different patients one peer may ask about within the hour: an alarm, and no more (catalog.harvest)
    harvest_alarm_people: int = _within(5_000, least=1)
    harvest_limit_people: int = _within(50_000, least=1)

    # PDU lengths: what is offered, and where the line is cut (some senders overrun what was negotiated)
    max_pdu_bytes: int = _within(262_144, least=4096)
    pdu_limit_before_acceptance_bytes: int = _within(1 << 20, least=4096)
    pdu_limit_bytes: int = _within(8 << 20, least=4096)

    # the spool
    pack_limit_bytes: int = _within(64 << 20, least=1)
    low_water_bytes: int = _within(256 << 20, least=0)
    low_water_inodes: int = _within(1000, least=0)
    blank_packs: int = _within(4, least=0)  # written ahead with zeros, each of `pack_limit_bytes`; 0: none
    blank_idle_seconds: float = _within(5.0, least=0)  # nobody has been connected for so long

    def __post_init__(self) -> None:
        for one in fields(self):
            _check(one.name, getattr(self, one.name), one.metadata)

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ, **told: Any) -> "NodeSettings":
        """Read the environment; what is `told` and not None goes first.

        Raises:
            InvalidInput: a value cannot be read or is out of bounds.
        """
        found = {
            one.name: _parse(one.name, one.type, environment[PREFIX + one.name.upper()])
            for one in fields(cls)
            if environment.get(PREFIX + one.name.upper())
        }
        return cls(**(found | {name: value for name, value in told.items() if value is not None}))

    def environment(self) -> dict[str, str]:
        """Return the variables that `read` makes these settings of."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            PREFIX + name.upper(): json.dumps(value) if isinstance(value, tuple) else str(value)
            for name, value in values.items()
            if value is not None
        }


def _titles(text: str) -> tuple[str, ...]:
    titles = json.loads(text)
    if not isinstance(titles, list) or not titles or not all(isinstance(title, str) for title in titles):
        raise ValueError("not a list of titles")
    return tuple(titles)


_READERS: Final[dict[Any, Callable[[str], Any]]] = {
    str: str,
    int: int,
    float: float,
    Path | None: Path,
    tuple[str, ...]: _titles,
}


def _parse(name: str, kind: Any, text: str) -> Any:
    try:
        return _READERS[kind](text)
    except ValueError:
        raise _invalid(name) from None


def _check(name: str, value: Any, bounds: Mapping[str, Any]) -> None:
    if not bounds:
        return
    is_high_enough = value > bounds["least"] if bounds.get("above") else value >= bounds["least"]
    if not is_high_enough or (bounds.get("most") is not None and value > bounds["most"]):
        raise _invalid(name)


def _invalid(name: str) -> InvalidInput:
    setting = PREFIX + name.upper()
    return InvalidInput(f"{setting} 的值无效", f"{setting} has no valid value", field=name)
