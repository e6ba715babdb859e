"""Curators over HTTP: doubts about images, evaluations and their files; what a doctor is told after each step."""

from typing import Any

from tests.exchange.conftest import Service
from tests.exchange.test_api import CHECK, decide

HEAD = "hospital,item,scope,result,from,to\n"


def curate(service: Service, method: str, path: str, **more: Any) -> Any:
    return service.call(method, f"/v1/admin/{path}", role="curator", **more)


def reasons(service: Service, order: str) -> list[str]:
    body = {**CHECK, "orders": [{"order_id": order, "item_code": "CT07"}]}
    (candidate,) = service.call("POST", "/v1/checks", json=body).json()["orders"][0]["candidates"]
    return [reason["code"] for reason in candidate["reasons"]]


def test_a_doctors_complaint_from_the_order_to_the_curator_and_back(service: Service) -> None:
    check = service.call("POST", "/v1/checks", json=CHECK).json()
    override = {"action": "override", "reason_code": "61", "explained_to_patient": True}
    assert decide(service, check, override, "k1").status_code == 200
    (task,) = curate(service, "GET", "quality").json()["tasks"]
    assert (task["kind"], task["hospital"], task["asked_by"]) == ("image_quality", "A", "B")
    path = f"quality/{task['task_id']}"
    done = curate(service, "POST", f"{path}/confirm", json={"note": "呼吸伪影"})
    assert (done.status_code, done.json()["state"]) == (200, "confirmed")
    assert reasons(service, "2") == ["quality_flagged"]
    assert curate(service, "POST", f"{path}/dismiss", json={}).status_code == 409
    assert curate(service, "POST", f"{path}/reopen", json={}).json()["state"] == "open"
    assert curate(service, "POST", f"{path}/dismiss", json={}).json()["state"] == "dismissed"
    assert reasons(service, "3") == []
    assert curate(service, "GET", "quality").json()["tasks"] == []
    assert len(curate(service, "GET", "quality?state=dismissed&hospital=A").json()["tasks"]) == 1
    assert curate(service, "POST", "quality/4711/confirm", json={}).status_code == 404
    assert curate(service, "GET", "quality?state=lost").status_code == 422
    studies = curate(service, "GET", "studies").json()["studies"]
    assert [(one["images_complete"], one["quality_flagged"]) for one in studies] == [(True, False)]


def test_a_file_is_tried_then_recorded_and_refused_as_a_whole_with_its_lines(service: Service) -> None:
    good = HEAD + "A,CT07,全国,合格,2026-01-01,2026-07-31\n"
    csv = {"Content-Type": "text/csv"}
    tried = curate(service, "POST", "qc/import?dry_run=true", content=good.encode(), headers=csv)
    assert tried.json() == {"new": 1, "present": 0, "dry_run": True}
    for expected in ({"new": 1, "present": 0}, {"new": 0, "present": 1}):
        done = curate(service, "POST", "qc/import", content=good.encode(), headers=csv)
        assert done.json() == {**expected, "dry_run": False}
    bad = good + "A,CT99,全国,合格,2026-01-01,2026-12-31\n"
    refused = curate(service, "POST", "qc/import", content=bad.encode(), headers=csv)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_list")
    assert [(fault["line"], fault["field"]) for fault in refused.json()["errors"]] == [(3, "item")]
    assert curate(service, "POST", "qc/import", content=b"\xff\xfe", headers=csv).status_code == 422


def test_evaluations_are_added_listed_before_they_end_and_ended(service: Service) -> None:
    body = {"hospital": "A", "item": "CT07", "scope": "CY", "from": "2026-01-01", "to": "2026-08-01"}
    made = curate(service, "POST", "qc", json=body)
    assert made.status_code == 201
    number = made.json()["id"]
    (soon,) = curate(service, "GET", "qc/expiring?days=60").json()["evaluations"]
    assert (soon["id"], soon["mark"], soon["days_left"]) == (number, "川渝HR", 32)
    ended = curate(service, "POST", f"qc/{number}/end", json={"last_day": "2026-06-30"})
    assert ended.json()["to"] == "2026-06-30"
    listed = curate(service, "GET", "qc?hospital=A").json()["evaluations"]
    assert [one["mark"] for one in listed] == ["重庆HR", "川渝HR"]
    assert curate(service, "POST", "qc", json={**body, "item": None}).status_code == 422
    assert curate(service, "POST", "qc", json={**body, "scope": "500107"}).json()["field"] == "scope"
    assert curate(service, "POST", "qc/4711/end", json={"last_day": "2026-06-30"}).status_code == 404


def test_a_consortium_is_made_a_scope(service: Service) -> None:
    body = {"code": "YUXI", "name": "渝西医联体", "members": ["A", "B"]}
    made = curate(service, "POST", "qc/consortia", json=body)
    assert (made.status_code, made.json()["mark"]) == (201, "渝西医联体HR")
    assert curate(service, "POST", "qc/consortia", json={**body, "members": ["Z"]}).status_code == 404
    assert curate(service, "POST", "qc/consortia", json={**body, "name": "重庆"}).status_code == 409


def test_every_route_of_quality_has_an_example_of_its_answer_and_of_its_body(service: Service) -> None:
    paths = service.client.app.openapi()["paths"]  # type: ignore[attr-defined]
    ours = {
        path: methods
        for path, methods in paths.items()
        if path.startswith(("/v1/admin/qc", "/v1/admin/quality"))
    }
    assert len(ours) == 9
    schemas = service.client.app.openapi()["components"]["schemas"]  # type: ignore[attr-defined]
    for methods in ours.values():
        for described in methods.values():
            answers = [a for code, a in described["responses"].items() if code.startswith("2")]
            assert all("example" in a["content"]["application/json"] for a in answers)
            for content in described.get("requestBody", {}).get("content", {}).values():
                schema = content["schema"]
                named = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
                fields = named.get("properties", {}).values()
                assert any("examples" in field for field in fields) or "examples" in named
