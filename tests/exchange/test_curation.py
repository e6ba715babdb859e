"""What curators do by HTTP: versions of the list, hospitals' codes, the review queue, mapping again, scoring."""

from typing import Any

import pytest

from exchange.items import XLSX
from tests.catalog.test_item_lists import changed, only
from tests.catalog.test_spreadsheet import xlsx
from tests.exchange.conftest import Service

LISTS = "/v1/admin/item-lists"
CODES = "/v1/admin/hospitals/A/local-codes"


def curate(service: Service, method: str, path: str, **more: Any) -> Any:
    return service.call(method, path, role="curator", **more)


def send(service: Service, path: str, content: bytes, kind: str = "text/csv") -> Any:
    return curate(service, "POST", path, content=content, headers={"Content-Type": kind})


def as_csv(rows: list[list[str]]) -> bytes:
    return "\n".join(",".join(f'"{cell}"' for cell in row) for row in rows).encode()


@pytest.mark.parametrize("kind", ["text/csv", XLSX])
def test_a_list_is_tried_imported_compared_and_in_force(service: Service, kind: str) -> None:
    rows = changed(window_days="14")
    content = as_csv(rows) if kind == "text/csv" else xlsx(rows)
    path = f"{LISTS}?version=2026-2&effective_from=2026-06-30"
    tried = send(service, f"{path}&dry_run=true", content, kind).json()
    assert (tried["dry_run"], tried["diff"]["changed"]) == (
        True,
        [{"code": "CT07", "field": "window_days", "before": "30", "after": "14"}],
    )
    assert len(curate(service, "GET", LISTS).json()["versions"]) == 1
    made = send(service, path, content, kind).json()
    assert (made["dry_run"], made["in_force_now"], made["items"]) == (False, True, 112)
    assert [each["version"] for each in curate(service, "GET", LISTS).json()["versions"]] == ["proposal-1", "2026-2"]  # fmt: skip
    compared = curate(service, "GET", f"{LISTS}/2026-2/diff?against=proposal-1").json()
    assert compared["diff"] == made["diff"]
    assert curate(service, "GET", f"{LISTS}/2026-2").json()["version"] == "2026-2"
    windows = [
        {item["code"]: item["window_days"] for item in service.call("GET", path).json()["items"]}["CT07"]
        for path in ("/v1/items", "/v1/items?on=2026-06-29")
    ]
    assert windows == [14, 30]


def test_a_doctor_sees_the_list_of_his_hospital_s_region(service: Service) -> None:
    path = f"{LISTS}?version=d-1&effective_from=2026-06-01&region=500107"
    assert send(service, path, as_csv(only("CT07", window_days="10"))).status_code == 200
    seen = [service.call("GET", "/v1/items", hospital=hospital).json() for hospital in ("A", "B")]
    windows = [next(i["window_days"] for i in each["items"] if i["code"] == "CT07") for each in seen]
    assert windows == [30, 10]


def test_a_faulty_list_is_refused_whole_and_every_fault_has_its_line(service: Service) -> None:
    rows = changed(window_days="0")
    rows[4][0] = rows[3][0]
    answer = send(service, f"{LISTS}?version=v&effective_from=2027-01-01", as_csv(rows))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_list")
    told = [(each["line"], each["field"]) for each in answer.json()["errors"]]
    assert told == [(5, "code"), (1 + [row[0] for row in rows].index("CT07"), "window_days")]
    assert len(curate(service, "GET", LISTS).json()["versions"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{LISTS}/none", 404),
        ("GET", f"{LISTS}/proposal-1/diff?against=none", 404),
        ("POST", f"{LISTS}?version=v&effective_from=2027-01-01&region=none", 422),
        ("POST", f"{LISTS}?version=v&effective_from=soon", 422),
        ("POST", f"{LISTS}?version=v", 422),
        ("POST", "/v1/admin/hospitals/none/local-codes", 404),
        ("POST", CODES, 422),
        ("POST", "/v1/admin/score", 422),
        ("POST", "/v1/admin/reviews/99/mapping", 422),
    ],
)
def test_what_cannot_be_done_is_a_problem_and_no_failure(
    service: Service, method: str, path: str, status: int
) -> None:
    answer = send(service, path, b"\xff\x00") if method == "POST" else curate(service, method, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_hospital_codes_are_uploaded_and_earlier_studies_mapped_by_them(service: Service) -> None:
    service.city.study("A", 4, StudyDescription="特检", procedure_codes=("99HIS|K-17",))
    file = "local_code,name,item_code\nK-17,胸部,CT10\nK-99,骨龄,NONE\n"
    assert send(service, CODES, file.encode("gb18030")).json() == {"codes": 2}
    assert [each["item_code"] for each in curate(service, "GET", CODES).json()["codes"]] == ["CT10", ""]
    done = curate(service, "POST", "/v1/admin/remap").json()
    if done["state"] == "running":
        done = curate(service, "POST", "/v1/admin/remap").json()
    assert (done["state"], done["studies"], done["changed"]) == ("done", 2, 1)
    studies = curate(service, "GET", "/v1/admin/studies").json()["studies"]
    assert [each["items"] for each in studies] == [["CT07"], ["CT10"]]


def test_the_review_queue_is_read_and_answered(service: Service) -> None:
    service.city.study("A", 4, StudyDescription="胸特", BodyPartExamined="CHEST")
    (task,) = curate(service, "GET", "/v1/admin/reviews?kind=mapping&hospital=A").json()["tasks"]
    assert task["details"]["reason"]["code"] == "unknown_words"
    path = f"/v1/admin/reviews/{task['id']}/mapping"
    unknown = curate(service, "POST", path, json={"items": [{"item_code": "ZZ99"}]})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_item")
    done = curate(service, "POST", path, json={"items": [{"item_code": "CT07"}]}).json()
    assert done == {"task": task["id"], "studies": 1, "changed": 1}
    again = curate(service, "POST", path, json={"items": []})
    assert (again.status_code, again.json()["code"]) == (409, "task_closed")
    assert curate(service, "GET", "/v1/admin/reviews").json()["tasks"] == []


def test_a_hospital_s_sample_is_scored_without_keeping_it(service: Service) -> None:
    columns = "modality,body_part,laterality,contrast_agent,study_description,requested_procedure,series_descriptions,protocol_names,view_positions,manufacturer,expected"  # fmt: skip
    sample = f"{columns}\nCT,CHEST,,,胸部CT平扫,,,,,,CT07\nCT,HEAD,,,头颅CT平扫,,,,,,CT02\n"
    told = send(service, "/v1/admin/score", sample.encode()).json()
    assert (told["precision"], told["coverage"], told["misses"][0]["line"]) == (0.5, 0.5, 3)
