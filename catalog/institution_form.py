"""The form by institution: evaluations, what was recognised of each kind and what it saved, viewings; sums by class."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from catalog import item_lists, registry
from catalog.context import Catalogue
from catalog.form_months import FormMonths
from catalog.forms import form_named
from catalog.items import Item, ItemList
from catalog.records import Evaluation
from catalog.rules import local_day, marks_on
from catalog.tables import Hospital, Monthly, Region

CLASSES: Final = {3: "三级", 2: "二级", 1: "基层"}
_PARTS: Final = ("dr", "mr", "ct", "lab", "other")
_PART_OF_MODALITY: Final = {"DX": "dr", "CR": "dr", "MR": "mr", "CT": "ct"}
_PROVINCIAL: Final = ("province", "municipality")
_NATIONAL: Final = ("country",)
_OPENED: Final = ("report.read", "imaging_study.read", "observation.read")
_VIEWINGS: Final = text(
    "select hospital_id, count(*) from viewing where action = any(:opened)"
    " and hospital_id is not null and recorded_at >= :begin and recorded_at < :end group by hospital_id"
)
Cells = dict[str, Any]


def fill(session: Session, catalogue: Catalogue, months: FormMonths) -> dict[str, Any]:
    """Return a row for each institution that is active or has figures, a summary by class, and the total."""
    items = item_lists.every_item(session, catalogue)
    figures = _figures(session, items, months)
    viewings = _viewings(session, months)
    hospitals = _hospitals(session, months, figures.keys() | viewings.keys())
    evaluated = _Evaluated(
        session, items, hospitals, min(months.end - timedelta(days=1), local_day(catalogue.clock()))
    )
    rows = [
        {
            "hospital": hospital.code,
            "hospital_name": hospital.name,
            "class": CLASSES[hospital.tier],
            **evaluated.cells(hospital.id),
            "recognises_marked": None,
            **_parts(figures.get(hospital.id, {})),
            "viewings": viewings.get(hospital.id, 0),
        }
        for hospital in hospitals
    ]
    return {"rows": rows, "summary": _summary(rows), "total": _sum(rows)}


def _hospitals(session: Session, months: FormMonths, counted: Iterable[int]) -> Sequence[Hospital]:
    query = select(Hospital).where(Hospital.active | Hospital.id.in_(set(counted)))
    if months.hospital_code:
        query = query.where(Hospital.code == months.hospital_code)
    return session.scalars(query.order_by(Hospital.tier.desc(), Hospital.code)).all()


def _figures(session: Session, items: ItemList, months: FormMonths) -> dict[int, Counter[str]]:
    """Return what each hospital recognised and saved net, in fen, by kind of item."""
    recognised = func.sum(Monthly.recognised + Monthly.beyond_duty)
    net_fen = func.sum(Monthly.saved_fen - Monthly.reversed_fen)
    query = (
        select(Monthly.hospital_id, Monthly.item_code, recognised, net_fen)
        .where(Monthly.month.between(months.first, months.last))
        .group_by(Monthly.hospital_id, Monthly.item_code)
    )
    part_of = {item.code: _part(item) for item in items}
    found: dict[int, Counter[str]] = {}
    for hospital_id, item_code, count, fen in session.execute(query).tuples():
        part = part_of.get(item_code, "other")
        found.setdefault(hospital_id, Counter()).update(
            {f"{part}_items": int(count), f"{part}_fen": int(fen)}
        )
    return found


def _part(item: Item) -> str:
    if item.category == "laboratory":
        return "lab"
    return next((_PART_OF_MODALITY[each] for each in item.modalities if each in _PART_OF_MODALITY), "other")


def _parts(figures: Mapping[str, int]) -> Cells:
    cells = {
        f"{part}_{kind}": figures.get(f"{part}_{kind}", 0) for part in _PARTS for kind in ("items", "fen")
    }
    totals = {f"total_{kind}": sum(cells[f"{part}_{kind}"] for part in _PARTS) for kind in ("items", "fen")}
    return cells | totals


def _viewings(session: Session, months: FormMonths) -> dict[int, int]:
    begin, end = months.times
    asked = {"begin": begin, "end": end, "opened": list(_OPENED)}
    return dict(session.execute(_VIEWINGS, asked).tuples().all())


class _Evaluated:
    """What evaluations say of hospitals on a day; None where none was ever recorded for the scope."""

    def __init__(self, session: Session, items: ItemList, hospitals: Sequence[Hospital], day: date) -> None:
        regions = session.execute(select(Region.code, Region.kind)).tuples()
        self._kinds = dict(regions.all())
        self._evaluations = registry.evaluations(session, [hospital.id for hospital in hospitals])
        self._laboratory = [item for item in items if item.category == "laboratory"]
        self._imaging = [item for item in items if item.category == "imaging"]
        self._day = day

    def cells(self, hospital_id: int) -> Cells:
        """Return the cells of one hospital."""
        evaluations = self._evaluations.get(hospital_id, ())
        national = self._passed(evaluations, self._laboratory, _NATIONAL)
        provincial = self._passed(evaluations, self._laboratory, _PROVINCIAL)
        imaging = self._passed(evaluations, self._imaging, _PROVINCIAL)
        return {
            "national_eqa_passed": _flag(national),
            "national_eqa_items": national,
            "provincial_eqa_passed": _flag(provincial),
            "provincial_eqa_items": provincial,
            "imaging_qc_passed": _flag(imaging),
        }

    def _passed(
        self, evaluations: Iterable[Evaluation], items: Iterable[Item], kinds: Sequence[str]
    ) -> int | None:
        """Return how many of the items have a passed evaluation of such a scope."""
        rows = [each for each in evaluations if self._kinds.get(each.scope) in kinds]
        concerned = [item for item in items if any(_concerns(row, item) for row in rows)]
        if not concerned:
            return None
        return sum(bool(marks_on(rows, item.code, item.groups, self._day)) for item in concerned)


def _concerns(evaluation: Evaluation, item: Item) -> bool:
    return evaluation.item_code == item.code or evaluation.item_group in item.groups


def _flag(passed: int | None) -> int | None:
    return None if passed is None else int(passed > 0)


def _summary(rows: Sequence[Cells]) -> list[Cells]:
    """Return the sums of each class that has an institution."""
    present = [name for name in CLASSES.values() if any(row["class"] == name for row in rows)]
    return [{"class": name, **_sum([row for row in rows if row["class"] == name])} for name in present]


def _sum(rows: Sequence[Cells]) -> Cells:
    """Return how many institutions these are and the sums of what is known of them; None where nothing is."""
    summed = [column.key for column in form_named("institution").columns if column.kind != "text"]
    known = {key: [row[key] for row in rows if row[key] is not None] for key in summed}
    return {"institutions": len(rows)} | {key: sum(cells) if cells else None for key, cells in known.items()}
