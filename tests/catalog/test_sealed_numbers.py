"""A hospital's PatientID that is an identity document: nowhere in clear, and everything is found as before."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from sqlalchemy import select, text, update

from catalog import curation, erasures, keyring, people, sealed_numbers, studies
from catalog.context import Caller
from catalog.db import transaction
from catalog.identity import Demographics, Document, normalise_document
from catalog.sealed_numbers import may_be_document
from catalog.tables import Alias, Study
from catalog.tables_people import SealedNumber
from catalog.tables_reports import Report
from tests.city import City, id_number
from tests.reports import IMAGING, count, take

CURATOR = Caller("curator.qian", "curator")
OPERATOR = Caller("operator.zhao", "operator")
WOMAN = id_number(2)
OLD = WOMAN[:6] + WOMAN[8:17]  # the fifteen digits of before 1999
PERMIT = "07654321"  # a number without a shape of its own


def rows_with(city: City, number: str) -> list[str]:
    """Return the tables in which a text stands anywhere."""
    with transaction(city.catalogue.engine) as session:
        names = text("select table_name from information_schema.tables where table_schema = 'public'")
        query = 'select 1 from "{}" t where t::text like :like limit 1'
        return [
            name
            for name in session.scalars(names).all()
            if session.scalar(text(query.format(name)), {"like": f"%{number}%"})
        ]


def shown_to(city: City, person: int = 2) -> list[str]:
    city.count += 1
    order = [{"order_number": f"O{city.count}", "item_code": "CT07"}]
    answer = city.check(city.doctors["B"], order, person)
    return [each["images"]["StudyInstanceUID"] for each in answer["orders"][0]["candidates"]]


@pytest.fixture
def town(city: City) -> City:
    for code in "AB":
        city.doctors[code] = city.hospital(code)
    return city


@pytest.mark.parametrize(
    "number",
    [
        WOMAN,
        WOMAN.lower(),
        f" {WOMAN[:6]}-{WOMAN[6:14]}-{WOMAN[14:]}",
        f"{WOMAN}-1",
        f"{WOMAN}A",
        f"0{WOMAN}",
        f"{WOMAN}11B1",
        f"ID{WOMAN}",
        "99999919800517002x",
        "９９９９９９１９８００５１７００２４",
        OLD,
        "H12345678",
        "M1234567801",
        "E12345678",
        "EA1234567",
        "P500000001",
        "USA500123456789",
        "军字第1234567号",
        "sealed:77",
    ],
)
def test_what_may_be_an_identity_document_stands_in_no_table(town: City, number: str) -> None:
    uid = town.study("A", None, PatientID=number)
    assert rows_with(town, number) == []
    known = studies.known_study(town.catalogue, uid)
    assert known is not None
    assert known.PatientID == number, "the archive compares what was sent"


@pytest.mark.parametrize(
    "number", ["A0001", "00012345", "202606300001", "MR-2026-0001", "2026063000012345678", ""]
)
def test_an_ordinary_number_stays_as_its_hospital_wrote_it(town: City, number: str) -> None:
    assert not may_be_document(number)
    town.study("A", None, PatientID=number)
    with transaction(town.catalogue.engine) as session:
        assert session.query(Study.patient_id).one() == (number,)


@pytest.mark.parametrize("number", [WOMAN, OLD, "A0001"])
def test_registration_study_and_report_meet_under_a_number_in_any_order(town: City, number: str) -> None:
    early = town.study("A", None, PatientID=number)
    take(town, "A", IMAGING, number="R-early", PatientID=number, StudyInstanceUID=early)
    assert town.link(town.doctors["A"], number, 2)["studies_changed"] == 1
    late = town.study("A", None, PatientID=number, days_ago=6)
    take(town, "A", IMAGING, number="R-late", PatientID=number, StudyInstanceUID=late)
    assert sorted(shown_to(town)) == sorted([early, late])
    with transaction(town.catalogue.engine) as session:
        assert {each for (each,) in session.query(Report.identity)} == {people.LINKED}


def test_the_same_number_in_two_hospitals_is_two_numbers_with_nothing_in_common(town: City) -> None:
    for hospital in "AB":
        town.study(hospital, None, PatientID=OLD)
    town.link(town.doctors["A"], OLD, 2)
    assert len(shown_to(town)) == 1
    with transaction(town.catalogue.engine) as session:
        hashes = [row.number_hash for row in session.query(SealedNumber)]
        assert len(set(hashes)) == 2
        assert {each for (each,) in session.query(Study.identity)} == {people.LINKED, people.UNLINKED}


def test_two_numbers_are_never_one_because_they_look_alike(town: City) -> None:
    town.link(town.doctors["A"], OLD, 2)
    town.study("A", None, PatientID=f"{OLD} ")
    town.study("A", None, PatientID="sealed:1")
    assert shown_to(town) == []


def test_a_number_without_a_shape_of_its_own_is_sealed_once_a_hospital_says_it_is_the_document(
    town: City,
) -> None:
    town.study("A", None, PatientID=PERMIT)
    other = town.study("B", None, PatientID=PERMIT)
    assert rows_with(town, PERMIT) == ["study"]
    document = Document("07", PERMIT)
    done = people.register_patient(town.catalogue, town.doctors["A"], document, Demographics(), PERMIT)
    assert done["studies_changed"] == 1
    town.study("A", None, PatientID=PERMIT, days_ago=3)
    with transaction(town.catalogue.engine) as session:
        clear = session.query(Study.uid).where(Study.patient_id == PERMIT).all()
        assert clear == [(other,)], "another hospital's own number is not touched"
        assert session.query(Study).where(Study.identity == people.LINKED).count() == 2


@pytest.mark.parametrize("number", ["1234567801", "1234567801(A)"])
def test_a_document_is_sealed_however_its_hospital_writes_it(town: City, number: str) -> None:
    document = normalise_document("07", number, date(2026, 6, 30))
    people.register_patient(town.catalogue, town.doctors["A"], document, Demographics(), number)
    assert rows_with(town, number) == []


def test_a_seal_that_somebody_is_about_to_use_outlasts_an_erasure_that_ends_meanwhile(town: City) -> None:
    town.study("A", 2, PatientID=WOMAN)
    with transaction(town.catalogue.engine) as session:
        hospital = session.scalars(select(Study.hospital_id)).one()
        kept = sealed_numbers.keep(session, town.catalogue, hospital, WOMAN)
        session.execute(update(Study).values(patient_id=""))
        session.execute(update(Alias).values(number="-"))
    with ThreadPoolExecutor(1) as other:
        with transaction(town.catalogue.engine) as session:
            assert sealed_numbers.keep(session, town.catalogue, hospital, WOMAN) == kept
            sweep = other.submit(sealed_numbers.forget_unused, town.catalogue)
            with pytest.raises(TimeoutError):
                sweep.result(0.5)
            session.execute(update(Study).values(patient_id=kept))
        sweep.result(20)
    assert count(town, SealedNumber) == 1


def test_curators_see_it_masked(town: City) -> None:
    town.study("A", None, PatientID=OLD)
    town.link(town.doctors["A"], OLD, 2)
    town.link(town.doctors["A"], OLD, 4)
    queue = curation.queue(town.catalogue, CURATOR)
    assert {row["number"] for row in queue["numbers"]} == {"999**********02"}
    assert OLD not in str(queue)
    person = queue["numbers"][0]["person"]["person_id"]
    assert OLD not in str(curation.show(town.catalogue, CURATOR, person))


def in_clear(town: City, number: str) -> None:
    """Leave the rows as a release without seals wrote them."""
    with transaction(town.catalogue.engine) as session:
        for table, column in ((Study, "patient_id"), (Report, "patient_id"), (Alias, "number")):
            session.execute(update(table).values({column: number}))
        session.query(SealedNumber).delete()


@pytest.mark.parametrize("swept", [True, False])
def test_rows_from_before_are_sealed_by_the_job_or_by_the_first_who_uses_the_number(
    town: City, swept: bool
) -> None:
    early = town.study("A", None, PatientID=OLD)
    take(town, "A", IMAGING, PatientID=OLD, StudyInstanceUID=early)
    town.link(town.doctors["A"], OLD, 2)
    in_clear(town, OLD)
    assert set(rows_with(town, OLD)) == {"alias", "report", "study"}
    if swept:
        assert sealed_numbers.seal_all(town.catalogue) == 1
        assert sealed_numbers.seal_all(town.catalogue) == 0
        assert rows_with(town, OLD) == []
    late = town.study("A", None, PatientID=OLD, days_ago=6)
    assert rows_with(town, OLD) == []
    assert sorted(shown_to(town)) == sorted([early, late])


def test_a_rotation_of_the_keys_changes_no_link_and_a_key_that_a_number_needs_cannot_go(town: City) -> None:
    early = town.study("A", None, PatientID=OLD)
    old = town.catalogue.vault.ring.current
    keyring.rotate(town.catalogue, OPERATOR)
    late = town.study("A", None, PatientID=OLD, days_ago=6)
    assert {row.name: row.numbers for row in keyring.state(town.catalogue)}[old] == 1
    with pytest.raises(Exception, match="key"):
        keyring.retire(town.catalogue, OPERATOR, old)
    assert keyring.rehash(town.catalogue) == []
    keyring.retire(town.catalogue, OPERATOR, old)
    town.link(town.doctors["A"], OLD, 2)
    assert sorted(shown_to(town)) == sorted([early, late])
    known = studies.known_study(town.catalogue, early)
    assert known is not None
    assert known.PatientID == OLD


def test_an_erasure_leaves_no_seal_of_the_erased_and_all_of_the_others(town: City) -> None:
    town.study("A", None, PatientID=OLD)
    town.link(town.doctors["A"], OLD, 2)
    town.study("A", None, PatientID=id_number(4))
    assert count(town, SealedNumber) == 2
    erasures.erase(
        town.catalogue,
        OPERATOR,
        lambda session: erasures.scope_of_person(session, town.catalogue, Document("01", WOMAN)),
        "个人信息保护法第47条",
    )
    assert count(town, SealedNumber) == 1
