"""The packs the catalogue names: in key order for whoever checks them, and where each one came from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, cast

from sqlalchemy import func, select

from catalog.context import Catalogue
from catalog.db import transaction
from catalog.studies import ConflictKind, Contradiction
from catalog.tables import Conflict, Pack, Study

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class NamedPack:
    """A pack as its row names it; `sha256` (hex) and `size_bytes` are of the pack, not of its sidecar."""

    id: int
    key: str
    sidecar_key: str
    sha256: str
    size_bytes: int
    role: str
    StudyInstanceUID: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the rows know of a pack that its own bytes do not say.

    `revision` is the study's when the pack was compared with it; `contradictions` are the pack's own,
    `apart` the SOPInstanceUID and SHA-256 of everything of the study that is kept apart, and
    `sibling_sidecar_keys` lead to the other archived packs of the study, `unreadable` came with the pack.
    """

    revision: int
    contradictions: tuple[Contradiction, ...]
    apart: frozenset[tuple[str, str]]
    sibling_sidecar_keys: tuple[str, ...]
    unreadable: tuple[str, ...] = ()


def named_packs(catalogue: Catalogue, *, after: str = "") -> Iterator[NamedPack]:
    """Yield every pack whose key comes after `after`, in the database's order of keys. Raises DatabaseDown."""
    while page := _page(catalogue, after):
        yield from page
        after = page[-1].key


def named_bytes(catalogue: Catalogue, *, after: str = "") -> int:
    """Return how many bytes the packs after `after` have. Raises DatabaseDown."""
    with transaction(catalogue.engine) as session:
        query = select(func.coalesce(func.sum(Pack.size_bytes), 0)).where(Pack.key > after)
        return int(session.scalars(query).one())


def named_among(catalogue: Catalogue, keys: Iterable[str]) -> set[str]:
    """Return those of the given pack keys that a row names. Raises DatabaseDown."""
    with transaction(catalogue.engine) as session:
        return set(session.scalars(select(Pack.key).where(Pack.key.in_(set(keys)))))


def provenance(catalogue: Catalogue, pack: NamedPack) -> Provenance:
    """Return where a pack stands among the packs of its study. Raises DatabaseDown."""
    with transaction(catalogue.engine) as session:
        row = session.get_one(Pack, pack.id)
        study_id = row.study_id
        archived = session.execute(
            select(Pack.id, Pack.sidecar_key)
            .where(Pack.study_id == study_id, Pack.role == "archive")
            .order_by(Pack.id)
        ).all()
        conflicts = session.scalars(
            select(Conflict).where(Conflict.study_id == study_id).order_by(Conflict.id)
        ).all()
    return Provenance(
        revision=sum(id < pack.id for id, _ in archived) if pack.role == "archive" else 0,
        contradictions=tuple(_contradiction(row) for row in conflicts if row.pack_id == pack.id),
        apart=frozenset((row.SOPInstanceUID, row.sha256) for row in conflicts),
        sibling_sidecar_keys=tuple(key for id, key in archived if id != pack.id),
        unreadable=tuple((row.completeness or {}).get("unreadable", ())),
    )


def _page(catalogue: Catalogue, after: str) -> list[NamedPack]:
    query = (
        select(Pack, Study.uid)
        .join(Study, Study.id == Pack.study_id)
        .where(Pack.key > after)
        .order_by(Pack.key)
        .limit(_PAGE)
    )
    with transaction(catalogue.engine) as session:
        return [
            NamedPack(row.id, row.key, row.sidecar_key, row.sha256, row.size_bytes, row.role, uid)
            for row, uid in session.execute(query)
        ]


def _contradiction(row: Conflict) -> Contradiction:
    kind = cast(ConflictKind, row.kind)
    return Contradiction(row.SOPInstanceUID, row.sha256, row.first_sha256, kind)
