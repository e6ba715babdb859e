"""Who is let in, and what follows when somebody is not: a count towards a lock-out, and a note for the audit.

An address may be a whole hospital behind one router. Shut out is therefore only what could be a guess that hit:
a peer bound to the address or to a certificate, or let in from there before, still comes in.
"""

import logging
from pathlib import Path
from typing import Final

from catalog.errors import NotAllowed
from dicom_node.counters import Counters
from dicom_node.lockout import Lockout
from dicom_node.peers import Peer, PeerDirectory
from dicom_node.refusals import Refusals
from dicom_node.settings import NodeSettings

# What counts as a guess, by the outcome of the association.
GUESSES: Final = frozenset(
    {
        "rejected:called_ae_unknown",
        "rejected:calling_ae_unknown",
        "rejected:calling_address_unknown",
        "rejected:calling_certificate_unknown",
        "refused:tls_certificate",
    }
)
# This does not: a device that is kept out because of its neighbour may ask again without prolonging it.
LOCKED_OUT: Final = "rejected:locked_out"
_LOG: Final = logging.getLogger("huren.dicom_node")


class Gate:
    """The directory of peers with the lock-out before it; its files are in `run_root`.

    Raises:
        OSError: they cannot be made.
    """

    def __init__(
        self, directory: PeerDirectory, settings: NodeSettings, run_root: Path, counters: Counters
    ) -> None:
        self._directory = directory
        self._lockout = Lockout(
            run_root / "lockout", tries=settings.lockout_tries, seconds=settings.lockout_seconds
        )
        self._refusals = Refusals(run_root / "refusals")
        self._counters = counters

    def find(self, ae_title: str, address: str, certificate: str | None = None) -> Peer:
        """Give the peer as the directory does, unless the address is shut out and this may be a guess.

        Raises:
            NotAllowed: as the directory, or `locked_out`.
            Unavailable: the registry cannot be asked now.
        """
        is_out = self._lockout.is_out(address)
        peer = self._directory.find(ae_title, address, certificate, ask=not is_out)
        is_known = self._lockout.knows(ae_title, address)
        if is_out and not (is_known or certificate or peer.addresses):
            raise NotAllowed(
                "该地址尝试过多,暂停接入", "too many refusals from this address", code="locked_out"
            )
        if not is_known:
            self._lockout.remember(ae_title, address)
        return peer

    def note(self, outcome: str, address: str, calling: str) -> None:
        """Take note of how an association was refused, before the refusal is sent."""
        if outcome not in GUESSES and outcome != LOCKED_OUT:
            return
        self._refusals.note(address, calling, outcome)
        if outcome in GUESSES and self._lockout.count(address):
            _LOG.error("%s is locked out: too many refusals", address)
            self._counters.add("lockouts", "begun")

    def write(self) -> None:
        """Hand what was noted to whoever audits. Raises OSError."""
        self._refusals.write()

    def clear(self) -> None:
        """Forget who was refused and let in; for a node that has the table to itself."""
        self._lockout.clear()

    def close(self) -> None:
        """Unmap the table."""
        self._lockout.close()
