"""Undoing a decision: of the same person and the same order only, and its saving goes with it."""

from datetime import date
from typing import Any

import pytest
from sqlalchemy import select

from catalog import identity_events, recount, savings
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import Conflict
from catalog.tables import Person
from tests.city import City

CT07 = {"order_number": "1", "item_code": "CT07"}
CURATOR = Caller("curator.wang", "curator")


@pytest.fixture
def pair(city: City) -> tuple[City, Any]:
    """Hospital A examined persons 2 and 4; hospital B asks."""
    city.hospital("A")
    doctor = city.hospital("B", tier=2, region="500107")
    city.study("A", 2)
    city.study("A", 4)
    return city, doctor


def net_fen(city: City) -> int:
    with transaction(city.catalogue.engine) as session:
        assert recount.verify(session)["agrees"]
        counted = savings.report(
            session, city.catalogue.items, first=date(2026, 1, 1), last=date(2026, 12, 1)
        )
    return int(counted["total"]["net_fen"])


def test_a_decision_is_not_undone_through_another_patients_check_of_a_reused_order_number(pair: Any) -> None:
    city, doctor = pair
    check = city.check(doctor, [CT07], 2)
    city.decide(doctor, check, "1", "recognise")
    with pytest.raises(Conflict) as refused:
        city.decide(doctor, city.check(doctor, [CT07], 4), "1", "undo")
    assert refused.value.code == "order_number_reused"
    assert net_fen(city) == 19800
    city.decide(doctor, check, "1", "undo")
    assert net_fen(city) == 0


def test_what_was_decided_while_two_were_one_is_undone_after_they_were_parted(pair: Any) -> None:
    city, doctor = pair
    city.check(doctor, [CT07], 4)  # the order is first asked about for one
    with transaction(city.catalogue.engine) as session:
        both = session.scalars(select(Person.id).order_by(Person.id)).all()
    merged = identity_events.merge(city.catalogue, CURATOR, *both, "已核对")
    check = city.check(doctor, [CT07], 2)  # and decided for the other
    city.decide(doctor, check, "1", "recognise")
    identity_events.undo(city.catalogue, CURATOR, merged["event_id"], "核对有误")
    with pytest.raises(Conflict):
        city.decide(doctor, city.check(doctor, [CT07], 4), "1", "undo")
    city.decide(doctor, check, "1", "undo")
    assert net_fen(city) == 0
