"""Hospitals' patient numbers that are identity documents: none of them stands in clear in the database.

Such a number is kept once for each hospital, hashed and encrypted (catalog.vault). Everywhere else stands
`sealed:<id>` in its place, which is compared as any other number is and which a rotation of the keys does not
change. Two spellings are two numbers, and two hospitals' are never one: what is compared is the text as it came.
Whatever may be a document is sealed; what is sealed is shown masked.
"""

import contextlib
import re
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from catalog import keyring, links
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.errors import IntegrityFault
from catalog.identity import DOCUMENT_TYPES, Document, check_digit, half_width, mask_number
from catalog.tables import Alias, Study
from catalog.tables_people import SealedNumber
from catalog.tables_reports import Report

_MARK: Final = "sealed:"
_NATIONAL: Final = re.compile(r"(?<![0-9])[0-9]{17}[0-9X](?![0-9A-Z])")  # whatever its check digit says
_DATE: Final = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_WITHIN: Final = re.compile(rf"(?=([0-9]{{6}}(?:18|19|20)[0-9]{{2}}{_DATE}[0-9]{{3}}[0-9X]))")
_SHAPES: Final = (
    re.compile(rf"[0-9]{{8}}{_DATE}[0-9]{{3}}"),  # GB 11643-1989
    re.compile(r"[DEGKMPS][0-9]{8}|E[A-HJ-NP-Z][0-9]{7}"),  # Chinese passports
    *(DOCUMENT_TYPES[code].pattern for code in ("06", "92", "93")),
    re.compile(r".*字第.*"),  # 04
)
_BATCH: Final = 500
_COLUMNS: Final[tuple[tuple[type[Any], InstrumentedAttribute[str]], ...]] = (
    (Study, Study.patient_id),
    (Report, Report.patient_id),
    (Alias, Alias.number),
)


def may_be_document(number: str) -> bool:
    """Say whether a hospital's number has the shape of an identity document (WS 364 CV02.01.101).

    Numbers without a shape of their own, such as eight digits or a foreign passport's, are none until a
    hospital says so (`keep`).
    """
    whole, bare = half_width(number, separators=""), half_width(number, separators=" -")
    inside = _NATIONAL.search(whole) or _NATIONAL.search(bare) or _holds_national_id(bare)
    return bool(inside) or any(shape.fullmatch(bare) for shape in _SHAPES)


def _holds_national_id(number: str) -> bool:
    """Say whether a national ID stands within a longer number ("…011A" of a newborn, "0110…011")."""
    found = (match[1] for match in _WITHIN.finditer(number))
    return any(check_digit(each[:17]) == each[17] for each in found)


def keep(
    session: Session,
    catalogue: Catalogue,
    hospital_id: int,
    number: str,
    document: Document | None = None,
) -> str:
    """Return what stands in the database for a PatientID: itself, or its seal where it is a document.

    `document` is the one it came with: a number that equals it is sealed whatever its shape. The caller then
    holds the number, and rows in which it stood in clear have the seal from now on.
    """
    if not number:
        return number
    links.lock_numbers(session, hospital_id, PatientID=number)
    kept = _find(session, catalogue, hospital_id, number)
    if kept is not None:
        return _seal(kept.id)
    if number.startswith(_MARK) or may_be_document(number) or _equals(number, document):
        return _make(session, catalogue, hospital_id, number)
    return number


def as_kept(session: Session, catalogue: Catalogue, hospital_id: int, number: str) -> str:
    """Return how a PatientID stands in the database, if it does: itself, or its seal."""
    kept = _find(session, catalogue, hospital_id, number)
    if kept is not None:
        return _seal(kept.id)
    return "" if number.startswith(_MARK) else number  # a seal itself is nobody's number


def is_document(kept: str) -> bool:
    """Say whether a number is sealed as an identity document, or waits to be."""
    return kept.startswith(_MARK) or may_be_document(kept)


def opened(session: Session, catalogue: Catalogue, kept: str) -> str:
    """Return a number in clear as its hospital sent it. Raises IntegrityFault where its key is missing."""
    if not kept.startswith(_MARK):
        return kept
    row = session.get_one(SealedNumber, int(kept.removeprefix(_MARK)))
    return catalogue.vault.open(row.id_type, row.number_cipher)


def shown(session: Session, catalogue: Catalogue, kept: str) -> str:
    """Return a number for a screen: masked where it is sealed, or where it waits to be."""
    number = opened(session, catalogue, kept)
    return mask_number(number) if kept.startswith(_MARK) or may_be_document(number) else number


def forget_unused(catalogue: Catalogue) -> None:
    """Delete the seals that nothing has any more: an erasure leaves none behind.

    Each under the lock of its number, which whoever is about to use a seal holds until his rows are there (`keep`).
    """
    with transaction(catalogue.engine) as session:
        unused = list(session.scalars(select(SealedNumber.id).where(_is_unused()).order_by(SealedNumber.id)))
    for row_id in unused:
        with transaction(catalogue.engine) as session, contextlib.suppress(IntegrityFault):
            row = session.get(SealedNumber, row_id)
            if row is None:
                continue
            number = catalogue.vault.open(row.id_type, row.number_cipher)
            links.lock_numbers(session, row.hospital_id, PatientID=number)
            session.execute(delete(SealedNumber).where(SealedNumber.id == row_id, _is_unused()))


def _is_unused() -> ColumnElement[bool]:
    seal = func.concat(_MARK, SealedNumber.id)
    return and_(
        *(
            ~exists().where(table.hospital_id == SealedNumber.hospital_id, column == seal)
            for table, column in _COLUMNS
        )
    )


def seal_all(catalogue: Catalogue, on_progress: Callable[[int], None] = lambda _: None) -> int:
    """Seal every document that still stands in clear, as an earlier release wrote it; returns how many.

    It can stop anywhere and go on later: each number is one transaction with every row it stands in.
    """
    sealed = 0
    for table, column in _COLUMNS:
        after = (0, "")
        while batch := _numbers_after(catalogue, table, column, after):
            for hospital_id, number in batch:
                sealed += _seal_one(catalogue, hospital_id, number)
            after = batch[-1]
            on_progress(sealed)
    return sealed


def _numbers_after(
    catalogue: Catalogue, table: type[Any], column: InstrumentedAttribute[str], after: tuple[int, str]
) -> list[tuple[int, str]]:
    place = or_(table.hospital_id > after[0], (table.hospital_id == after[0]) & (column > after[1]))
    query = select(table.hospital_id, column).where(place, column != "", column.not_like(f"{_MARK}%"))
    if table is Alias:
        query = query.where(Alias.kind == "PatientID")
    with transaction(catalogue.engine) as session:
        ordered = query.distinct().order_by(table.hospital_id, column).limit(_BATCH)
        return list(session.execute(ordered).tuples())


def _seal_one(catalogue: Catalogue, hospital_id: int, number: str) -> bool:
    if not may_be_document(number):
        return False
    with transaction(catalogue.engine) as session:
        keep(session, catalogue, hospital_id, number)
    return True


def _find(session: Session, catalogue: Catalogue, hospital_id: int, number: str) -> SealedNumber | None:
    digests = catalogue.vault.digests(SealedNumber.kind_of(hospital_id), number)
    query = select(SealedNumber).where(
        SealedNumber.hospital_id == hospital_id, SealedNumber.number_hash.in_(digests)
    )
    return session.scalars(query.order_by(SealedNumber.id).limit(1)).one_or_none()


def _make(session: Session, catalogue: Catalogue, hospital_id: int, number: str) -> str:
    keyring.share(session)
    kind = SealedNumber.kind_of(hospital_id)
    row = SealedNumber(
        hospital_id=hospital_id,
        number_hash=catalogue.vault.digest(kind, number),
        number_cipher=catalogue.vault.seal(kind, number),
    )
    session.add(row)
    session.flush()
    # A number that looks like a seal must not take over the rows that have that very seal.
    for table, column in () if number.startswith(_MARK) else _COLUMNS:
        mine = update(table).where(table.hospital_id == hospital_id, column == number)
        if table is Alias:
            mine = mine.where(Alias.kind == "PatientID")
        session.execute(mine.values({column.key: _seal(row.id)}))
    return _seal(row.id)


def _equals(number: str, document: Document | None) -> bool:
    """Compare with a document's number, of which an issuer before the colon is no part."""
    if document is None:
        return False
    bare = half_width(number, separators=" -")
    written = {bare, half_width(number, separators=" ")}
    kind = DOCUMENT_TYPES.get(document.id_type)
    if kind is not None and (match := kind.pattern.fullmatch(bare)):
        written.add("".join(group for group in match.groups() if group))
    return bool(written & {document.number, document.number.rpartition(":")[2]})


def _seal(row_id: int) -> str:
    return f"{_MARK}{row_id}"
