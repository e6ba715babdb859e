"""Mapping again what came before: resumable, with progress, the same twice, and the books follow."""

from datetime import date, timedelta

import pytest
from sqlalchemy import select, update

from catalog import recount, remapping, savings
from catalog.db import transaction
from catalog.tables import Result, Study
from catalog.tables_items import RemapJob
from tests.catalog.test_reviews import active, local_codes
from tests.city import City


def net_fen(city: City) -> int:
    with transaction(city.catalogue.engine) as session:
        items = city.catalogue.items
        report = savings.report(session, items, first=date(2026, 1, 1), last=date(2026, 12, 1))
        assert recount.verify(session)["agrees"]
        return int(report["total"]["net_fen"])


def test_a_change_reaches_every_earlier_study_and_a_second_run_changes_nothing(city: City) -> None:
    city.hospital("A")
    for person in range(2, 7):
        city.study("A", person, procedure_codes=("|K-17",))
    local_codes(city, "A", ("K-17", "CT10"))
    first = remapping.remap(city.catalogue)
    assert (first.done, first.studies, first.total, first.changed) == (True, 5, 5, 5)
    assert active(city) == [("CT10", None, "local_code")] * 5
    second = remapping.remap(city.catalogue)
    assert (second.studies, second.changed, second.resumed) == (5, 0, False)
    with transaction(city.catalogue.engine) as session:
        assert len(session.scalars(select(Result)).all()) == 10, "superseded results stay, none is made twice"


def test_an_interrupted_run_goes_on_where_it_stopped(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remapping, "BATCH", 2)
    city.hospital("A")
    for person in range(2, 7):
        city.study("A", person, procedure_codes=("|K-17",))
    local_codes(city, "A", ("K-17", "CT10"))
    seen: list[tuple[int, int]] = []

    def stop_after_two(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remapping.remap(city.catalogue, on_progress=stop_after_two)
    assert [code for code, _, _ in active(city)].count("CT10") == 4
    rest = remapping.remap(city.catalogue, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert (rest.resumed, rest.done, rest.studies, rest.changed) == (True, True, 5, 5)


def test_a_run_in_slices_says_when_it_is_done(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remapping, "BATCH", 2)
    city.hospital("A")
    for person in range(2, 5):
        city.study("A", person)
    slices = [remapping.remap(city.catalogue, most_batches=1) for _ in range(3)]
    assert [(each.studies, each.done) for each in slices] == [(2, False), (3, False), (3, True)]
    assert len({each.job_id for each in slices}) == 1


def test_a_study_that_turns_out_to_be_the_ordered_examination_reverses_the_saving_and_back(
    city: City,
) -> None:
    doctor = city.hospital("B", tier=2, region="500107")
    city.hospital("A")
    city.study("A", days_ago=3)
    check = city.check(doctor, [{"order_number": "1", "item_code": "CT07"}])
    city.decide(doctor, check, "1", "recognise")
    city.now += timedelta(days=2)
    city.study("B", days_ago=0, StudyDescription="特检", procedure_codes=("|K-17",))
    assert net_fen(city) == 19800
    local_codes(city, "B", ("K-17", "CT07"))
    remapping.remap(city.catalogue)
    assert net_fen(city) == 0
    local_codes(city, "B", ("K-17", "CT10"))
    remapping.remap(city.catalogue)
    assert net_fen(city) == 19800


def test_a_withdrawn_study_is_not_brought_back_by_mapping_it_again(city: City) -> None:
    city.hospital("A")
    city.study("A", procedure_codes=("|K-17",))
    with transaction(city.catalogue.engine) as session:
        session.execute(update(Study).values(withdrawn=True))
        session.execute(update(Result).values(status="withdrawn"))
    remapping.remap(city.catalogue)
    with transaction(city.catalogue.engine) as session:
        assert [row.item_code for row in session.scalars(select(Result))] == ["CT07"]
    local_codes(city, "A", ("K-17", "CT10"))
    remapping.remap(city.catalogue)
    assert active(city) == []


def test_one_job_runs_at_a_time(city: City) -> None:
    city.hospital("A")
    city.study("A")
    with transaction(city.catalogue.engine) as session:
        session.add(RemapJob(last_study_id=1, total=1))
    assert remapping.remap(city.catalogue).resumed
