"""Quality evaluations from a file: every line checked, all of them recorded or none."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import audit, item_lists, registry
from catalog.context import Caller, Catalogue
from catalog.datafile import DataFile, Row
from catalog.db import transaction
from catalog.errors import HurenError, InvalidInput
from catalog.items import ItemList
from catalog.spreadsheet import read_sheet
from catalog.tables import Hospital, QcEvaluation

COLUMNS: Final = ("hospital", "item", "scope", "result", "from", "to")
_RESULTS: Final = {"passed": True, "合格": True, "failed": False, "不合格": False}


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One evaluation as it is to be recorded: exactly one of item and group."""

    hospital_id: int
    item_code: str | None
    item_group: str | None
    scope_code: str
    passed: bool
    valid_from: date
    valid_to: date

    @property
    def what(self) -> tuple[object, ...]:
        """What was evaluated and when, without the result."""
        target = self.item_code or f"[{self.item_group}]"
        return self.hospital_id, target, self.scope_code, self.valid_from, self.valid_to


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, or would do."""

    new: int
    present: int
    dry_run: bool


def import_evaluations(
    catalogue: Catalogue, caller: Caller, name: str, content: bytes, *, dry_run: bool = False
) -> Imported:
    """Record the evaluations of a CSV or XLSX file, all or none; rows that are there already stay as they are.

    Raises InvalidList with every fault and
    its line: unknown hospital, item, group or scope, a scope the hospital does not lie in, reversed days, a row
    that repeats or contradicts another, of the file or on record.
    """
    table = DataFile.of(name, read_sheet(name, content), COLUMNS)
    with transaction(catalogue.engine) as session:
        reader = _Reader(session, item_lists.every_item(session, catalogue))
        read = [(row, found) for row in table.rows() if (found := reader.read(row)) is not None]
        standing = _standing(session, {found.hospital_id for _, found in read})
        _refuse_repeats(read)
        for row, found in read:
            if standing.get(found.what, found.passed) is not found.passed:
                row.fail("result", "与已登记的评价结果相反", "contradicts the evaluation on record")
        if not read and not table.problems:
            raise InvalidInput("文件中没有评价", "The file has no evaluations", field="file")
        table.finish()
        new = [found for _, found in read if found.what not in standing]
        if not dry_run:
            session.add_all(_evaluation(found) for found in new)
            audit.record(session, caller, "qc.import", file=name, new=len(new))
    return Imported(len(new), len(read) - len(new), dry_run)


class _Reader:
    """Turns lines into evaluations; what is wrong is noted at its line."""

    def __init__(self, session: Session, items: ItemList) -> None:
        self._session = session
        self._items = items
        self._hospitals: dict[str, Hospital | None] = {}
        self._scopes: dict[tuple[str, str], str | None] = {}

    def read(self, row: Row) -> EvaluationRow | None:
        """Return the evaluation of a line, or None where a field of it is wrong."""
        hospital = self._hospital(row)
        item, group = self._target(row)
        scope = self._scope(row, hospital) if hospital is not None else None
        passed = _RESULTS[row.one_of("result", tuple(_RESULTS))]
        first, last = row.day("from"), row.day("to")
        if first is not None and last is not None and first > last:
            row.fail("to", "早于起始日", "lies before the first day")
        if hospital is None or scope is None or first is None or last is None or not (item or group):
            return None
        return EvaluationRow(hospital.id, item, group, scope, passed, first, last)

    def _hospital(self, row: Row) -> Hospital | None:
        code = row.text("hospital")
        if code not in self._hospitals:
            query = select(Hospital).where(Hospital.code == code, Hospital.active)
            self._hospitals[code] = self._session.scalars(query).one_or_none()
        found = self._hospitals[code]
        if code and found is None:
            row.fail("hospital", "没有登记该机构", "is not registered")
        return found

    def _target(self, row: Row) -> tuple[str | None, str | None]:
        text = row.text("item")
        if self._items.get(text) is not None:
            return text, None
        if text in self._items.groups:
            return None, text
        if text:
            row.fail("item", "清单中没有该项目或项目组", "is no item or group of the list")
        return None, None

    def _scope(self, row: Row, hospital: Hospital) -> str | None:
        text = row.text("scope")
        key = (hospital.code, text)
        if text and key not in self._scopes:
            try:
                self._scopes[key] = registry.scope_of(self._session, hospital, text).code
            except HurenError as error:
                row.fail("scope", error.zh, error.en)
                return None
        return self._scopes.get(key)


def _refuse_repeats(read: Iterable[tuple[Row, EvaluationRow]]) -> None:
    first_lines: dict[tuple[object, ...], int] = {}
    for row, found in read:
        first = first_lines.setdefault(found.what, row.line)
        if first != row.line:
            row.fail("item", f"与第{first}行重复", f"repeats line {first}")


def _standing(session: Session, hospital_ids: set[int]) -> dict[tuple[object, ...], bool]:
    query = select(QcEvaluation).where(QcEvaluation.hospital_id.in_(hospital_ids))
    return {
        EvaluationRow(
            row.hospital_id,
            row.item_code,
            row.item_group,
            row.scope_code,
            row.passed,
            row.valid_from,
            row.valid_to,
        ).what: row.passed
        for row in session.scalars(query)
    }


def _evaluation(found: EvaluationRow) -> QcEvaluation:
    return QcEvaluation(
        hospital_id=found.hospital_id,
        item_code=found.item_code,
        item_group=found.item_group,
        scope_code=found.scope_code,
        passed=found.passed,
        valid_from=found.valid_from,
        valid_to=found.valid_to,
    )
