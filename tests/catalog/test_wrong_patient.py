"""Nobody is joined with anybody else: 200 labelled traps, and random histories against a plain model."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from catalog import identity_events, people, recognition, recount, studies
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import HurenError
from catalog.identity import Demographics, Document, newborn_document, normalise_document
from catalog.tables import Alias, Hospital
from dicom_node.triage import Arrival, compare
from tests.city import City, id_number, open_catalogue, pack_of

pytestmark = pytest.mark.long

CURATOR = Caller("curator", "curator")
BORN = date(1980, 5, 17)


@pytest.fixture(scope="module")
def town(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    """Hospitals A and B."""
    made: list[City] = []
    catalogue = open_catalogue(database_url, tmp_path_factory.mktemp("keys"), lambda: made[0].now)
    made.append(City(catalogue))
    for code in "AB":
        made[0].doctors[code] = made[0].hospital(code)
    yield made[0]
    catalogue.engine.dispose()


def seen(town: City, who: Document) -> tuple[str, frozenset[str]]:
    """Return the kind of answer and the studies that a doctor is shown for a document."""
    town.count += 1
    order = recognition.OrderRequest(f"o{town.count}", item_code="CT07")
    request = recognition.CheckRequest(who, Demographics(), (order,))
    answer = recognition.check(town.catalogue, town.doctors["B"], request)
    shown = answer["orders"][0]["candidates"]
    return answer["answer"], frozenset(c["images"]["StudyInstanceUID"] for c in shown)


def link(town: City, hospital: str, patient_id: str, who: Document, **given: Any) -> None:
    people.register_patient(town.catalogue, town.doctors[hospital], who, Demographics(**given), patient_id)


# --- 200 traps ------------------------------------------------------------------------------------------


class Trap:
    """Two people, numbers of their own, and what may be shown for each: nothing else is a right join."""

    def __init__(self, town: City, number: int) -> None:
        self.town, self.number = town, number
        self.one, self.other = 4 * number % 1000, (4 * number + 2) % 1000
        self.born = BORN.replace(year=1950 + number // 250)
        self.documents = [Document("01", id_number(each, self.born)) for each in (self.one, self.other)]
        self.right: list[set[str]] = [set(), set()]

    def study(self, hospital: str, patient_id: str, carries: int | None = None, **header: Any) -> str:
        """Send a study whose header carries the number of person 0 or 1, or none."""
        identifiers = (self.documents[carries].number,) if carries is not None else ()
        header.setdefault("PatientBirthDate", self.born)
        return self.town.study(hospital, None, PatientID=patient_id, identifiers=identifiers, **header)

    def link(self, hospital: str, patient_id: str, person: int, **given: Any) -> None:
        """Register a number of a hospital for person 0 or 1."""
        link(self.town, hospital, patient_id, self.documents[person], **given)

    def name(self, text: str) -> str:
        """Return a PatientID of this trap's own."""
        return f"{text}-{self.number}"


def same_patient_id_in_two_hospitals(trap: Trap) -> None:
    for person, hospital in enumerate("AB"):
        trap.right[person].add(trap.study(hospital, trap.name("P")))
        trap.link(hospital, trap.name("P"), person)


def one_patient_id_given_to_two_people(trap: Trap) -> None:
    for person in (0, 1):
        trap.study("A", trap.name("P"), carries=person if trap.number % 2 else None)
        trap.link("A", trap.name("P"), person)


def same_study_uid_for_two_patients(trap: Trap) -> None:
    uid = trap.study("A", trap.name("P"), carries=0)
    trap.right[0].add(uid)
    hospital, patient_id = ("B", trap.name("P")) if trap.number % 2 else ("A", trap.name("Q"))
    _arrive(trap, uid, hospital, patient_id)
    trap.link(hospital, patient_id, 1)


def numbers_swapped_at_two_machines(trap: Trap) -> None:
    for person in (0, 1):
        trap.link("A", trap.name(f"P{person}"), person)
        trap.study("A", trap.name(f"P{person}"), carries=1 - person)


def twins_under_the_mothers_number(trap: Trap) -> None:
    lettered = trap.number // 10 % 2 == 0  # then neither a name in characters nor a date tells them apart
    trap.link("A", trap.name("M"), 0, name=None if lettered else "林晓渝")
    trap.right[0].add(trap.study("A", trap.name("M")))
    for twin in (1, 2):
        name = f"TWIN {twin}^Lin" if lettered else f"林晓渝之{'大小'[twin - 1]}女"
        trap.study("A", trap.name("M"), carries=0, PatientBirthDate=None, PatientName=name)


def newborns_by_mother_and_order(trap: Trap) -> None:
    mother, born = trap.documents[0], date(2026, 6, 20)
    trap.documents = [newborn_document(mother, born, order) for order in (1, 2)]
    link(trap.town, "A", trap.name("M"), mother, name="林晓渝")
    trap.town.study(
        "A", None, PatientID=trap.name("M"), identifiers=(mother.number,), PatientBirthDate=trap.born
    )
    for twin in (0, 1):
        name = f"林晓渝之{'长次'[twin]}女"
        trap.link("A", trap.name(f"N{twin}"), twin, name=name, birth_date=born)
        trap.right[twin].add(
            trap.town.study(
                "A", None, PatientID=trap.name(f"N{twin}"), PatientName=name, PatientBirthDate=born
            )
        )


def unknown_patient_in_the_emergency_room(trap: Trap) -> None:
    today = date(2026, 6, 30)
    trap.documents[1] = normalise_document("94", trap.name("E"), today, issuer="A")
    trap.link("A", trap.name("E"), 1, name="无名氏")
    night = trap.study("A", trap.name("E"), PatientName="无名氏", PatientBirthDate=None, PatientSex="")
    trap.right[1].add(night)
    if trap.number % 2:  # the same temporary number in another hospital is another patient
        link(trap.town, "B", trap.name("E"), trap.documents[0])
    else:  # claimed for a person too, and nobody has ruled yet
        trap.link("A", trap.name("E"), 0)
        trap.right[1].clear()


def a_header_that_contradicts_the_number(trap: Trap) -> None:
    wrong: list[dict[str, Any]] = [
        {"PatientSex": "M"},
        {"PatientBirthDate": date(1999, 1, 1)},
        {"PatientName": "王^建国"},
    ]
    trap.link("A", trap.name("P"), 0, name="林晓渝", sex="female")
    trap.right[0].add(trap.study("A", trap.name("P"), carries=0))
    trap.study("A", trap.name("P"), carries=0, **wrong[trap.number % 3])


def an_accession_number_used_twice(trap: Trap) -> None:
    accession = trap.name("ACC")
    first = trap.study("A", trap.name("P"), AccessionNumber=accession)
    hospital = "AB"[trap.number % 2]
    trap.study(hospital, trap.name("Q"), AccessionNumber=accession)
    with transaction(trap.town.catalogue.engine) as session:
        people.link_number(
            session,
            trap.town.catalogue,
            trap.town.doctors["A"],
            trap.documents[0],
            Demographics(),
            kind="AccessionNumber",
            number=accession,
            source="report",
        )
    if hospital == "B":
        trap.right[0].add(first)


def what_only_looks_like_a_number(trap: Trap) -> None:
    number = trap.documents[0].number
    wrong_digit = number[:17] + ("0" if number[17] != "0" else "1")
    fifteen = number[:6] + number[8:17]
    for text in (wrong_digit, fifteen, f"1380000{trap.number:04d}", f"{number}1"):
        trap.town.study("A", None, PatientID=trap.name(text[:20]), identifiers=(text,))
    link(trap.town, "A", trap.name("P"), trap.documents[0])


TRAPS: tuple[Callable[[Trap], None], ...] = (
    same_patient_id_in_two_hospitals,
    one_patient_id_given_to_two_people,
    same_study_uid_for_two_patients,
    numbers_swapped_at_two_machines,
    twins_under_the_mothers_number,
    newborns_by_mother_and_order,
    unknown_patient_in_the_emergency_room,
    a_header_that_contradicts_the_number,
    an_accession_number_used_twice,
    what_only_looks_like_a_number,
)


def _arrive(trap: Trap, uid: str, hospital: str, patient_id: str) -> None:
    """Let an instance arrive as the shipper does: what contradicts its study's owner is kept apart."""
    town = trap.town
    town.count += 1
    header = replace(
        town.header,
        StudyInstanceUID=uid,
        PatientID=patient_id,
        identifiers=(trap.documents[1].number,),
        PatientBirthDate=trap.born,
    )
    record = pack_of(hospital, header, town.count, town.now)
    known = studies.known_study(town.catalogue, uid)
    arrivals = [Arrival(one.SOPInstanceUID, one.sha256) for one in record.instances]
    triage = compare(arrivals, hospital, patient_id, known, {})
    assert not triage.new
    studies.register_conflicts(town.catalogue, record, [found for _, found in triage.contradictions])


def test_of_200_traps_none_joins_anybody_with_somebody_else(town: City) -> None:
    wrong, missing = [], []
    for number in range(200):
        trap = Trap(town, number)
        kind = TRAPS[number % len(TRAPS)]
        kind(trap)
        for who, right in zip(trap.documents, trap.right, strict=True):
            _, shown = seen(town, who)
            wrong += [(kind.__name__, number)] if shown - right else []
            missing += [(kind.__name__, number)] if right - shown else []
    print(f"200 traps, {len(wrong)} wrong joins, {len(missing)} right studies not shown")
    assert (wrong, missing) == ([], [])


# --- random histories -----------------------------------------------------------------------------------

RUNS = count(1)
HOSPITAL = st.sampled_from("AB")
PATIENT_ID = st.sampled_from("XY")
PERSON = st.integers(0, 2)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), HOSPITAL, PATIENT_ID, PERSON),
        st.tuples(st.just("study"), HOSPITAL, PATIENT_ID, st.one_of(st.none(), st.integers(0, 1))),
        st.tuples(st.just("study"), HOSPITAL, PATIENT_ID, st.none()),
        st.tuples(st.just("merge"), PERSON, PERSON),
        st.tuples(st.just("rule"), HOSPITAL, PATIENT_ID, PERSON, st.sampled_from(["accept", "reject"])),
        st.tuples(st.just("undo"), st.integers(0, 5)),
    ),
    min_size=4,
    max_size=12,
)


class History:
    """What happened, done to the catalogue and noted as plainly as can be."""

    def __init__(self, town: City, run: int) -> None:
        self.town, self.run = town, run
        born = date(1960, 1, 1 + run % 28)
        self.numbers = [id_number((4 * run + 2 * each) % 1000, born) for each in (0, 1)]
        temporary = normalise_document("94", f"T{run}", date(2026, 6, 30), issuer="A")
        self.people = [*(Document("01", number) for number in self.numbers), temporary]
        self.claims: dict[tuple[str, str], set[int]] = {}
        self.studies: list[tuple[str, tuple[str, str], set[int]]] = []
        self.events: list[tuple[int, tuple[Any, ...]]] = []
        for who in range(3):
            self.do_register("A", f"own{who}", who)

    def do_register(self, hospital: str, patient_id: str, who: int) -> None:
        link(self.town, hospital, f"{patient_id}{self.run}", self.people[who])
        self.claims.setdefault((hospital, patient_id), set()).add(who)

    def do_study(self, hospital: str, patient_id: str, carries: int | None) -> None:
        uid = self.town.study(
            hospital,
            None,
            PatientID=f"{patient_id}{self.run}",
            PatientName="",
            PatientBirthDate=None,
            PatientSex="",
            identifiers=() if carries is None else (self.numbers[carries],),
        )
        own = set() if carries is None else {carries}
        self.claims.setdefault((hospital, patient_id), set()).update(own)
        self.studies.append((uid, (hospital, patient_id), own))

    def do_merge(self, one: int, other: int) -> None:
        ids = self._id(one), self._id(other)
        done = identity_events.merge(self.town.catalogue, CURATOR, *ids, "x", despite_conflicts=True)
        self.events.append((done["event_id"], ("merge", one, other)))

    def do_rule(self, hospital: str, patient_id: str, who: int, kind: str) -> None:
        with transaction(self.town.catalogue.engine) as session:
            query = select(Alias.id).where(Alias.number == f"{patient_id}{self.run}")
            found = session.scalars(query.join_from(Alias, Hospital).where(Hospital.code == hospital))
            alias_id = next(iter(found), 0)
        done = identity_events.rule(self.town.catalogue, CURATOR, kind, self._id(who), "x", alias_id=alias_id)
        self.events.append((done["event_id"], (kind, (hospital, patient_id), who)))

    def do_undo(self, index: int) -> None:
        event = self.events[index % len(self.events)]
        identity_events.undo(self.town.catalogue, CURATOR, event[0], "x")
        self.events.remove(event)

    def groups(self) -> list[set[int]]:
        """Return for each of the three with whom he is one."""
        found = [{who} for who in range(3)]
        for _ in range(3):
            for _, (kind, one, other) in self.events:
                if kind == "merge":
                    both = found[one] | found[other]
                    for who in both:
                        found[who] = both
        return found

    def owners(self, key: tuple[str, str], own: set[int], groups: list[set[int]]) -> set[int]:
        """Return whose a study is said to be, after the rulings on its number that stand."""
        said = set(self.claims.get(key, set()))
        ruled = {who: kind for _, (kind, where, who) in self.events if kind != "merge" and where == key}
        said -= {who for who, kind in ruled.items() if kind == "reject"}
        chosen = [who for who, kind in ruled.items() if kind == "accept"]
        if chosen:
            said &= set().union(*(groups[who] for who in chosen))
        return said | own

    def _id(self, who: int) -> int:
        with transaction(self.town.catalogue.engine) as session:
            found = people.find(session, self.town.catalogue, self.people[who])
            assert found is not None
            return found.id


@settings(
    max_examples=25,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_after_any_history_exactly_the_right_studies_are_visible(
    town: City, steps: list[tuple[Any, ...]]
) -> None:
    history = History(town, next(RUNS))
    for name, *arguments in steps:
        act: Callable[..., None] = getattr(history, f"do_{name}")
        try:
            act(*arguments)
        except (HurenError, ZeroDivisionError):
            continue  # what is refused must have changed nothing, which the end sees
    groups = history.groups()
    for who, document in enumerate(history.people):
        right = set()
        for uid, key, own in history.studies:
            owners = history.owners(key, own, groups)
            if owners and owners <= groups[who]:
                right.add(uid)
        assert seen(town, document)[1] == right, (who, steps)
    with transaction(town.catalogue.engine) as session:
        assert recount.verify(session)["agrees"]
