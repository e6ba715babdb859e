"""The worker of storage commitment: decides what is queued, reports what is decided, tries again (PS3.4 J.3.3)."""

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import Engine

from catalog import commitments
from catalog.commitments import Transaction
from catalog.db import transaction
from catalog.errors import HurenError, Unavailable
from dicom_node.command import SUCCESS
from dicom_node.commitment import encode_event
from dicom_node.commitment_answer import Examiner
from dicom_node.commitment_asked import STORAGE_COMMITMENT_INSTANCE
from dicom_node.counters import Counters
from dicom_node.negotiation import STORAGE_COMMITMENT
from dicom_node.pdu import MalformedPDU
from dicom_node.sender import Requestor
from dicom_node.tls import OutboundTls
from dicom_node.wire import ConnectionLost, DeadlinePassed

_CONTEXTS: Final = [(STORAGE_COMMITMENT, "1.2.840.10008.1.2.1"), (STORAGE_COMMITMENT, "1.2.840.10008.1.2")]
_WE_ARE_SCP: Final = {STORAGE_COMMITMENT: (False, True)}  # PS3.7 D.3.3.4: we open it and stay the SCP
_LOG: Final = logging.getLogger("huren.dicom_node")


@dataclass(frozen=True, slots=True)
class CommitmentSettings:
    """How commitments are decided and reported; times in seconds.

    What is not archived is waited for `patience_seconds` before it is reported as failed. A decided request is
    left to the association that asked for `head_start_seconds`; after `tries` reports nobody took it is given up.
    """

    patience_seconds: float = 600.0
    head_start_seconds: float = 1.5
    tries: int = 20
    reporters: int = 2
    poll_seconds: float = 0.2
    first_look_again_seconds: float = 0.5
    longest_look_again_seconds: float = 30.0
    first_report_again_seconds: float = 5.0
    longest_report_again_seconds: float = 3600.0
    answer_seconds: float = 10.0


class Committer:
    """Decides and reports; any number of them share the queue.

    `ae_title` is ours. `oldest_waiting_seconds` says how long the oldest pack has waited to be archived here.
    `tls` is for peers that listen with TLS. Counted as `commitments`: answered, answered_with_failures, reported,
    not_taken (to be tried again), given_up.
    """

    def __init__(
        self,
        engine: Engine,
        examiner: Examiner,
        ae_title: str,
        oldest_waiting_seconds: Callable[[], float],
        settings: CommitmentSettings | None = None,
        *,
        tls: OutboundTls | None = None,
        counters: Counters | None = None,
    ) -> None:
        self._engine = engine
        self._examiner = examiner
        self._ae_title = ae_title
        self._oldest_waiting_seconds = oldest_waiting_seconds
        self._settings = settings or CommitmentSettings()
        self._tls = tls
        self._counters = counters or Counters()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; one thread decides, so that no listener delays a decision."""
        steps = [self.decide_one, *[self.report_one] * self._settings.reporters]
        threads = [threading.Thread(target=self._repeat, args=(step, stop), daemon=True) for step in steps]
        for thread in threads:
            thread.start()
        stop.wait()
        for thread in threads:
            thread.join(self._settings.answer_seconds)

    def decide_one(self) -> bool:
        """Decide the request that is due first, or put it off; False where none is due. Raises DatabaseDown."""
        asked = self._claim("queued")
        if asked is None:
            return False
        try:
            failed = self._examiner.examine(asked, may_wait=self._may_wait(asked))
        except Unavailable as error:
            _LOG.info("a commitment waits: %s", error.code)
            failed = None
        with transaction(self._engine) as session:
            if failed is None:
                commitments.postpone(session, asked.commitment_id, "queued", self._look_again(asked))
            else:
                head_start = self._settings.head_start_seconds
                commitments.answer(session, asked.commitment_id, failed, delay_seconds=head_start)
        if failed is not None:
            self._counters.add("commitments", "answered_with_failures" if failed else "answered")
        return True

    def report_one(self) -> bool:
        """Report the decision that is due first; False where none is due. Raises DatabaseDown."""
        decided = self._claim("answered")
        if decided is None:
            return False
        fault = self._report(decided)
        is_last = decided.attempts >= self._settings.tries
        with transaction(self._engine) as session:
            if fault is None:
                commitments.mark_reported(session, decided.commitment_id)
            elif is_last:
                commitments.give_up(session, decided.commitment_id)
            else:
                commitments.postpone(session, decided.commitment_id, "answered", self._report_again(decided))
        outcome = "reported" if fault is None else "given_up" if is_last else "not_taken"
        self._counters.add("commitments", outcome)
        if fault is not None:
            _LOG.warning(
                "commitment %s is not reported (try %d): %s", decided.commitment_id, decided.attempts, fault
            )
        return True

    def _claim(self, state: commitments.State) -> Transaction | None:
        with transaction(self._engine) as session:
            return commitments.claim(session, state)

    def _may_wait(self, asked: Transaction) -> bool:
        """May what is missing still come? Also while a pack from that time waits for the store to come back."""
        overdue_seconds = asked.age_seconds - self._settings.patience_seconds
        return overdue_seconds < 0 or self._oldest_waiting_seconds() > overdue_seconds

    def _report(self, decided: Transaction) -> str | None:
        """Report on an association of our own; gives what went wrong."""
        if decided.host is None or decided.port is None:
            return "no address is registered"
        if decided.tls and self._tls is None:
            return "it listens with TLS, which is not set up here"
        try:
            with Requestor(
                decided.host,
                decided.port,
                decided.calling_ae,
                self._ae_title,
                _CONTEXTS,
                roles=_WE_ARE_SCP,
                answer_seconds=self._settings.answer_seconds,
                secure=partial(self._secure, decided) if decided.tls else None,
            ) as association:
                return _send(association, decided)
        except HurenError as error:
            return error.code
        except (ConnectionLost, DeadlinePassed, MalformedPDU, ValueError) as error:
            return type(error).__name__

    def _secure(self, decided: Transaction, sock: socket.socket) -> socket.socket:
        if self._tls is None or decided.host is None:
            raise OSError("no TLS")
        return self._tls.secure(sock, decided.host, decided.certificates)

    def _look_again(self, asked: Transaction) -> float:
        longest = self._settings.longest_look_again_seconds
        return min(self._settings.first_look_again_seconds * 2.0 ** min(asked.attempts - 1, 16), longest)

    def _report_again(self, decided: Transaction) -> float:
        longest = self._settings.longest_report_again_seconds
        return min(self._settings.first_report_again_seconds * 2.0 ** min(decided.attempts - 1, 16), longest)

    def _repeat(self, step: Callable[[], bool], stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                if not step():
                    stop.wait(self._settings.poll_seconds)
            except Unavailable:
                stop.wait(1.0)
            except Exception as error:
                # The lease holds the request for a while; others go on. Its words may quote what was sent.
                _LOG.error("a commitment failed: %s", type(error).__name__)
                stop.wait(self._settings.poll_seconds)


def _send(association: Requestor, decided: Transaction) -> str | None:
    context = next((context for context in _CONTEXTS if association.accepts(context)), None)
    if context is None:
        return "the listener does not take storage commitment"
    event_type_id, dataset = encode_event(decided, context[1])
    status = association.report_event(context, STORAGE_COMMITMENT_INSTANCE, event_type_id, dataset)
    return None if status == SUCCESS else f"answered {status:04x}"
