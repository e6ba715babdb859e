"""What a hospital withdraws: no longer decided on, told to whoever relied on it, and what that does to the books."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select

from catalog import notices, recognition, recount, withdrawals
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.tables import AuditEvent, LedgerEntry, Result, Study
from tests.city import City, open_catalogue

NUMBERS = count(2, 2)
CT07 = {"item_code": "CT07"}


@pytest.fixture(scope="module")
def town(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    """Two evaluated hospitals; every test brings its own patient."""
    made: list[City] = []
    catalogue = open_catalogue(database_url, tmp_path_factory.mktemp("keys"), lambda: made[0].now)
    made.append(City(catalogue))
    for code in "AB":
        made[0].doctors[code] = made[0].hospital(code)
    yield made[0]
    catalogue.engine.dispose()


def relied_on(town: City) -> tuple[int, str, dict[str, Any], str]:
    """Let B recognise a study of A; gives the patient, the study, the check and the order."""
    number = next(NUMBERS)
    uid = town.study("A", number)
    order = f"w{number}"
    check = town.check(town.doctors["B"], [{"order_number": order, **CT07}], number)
    town.decide(town.doctors["B"], check, order, "recognise")
    return number, uid, check, order


def kinds(town: City, order: str) -> list[str]:
    found = notices.notices(town.catalogue, town.doctors["B"], limit=1000)
    return [row["kind"] for row in found if row["order_id"] == order]


def ledger_of(town: City, order: str) -> list[str]:
    with transaction(town.catalogue.engine) as session:
        query = select(LedgerEntry.kind).join(recognition.Decision).order_by(LedgerEntry.id)
        assert recount.verify(session)["agrees"]
        return list(session.scalars(query.where(recognition.Decision.order_number == order)))


def test_a_withdrawn_prior_sends_a_notice_and_reverses_nothing(town: City) -> None:
    number, uid, _, order = relied_on(town)
    assert withdrawals.withdraw_study(town.catalogue, town.doctors["A"], uid, "录入错误") == {
        "withdrawn": True,
        "notices": 1,
    }
    assert (kinds(town, order), ledger_of(town, order)) == (["study_withdrawn"], ["saving"])
    late = town.check(town.doctors["B"], [{"order_number": f"{order}-2", **CT07}], number)
    candidate = late["orders"][0]["candidates"][0]
    assert (candidate["verdict"], candidate["reasons"][0]["code"]) == ("reference", "withdrawn")
    with pytest.raises(Conflict) as refused:
        town.decide(town.doctors["B"], late, f"{order}-2", "recognise")
    assert refused.value.code == "prior_withdrawn"


def test_a_withdrawal_can_be_taken_back_and_that_is_news_too(town: City) -> None:
    number, uid, _, order = relied_on(town)
    withdrawals.withdraw_study(town.catalogue, town.doctors["A"], uid, "录入错误")
    with pytest.raises(Conflict):
        withdrawals.withdraw_study(town.catalogue, town.doctors["A"], uid, "再次")
    withdrawals.restore_study(town.catalogue, town.doctors["A"], uid, "核对无误")
    with pytest.raises(Conflict):
        withdrawals.restore_study(town.catalogue, town.doctors["A"], uid, "再次")
    assert kinds(town, order) == ["study_withdrawn", "study_restored"]
    again = town.check(town.doctors["B"], [{"order_number": f"{order}-2", **CT07}], number)
    assert again["orders"][0]["candidates"][0]["verdict"] == "recognisable"


def test_a_withdrawn_examination_that_had_reversed_a_saving_reinstates_it(town: City) -> None:
    number, _, _, order = relied_on(town)
    town.now += timedelta(days=2)
    done_anyway = town.study("B", number, days_ago=1)
    assert ledger_of(town, order) == ["saving", "reversal"]
    withdrawals.withdraw_study(town.catalogue, town.doctors["B"], done_anyway, "录入错误")
    assert ledger_of(town, order) == ["saving", "reversal", "reinstatement"]
    withdrawals.restore_study(town.catalogue, town.doctors["B"], done_anyway, "核对无误")
    assert ledger_of(town, order) == ["saving", "reversal", "reinstatement", "reversal"]


def test_what_still_arrives_of_a_withdrawn_study_stays_withdrawn(town: City) -> None:
    number, uid, _, _ = relied_on(town)
    withdrawals.withdraw_study(town.catalogue, town.doctors["A"], uid, "录入错误")
    town.study("A", number, StudyInstanceUID=uid)
    with transaction(town.catalogue.engine) as session:
        study = session.scalars(select(Study).where(Study.uid == uid)).one()
        statuses = session.scalars(select(Result.status).where(Result.study_id == study.id)).all()
    assert (study.withdrawn, set(statuses)) == (True, {"withdrawn"})


def test_a_hospital_withdraws_only_its_own_and_says_why(town: City) -> None:
    _, uid, _, order = relied_on(town)
    for doctor, study in ((town.doctors["B"], uid), (town.doctors["A"], "2.25.99999")):
        with pytest.raises(NotFound):
            withdrawals.withdraw_study(town.catalogue, doctor, study, "x")
    with pytest.raises(InvalidInput):
        withdrawals.withdraw_study(town.catalogue, town.doctors["A"], uid, " ")
    assert kinds(town, order) == []


def test_yesterdays_check_and_figures_stay_as_they_were(town: City) -> None:
    _, uid, check, order = relied_on(town)
    before = ledger_of(town, order)
    town.now += timedelta(days=1)
    withdrawals.withdraw_study(town.catalogue, town.doctors["A"], uid, "录入错误")
    kept = recognition.read(town.catalogue, town.doctors["B"], uuid.UUID(check["check_id"]))
    assert (kept["orders"], ledger_of(town, order)) == (check["orders"], before)


def test_a_decision_that_was_undone_gets_no_notice(town: City) -> None:
    _, uid, check, order = relied_on(town)
    town.decide(town.doctors["B"], check, order, "undo")
    assert withdrawals.withdraw_study(town.catalogue, town.doctors["A"], uid, "x")["notices"] == 0


def test_a_notice_is_read_once_by_its_own_hospital_and_all_of_it_is_audited(town: City) -> None:
    _, uid, _, order = relied_on(town)
    withdrawals.withdraw_study(town.catalogue, town.doctors["A"], uid, "录入错误")
    unread = notices.notices(town.catalogue, town.doctors["B"], unread=True, limit=1000)
    mine = next(row["notice_id"] for row in unread if row["order_id"] == order)
    with pytest.raises(NotFound):
        notices.mark_read(town.catalogue, town.doctors["A"], mine)
    first = notices.mark_read(town.catalogue, town.doctors["B"], mine)
    town.now += timedelta(hours=1)
    assert notices.mark_read(town.catalogue, town.doctors["B"], mine) == first
    left = notices.notices(town.catalogue, town.doctors["B"], unread=True, limit=1000)
    assert mine not in [row["notice_id"] for row in left]
    assert notices.notices(town.catalogue, town.doctors["B"], after=mine) == []
    with transaction(town.catalogue.engine) as session:
        actions = set(session.scalars(select(AuditEvent.action)))
    assert {"study.withdraw", "notices.list", "notices.read"} <= actions


def test_results_of_a_report_are_withdrawn_with_the_same_consequences(town: City) -> None:
    _, uid, _, order = relied_on(town)
    with transaction(town.catalogue.engine) as session:
        query = select(Result.id).join(Study, Study.id == Result.study_id).where(Study.uid == uid)
        results = list(session.scalars(query))
        assert withdrawals.withdraw_results(session, town.catalogue, results, "report_withdrawn") == 1
    assert kinds(town, order) == ["report_withdrawn"]
    with transaction(town.catalogue.engine) as session:
        assert notices.notify(session, town.catalogue, results, "report_corrected") == 1
    assert kinds(town, order) == ["report_withdrawn", "report_corrected"]
