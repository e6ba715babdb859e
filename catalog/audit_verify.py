"""Verifies the audit: every record against its seal, every seal against the one before, its key and the anchors.

Without an anchor, who owns the database can cut the chain's end off, or put an older one in its place; with the key
as well, make another. An anchor kept elsewhere shows both.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from catalog.audit_anchor import Anchor
from catalog.audit_chain import START, Entry, Seal, is_signed
from catalog.audit_seal import ENTRY_COLUMNS, SEAL_COLUMNS, as_seal
from catalog.db import transaction
from catalog.tables import AuditEvent
from catalog.tables_audit import AuditSeal

Kind = Literal[
    "edited", "deleted", "inserted", "seal_missing", "seal_edited", "seal_forged", "not_anchored", "cut"
]
MOST_FINDINGS: Final = 20
_CHUNK: Final = 2000
_SEALS: Final = 50

MEANING: Final[dict[Kind, tuple[str, str]]] = {
    "edited": ("记录被改动", "the record was changed"),
    "deleted": ("记录被删除", "the record was deleted"),
    "inserted": ("记录被插入", "the record was put in"),
    "seal_missing": ("缺少封存", "a seal is missing"),
    "seal_edited": ("封存被改动", "the seal was changed"),
    "seal_forged": ("封存签名无效", "the seal was not signed by the key"),
    "not_anchored": (
        "封存与外部锚定不符:链被重算",
        "the seal is not the anchored one: the chain was made anew",
    ),
    "cut": ("链尾被截去或恢复了旧库", "the end was cut off, or an older database put in its place"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: in which seal, and which record where it is one."""

    kind: Kind
    seal: int
    record_id: int | None = None

    def described(self) -> dict[str, Any]:
        """Return it for a script or a table."""
        zh, en = MEANING[self.kind]
        return {**asdict(self), "text": zh, "text_en": en}


@dataclass(slots=True)
class Verdict:
    """What a verification found; `unsealed` records are newer than the last seal and vouched for by none."""

    seals: int = 0
    records: int = 0
    unsealed: int = 0
    anchors: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def agrees(self) -> bool:
        """Return whether nothing is wrong."""
        return not self.findings


def verify(
    engine: Engine,
    public: Ed25519PublicKey,
    anchors: Iterable[Anchor] = (),
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Verdict:
    """Verify the chain in one snapshot; what is wrong is listed from the first, the first 20 findings.

    The anchors are read before the snapshot: none of them can be newer than what it shows.
    """
    verdict, found = Verdict(), list(anchors)
    verdict.anchors = len(found)
    with transaction(engine) as session:
        session.execute(text("set transaction isolation level repeatable read, read only"))
        session.execute(text("set local statement_timeout = 0"))
        total = session.scalar(select(func.count()).select_from(AuditSeal)) or 0
        walk = _Walk(session, public, found, verdict)
        findings: list[Finding] = []
        for finding in walk.findings(lambda: on_progress(verdict.seals, total)):
            findings.append(finding)
            if len(findings) == MOST_FINDINGS:
                break
        verdict.findings = tuple(findings)
    on_progress(verdict.seals, total)
    return verdict


class _Walk:
    """One pass over seals and records side by side."""

    def __init__(
        self, session: Session, public: Ed25519PublicKey, anchors: list[Anchor], verdict: Verdict
    ) -> None:
        self._session = session
        self._public = public
        self._verdict = verdict
        self._heads: dict[int, set[str]] = {}
        for anchor in anchors:
            self._heads.setdefault(anchor.number, set()).add(anchor.head)
        self._records = _Records(session)

    def findings(self, on_seal: Callable[[], None]) -> Iterator[Finding]:
        number, head = 0, START
        for seal in self._seals():
            if seal.number != number + 1:
                yield Finding("seal_missing", number + 1)
            number = seal.number
            yield from sorted(self._of_records(seal), key=lambda each: each.record_id or 0)
            yield from self._of_seal(seal, head)
            head = seal.head
            self._verdict.seals += 1
            on_seal()
        self._verdict.unsealed = sum(1 for _ in self._records.rest())
        beyond = [each for each in sorted(self._heads) if each > number]
        if beyond:
            yield Finding("cut", beyond[0])

    def _of_records(self, seal: Seal) -> Iterator[Finding]:
        """Two lists in the order of ids: what was sealed, and what stands there."""
        expected = seal.each_digest()
        seen = set()
        for entry in self._records.up_to(seal.through_id):
            self._verdict.records += 1
            seen.add(entry.id)
            if entry.id not in expected:
                yield Finding("inserted", seal.number, entry.id)
            elif entry.digest() != expected[entry.id]:
                yield Finding("edited", seal.number, entry.id)
        for record_id in seal.record_ids:
            if record_id not in seen:
                yield Finding("deleted", seal.number, record_id)

    def _of_seal(self, seal: Seal, previous: bytes) -> Iterator[Finding]:
        if seal.previous != previous or seal.head != seal.counted_head():
            yield Finding("seal_edited", seal.number)
        elif not is_signed(seal, self._public):
            yield Finding("seal_forged", seal.number)
        if self._heads.get(seal.number, {seal.head.hex()}) != {seal.head.hex()}:
            yield Finding("not_anchored", seal.number)

    def _seals(self) -> Iterator[Seal]:
        query = select(*SEAL_COLUMNS).order_by(AuditSeal.number).execution_options(yield_per=_SEALS)
        yield from (as_seal(row) for row in self._session.execute(query))


class _Records:
    """The records in the order of their ids, read in pieces."""

    def __init__(self, session: Session) -> None:
        query = select(*ENTRY_COLUMNS).order_by(AuditEvent.id).execution_options(yield_per=_CHUNK)
        self._rows = iter(session.execute(query))
        self._next: Entry | None = None
        self._advance()

    def up_to(self, record_id: int) -> Iterator[Entry]:
        """Yield what has not been yielded yet, up to an id."""
        while self._next is not None and self._next.id <= record_id:
            yield self._next
            self._advance()

    def rest(self) -> Iterator[Entry]:
        """Yield what is left."""
        while self._next is not None:
            yield self._next
            self._advance()

    def _advance(self) -> None:
        row = next(self._rows, None)
        self._next = Entry(*row) if row is not None else None
