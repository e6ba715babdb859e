"""The queues over HTTP: counted as they are listed, decided with their evidence, every decision taken back."""

from typing import Any

import pytest

from catalog import queues
from tests.city import contradict
from tests.exchange.conftest import Service
from tests.exchange.test_people_api import ONE, OTHER, register

REVIEWS = "/v1/admin/reviews"


def curate(service: Service, method: str, path: str, **more: Any) -> Any:
    return service.call(method, path, role="curator", **more)


def counts(service: Service) -> dict[str, int]:
    told = curate(service, "GET", "/v1/admin/queues").json()
    return {name: found["count"] for name, found in told["queues"].items()}


def open_tasks(service: Service, kind: str = "mapping") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = curate(service, "GET", f"{REVIEWS}?kind={kind}").json()["tasks"]
    return found


def items_of(service: Service) -> list[list[str]]:
    return [each["items"] for each in curate(service, "GET", "/v1/admin/studies").json()["studies"]]


@pytest.fixture
def busy(service: Service) -> Service:
    """A service with something in every queue."""
    city = service.city
    city.study("A", 4, StudyDescription="胸特", BodyPartExamined="CHEST")
    city.study("B", 6, StudyDescription="胸特", BodyPartExamined="CHEST")
    known = "local_code,name,item_code\nK-1,胸,CT07\n".encode()
    curate(service, "POST", "/v1/admin/hospitals/A/local-codes", content=known)
    city.study("A", 8, StudyDescription="特检", procedure_codes=("99HIS|K-1", "99HIS|K-9"))
    contradict(city, city.study("A", 10))
    uid = city.study("A", 12)
    reason = {"StudyInstanceUID": uid, "reason": "患者信息录入错误"}
    curate(service, "POST", "/v1/admin/hospitals/A/studies/withdraw", json=reason)
    city.study("A", None, PatientID="X1")
    assert [register(service, "X1", who).status_code for who in (ONE, OTHER)] == [201, 202]
    return service


def test_every_queue_is_counted_as_its_own_list_shows_it(busy: Service) -> None:
    found = counts(busy)
    people = curate(busy, "GET", "/v1/admin/people/queue").json()
    listed = {
        "mapping": len(open_tasks(busy)),
        "local_codes": len(open_tasks(busy, "local_code")),
        "unmapped": len(curate(busy, "GET", "/v1/admin/unmapped").json()["studies"]),
        "identity_numbers": len(people["numbers"]),
        "identity_studies": len(people["studies"]),
        "identity_reports": len(people["reports"]),
        "reports": len(curate(busy, "GET", "/v1/admin/reports").json()["reports"]),
        "conflicts": len(curate(busy, "GET", "/v1/admin/conflicts?state=open").json()["conflicts"]),
        "quality": len(curate(busy, "GET", "/v1/admin/quality").json()["tasks"]),
        "withdrawn": len(curate(busy, "GET", "/v1/admin/withdrawn").json()["studies"]),
        "qc_expiring": len(curate(busy, "GET", "/v1/admin/qc/expiring?days=60").json()["evaluations"]),
        "price_gaps": len(curate(busy, "GET", "/v1/admin/prices/gaps").json()["gaps"]),
        "certificates": 0,
    }
    assert found == listed
    assert {name for name, count in found.items() if count} >= {
        "mapping",
        "local_codes",
        "unmapped",
        "identity_numbers",
        "conflicts",
        "withdrawn",
    }


def test_a_queue_is_counted_up_to_a_bound_and_says_that_there_is_more(
    busy: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MOST", 1)
    told = curate(busy, "GET", "/v1/admin/queues").json()["queues"]
    assert told["mapping"] == {"count": 1, "more": True}
    assert told["conflicts"] == {"count": 1, "more": False}


def test_a_question_comes_with_candidates_and_with_what_is_alike(busy: Service) -> None:
    first, second = open_tasks(busy)
    told = curate(busy, "GET", f"{REVIEWS}/{first['id']}").json()
    assert (told["studies"], [each["id"] for each in told["alike"]]) == (1, [second["id"]])
    best = told["candidates"][0]
    assert (best["item_code"], best["likelihood"]) == ("CT07", "medium")
    assert "部位一致" in best["reason"]
    assert "same body part" in best["reason_en"]
    assert len(told["candidates"]) <= 9
    assert curate(busy, "GET", f"{REVIEWS}/999999").status_code == 404


def test_an_earlier_answer_to_the_same_description_is_the_first_candidate(busy: Service) -> None:
    first, second = open_tasks(busy)
    answer = {"items": [{"item_code": "CT08"}]}
    curate(busy, "POST", f"{REVIEWS}/{first['id']}/mapping", json=answer)
    told = curate(busy, "GET", f"{REVIEWS}/{second['id']}").json()
    assert (told["candidates"][0]["item_code"], told["candidates"][0]["likelihood"]) == ("CT08", "high")


def test_one_answer_is_given_to_many_and_each_is_taken_back(busy: Service) -> None:
    ids = [each["id"] for each in open_tasks(busy)]
    before = items_of(busy)
    body = {"tasks": ids, "items": [{"item_code": "CT07"}]}
    done = curate(busy, "POST", f"{REVIEWS}/mapping", json=body).json()
    assert done == {"answered": ids, "closed": [], "studies": 2, "changed": 2}
    assert open_tasks(busy) == []
    assert curate(busy, "POST", f"{REVIEWS}/mapping", json=body).status_code == 409
    kept = curate(busy, "GET", f"{REVIEWS}/history").json()["tasks"]
    assert [each["id"] for each in kept] == ids[::-1]
    for task_id in ids:
        undone = curate(busy, "POST", f"{REVIEWS}/{task_id}/reopen").json()
        assert undone == {"task": task_id, "studies": 1, "changed": 1}
    assert items_of(busy) == before
    assert [each["id"] for each in open_tasks(busy)] == ids
    again = curate(busy, "POST", f"{REVIEWS}/{ids[0]}/reopen")
    assert (again.status_code, again.json()["code"]) == (409, "task_not_decided")


def test_an_unknown_code_is_explained_and_that_is_taken_back(busy: Service) -> None:
    (task,) = open_tasks(busy, "local_code")
    path = f"{REVIEWS}/{task['id']}"
    wrong = curate(busy, "POST", f"{path}/local-code", json={"item_code": "ZZ99"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "unknown_item")
    said = {"item_code": "CT10", "name": "腹"}
    assert curate(busy, "POST", f"{path}/local-code", json=said).json()["changed"] == 1
    assert ["CT07", "CT10"] in items_of(busy)
    table = curate(busy, "GET", "/v1/admin/hospitals/A/local-codes").json()["codes"]
    assert [(each["local_code"], each["item_code"]) for each in table] == [("K-1", "CT07"), ("K-9", "CT10")]
    assert curate(busy, "POST", f"{path}/reopen").json()["changed"] == 1
    assert ["CT07", "CT10"] not in items_of(busy)
    assert [each["id"] for each in open_tasks(busy, "local_code")] == [task["id"]]


def test_a_code_that_the_table_changed_since_is_not_taken_back(busy: Service) -> None:
    (task,) = open_tasks(busy, "local_code")
    curate(busy, "POST", f"{REVIEWS}/{task['id']}/local-code", json={})
    later = "local_code,name,item_code\nK-9,腹,CT10\n".encode()
    curate(busy, "POST", "/v1/admin/hospitals/A/local-codes", content=later)
    refused = curate(busy, "POST", f"{REVIEWS}/{task['id']}/reopen")
    assert (refused.status_code, refused.json()["code"]) == (409, "code_changed")


def test_a_contradiction_is_settled_with_both_digests_seen_and_taken_back(busy: Service) -> None:
    (found,) = curate(busy, "GET", "/v1/admin/conflicts").json()["conflicts"]
    assert (found["sha256"], found["first_sha256"]) == ("b" * 64, "a" * 64)
    path = f"/v1/admin/conflicts/{found['id']}"
    done = curate(busy, "POST", f"{path}/settle", json={"note": "设备重发"}).json()
    assert done == {"id": found["id"], "state": "settled", "reference_only": False}
    assert curate(busy, "POST", f"{path}/settle", json={}).json()["code"] == "conflict_state"
    assert counts(busy)["conflicts"] == 0
    (kept,) = curate(busy, "GET", "/v1/admin/conflicts?state=settled").json()["conflicts"]
    assert (kept["note"], kept["decided_by"]) == ("设备重发", "test curator")
    assert curate(busy, "POST", f"{path}/reopen", json={}).json()["reference_only"] is True
    assert counts(busy)["conflicts"] == 1


def test_a_study_with_two_contradictions_is_reference_only_until_both_are_settled(busy: Service) -> None:
    (first,) = curate(busy, "GET", "/v1/admin/conflicts").json()["conflicts"]
    contradict(busy.city, first["StudyInstanceUID"])
    newest, oldest = curate(busy, "GET", "/v1/admin/conflicts").json()["conflicts"]
    paged = curate(busy, "GET", f"/v1/admin/conflicts?before={newest['id']}").json()["conflicts"]
    assert [each["id"] for each in paged] == [oldest["id"]]
    told = [
        curate(busy, "POST", f"/v1/admin/conflicts/{each['id']}/settle", json={}).json()["reference_only"]
        for each in (newest, oldest)
    ]
    assert told == [True, False]


def test_what_was_withdrawn_is_listed_with_its_reason_until_it_stands_again(busy: Service) -> None:
    (found,) = curate(busy, "GET", "/v1/admin/withdrawn").json()["studies"]
    assert (found["reason"], found["hospital"]) == ("患者信息录入错误", "A")
    assert found["withdrawn_at"] == busy.city.now.isoformat()
    body = {"StudyInstanceUID": found["StudyInstanceUID"], "reason": "核对无误"}
    curate(busy, "POST", "/v1/admin/hospitals/A/studies/restore", json=body)
    assert curate(busy, "GET", "/v1/admin/withdrawn").json()["studies"] == []


def test_a_table_of_codes_is_tried_before_it_is_taken(busy: Service) -> None:
    path = "/v1/admin/hospitals/A/local-codes"
    file = "local_code,name,item_code\nK-1,胸,CT10\nK-9,腹,CT11\n".encode()
    told = curate(busy, "POST", f"{path}?dry_run=true", content=file).json()
    assert told["effect"] == {"new": 1, "changed": 1, "studies": 5, "would_change": 1}
    assert len(curate(busy, "GET", path).json()["codes"]) == 1
    curate(busy, "POST", path, content=file)
    state = curate(busy, "GET", "/v1/admin/remap?effect=true").json()
    assert (state["last"], state["would_change"]) == (None, 1)
    assert curate(busy, "POST", "/v1/admin/remap").json()["changed"] == 1
    state = curate(busy, "GET", "/v1/admin/remap?effect=true").json()
    assert (state["would_change"], state["last"]["changed"]) == (0, 1)


def test_what_cannot_be_mapped_is_read_page_by_page(busy: Service) -> None:
    whole = curate(busy, "GET", "/v1/admin/unmapped").json()["studies"]
    first = curate(busy, "GET", "/v1/admin/unmapped?limit=1").json()["studies"]
    rest = curate(busy, "GET", f"/v1/admin/unmapped?before={first[0]['id']}").json()["studies"]
    assert first + rest == whole
    of_b = curate(busy, "GET", "/v1/admin/unmapped?hospital=B").json()["studies"]
    assert [each["hospital"] for each in of_b] == ["B"]


@pytest.mark.parametrize(
    "path", ["/v1/admin/queues", "/v1/admin/withdrawn", f"{REVIEWS}/history", "/v1/admin/prices"]
)
def test_a_doctor_reads_no_queue(service: Service, path: str) -> None:
    assert service.call("GET", path).status_code == 403
