"""One table says who may call what: no route without roles, scope, audit rule and documented errors."""

import re
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from exchange.auth import ACCESS, PUBLIC, Rule, routes_of, scopes_of, unlisted_routes
from exchange.description import PROBLEM_JSON
from exchange.tokens import ROLES
from tests.exchange.conftest import Service

# RFC 6749 §5.2 has its own error answers, readiness says what is not ready, PS3.18 §10.5.3 what failed of each instance.
OWN_WORDS = {("/oauth2/token", "400"), ("/oauth2/token", "401"), ("/readyz", "503")}
OWN_WORDS |= {("/dicom-web/studies", "409"), ("/dicom-web/studies/{study}", "409")}
ROUTES = sorted({**ACCESS, **PUBLIC})


@pytest.fixture(scope="module")
def described(quiet: Service) -> dict[str, Any]:
    app: Any = quiet.client.app
    told: dict[str, Any] = app.openapi()
    return told


def test_every_route_of_the_service_has_a_rule_and_every_rule_a_route(quiet: Service) -> None:
    app: Any = quiet.client.app
    assert routes_of(app) == set(ACCESS) | set(PUBLIC)


def test_a_route_that_was_added_without_a_rule_keeps_the_service_from_starting() -> None:
    app, router = FastAPI(docs_url=None, redoc_url=None, openapi_url=None), APIRouter()
    app.get("/v1/forgotten")(lambda: None)
    router.get("/v1/forgotten-too")(lambda: None)
    app.include_router(router)
    app.mount("/forgotten-files", lambda: None)
    app.mount("/viewer", lambda: None)
    assert unlisted_routes(app) == {
        ("GET", "/v1/forgotten"),
        ("GET", "/v1/forgotten-too"),
        ("MOUNT", "/forgotten-files"),
    }


@pytest.mark.parametrize(("route", "rule"), sorted(ACCESS.items(), key=lambda entry: entry[0]))
def test_every_rule_names_roles_a_scope_and_what_is_audited(route: tuple[str, str], rule: Rule) -> None:
    assert rule.roles
    assert rule.roles <= set(ROLES)
    assert re.fullmatch(r"[a-z_]+\.[a-z]+", rule.scope), route
    assert rule.audit == "" or re.fullmatch(r"[a-z_]+(\.[a-z_]*)?", rule.audit), route


def test_what_names_people_is_never_without_an_audit_rule() -> None:
    silent = {path for (_, path), rule in ACCESS.items() if not rule.audit}
    lists = re.compile(
        r"/openapi.json$|/docs$|/v1/(items|reasons|session)$"
        r"|/v1/savings/(axes$|recounts/{recount_id}$)"  # names of hospitals and items; one's own recount
        r"|/v1/admin/(item-lists|hospitals|regions|prices|remap|running|score|qc|webhooks$)"
    )
    assert [path for path in sorted(silent) if not lists.match(path)] == []


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_documents_its_errors_as_what_is_really_answered(
    described: dict[str, Any], method: str, path: str
) -> None:
    operation = described["paths"][path][method.lower()]
    errors = {status: a for status, a in operation["responses"].items() if status >= "400"}
    assert errors
    if (method, path) in ACCESS:
        assert {"401", "403", "503"} <= set(errors)
        assert operation["security"][0]["bearer"] == [ACCESS[method, path].scope]
    if "{" in path or "requestBody" in operation:
        assert "422" in errors or "400" in errors
    kinds = {"/fhir": "application/fhir+json", "/look": "text/html"}
    kind = kinds.get(path[:5], PROBLEM_JSON)
    for status, answer in errors.items():
        if (path, status) not in OWN_WORDS:
            assert kind in answer["content"], (status, answer)


def test_a_token_for_other_scopes_is_refused_and_one_for_this_scope_is_not(quiet: Service) -> None:
    assert "lists.read" in scopes_of("doctor")
    for scope, status in (("checks.read", 403), ("", 403), ("lists.read checks.read", 200)):
        token = quiet.key.issue(
            subject="x", role="doctor", hospital="A", lifetime=quiet.hour, scopes=scope.split()
        )
        answer = quiet.call("GET", "/v1/reasons", role="", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == status, scope
        if status == 403:
            assert answer.json()["code"] == "scope_missing"
