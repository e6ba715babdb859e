"""Tampering with the books below the application is found by the recount, each kind by name and by number."""

from datetime import timedelta

import pytest

from catalog import recount
from catalog.db import transaction
from tests.catalog.tampering import found, kinds, tamper
from tests.city import City

PRICE_FEN = 19800


@pytest.fixture
def told(city: City) -> City:
    """A city whose books hold a saving, one that was undone, one that an examination reversed, and a repeat."""
    city.hospital("A")
    doctor = city.hospital("B", tier=2)
    for person in (2, 4, 6, 8):
        city.study("A", person)
        order = f"o{person}"
        check = city.check(doctor, [{"order_number": order, "item_code": "CT07"}], person)
        if person == 8:
            city.decide(doctor, check, order, "override", reason_code="1", explained_to_patient=True)
            continue
        city.decide(doctor, check, order, "recognise")
        city.now += timedelta(hours=1)
        if person == 4:
            city.decide(doctor, check, order, "undo")
        if person == 6:
            city.study("B", person, days_ago=0)
    return city


def fitted(**by: int) -> str:
    """Return what makes the month's sums fit again."""
    changes = ", ".join(f"{counter} = {counter} + {number}" for counter, number in by.items())
    return f"update monthly set {changes}"  # noqa: S608 (of the constants below)


def test_books_that_nobody_touched_agree_and_say_what_was_looked_at(told: City) -> None:
    answer = found(told)
    assert answer["agrees"], answer
    assert answer["net_fen"] == PRICE_FEN
    assert answer["range"]["decisions"] == 5
    assert answer["range"]["entries"] == 5
    assert answer["range"]["checks"] == answer["range"]["last_check_number"] == 4


# The first saving stands, the second was undone, the third reversed; decision 3 undoes decision 2.
DELETED = (
    "delete from ledger where decision_id = 1",
    "update ordered_item set standing_decision_id = null where standing_decision_id = 1",
    "delete from decision where id = 1",
    fitted(saved_fen=-PRICE_FEN, recognised=-1),
)
TAMPERED: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "a price of the past": (
        (
            "update price set price_fen = price_fen + 1 where id = (select price_id from decision where id = 1)",
        ),
        {"price_differs_from_decision", "repeat_differs_from_price"},
    ),
    "the days of a price": (
        (
            "update price set valid_from = '2027-01-01' where id = (select price_id from decision where id = 1)",
        ),
        {"price_did_not_apply", "repeat_differs_from_price"},
    ),
    "a decision's money, with its entry and its month": (
        (
            "update decision set price_fen = price_fen + 1 where id = 1",
            "update ledger set amount_fen = amount_fen + 1 where decision_id = 1",
            fitted(saved_fen=1),
        ),
        {"audit_differs_from_decision", "price_differs_from_decision"},
    ),
    "a decision deleted with all that names it": (DELETED, {"decision_missing"}),
    "a decision invented with all that it needs": (
        (
            "insert into decision (check_id, hospital_id, order_number, person_id, item_code, action, result_id,"
            " price_fen, price_id, own_hospital, checked_at, decided_at, business_date, caller)"
            " select check_id, hospital_id, 'x', person_id, item_code, action, result_id, price_fen, price_id,"
            " own_hospital, checked_at, decided_at, business_date, caller from decision where id = 1",
            "insert into ledger (kind, decision_id, person_id, hospital_id, item_code, amount_fen, cause,"
            " business_date, posted_at) select 'saving', id, person_id, hospital_id, item_code, price_fen, 'decision',"
            " business_date, decided_at from decision where order_number = 'x'",
            fitted(saved_fen=PRICE_FEN, recognised=1),
        ),
        {"decision_without_audit"},
    ),
    "a saving entered twice": (
        (
            "insert into ledger (kind, decision_id, person_id, hospital_id, item_code, amount_fen, cause,"
            " business_date, posted_at) select kind, decision_id, person_id, hospital_id, item_code, amount_fen,"
            " cause, business_date, posted_at from ledger where decision_id = 1",
            fitted(saved_fen=PRICE_FEN),
        ),
        {"saved_twice", "nets_outside_its_price"},
    ),
    "a reversal without a cause": (
        (
            "insert into ledger (kind, decision_id, person_id, hospital_id, item_code, amount_fen, cause, cause_id,"
            " business_date, posted_at) select 'reversal', decision_id, person_id, hospital_id, item_code,"
            " -amount_fen, 'undo', 3, business_date, posted_at from ledger where decision_id = 1",
            fitted(reversed_fen=PRICE_FEN),
        ),
        {"reversal_without_cause"},
    ),
    "an undo's reversal taken out": (
        (
            "delete from ledger where kind = 'reversal' and cause = 'undo'",
            fitted(reversed_fen=-PRICE_FEN),
        ),
        {"undone_but_still_saving"},
    ),
    "an examination's reversal taken out": (
        (
            "delete from ledger where kind = 'reversal' and cause = 'examination'",
            fitted(reversed_fen=-PRICE_FEN),
        ),
        {"examination_without_reversal"},
    ),
    "the examination of a reversal turned away": (
        (
            "update result set status = 'superseded'"
            " where id = (select cause_id from ledger where cause = 'examination')",
        ),
        {"reversed_by_what_does_not_stand", "repeat_differs_from_examination"},
    ),
    "the day of an entry": (
        ("update ledger set business_date = business_date - 40 where decision_id = 1",),
        {"saving_differs_from_decision"},
    ),
    "a check deleted": (
        ("delete from order_check where number = 4", fitted(reminders=-1)),
        {"check_missing"},
    ),
    "a check nobody was told of": (
        ("delete from audit_event where action = 'check' and detail ->> 'answer' = 'complete'",),
        {"check_without_audit"},
    ),
}


@pytest.mark.parametrize(("statements", "expected"), TAMPERED.values(), ids=TAMPERED)
def test_each_way_of_tampering_is_found_even_where_the_month_was_made_to_fit(
    told: City, statements: tuple[str, ...], expected: set[str]
) -> None:
    tamper(told, *statements)
    answer = found(told)
    assert not answer["agrees"]
    assert kinds(answer) == expected
    assert answer["differing"] == [], "the sums alone would have said it"
    assert all(value is not None for fault in answer["faults"] for value in fault.values())


@pytest.mark.parametrize(
    "counter", ["saved_fen", "reversed_fen", "recognised", "refused", "reminders", "undone"]
)
def test_a_changed_sum_is_shown_beside_the_recounted_one(told: City, counter: str) -> None:
    tamper(told, fitted(**{counter: 1}))
    answer = found(told)
    assert not answer["agrees"]
    (row,) = answer["differing"]
    assert row["kept"][counter] == row["recounted"][counter] + 1
    assert answer["faults"] == []


def test_a_decision_deleted_alone_leaves_sums_that_differ(told: City) -> None:
    tamper(told, *DELETED[:3])
    answer = found(told)
    assert kinds(answer) == {"decision_missing"}
    (row,) = answer["differing"]
    assert row["kept"]["saved_fen"] - row["recounted"]["saved_fen"] == PRICE_FEN


def test_the_caller_is_told_how_far_the_recount_is(told: City) -> None:
    seen: list[tuple[str, int, int]] = []
    with transaction(told.catalogue.engine) as session:
        recount.verify(session, progress=lambda *each: seen.append(each))
    done = [step for _, step, _ in seen]
    assert done == sorted(done)
    assert seen[-1][1] == seen[-1][2] > 10
