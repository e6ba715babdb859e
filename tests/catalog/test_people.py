"""People on a real database: claims in any order, rulings, merges, sharing; nobody sees anybody else's."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from catalog import curation, identity_events, people, recognition, recount, sharing
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.identity import Demographics, Document, newborn_document, normalise_document
from catalog.tables import Alias, AuditEvent, LedgerEntry, Person, Study
from tests.city import City, id_number, open_catalogue

CURATOR = Caller("curator.wang", "curator")
NUMBERS = count(2, 2)  # even: all are women, so that no sex tells two of them apart
CT07 = "CT07"


@pytest.fixture(scope="module")
def town(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    """Two evaluated hospitals and their doctors; every test brings its own people."""
    made: list[City] = []
    catalogue = open_catalogue(database_url, tmp_path_factory.mktemp("keys"), lambda: made[0].now)
    made.append(City(catalogue))
    for code in "AB":
        made[0].doctors[code] = made[0].hospital(code)
    yield made[0]
    catalogue.engine.dispose()


def document(number: int) -> Document:
    return Document("01", id_number(number))


def ask(town: City, who: Document, hospital: str = "B", order: str | None = None) -> dict[str, Any]:
    town.count += 1
    request = recognition.CheckRequest(
        who, Demographics(), (recognition.OrderRequest(order or f"o{town.count}", item_code=CT07),)
    )
    return recognition.check(town.catalogue, town.doctors[hospital], request)


def seen(town: City, who: Document) -> tuple[str, set[str]]:
    """Return the kind of answer and the studies shown."""
    answer = ask(town, who)
    return answer["answer"], {c["images"]["StudyInstanceUID"] for c in answer["orders"][0]["candidates"]}


def link(town: City, hospital: str, patient_id: str, who: Document, **given: Any) -> str:
    answer = people.register_patient(
        town.catalogue, town.doctors[hospital], who, Demographics(**given), patient_id
    )
    return str(answer["state"])


def person_id(town: City, who: Document) -> int:
    with transaction(town.catalogue.engine) as session:
        found = people.find(session, town.catalogue, who)
        assert found is not None
        return found.id


def alias_id(town: City, patient_id: str, who: Document) -> int:
    with transaction(town.catalogue.engine) as session:
        query = select(Alias.id).where(Alias.number == patient_id, Alias.person_id == person_id(town, who))
        return session.scalars(query).one()


def study_id(town: City, uid: str) -> int:
    with transaction(town.catalogue.engine) as session:
        return session.scalars(select(Study.id).where(Study.uid == uid)).one()


def merge(town: City, one: Document, other: Document, **more: Any) -> int:
    ids = person_id(town, one), person_id(town, other)
    return int(identity_events.merge(town.catalogue, CURATOR, *ids, "已核对", **more)["event_id"])


def undo(town: City, event: int) -> None:
    identity_events.undo(town.catalogue, CURATOR, event, "核对有误")


def rule(town: City, kind: str, who: Document, **target: int) -> int:
    done = identity_events.rule(town.catalogue, CURATOR, kind, person_id(town, who), "已核对", **target)
    return int(done["event_id"])


# --- links in any order ---------------------------------------------------------------------------------


def test_a_second_claim_on_a_number_is_remembered_for_studies_still_to_come(town: City) -> None:
    first, second = document(next(NUMBERS)), document(next(NUMBERS))
    link(town, "A", "R1", first)
    assert link(town, "A", "R1", second) == "doubtful"
    town.study("A", None, PatientID="R1")
    assert seen(town, first) == ("incomplete", set())
    assert seen(town, second) == ("incomplete", set())


def test_a_bad_header_before_a_good_registration_ends_as_the_other_way_round(town: City) -> None:
    ends = []
    for bad_first in (True, False):
        number = next(NUMBERS)
        who, patient_id = document(number), f"R2-{number}"
        steps = [
            lambda n=number, p=patient_id: town.study("A", n, PatientID=p, PatientBirthDate=date(1999, 1, 1)),
            lambda w=who, p=patient_id: link(town, "A", p, w, name="林晓渝"),
        ]
        for step in steps if bad_first else reversed(steps):
            step()
        good = town.study("A", None, PatientID=patient_id)
        answer, shown = seen(town, who)
        ends.append((answer, shown == {good}))
    assert ends == [("incomplete", True)] * 2


def test_a_later_header_with_another_persons_number_holds_a_study_that_was_linked(town: City) -> None:
    first, second = next(NUMBERS), next(NUMBERS)
    uid = town.study("A", first, PatientID="R3")
    assert seen(town, document(first)) == ("complete", {uid})
    town.study("A", second, PatientID="R3", StudyInstanceUID=uid)
    assert seen(town, document(first)) == seen(town, document(second)) == ("incomplete", set())


def test_an_accession_number_links_within_one_hospital_before_or_after_the_study(town: City) -> None:
    who = document(next(NUMBERS))
    early = town.study("A", None, PatientID="R4", AccessionNumber="ACC-1")
    for hospital, number in (("A", "ACC-1"), ("A", "ACC-2")):
        with transaction(town.catalogue.engine) as session:
            people.link_number(
                session,
                town.catalogue,
                town.doctors[hospital],
                who,
                Demographics(),
                kind="AccessionNumber",
                number=number,
                source="report",
            )
    late = town.study("A", None, PatientID="R5", AccessionNumber="ACC-2")
    town.study("B", None, PatientID="R4", AccessionNumber="ACC-1")
    assert seen(town, who) == ("complete", {early, late})


def test_an_accession_number_on_studies_of_two_patients_links_neither(town: City) -> None:
    who = document(next(NUMBERS))
    first = town.study("A", None, PatientID="R6", AccessionNumber="ACC-3")
    with transaction(town.catalogue.engine) as session:
        people.link_number(
            session,
            town.catalogue,
            town.doctors["A"],
            who,
            Demographics(),
            kind="AccessionNumber",
            number="ACC-3",
            source="report",
        )
    assert seen(town, who) == ("complete", {first})
    town.study("A", None, PatientID="R7", AccessionNumber="ACC-3")
    assert seen(town, who) == ("incomplete", set())


def test_two_people_who_claim_one_number_at_the_same_moment_are_both_held(town: City) -> None:
    for turn in range(8):
        both = [document(next(NUMBERS)) for _ in range(2)]
        uid = town.study("A", None, PatientID=f"RACE-{turn}")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda who, name=f"RACE-{turn}": link(town, "A", name, who), both))
        assert [uid in seen(town, who)[1] for who in both] == [False, False]


def test_a_study_and_its_registration_at_the_same_moment_always_find_each_other(town: City) -> None:
    for turn in range(8):
        who = document(next(NUMBERS))
        acts: list[Callable[[], Any]] = [
            lambda name=f"MEET-{turn}": town.study("A", None, PatientID=name),  # type: ignore[misc]
            lambda name=f"MEET-{turn}", it=who: link(town, "A", name, it),  # type: ignore[misc]
        ]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda act: act(), acts))
        assert len(seen(town, who)[1]) == 1


# --- rulings of a curator -------------------------------------------------------------------------------


def test_an_accepted_number_links_its_studies_and_undoing_holds_them_again(town: City) -> None:
    first, second = document(next(NUMBERS)), document(next(NUMBERS))
    uid = town.study("A", None, PatientID="R8")
    link(town, "A", "R8", first)
    link(town, "A", "R8", second)
    event = rule(town, "accept", second, alias_id=alias_id(town, "R8", second))
    assert (seen(town, first), seen(town, second)) == (("complete", set()), ("complete", {uid}))
    with pytest.raises(Conflict) as refused:
        rule(town, "accept", first, alias_id=alias_id(town, "R8", first))
    assert refused.value.code == "already_accepted"
    undo(town, event)
    assert seen(town, first) == seen(town, second) == ("incomplete", set())
    rule(town, "reject", second, alias_id=alias_id(town, "R8", second))
    assert (seen(town, first), seen(town, second)) == (("complete", {uid}), ("complete", set()))


def test_a_held_study_is_accepted_or_rejected_by_itself(town: City) -> None:
    who = document(next(NUMBERS))
    link(town, "A", "R9", who, name="林晓渝")
    other_name = town.study("A", None, PatientID="R9", PatientName="林小雨")
    assert seen(town, who) == ("incomplete", set())
    event = rule(town, "accept", who, study_id=study_id(town, other_name))
    assert seen(town, who) == ("complete", {other_name})
    undo(town, event)
    assert seen(town, who) == ("incomplete", set())
    rule(town, "reject", who, study_id=study_id(town, other_name))
    assert seen(town, who) == ("complete", set())


def test_a_ruling_needs_a_reason_a_claim_and_something_to_rule_on(town: City) -> None:
    who, nobody = document(next(NUMBERS)), document(next(NUMBERS))
    link(town, "A", "R10", who)
    link(town, "A", "R11", nobody)
    known, claim = person_id(town, who), alias_id(town, "R10", who)
    bad: list[tuple[Any, type[Exception]]] = [
        (
            lambda: identity_events.rule(town.catalogue, CURATOR, "accept", known, " ", alias_id=claim),
            InvalidInput,
        ),
        (lambda: identity_events.rule(town.catalogue, CURATOR, "accept", known, "x"), InvalidInput),
        (
            lambda: identity_events.rule(town.catalogue, CURATOR, "like", known, "x", alias_id=claim),
            InvalidInput,
        ),
        (lambda: rule(town, "accept", nobody, alias_id=claim), NotFound),
        (lambda: rule(town, "accept", who, study_id=10**9), NotFound),
        (lambda: undo(town, 10**9), NotFound),
    ]
    for act, kind in bad:
        with pytest.raises(kind):
            act()


def test_what_curators_decided_cannot_be_changed_and_is_undone_once(town: City) -> None:
    who = document(next(NUMBERS))
    link(town, "A", "R12", who)
    event = rule(town, "reject", who, alias_id=alias_id(town, "R12", who))
    undo(town, event)
    with pytest.raises(Conflict):
        undo(town, event)
    for statement in ("delete from identity_event", "update identity_event set reason = ''"):
        with pytest.raises(IntegrityError), transaction(town.catalogue.engine) as session:
            session.execute(text(statement))


def test_the_queue_shows_what_is_held_with_masked_numbers_and_is_audited(town: City) -> None:
    first, second = document(next(NUMBERS)), document(next(NUMBERS))
    town.study("A", None, PatientID="R13")
    link(town, "A", "R13", first)
    link(town, "A", "R13", second)
    found = curation.queue(town.catalogue, CURATOR, limit=1000)
    mine = [row for row in found["numbers"] if row["number"] == "R13"]
    held = {row["person"]["person_id"] for row in found["studies"]}
    assert {row["person"]["person_id"] for row in mine} == {person_id(town, first), person_id(town, second)}
    assert {person_id(town, first), person_id(town, second)} <= held
    shown = curation.show(town.catalogue, CURATOR, person_id(town, first))
    assert shown["number"] == f"999{'*' * 13}{first.number[-2:]}"
    assert first.number not in str(found) + str(shown)
    with transaction(town.catalogue.engine) as session:
        actions = session.scalars(select(AuditEvent.action).where(AuditEvent.caller == CURATOR.subject)).all()
    assert {"people.queue", "people.show"} <= set(actions)


# --- merges ---------------------------------------------------------------------------------------------


def test_an_unknown_emergency_patient_is_merged_with_his_later_document_and_unmerged_exactly(
    town: City,
) -> None:
    real = document(next(NUMBERS))
    unknown = normalise_document("94", "E-0007", date(2026, 6, 30), issuer="A")
    link(town, "A", "E7", unknown, name="无名氏")
    night = town.study("A", None, PatientID="E7", PatientName="无名氏", PatientBirthDate=None, PatientSex="")
    assert seen(town, unknown) == ("complete", {night})
    day = town.study("A", None, PatientID="E8")
    link(town, "A", "E8", real, name="林晓渝")
    event = merge(town, unknown, real)
    assert seen(town, unknown) == seen(town, real) == ("complete", {night, day})
    link(town, "A", "E7", real)  # the hospital now knows who he was
    assert seen(town, real) == ("complete", {night, day})
    undo(town, event)
    assert seen(town, unknown) == ("incomplete", set())
    assert seen(town, real) == ("incomplete", {day})


def test_merges_of_merges_come_apart_where_they_are_undone(town: City) -> None:
    three = [document(next(NUMBERS)) for _ in range(3)]
    uids = []
    for number, who in enumerate(three):
        link(town, "A", f"M{number}", who)
        uids.append(town.study("A", None, PatientID=f"M{number}"))
    first, _ = merge(town, three[0], three[1]), merge(town, three[1], three[2])
    assert [seen(town, who)[1] for who in three] == [set(uids)] * 3
    with pytest.raises(Conflict) as refused:
        merge(town, three[2], three[0])
    assert refused.value.code == "already_merged"
    undo(town, first)
    assert [seen(town, who)[1] for who in three] == [{uids[0]}, {uids[1], uids[2]}, {uids[1], uids[2]}]


def test_people_whose_facts_contradict_are_merged_only_by_a_curator_who_says_so(town: City) -> None:
    first, second = document(next(NUMBERS)), document(next(NUMBERS))
    link(town, "A", "M10", first, name="林晓渝")
    link(town, "A", "M11", second, name="王建国")
    with pytest.raises(Conflict) as refused:
        merge(town, first, second)
    assert refused.value.code == "merge_conflict"
    merge(town, first, second, despite_conflicts=True)


def test_the_books_follow_a_merge_and_its_undoing(town: City) -> None:
    real = document(next(NUMBERS))
    unknown = normalise_document("94", "E-0009", date(2026, 6, 30), issuer="B")
    town.study("A", None, PatientID="M12")
    link(town, "A", "M12", real)
    check = ask(town, real, order="books")
    town.decide(town.doctors["B"], check, "books", "recognise")
    town.now += timedelta(days=1)
    link(town, "B", "M13", unknown)
    town.study("B", None, PatientID="M13", days_ago=0.1)
    event = merge(town, unknown, real)
    undo(town, event)
    with transaction(town.catalogue.engine) as session:
        query = select(LedgerEntry.kind).where(LedgerEntry.person_id == person_id(town, real))
        assert list(session.scalars(query.order_by(LedgerEntry.id))) == [
            "saving",
            "reversal",
            "reinstatement",
        ]
        assert recount.verify(session)["agrees"]


# --- newborns -------------------------------------------------------------------------------------------


def test_twins_under_the_mothers_number_are_joined_neither_with_her_nor_with_each_other(town: City) -> None:
    number = next(NUMBERS)
    mother, born = document(number), date(2026, 6, 20)
    hers = town.study("A", number, PatientID=f"MO-{number}")
    twins = [newborn_document(mother, born, order) for order in (1, 2)]
    own = []
    for order, twin in enumerate(twins, 1):
        name = f"林晓渝之{'大小'[order - 1]}女"
        link(town, "A", f"TW-{order}", twin, name=name, birth_date=born)
        own.append(town.study("A", None, PatientID=f"TW-{order}", PatientName=name, PatientBirthDate=born))
        # a machine that was given the mother's number, and no birth date at all
        town.study("A", number, PatientID=f"TX-{order}", PatientName="Baby^Of Lin", PatientBirthDate=None)
    assert seen(town, mother) == ("incomplete", {hers})
    assert [seen(town, twin) for twin in twins] == [("complete", {uid}) for uid in own]


# --- sharing --------------------------------------------------------------------------------------------


def test_who_opts_out_is_invisible_at_once_and_everywhere_and_back_when_revoked(town: City) -> None:
    number = next(NUMBERS)
    who, doctor = document(number), town.doctors["B"]
    town.study("A", number, PatientID=f"S-{number}")
    check = ask(town, who, order="shared")
    sharing.set_sharing(town.catalogue, CURATOR, who, Demographics(), shared=False)
    nobody = ask(town, document(next(NUMBERS)))
    hidden = ask(town, who)
    alike = ("answer", "patient", "urgency")
    assert [hidden[key] for key in alike] == [nobody[key] for key in alike]
    assert hidden["orders"][0]["candidates"] == []
    read = recognition.read(town.catalogue, doctor, recognition.uuid.UUID(check["check_id"]))
    assert (read["patient"], read["orders"][0]["candidates"]) == (None, [])
    with pytest.raises(Conflict) as refused:
        town.decide(doctor, check, "shared", "recognise")
    assert refused.value.code == "prior_withdrawn"
    town.study("A", number, PatientID=f"S-{number}")  # what comes later is no more visible
    assert seen(town, who) == ("complete", set())
    sharing.set_sharing(town.catalogue, CURATOR, who, Demographics(), shared=True)
    assert len(seen(town, who)[1]) == 2


def test_an_opt_out_holds_for_a_person_nobody_knows_yet_and_for_whom_he_is_merged_with(town: City) -> None:
    number, other = next(NUMBERS), document(next(NUMBERS))
    who = document(number)
    sharing.set_sharing(town.catalogue, CURATOR, who, Demographics(), shared=False)
    town.study("A", number, PatientID=f"S-{number}")
    link(town, "A", "S-other", other)
    town.study("A", None, PatientID="S-other")
    merge(town, who, other)
    assert seen(town, who) == seen(town, other) == ("complete", set())


def test_sharing_is_allowed_again_only_by_who_fits_the_document(town: City) -> None:
    number = next(NUMBERS)
    who = document(number)
    link(town, "A", f"S-{number}", who, name="林晓渝")
    sharing.set_sharing(town.catalogue, CURATOR, who, Demographics(name="王建国"), shared=False)
    with pytest.raises(Conflict) as refused:
        sharing.set_sharing(town.catalogue, CURATOR, who, Demographics(name="王建国"), shared=True)
    assert refused.value.code == "identity_unconfirmed"


def test_a_national_id_used_as_patient_id_is_masked_for_the_curator_too(town: City) -> None:
    number = next(NUMBERS)
    who = document(number)
    town.study("A", number, PatientID=who.number)
    shown = curation.show(town.catalogue, CURATOR, person_id(town, who))
    assert [row["state"] for row in shown["numbers"]] == ["linked"]
    assert who.number not in str(shown)


def test_a_number_found_in_a_log_or_a_row_is_nowhere_in_clear(town: City) -> None:
    who = document(next(NUMBERS))
    link(town, "A", "Z1", who)
    tables = ("person", "alias", "study_claim", "identity_event", "identity_hold", "audit_event", "notice")
    with transaction(town.catalogue.engine) as session:
        rows = (session.scalars(text(f"select t::text from {name} t")) for name in tables)  # noqa: S608
        dump = "".join(row for table in rows for row in table)
        assert session.scalar(select(Person.id).where(Person.id == person_id(town, who)))
    assert who.number not in dump
