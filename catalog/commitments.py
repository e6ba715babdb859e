"""Storage commitments asked for: queued once, decided, reported, tried again (PS3.4 Annex J).

    queued ──answer──▶ answered ──mark_reported──▶ reported
      ▲ │ postpone        │ ▲ postpone
      └─┘                 └─┴──────give_up───────▶ given_up

Whoever works on one holds it by a lease, so that a process that dies gives it back. Times are the database's.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from sqlalchemy import Update, case, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog import registry
from catalog.errors import Conflict
from catalog.tables import Hospital
from catalog.tables_dicom import Commitment, Peer

State = Literal["queued", "answered"]
Reference = tuple[str, str]  # SOP class UID, SOP instance UID
Failure = tuple[str, str, int]  # and the Failure Reason (0008,1197)

_LEASE: Final = timedelta(seconds=120)


@dataclass(frozen=True, slots=True)
class Transaction:
    """A commitment that was asked for; `failed` is what cannot be committed to, once that is known.

    `host` and `port` are where the one who asked listens, over TLS with one of `certificates` (any that is signed,
    if there are none) where `tls` says so, `age_seconds` the time since it asked, `attempts`
    how often it was worked on in its present state, this time included.
    """

    commitment_id: int
    TransactionUID: str
    hospital_id: int
    calling_ae: str
    host: str | None
    port: int | None
    referenced: tuple[Reference, ...]
    failed: tuple[Failure, ...]
    attempts: int
    age_seconds: float
    tls: bool = False
    certificates: tuple[str, ...] = ()


def queue(
    session: Session,
    *,
    hospital_code: str,
    calling_ae: str,
    TransactionUID: str,
    referenced: tuple[Reference, ...],
) -> int:
    """Queue a request and return its id; the same one again is the same row, to be answered anew.

    Raises NotFound for an unknown hospital, Conflict (`transaction_differs`) where the hospital has used the UID
    for other instances.
    """
    hospital = registry.hospital_by_code(session, hospital_code)
    statement = insert(Commitment).values(
        hospital_id=hospital.id,
        calling_ae=calling_ae,
        TransactionUID=TransactionUID,
        referenced=[list(reference) for reference in referenced],
    )
    still_queued = Commitment.state == "queued"
    again = statement.on_conflict_do_update(
        index_elements=["hospital_id", "TransactionUID"],
        set_={
            "calling_ae": statement.excluded.calling_ae,
            "state": "queued",
            "failed": None,
            "attempts": 0,
            "requested_at": case((still_queued, Commitment.requested_at), else_=func.now()),
            "next_attempt_at": func.now(),
            "reported_at": None,
        },
        where=Commitment.referenced == statement.excluded.referenced,
    )
    made = session.scalars(again.returning(Commitment.id)).one_or_none()
    if made is None:
        raise Conflict(
            "该 TransactionUID 已用于其他实例",
            "This Transaction UID stands for other instances",
            code="transaction_differs",
        )
    return made


def claim(session: Session, state: State, commitment_id: int | None = None) -> Transaction | None:
    """Take one that is due in this state, or that one due or not, and hold it for a while; None if there is none."""
    query = select(Commitment).where(Commitment.state == state)
    if commitment_id is None:
        query = query.where(Commitment.next_attempt_at <= func.now())
    else:
        query = query.where(Commitment.id == commitment_id)
    query = query.order_by(Commitment.next_attempt_at).limit(1).with_for_update(skip_locked=True)
    found = session.scalars(query).one_or_none()
    if found is None:
        return None
    found.attempts += 1
    found.next_attempt_at = func.now() + _LEASE
    session.flush()
    return _transaction(session, found)


def answer(
    session: Session, commitment_id: int, failed: tuple[Failure, ...], *, delay_seconds: float
) -> None:
    """Set down what is committed to; the report is due after a delay, until which the one who asked may be told."""
    session.execute(
        _change(commitment_id, "queued").values(
            state="answered",
            failed=[list(failure) for failure in failed],
            attempts=0,
            next_attempt_at=func.now() + timedelta(seconds=delay_seconds),
        )
    )


def postpone(session: Session, commitment_id: int, state: State, delay_seconds: float) -> None:
    """Try again later."""
    later = func.now() + timedelta(seconds=delay_seconds)
    session.execute(_change(commitment_id, state).values(next_attempt_at=later))


def mark_reported(session: Session, commitment_id: int) -> None:
    """Set down that the report was taken."""
    session.execute(_change(commitment_id, "answered").values(state="reported", reported_at=func.now()))


def give_up(session: Session, commitment_id: int) -> None:
    """Set down that nobody takes the report; the same request again brings it back."""
    session.execute(_change(commitment_id, "answered").values(state="given_up"))


def _change(commitment_id: int, state: State) -> Update:
    """A change of a row that nobody has moved on meanwhile."""
    return update(Commitment).where(Commitment.id == commitment_id, Commitment.state == state)


def _transaction(session: Session, row: Commitment) -> Transaction:
    here = select(Peer.host, Peer.port, Peer.tls, Peer.certificates).join(
        Hospital, Hospital.id == Peer.hospital_id
    )
    listening = session.execute(
        here.where(Peer.ae_title == row.calling_ae, Hospital.id == row.hospital_id, Peer.active)
    ).one_or_none()
    host, port, tls, certificates = listening or (None, None, False, ())
    age: Any = session.scalar(select(func.extract("epoch", func.now() - row.requested_at)))
    return Transaction(
        commitment_id=row.id,
        TransactionUID=row.TransactionUID,
        hospital_id=row.hospital_id,
        calling_ae=row.calling_ae,
        host=host,
        port=port,
        referenced=tuple((reference[0], reference[1]) for reference in row.referenced),
        failed=tuple((failure[0], failure[1], failure[2]) for failure in row.failed or ()),
        attempts=row.attempts,
        age_seconds=float(age),
        tls=tls,
        certificates=tuple(certificates),
    )
