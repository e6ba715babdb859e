"""A person's chart: what a caller may see of him now, each thing in it judged as a check would judge it.

Who asks has a reason for this person (catalog.grants): of anybody else he learns no more than of nobody.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from catalog import (
    audit,
    grants,
    groups,
    history,
    lookup,
    people,
    recognition,
    registry,
    report_views,
    sealed_numbers,
    sharing,
)
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import NotFound
from catalog.identity import Demographics
from catalog.lookup import Known
from catalog.orders import Asking
from catalog.registry_view import Registry
from catalog.tables import Alias, Person, Result, Study
from catalog.tables_reports import Report
from catalog.whose import Whose

Position = tuple[datetime, int]
_NOBODY: Final = 0


@dataclass(frozen=True, slots=True)
class Chart:
    """The open chart of one person; `id` is the same whichever of the people merged with him was asked for."""

    asking: Asking
    registry: Registry
    person: Known
    id_type: str

    @property
    def id(self) -> int:
        """Return the number by which everything in the chart names its person."""
        return min(self.person.everybody)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a chart: a study, a report or a value, when it was, and what is told of it."""

    id: int
    at: datetime
    told: Mapping[str, Any] = field(repr=False)

    @property
    def position(self) -> Position:
        """Return where it stands in the order of time."""
        return self.at, self.id


Part = Callable[[Chart], Iterable[Entry]]
Told = Callable[[Chart, Entry], Any]


@dataclass(frozen=True, slots=True)
class Question:
    """Whose chart, which part of it, and how.

    All of `whose` must name the same person. `tell` makes of an entry what is given, or None where it is not wanted;
    `counted` hears the document of whoever is disclosed, before anything is, and may raise.
    """

    action: str
    whose: tuple[Whose, ...]
    part: Part
    tell: Told
    counted: Callable[[str, str], None]
    demographics: Demographics = field(default_factory=Demographics)
    after: Position | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Page:
    """Part of an answer: `total` are all that are wanted, `next` is where the rest begins.

    `incomplete`: something that may be this person's waits for a human.
    """

    person_id: int | None = None
    given: tuple[Any, ...] = ()
    total: int = 0
    next: Position | None = None
    incomplete: bool = False


def ask(
    catalogue: Catalogue,
    caller: Caller,
    question: Question,
    *,
    found: Callable[[Page], None] = lambda _: None,
) -> Page:
    """Return a page of a person's chart, newest first; audited, with what it shows.

    `found` sees it before that, and may raise where nothing is to have happened. Raises NotFound where the caller's
    hospital is not registered, and what `found` and `counted` raise.
    """
    with transaction(catalogue.engine) as session:
        hospital_id = registry.hospital_by_code(session, caller.hospital_code).id
        asked = _asked(session, catalogue, hospital_id, question.whose)
        page, shown = Page(), list[str]()
        if grants.may_see(session, caller, asked or _NOBODY, catalogue.clock()):
            page, shown = _page(session, catalogue, caller, question, asked or _NOBODY)
        found(page)
        audit.record(session, caller, question.action, hospital_id=hospital_id, person_id=asked, shown=shown)
        return page


def read_report(catalogue: Catalogue, caller: Caller, report_id: int) -> tuple[Entry, int | None]:
    """Return a report as an entry, and whose chart it is in, under the rules of `report_views.read`; audited.

    Nobody's where its person is not known, or does not share.
    """
    with transaction(catalogue.engine) as session:
        report, owner = report_views.readable(session, catalogue, caller, report_id)
        report_views.audit_read(session, caller, "report.read", report, owner)
        (entry,) = _entries_of_reports(session, {report_id: []})
        everybody = groups.members(session, {owner} - {None})  # type: ignore[arg-type]
        return entry, min(everybody) if everybody and sharing.is_shared(session, everybody) else None


def open_one(
    session: Session, catalogue: Catalogue, caller: Caller, named: Whose, counted: Callable[[str, str], None]
) -> Chart | None:
    """Return the chart of whom `named` names, where the caller may see it now; `counted` hears whose document that is.

    What is made of it is for who asks to audit. Raises NotFound where the caller's hospital is not registered.
    """
    hospital_id = registry.hospital_by_code(session, caller.hospital_code).id
    person_id = _asked(session, catalogue, hospital_id, (named,)) or _NOBODY
    if not grants.may_see(session, caller, person_id, catalogue.clock()):
        return None
    return _disclosed(session, catalogue, caller, person_id, Demographics(), counted)[0]


def _asked(session: Session, catalogue: Catalogue, hospital_id: int, whose: Sequence[Whose]) -> int | None:
    """Return the one person that all of these name; the people merged with him are he."""
    named = {each(session, catalogue, hospital_id) for each in whose}
    known = {each for each in named if each is not None}
    first = min(known, default=_NOBODY)
    one = groups.members(session, {first})
    return first if known and known == named and known <= one else None


def _disclosed(
    session: Session,
    catalogue: Catalogue,
    caller: Caller,
    person_id: int,
    demographics: Demographics,
    counted: Callable[[str, str], None],
) -> tuple[Chart | None, bool]:
    """Return the chart of a person where it may be disclosed, and whether something of it waits for a human."""
    row = session.get_one(Person, person_id)
    chart = _opened(session, catalogue, caller, row)
    answer, disclosed = recognition.may_disclose(chart.person, None, demographics)
    if disclosed:
        counted(row.id_type, catalogue.vault.open(row.id_type, row.number_cipher))
    return chart if disclosed else None, answer == recognition.INCOMPLETE


def _page(
    session: Session, catalogue: Catalogue, caller: Caller, question: Question, person_id: int
) -> tuple[Page, list[str]]:
    chart, incomplete = _disclosed(
        session, catalogue, caller, person_id, question.demographics, question.counted
    )
    if chart is None:
        return Page(incomplete=incomplete), []
    entries = sorted(question.part(chart), key=lambda entry: entry.position, reverse=True)
    wanted = [(entry, told) for entry in entries if (told := question.tell(chart, entry)) is not None]
    rest = [each for each in wanted if question.after is None or each[0].position < question.after]
    shown = rest[: question.limit]
    if question.part is reports:
        report_views.remember_shown(
            session, chart.asking.hospital_id, chart.person.id, [entry.id for entry, _ in shown]
        )
    page = Page(
        person_id=chart.id,
        given=tuple(told for _, told in shown),
        total=len(wanted),
        next=shown[-1][0].position if shown and len(rest) > len(shown) else None,
        incomplete=incomplete,
    )
    return page, [str(entry.id) for entry, _ in shown]


def _opened(session: Session, catalogue: Catalogue, caller: Caller, row: Person) -> Chart:
    stamp, known = lookup.asked_about(session, row.id_type, [row.number_hash])
    if known is None:
        raise NotFound("没有该患者", "No such patient", code="unknown_patient")  # erased a moment ago
    view = Registry(session, catalogue.registry.under(stamp))
    hospital_id, asker = view.hospital(caller.hospital_code)
    now = catalogue.clock()
    items = view.items(catalogue.items, asker.regions, now)
    asking = Asking(session, catalogue, asker, hospital_id, now, "routine", items)
    return Chart(asking, view, known, row.id_type)


def _judged(chart: Chart, *conditions: ColumnElement[bool]) -> list[tuple[Any, dict[str, Any]]]:
    """Return the results that a check could show, each with what it would say of it."""
    asking = chart.asking
    query = select(
        Result.id, Result.item_code, Result.laterality, Result.body_part, Result.study_id, Result.exam_time
    ).where(
        Result.person_id.in_(chart.person.everybody),
        Result.status.in_(("active", "withdrawn")),
        Result.item_code.in_([item.code for item in asking.items]),
        *conditions,
    )
    rows = {str(row.id): row for row in asking.session.execute(query.order_by(Result.id))}
    told = history.described(asking, chart.registry, chart.person, list(rows.values()))
    return [(rows[each["result_id"]], each | {"item": _item(asking, each["item_code"])}) for each in told]


def _item(asking: Asking, code: str) -> dict[str, str]:
    item = asking.items.get(code)
    return {"code": code, "name": item.name_zh if item else code, "loinc": item.loinc if item else ""}


def patients(chart: Chart) -> Iterable[Entry]:
    """Return the person himself, with the numbers of the asking hospital."""
    session = chart.asking.session
    everybody = chart.person.everybody
    linked = select(Alias.number).where(
        Alias.hospital_id == chart.asking.hospital_id,
        Alias.kind == "PatientID",
        Alias.person_id.in_(everybody),
        Alias.state == people.LINKED,
    )
    numbers = sorted({n for n in session.scalars(linked) if not sealed_numbers.is_document(n)})
    told = recognition.described_person(chart.person) or {}
    more = {"id_type": chart.id_type, "hospital": chart.asking.asker.code, "PatientIDs": numbers}
    merged = sorted(set(everybody) - {chart.id})
    yield Entry(chart.id, chart.asking.now, {**told, **more, "merged": merged})


def images(chart: Chart) -> Iterable[Entry]:
    """Return the studies of a chart."""
    results: dict[int, list[dict[str, Any]]] = {}
    for row, told in _judged(chart, Result.study_id.is_not(None)):
        results.setdefault(row.study_id, []).append(told)
    for study in chart.asking.session.scalars(select(Study).where(Study.id.in_(results))):
        accession = "" if sealed_numbers.is_document(study.accession_number) else study.accession_number
        facts = {"accession_number": accession, "withdrawn": study.withdrawn}
        yield Entry(study.id, study.exam_time, {**facts, "results": results[study.id]})


def values(chart: Chart) -> Iterable[Entry]:
    """Return the laboratory values of a chart."""
    for row, told in _judged(chart, Result.study_id.is_(None)):
        yield Entry(row.id, row.exam_time, told)


def reports(chart: Chart) -> Iterable[Entry]:
    """Return the reports of a chart: those that a check would show with their results."""
    results: dict[int, list[dict[str, Any]]] = {}
    for _, told in _judged(chart):
        if told["report"] is not None:
            results.setdefault(int(told["report"]["report_id"]), []).append(told)
    return _entries_of_reports(chart.asking.session, results)


def _entries_of_reports(session: Session, results: Mapping[int, list[dict[str, Any]]]) -> Iterable[Entry]:
    found = session.scalars(select(Report).where(Report.id.in_(results))).all()
    whole = report_views.whole(session, found)
    wanted = {report.study_id for report in found if report.study_id is not None}
    studies = {study.id: study for study in session.scalars(select(Study).where(Study.id.in_(wanted)))}
    for report in found:
        told = whole[report.id]
        version = next(each for each in told["versions"] if each["version"] == told["standing_version"])
        study = studies.get(report.study_id or 0)
        times = [datetime.fromisoformat(value["observed_at"]) for value in version["values"]]
        done = study.exam_time if study else max(times, default=None)
        more = {"study": (study.id, study.uid) if study else None, "done_at": done}
        at = done or datetime.fromisoformat(version["reported_at"])
        yield Entry(report.id, at, {**told, **more, "results": results[report.id]})
