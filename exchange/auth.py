"""Who may call what: one table; a route that is not in it cannot be called."""

from typing import Annotated, Final

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute, iter_route_contexts

from catalog.context import Caller
from catalog.errors import NotAllowed
from exchange.problems import Unauthenticated
from exchange.tokens import ROLES, TokenKey

_EVERY_ROLE: Final = frozenset(ROLES)
_CARE: Final = frozenset({"doctor", "hospital_system"})
_CURATION: Final = frozenset({"curator", "operator"})
_CURATOR: Final = frozenset({"curator"})

ACCESS: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("POST", "/v1/checks"): _CARE,
    ("GET", "/v1/checks/{check_id}"): _CARE,
    ("POST", "/v1/checks/{check_id}/decisions"): _CARE,
    ("POST", "/v1/patients"): frozenset({"hospital_system"}),
    ("POST", "/v1/patients/sharing"): frozenset({"hospital_system", "curator"}),
    ("GET", "/v1/notices"): _CARE,
    ("POST", "/v1/notices/{notice_id}/read"): _CARE,
    ("POST", "/v1/studies/withdraw"): frozenset({"hospital_system"}),
    ("POST", "/v1/studies/restore"): frozenset({"hospital_system"}),
    ("GET", "/v1/reports/{report_id}"): _CARE,
    ("GET", "/v1/reports/{report_id}/attachments/{attachment_id}"): _CARE,
    ("POST", "/fhir"): frozenset({"hospital_system"}),
    ("POST", "/fhir/DiagnosticReport"): frozenset({"hospital_system"}),
    ("GET", "/fhir/DiagnosticReport/{report_id}"): _CARE,
    ("GET", "/openapi.json"): frozenset({"operator"}),
    ("GET", "/v1/items"): _EVERY_ROLE,
    ("GET", "/v1/reasons"): _EVERY_ROLE,
    ("GET", "/v1/savings"): frozenset({"regulator", "auditor"}),
    ("POST", "/v1/savings/verify"): frozenset({"regulator", "auditor"}),
    ("GET", "/v1/admin/studies"): _CURATION,
    ("GET", "/v1/admin/unmapped"): _CURATION,
    ("GET", "/v1/admin/conflicts"): _CURATION,
    ("GET", "/v1/admin/reports"): _CURATION,
    ("GET", "/v1/admin/hospitals/{code}/laboratory-codes"): _CURATION,
    ("POST", "/v1/admin/hospitals/{code}/laboratory-codes/remap"): _CURATION,
    ("GET", "/v1/admin/people/queue"): _CURATOR,
    ("POST", "/v1/admin/people/show"): _CURATOR,
    ("POST", "/v1/admin/people/register"): _CURATOR,
    ("POST", "/v1/admin/people/merge"): _CURATOR,
    ("POST", "/v1/admin/people/accept"): _CURATOR,
    ("POST", "/v1/admin/people/reject"): _CURATOR,
    ("POST", "/v1/admin/people/undo"): _CURATOR,
    ("GET", "/v1/admin/erasures"): _CURATION,
    ("POST", "/v1/admin/erasures"): _CURATION,
    ("POST", "/v1/admin/erasures/plan"): _CURATION,
    ("POST", "/v1/admin/hospitals/{code}/studies/withdraw"): _CURATOR,
    ("POST", "/v1/admin/hospitals/{code}/studies/restore"): _CURATOR,
    ("GET", "/v1/admin/item-lists"): _CURATION,
    ("POST", "/v1/admin/item-lists"): _CURATION,
    ("GET", "/v1/admin/item-lists/{version}"): _CURATION,
    ("GET", "/v1/admin/item-lists/{version}/diff"): _CURATION,
    ("GET", "/v1/admin/hospitals/{code}/local-codes"): _CURATION,
    ("POST", "/v1/admin/hospitals/{code}/local-codes"): _CURATION,
    ("POST", "/v1/admin/remap"): _CURATION,
    ("POST", "/v1/admin/score"): _CURATION,
    ("GET", "/v1/admin/reviews"): _CURATION,
    ("POST", "/v1/admin/reviews/{task_id}/mapping"): _CURATION,
    ("GET", "/v1/admin/quality"): _CURATION,
    ("POST", "/v1/admin/quality/{task_id}/confirm"): _CURATOR,
    ("POST", "/v1/admin/quality/{task_id}/dismiss"): _CURATOR,
    ("POST", "/v1/admin/quality/{task_id}/reopen"): _CURATOR,
    ("GET", "/v1/admin/qc"): _CURATION | {"regulator"},
    ("POST", "/v1/admin/qc"): _CURATOR,
    ("GET", "/v1/admin/qc/expiring"): _CURATION | {"regulator"},
    ("POST", "/v1/admin/qc/import"): _CURATOR,
    ("POST", "/v1/admin/qc/consortia"): _CURATOR,
    ("POST", "/v1/admin/qc/{evaluation_id}/end"): _CURATOR,
}
PUBLIC: Final = frozenset({("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")})


def caller_of(request: Request) -> Caller:
    """Return who calls, if the token is good and the role may use this route.

    Raises Unauthenticated without a good token, NotAllowed for another role.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("missing")
    key: TokenKey = request.app.state.token_key
    caller = key.verify(token.strip())
    route = request.scope["route"]
    allowed = ACCESS.get((request.method, route.path), frozenset())
    if caller.role not in allowed:
        raise NotAllowed("该角色无权使用此接口", "This role may not use this route", code="role_not_allowed")
    return caller


CallerOf = Annotated[Caller, Depends(caller_of)]


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    """Return every route of a service as method and path."""
    return {
        (method, found.path)
        for found in iter_route_contexts(app.routes)  # an included router is one entry of `routes`
        if isinstance(found.route, APIRoute) and found.path is not None
        for method in found.methods or ()
    }


def unlisted_routes(app: FastAPI) -> set[tuple[str, str]]:
    """Return the routes that neither table knows: there must be none."""
    return routes_of(app) - set(ACCESS) - PUBLIC
