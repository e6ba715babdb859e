"""A synthetic city: nobody's people, found by their numbers, with every constraint of a real catalogue."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import func, inspect, select, text

from catalog import db, ledger_entries, lookup, recount, savings
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput
from catalog.identity import check_national_id
from catalog.seed import Size, seed_city, size_of
from catalog.seed_people import CHUNK, MOST_PEOPLE, number_of
from catalog.tables import Hospital, LedgerEntry, Person, Result, Study
from tests.city import START, City, open_catalogue

SIZE = size_of(20_000, 31_000, in_full_percent=10, checks=3_000, decisions=800)


@pytest.fixture(scope="module")
def seeded(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    """A city of 20,000 results of 31,000 people, which are two chunks."""
    catalogue = open_catalogue(database_url, tmp_path_factory.mktemp("keys"), lambda: START)
    before = _constraints(catalogue.engine)
    heard: list[tuple[str, int, int]] = []
    seed_city(catalogue, SIZE, lambda *told: heard.append(told))
    assert _constraints(catalogue.engine) == before
    assert ("people", 31_000, 31_000) in heard
    assert ("results", 20_000, 20_000) in heard
    yield City(catalogue)
    catalogue.engine.dispose()


def test_numbers_are_valid_and_nobodys_and_each_is_given_once() -> None:
    drawn = [*range(2_000), *range(CHUNK - 5, CHUNK + 5), MOST_PEOPLE - 1]
    numbers = [number_of(index) for index in drawn]
    assert all(check_national_id(each, date(2026, 6, 30)).number.startswith("999999") for each in numbers)
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("index", [0, 29_999, 30_999])
def test_a_person_of_the_city_is_found_by_the_number_and_the_number_can_be_read_again(
    seeded: City, index: int
) -> None:
    vault = seeded.catalogue.vault
    with transaction(seeded.catalogue.engine) as session:
        digests = vault.digests("01", number_of(index))
        _, known = lookup.asked_about(session, "01", digests)
        assert known is not None
        assert known.id == index + 1
        person = session.get_one(Person, known.id)
        assert vault.open("01", person.number_cipher) == number_of(index)
        said = check_national_id(number_of(index), START.date())
        assert (person.birth_date, person.sex) == (said.birth_date, said.sex)


def test_results_are_of_every_item_over_24_months_at_every_tier(seeded: City) -> None:
    with transaction(seeded.catalogue.engine) as session:
        assert session.scalar(select(func.count()).select_from(Result)) == 20_000
        assert session.scalar(select(func.count(Result.item_code.distinct()))) == 112
        tiers = dict(
            session.execute(select(Hospital.tier, func.count()).group_by(Hospital.tier)).tuples().all()
        )
        assert tiers == {3: 76, 2: 98, 1: 977}
        shares = select(Hospital.tier, func.count()).join(Result, Result.hospital_id == Hospital.id)
        counted = dict(session.execute(shares.group_by(Hospital.tier)).tuples().all())
        assert counted[3] > counted[2] > counted[1]
        first, last = session.execute(select(func.min(Result.exam_time), func.max(Result.exam_time))).one()
        assert 728 <= (last - first).days <= 730
        assert last < START


def test_a_check_shows_what_stands_in_the_database_with_images_and_report_for_those_in_full(
    seeded: City,
) -> None:
    with transaction(seeded.catalogue.engine) as session:
        query = select(Result).join(Study, Study.id == Result.study_id).where(Result.laterality.is_(None))
        prior = session.scalars(query.order_by(Result.id.desc()).limit(1)).one()
    answer = _ask(seeded, prior)
    shown = {each["result_id"]: each for each in answer["orders"][0]["candidates"]}
    candidate = shown[str(prior.id)]
    assert candidate["images"]["instances"] == 200
    assert candidate["report"]["status"] == "final"


def test_the_look_up_of_a_check_goes_by_person_item_and_time(seeded: City) -> None:
    given = {"people": "5", "items": "CT07,CT09"}
    with transaction(seeded.catalogue.engine) as session:
        plan = db.rows(session, f"explain {lookup.DONE_BEFORE}", given)
    assert any("ix_result_person_item_time" in line for (line,) in plan), plan


def test_the_database_counts_on_after_the_seed(seeded: City) -> None:
    doctor = seeded.hospital("NEW")
    seeded.study("NEW", person=2)
    assert seeded.check(doctor, [{"order_number": "1", "item_code": "CT07"}])["orders"][0]["candidates"]


def test_a_city_that_is_not_empty_is_refused(seeded: City) -> None:
    with pytest.raises(Conflict) as refused:
        seed_city(seeded.catalogue, SIZE)
    assert refused.value.code == "not_empty"


def test_a_seed_that_breaks_off_leaves_nothing(fresh_database_url: str, tmp_path: Path) -> None:
    catalogue = open_catalogue(fresh_database_url, tmp_path, lambda: START)
    before = _constraints(catalogue.engine)

    def broken(what: str, done: int, total: int) -> None:
        if what == "indexes and keys":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seed_city(catalogue, replace(SIZE, results=100, people=50), broken)
    assert _constraints(catalogue.engine) == before
    with transaction(catalogue.engine) as session:
        assert not session.scalar(text("select exists (select from hospital) or exists (select from person)"))
    seed_city(catalogue, replace(SIZE, results=100, people=50))
    catalogue.engine.dispose()


@pytest.mark.parametrize("wrong", [(0, None), (10, 0), (10, MOST_PEOPLE + 1)])
def test_a_size_that_cannot_be_is_refused(wrong: tuple[int, int | None]) -> None:
    with pytest.raises(InvalidInput):
        size_of(*wrong)


def test_the_full_size_has_30_million_people() -> None:
    assert size_of(130_000_000) == Size(130_000_000, 30_000_000, 2, 1, 0, 0)


def _ask(city: City, prior: Result) -> dict[str, object]:
    from catalog import recognition
    from catalog.context import Caller
    from catalog.identity import Demographics, Document
    from catalog.orders import OrderRequest

    assert prior.person_id is not None
    request = recognition.CheckRequest(
        document=Document("01", number_of(prior.person_id - 1)),
        demographics=Demographics(),
        orders=(OrderRequest("1", prior.item_code, body_part=prior.body_part),),
    )
    return recognition.check(city.catalogue, Caller("dr", "doctor", "S30001"), request)


def _constraints(engine: object) -> object:
    found = inspect(engine)
    return {
        name: (
            found.get_pk_constraint(name),
            sorted(found.get_foreign_keys(name), key=str),
            sorted(found.get_indexes(name), key=str),
            sorted(found.get_unique_constraints(name), key=str),
        )
        for name in found.get_table_names()
    }


def test_the_books_of_the_city_agree_with_their_recount_and_go_on_from_there(seeded: City) -> None:
    with transaction(seeded.catalogue.engine) as session:
        found = recount.verify(session)
        report = savings.report(
            session,
            seeded.catalogue.items,
            first=date(2024, 1, 1),
            last=date(2026, 12, 1),
            group_by=("month",),
        )
        entry = session.scalars(select(LedgerEntry.id).where(LedgerEntry.kind == "reversal").limit(1)).one()
        chain = ledger_entries.explain(session, seeded.catalogue.items, entry)
    assert (found["differing"], found["faults"]) == ([], [])
    assert 2_900 < found["range"]["checks"] <= 3_000
    assert found["range"]["decisions"] > 800
    total = report["total"]
    assert total["net_fen"] == found["net_fen"] > 0
    assert min(total[name] for name in ("recognised", "refused", "excused", "undone", "reversed_fen")) > 0
    assert len(report["rows"]) > 20
    assert (chain["net_fen"], chain["undone_by"] is None, chain["price"] is None) == (0, False, False)
