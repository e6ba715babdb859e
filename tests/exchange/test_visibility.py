"""Somebody who opted out of sharing: no list says that anything of him exists, from his wish on until the next."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from catalog import studies
from catalog.db import transaction
from catalog.identity import mask_number
from catalog.tables import Study
from catalog.tables_quality import QualityTask
from exchange.auth import ACCESS
from tests.city import id_number, pack_of
from tests.exchange.conftest import Service
from tests.exchange.test_people_api import OTHER, curate, register, shown
from tests.reports import IMAGING, take

HIM = 6
WISH = {"id_type": "01", "id_number": id_number(HIM)}
SEEN_IN_LISTS = {
    "/v1/admin/studies",
    "/v1/admin/unmapped",
    "/v1/admin/reviews",
    "/v1/admin/conflicts",
    "/v1/admin/quality",
    "/v1/admin/reports",
}


def leave_traces(service: Service) -> dict[str, str]:
    """Let hospital A have of him what each list shows; returns, by list, the text that gives it away."""
    city = service.city
    words = {"StudyDescription": "某种检查", "BodyPartExamined": ""}
    seen = {
        "/v1/admin/studies": city.study("A", HIM),
        "/v1/admin/unmapped": city.study("A", HIM, **words),
        "/v1/admin/reviews": city.study("A", HIM, **words | {"StudyDescription": "另一种检查"}),
        "/v1/admin/conflicts": city.study("A", HIM),
        "/v1/admin/quality": city.study("A", HIM),
    }
    with transaction(city.catalogue.engine) as session:
        doubted = session.scalars(select(Study.id).where(Study.uid == seen["/v1/admin/quality"])).one()
        session.add(QualityTask(study_id=doubted, kind="flawed", evidence=["x"], due_at=city.now))
    header = replace(city.header, StudyInstanceUID=seen["/v1/admin/conflicts"], PatientID=f"A-{HIM}")
    other_bytes = studies.Contradiction(f"{header.StudyInstanceUID}.1", "0" * 64, None, "other_bytes")
    studies.register_conflicts(city.catalogue, pack_of("A", header, 99, city.now), [other_bytes])
    take(city, "A", IMAGING, number="R-HIS", PatientID=f"A-{HIM}", StudyInstanceUID="2.25.404")
    return seen | {"/v1/admin/reports": "R-HIS"}


def wish(service: Service, *, shared: bool) -> None:
    body = {**WISH, "shared": shared}
    answer = service.call("POST", "/v1/patients/sharing", role="curator", json=body)
    assert (answer.status_code, answer.json()) == (200, {"shared": shared})


DESCRIPTIONS = ("/openapi.json", "/docs")  # their examples use such words


def lists_with(service: Service, seen: dict[str, str]) -> set[str]:
    """Return every address without a parameter that any role may read and that says one of these texts."""
    told = set()
    for (method, path), rule in ACCESS.items():
        if method == "GET" and "{" not in path and path not in DESCRIPTIONS:
            for role in rule.roles:
                answer = service.call(method, path, role=role, hospital="B")
                if any(text in answer.text for text in seen.values()):
                    told.add(path)
    return told


def test_no_list_of_any_role_shows_anything_of_him_from_his_wish_until_the_next(service: Service) -> None:
    seen = leave_traces(service)
    assert lists_with(service, seen) == SEEN_IN_LISTS
    wish(service, shared=False)
    assert lists_with(service, seen) == set()
    assert shown(service, WISH, "out") == []
    wish(service, shared=True)
    assert lists_with(service, seen) == SEEN_IN_LISTS


def test_what_comes_after_his_wish_is_not_listed_either(service: Service) -> None:
    wish(service, shared=False)
    assert lists_with(service, leave_traces(service)) == set()


def test_a_task_on_his_images_is_none_that_a_curator_could_decide(service: Service) -> None:
    leave_traces(service)
    (task,) = service.call("GET", "/v1/admin/quality", role="curator").json()["tasks"]
    wish(service, shared=False)
    path = f"/v1/admin/quality/{task['task_id']}/confirm"
    assert service.call("POST", path, role="curator", json={}).status_code == 404


def queue(service: Service) -> Any:
    return service.call("GET", "/v1/admin/people/queue", role="curator").json()


def test_a_curator_rules_on_him_only_where_somebody_who_shares_may_be_meant(service: Service) -> None:
    service.city.study("A", None, PatientID="X1")
    register(service, "X1", WISH)
    register(service, "X1", OTHER)
    wish(service, shared=False)
    assert len(queue(service)["numbers"]) == len(queue(service)["studies"]) == 2
    assert service.call("GET", "/v1/admin/studies", role="curator").text.count("X1") == 0
    body = {**OTHER, "shared": False}
    service.call("POST", "/v1/patients/sharing", role="curator", json=body)
    assert queue(service) == {"numbers": [], "studies": [], "reports": []}


def test_whoever_is_merged_with_him_is_hidden_with_him_though_he_himself_never_wished_it(
    service: Service,
) -> None:
    uid = service.city.study("A", 4)
    service.city.study("A", HIM)
    wish(service, shared=False)
    body = {"id_type": "01", "id_number": id_number(4)}
    one = curate(service, "show", patient=body).json()
    him = curate(service, "show", patient=WISH).json()
    assert (len(one["studies"]), him["studies"]) == (1, [])
    merged = {"person_id": one["person_id"], "into_person_id": him["person_id"], "reason": "已核对"}
    event = curate(service, "merge", **merged).json()["event_id"]
    assert uid not in service.call("GET", "/v1/admin/studies", role="curator").text
    assert curate(service, "show", patient=body).json()["studies"] == []
    curate(service, "undo", event_id=event, reason="核对有误")
    assert uid in service.call("GET", "/v1/admin/studies", role="curator").text


@pytest.mark.parametrize("role", ["curator", "operator"])
def test_a_patient_number_that_is_a_document_is_listed_masked(service: Service, role: str) -> None:
    service.city.study("A", None, PatientID=id_number(HIM))
    answer = service.call("GET", "/v1/admin/studies", role=role)
    assert id_number(HIM) not in answer.text
    assert mask_number(id_number(HIM)) in answer.text
