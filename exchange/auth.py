"""Who may call what, for what scope, and what is written about it: one table; a route not in it cannot be called."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount

from catalog.context import EVERY_SCOPE, Caller
from catalog.errors import NotAllowed
from exchange import cookies, image_links
from exchange.gate import Gate
from exchange.image_links import ImageLinks
from exchange.pace import Pace
from exchange.problems import Unauthenticated
from exchange.tokens import ROLES
from exchange.web.rooms import is_page


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may use a route, the OAuth2 scope it needs, the kind of audit event that tells of it, its own errors.

    `audit` begins the action of the event that every good answer has written, or is DISCLOSES_NOTHING. Of
    images it is the first answer of a viewing that has it written (catalog.image_views), and the first of an hour
    that stores into a study (exchange.store_audit).
    `errors` are statuses beside those that any route like it can answer (exchange.description).
    """

    roles: frozenset[str]
    scope: str
    audit: str
    errors: tuple[int, ...] = ()


DISCLOSES_NOTHING: Final = ""
_EVERY_ROLE: Final = frozenset(ROLES)
_CARE: Final = frozenset({"doctor", "hospital_system"})
_SYSTEM: Final = frozenset({"hospital_system"})
_CURATION: Final = frozenset({"curator", "operator"})
_CURATOR: Final = frozenset({"curator"})
_FIGURES: Final = frozenset({"regulator", "auditor"})
_REGULATOR: Final = frozenset({"regulator"})
_DOCTOR: Final = frozenset({"doctor"})
_REVIEWER: Final = frozenset({"auditor"})  # one who belongs to a hospital is its privacy reviewer
_AUDITOR: Final = frozenset({"auditor"})
_OPERATOR: Final = frozenset({"operator"})
_NONE: Final = DISCLOSES_NOTHING
_IMAGES: Final = "images.read"
_STORE: Final = "images.write"
_STORED: Final = (
    404,
    406,
    408,
    409,
    415,
    501,
)  # nothing disclosed: what came stands in the pack, as by C-STORE
_READ: Final = (404, 406, 502)  # of a chart by FHIR
_SEARCHED: Final = (400, 404, 406, 410, 502)

ACCESS: Final[dict[tuple[str, str], Rule]] = {
    ("POST", "/v1/checks"): Rule(_CARE, "checks.write", "check", (404,)),
    ("GET", "/v1/checks"): Rule(_CARE, "checks.read", "check.list", (404,)),
    ("GET", "/v1/checks/{check_id}"): Rule(_CARE, "checks.read", "check.read", (404,)),
    ("POST", "/v1/checks/{check_id}/decisions"): Rule(_CARE, "checks.write", "decision.", (404, 409, 410)),
    ("GET", "/v1/checks/{check_id}/orders/{position}/sheet"): Rule(
        _CARE, "checks.read", "check.sheet", (404,)
    ),
    ("GET", "/v1/checks/{check_id}/orders/{position}/record-text"): Rule(
        _CARE, "checks.read", "check.", (404,)
    ),
    ("POST", "/v1/results/search"): Rule(_CARE, "results.read", "results.search", (404,)),
    ("GET", "/v1/admin/webhooks"): Rule(_OPERATOR, "webhooks.write", _NONE),
    ("POST", "/v1/admin/webhooks"): Rule(_OPERATOR, "webhooks.write", "webhook.add", (404, 409)),
    ("POST", "/v1/admin/webhooks/{webhook_id}/remove"): Rule(
        _OPERATOR, "webhooks.write", "webhook.remove", (404, 409)
    ),
    ("POST", "/v1/admin/webhooks/{webhook_id}/retry"): Rule(
        _OPERATOR, "webhooks.write", "webhook.retry", (404, 409)
    ),
    ("POST", "/v1/patients"): Rule(_SYSTEM, "patients.write", "patient.register", (404, 409)),
    ("POST", "/v1/patients/sharing"): Rule(_SYSTEM | _CURATOR, "patients.write", "sharing.", (404, 409)),
    ("GET", "/v1/notices"): Rule(_CARE | _REVIEWER, "notices.read", "notices.list", (404,)),
    ("POST", "/v1/notices/{notice_id}/read"): Rule(
        _CARE | _REVIEWER, "notices.write", "notices.read", (404,)
    ),
    ("POST", "/v1/break-glass"): Rule(_DOCTOR, "break_glass.write", "break_glass.open", (404,)),
    ("POST", "/v1/break-glass/{grant_id}/end"): Rule(_DOCTOR, "break_glass.write", "break_glass.end", (404,)),
    ("GET", "/v1/admin/break-glass"): Rule(_REVIEWER, "break_glass.review", "break_glass.list"),
    ("POST", "/v1/admin/break-glass/{grant_id}/review"): Rule(
        _REVIEWER, "break_glass.review", "break_glass.review", (404, 409)
    ),
    ("POST", "/v1/studies/withdraw"): Rule(_SYSTEM, "studies.write", "study.withdraw", (404, 409)),
    ("POST", "/v1/studies/restore"): Rule(_SYSTEM, "studies.write", "study.restore", (404, 409)),
    ("GET", "/v1/reports/{report_id}"): Rule(_CARE, "reports.read", "report.read", (404,)),
    ("GET", "/v1/reports/{report_id}/attachments/{attachment_id}"): Rule(
        _CARE, "reports.read", "report.attachment", (404, 502)
    ),
    ("POST", "/fhir"): Rule(_SYSTEM, "reports.write", "report.receive", (404, 409)),
    ("POST", "/fhir/DiagnosticReport"): Rule(
        _SYSTEM, "reports.write", "report.receive", (404, 409, 412, 502)
    ),
    ("GET", "/fhir/DiagnosticReport"): Rule(_CARE, "reports.read", "report.search", _SEARCHED),
    ("POST", "/fhir/DiagnosticReport/_search"): Rule(_CARE, "reports.read", "report.search", _SEARCHED),
    ("GET", "/fhir/DiagnosticReport/{report_id}"): Rule(_CARE, "reports.read", "report.read", (404, 406)),
    ("GET", "/fhir/Patient"): Rule(_CARE, "results.read", "patient.search", _SEARCHED),
    ("POST", "/fhir/Patient/_search"): Rule(_CARE, "results.read", "patient.search", _SEARCHED),
    ("POST", "/fhir/Patient/$match"): Rule(_CARE, "results.read", "patient.match", (404, 406, 502)),
    ("GET", "/fhir/Patient/{resource_id}"): Rule(_CARE, "results.read", "patient.read", _READ),
    ("GET", "/fhir/ImagingStudy"): Rule(_CARE, "results.read", "imaging_study.search", _SEARCHED),
    ("POST", "/fhir/ImagingStudy/_search"): Rule(_CARE, "results.read", "imaging_study.search", _SEARCHED),
    ("GET", "/fhir/ImagingStudy/{resource_id}"): Rule(_CARE, "results.read", "imaging_study.read", _READ),
    ("GET", "/fhir/Observation"): Rule(_CARE, "results.read", "observation.search", _SEARCHED),
    ("POST", "/fhir/Observation/_search"): Rule(_CARE, "results.read", "observation.search", _SEARCHED),
    ("GET", "/fhir/Observation/{resource_id}"): Rule(_CARE, "results.read", "observation.read", _READ),
    **{
        ("GET", f"/dicom-web/studies{path}"): Rule(_CARE, _IMAGES, f"imaging_study.{verb}", (404, 406, 502))
        for path, verb in (
            ("", "search"),
            ("/{study}", "read"),
            ("/{study}/metadata", "read"),
            ("/{study}/series", "read"),
            ("/{study}/instances", "read"),
            ("/{study}/series/{series}", "read"),
            ("/{study}/series/{series}/metadata", "read"),
            ("/{study}/series/{series}/instances", "read"),
            ("/{study}/series/{series}/instances/{instance}", "read"),
            ("/{study}/series/{series}/instances/{instance}/metadata", "read"),
            ("/{study}/series/{series}/instances/{instance}/frames/{frames}", "read"),
            ("/{study}/series/{series}/instances/{instance}/bulkdata/{path}", "read"),
            ("/{study}/series/{series}/instances/{instance}/rendered", "read"),
            ("/{study}/series/{series}/instances/{instance}/frames/{frame}/rendered", "read"),
            ("/{study}/rendered", "read"),
            ("/{study}/series/{series}/rendered", "read"),
            ("/{study}/thumbnail", "read"),
            ("/{study}/series/{series}/thumbnail", "read"),
            ("/{study}/series/{series}/instances/{instance}/thumbnail", "read"),
            ("/{study}/series/{series}/instances/{instance}/frames/{frame}/thumbnail", "read"),
        )
    },
    **{
        ("GET", path): Rule(_CARE, _IMAGES, "imaging_study.search", (404, 406, 502))
        for path in ("/dicom-web/series", "/dicom-web/instances")
    },
    ("GET", "/look/studies/{study}"): Rule(_CARE, _IMAGES, "imaging_study.read", (404, 502)),
    ("GET", "/dicom-web/wado"): Rule(_CARE, _IMAGES, "imaging_study.read", (404, 406, 502)),
    ("POST", "/v1/image-grants"): Rule(_CARE, _IMAGES, "image_grant.add", (404,)),
    ("POST", "/v1/image-grants/{grant_id}/end"): Rule(_CARE, _IMAGES, "image_grant.end", (404,)),
    **{
        ("POST", path): Rule(_SYSTEM, _STORE, "imaging_study.store", _STORED)
        for path in ("/dicom-web/studies", "/dicom-web/studies/{study}")
    },
    ("GET", "/fhir/AuditEvent"): Rule(_AUDITOR, "audit.read", "audit.", (400,)),
    ("POST", "/fhir/AuditEvent/_search"): Rule(_AUDITOR, "audit.read", "audit."),
    ("GET", "/fhir/AuditEvent/{record_id}"): Rule(_AUDITOR, "audit.read", "audit.", (404,)),
    ("GET", "/v1/session"): Rule(_EVERY_ROLE, "session.own", _NONE),
    ("DELETE", "/v1/session"): Rule(_EVERY_ROLE, "session.own", "session.sign_out"),
    ("POST", "/v1/session/others/end"): Rule(_EVERY_ROLE, "session.own", "session.end"),
    ("GET", "/v1/session/launch"): Rule(_DOCTOR, "session.own", "launch.read", (404, 502)),
    ("DELETE", "/v1/session/launch"): Rule(_DOCTOR, "session.own", "launch.end", (404,)),
    ("POST", "/v1/launches"): Rule(_SYSTEM, "launches.write", "launch.add", (404,)),
    ("POST", "/v1/session/password"): Rule(_EVERY_ROLE, "session.own", "account.password", (429,)),
    ("POST", "/v1/session/totp"): Rule(_EVERY_ROLE, "session.own", "account.totp_begin", (409,)),
    ("POST", "/v1/session/totp/confirm"): Rule(_EVERY_ROLE, "session.own", "account.totp", (409, 429)),
    ("GET", "/openapi.json"): Rule(_OPERATOR, "interface.read", _NONE),
    ("GET", "/docs"): Rule(_OPERATOR, "interface.read", _NONE),
    ("GET", "/v1/items"): Rule(_EVERY_ROLE, "lists.read", _NONE, (404,)),
    ("GET", "/v1/reasons"): Rule(_EVERY_ROLE, "lists.read", _NONE),
    ("GET", "/v1/savings"): Rule(_FIGURES, "savings.read", "savings.read"),
    ("GET", "/v1/savings/axes"): Rule(_FIGURES, "savings.read", _NONE),
    ("GET", "/v1/savings/entries"): Rule(_FIGURES, "savings.read", "savings.list"),
    ("GET", "/v1/savings/entries/{entry_id}"): Rule(_FIGURES, "savings.read", "savings.show", (404,)),
    ("GET", "/v1/savings/repeats"): Rule(_FIGURES, "savings.read", "repeats.read"),
    ("GET", "/v1/savings/repeats/entries"): Rule(_FIGURES, "savings.read", "repeats.list"),
    ("GET", "/v1/savings/reasons"): Rule(_FIGURES, "savings.read", "refusals.read"),
    ("GET", "/v1/savings/supply"): Rule(_FIGURES | _OPERATOR, "savings.read", "supply.read"),
    ("GET", "/v1/savings/forms"): Rule(_FIGURES, "savings.read", "savings.list"),
    ("GET", "/v1/savings/forms/{form_name}"): Rule(_FIGURES, "savings.read", "savings.read", (404,)),
    ("POST", "/v1/savings/verify"): Rule(_FIGURES, "savings.read", "savings.verify"),
    # what it found is told by its own record, which is written where it ends (exchange.recount_desk)
    ("POST", "/v1/savings/recounts"): Rule(_FIGURES, "savings.read", "savings.recount"),
    ("GET", "/v1/savings/recounts/{recount_id}"): Rule(_FIGURES, "savings.read", _NONE, (404,)),
    ("GET", "/v1/savings/recounts/{recount_id}/statement"): Rule(
        _FIGURES, "savings.read", "savings.export", (404, 409)
    ),
    ("GET", "/v1/savings/questions"): Rule(_FIGURES, "savings.read", "savings.questions"),
    ("POST", "/v1/investigations"): Rule(_REGULATOR, "investigations.write", "investigation.open", (404,)),
    ("GET", "/v1/investigations"): Rule(_FIGURES, "investigations.read", "investigation.list"),
    ("POST", "/v1/investigations/{investigation_id}/close"): Rule(
        _REGULATOR, "investigations.write", "investigation.close", (404,)
    ),
    ("POST", "/v1/investigations/{investigation_id}/review"): Rule(
        _AUDITOR, "investigations.review", "investigation.review", (404, 409)
    ),
    ("GET", "/v1/investigations/{investigation_id}/entries/{entry_id}"): Rule(
        _REGULATOR, "investigations.read", "investigation.show", (404,)
    ),
    ("GET", "/v1/admin/studies"): Rule(_CURATION, "curation.read", "studies.list"),
    ("GET", "/v1/admin/unmapped"): Rule(_CURATION, "curation.read", "unmapped.list"),
    ("GET", "/v1/admin/queues"): Rule(_CURATION, "curation.read", "queues.list"),
    ("GET", "/v1/admin/withdrawn"): Rule(_CURATION, "curation.read", "withdrawn.list"),
    ("GET", "/v1/admin/conflicts"): Rule(_CURATION, "curation.read", "conflicts.list"),
    ("POST", "/v1/admin/conflicts/{conflict_id}/settle"): Rule(
        _CURATOR, "curation.write", "conflict.resolved", (404, 409)
    ),
    ("POST", "/v1/admin/conflicts/{conflict_id}/reopen"): Rule(
        _CURATOR, "curation.write", "conflict.reopen", (404, 409)
    ),
    ("GET", "/v1/admin/regions"): Rule(_CURATION, "hospitals.read", _NONE),
    ("GET", "/v1/admin/hospitals"): Rule(_CURATION, "hospitals.read", _NONE),
    ("GET", "/v1/admin/hospitals/{code}"): Rule(_CURATION, "hospitals.read", _NONE, (404,)),
    ("POST", "/v1/admin/hospitals"): Rule(_CURATOR, "hospitals.write", "hospital.add", (404, 409)),
    ("POST", "/v1/admin/hospitals/{code}"): Rule(_CURATOR, "hospitals.write", "hospital.change", (404,)),
    **{
        ("POST", f"/v1/admin/hospitals/{{code}}/{act}"): Rule(
            _CURATOR, "hospitals.write", audited, (404, 409)
        )
        for act, audited in (
            ("deactivate", "hospital.disable"),
            ("activate", "hospital.enable"),
            ("peers", "peer.add"),
            ("peers/remove", "peer.remove"),
            ("peers/restore", "peer.restore"),
            ("peers/certificates", "peer.certificates"),
        )
    },
    ("GET", "/v1/admin/prices"): Rule(_CURATION, "prices.read", _NONE),
    ("GET", "/v1/admin/prices/gaps"): Rule(_CURATION, "prices.read", _NONE),
    ("POST", "/v1/admin/prices/import"): Rule(_CURATOR, "prices.write", "prices.import"),
    ("GET", "/v1/admin/reports"): Rule(_CURATION, "curation.read", "reports.list"),
    ("GET", "/v1/admin/hospitals/{code}/laboratory-codes"): Rule(_CURATION, "lists.curate", _NONE, (404,)),
    ("POST", "/v1/admin/hospitals/{code}/laboratory-codes/remap"): Rule(
        _CURATION, "lists.curate", "laboratory.remap", (404,)
    ),
    ("GET", "/v1/admin/people/queue"): Rule(_CURATOR, "people.curate", "people.queue"),
    ("GET", "/v1/admin/people/history"): Rule(_CURATOR, "people.curate", "people.list"),
    ("POST", "/v1/admin/people/show"): Rule(_CURATOR, "people.curate", "people.show", (404,)),
    ("POST", "/v1/admin/people/register"): Rule(_CURATOR, "people.curate", "patient.register", (404, 409)),
    ("POST", "/v1/admin/people/merge"): Rule(_CURATOR, "people.curate", "people.merge", (404, 409)),
    ("POST", "/v1/admin/people/accept"): Rule(_CURATOR, "people.curate", "people.accept", (404, 409)),
    ("POST", "/v1/admin/people/reject"): Rule(_CURATOR, "people.curate", "people.reject", (404, 409)),
    ("POST", "/v1/admin/people/undo"): Rule(_CURATOR, "people.curate", "people.undo", (404, 409)),
    ("GET", "/v1/admin/erasures"): Rule(_CURATION, "erasures.read", "erasures.list"),
    ("POST", "/v1/admin/erasures"): Rule(_CURATION, "erasures.write", "erasure", (404, 409)),
    ("POST", "/v1/admin/erasures/plan"): Rule(_CURATION, "erasures.write", "erasure.plan", (404,)),
    ("POST", "/v1/admin/hospitals/{code}/studies/withdraw"): Rule(
        _CURATOR, "studies.write", "study.withdraw", (404, 409)
    ),
    ("POST", "/v1/admin/hospitals/{code}/studies/restore"): Rule(
        _CURATOR, "studies.write", "study.restore", (404, 409)
    ),
    ("GET", "/v1/admin/item-lists"): Rule(_CURATION, "lists.curate", _NONE),
    ("POST", "/v1/admin/item-lists"): Rule(_CURATION, "lists.curate", "items.import", (404, 409)),
    ("GET", "/v1/admin/item-lists/{version}"): Rule(_CURATION, "lists.curate", _NONE, (404,)),
    ("GET", "/v1/admin/item-lists/{version}/diff"): Rule(_CURATION, "lists.curate", _NONE, (404,)),
    ("GET", "/v1/admin/hospitals/{code}/local-codes"): Rule(_CURATION, "lists.curate", _NONE, (404,)),
    ("POST", "/v1/admin/hospitals/{code}/local-codes"): Rule(
        _CURATION, "lists.curate", "local_codes.import", (404, 409)
    ),
    ("GET", "/v1/admin/remap"): Rule(_CURATION, "lists.curate", _NONE),
    ("POST", "/v1/admin/remap"): Rule(_CURATION, "lists.curate", "items.remap", (409,)),
    ("POST", "/v1/admin/score"): Rule(_CURATION, "lists.curate", _NONE),
    ("GET", "/v1/admin/reviews"): Rule(_CURATION, "curation.read", "reviews.list"),
    ("GET", "/v1/admin/reviews/history"): Rule(_CURATION, "curation.read", "reviews.list"),
    ("GET", "/v1/admin/reviews/{task_id}"): Rule(_CURATION, "curation.read", "reviews.list", (404,)),
    ("POST", "/v1/admin/reviews/mapping"): Rule(_CURATION, "curation.write", "review.decide", (404, 409)),
    ("POST", "/v1/admin/reviews/{task_id}/local-code"): Rule(
        _CURATION, "curation.write", "review.decide", (404, 409)
    ),
    ("POST", "/v1/admin/reviews/{task_id}/reopen"): Rule(
        _CURATION, "curation.write", "review.reopen", (404, 409)
    ),
    ("POST", "/v1/admin/reviews/{task_id}/mapping"): Rule(
        _CURATION, "curation.write", "review.decide", (404, 409)
    ),
    ("GET", "/v1/admin/quality"): Rule(_CURATION, "curation.read", "quality.list"),
    ("POST", "/v1/admin/quality/{task_id}/confirm"): Rule(
        _CURATOR, "curation.write", "quality.confirmed", (404, 409)
    ),
    ("POST", "/v1/admin/quality/{task_id}/dismiss"): Rule(
        _CURATOR, "curation.write", "quality.dismissed", (404, 409)
    ),
    ("POST", "/v1/admin/quality/{task_id}/reopen"): Rule(
        _CURATOR, "curation.write", "quality.reopen", (404, 409)
    ),
    ("GET", "/v1/admin/qc"): Rule(_CURATION | {"regulator"}, "qc.read", _NONE, (404,)),
    ("POST", "/v1/admin/qc"): Rule(_CURATOR, "qc.write", "qc.add", (404, 409)),
    ("GET", "/v1/admin/qc/expiring"): Rule(_CURATION | {"regulator"}, "qc.read", _NONE),
    ("POST", "/v1/admin/qc/import"): Rule(_CURATOR, "qc.write", "qc.import", (404, 409)),
    ("POST", "/v1/admin/qc/consortia"): Rule(_CURATOR, "qc.write", "qc.consortium", (404, 409)),
    ("POST", "/v1/admin/qc/{evaluation_id}/end"): Rule(_CURATOR, "qc.write", "qc.end", (404, 409)),
    ("GET", "/v1/admin/running"): Rule(_OPERATOR, "running.read", _NONE),
    ("GET", "/v1/admin/running/hospitals"): Rule(_OPERATOR, "running.read", _NONE),
    ("GET", "/v1/admin/running/refusals"): Rule(_OPERATOR, "running.read", _NONE),
    ("GET", "/v1/admin/accounts"): Rule(_OPERATOR, "accounts.write", "accounts.list"),
    ("POST", "/v1/admin/accounts"): Rule(_OPERATOR, "accounts.write", "account.add", (404, 409)),
    ("GET", "/v1/admin/accounts/{name}"): Rule(_OPERATOR, "accounts.write", "accounts.show", (404,)),
    ("POST", "/v1/admin/accounts/{name}/reset"): Rule(
        _OPERATOR, "accounts.write", "account.reset", (404, 409)
    ),
    ("POST", "/v1/admin/accounts/{name}/disable"): Rule(
        _OPERATOR, "accounts.write", "account.disable", (404, 409)
    ),
    ("POST", "/v1/admin/accounts/{name}/unlock"): Rule(_OPERATOR, "accounts.write", "account.unlock", (404,)),
    ("POST", "/v1/admin/accounts/{name}/role"): Rule(_OPERATOR, "accounts.write", "account.role", (404, 409)),
    ("POST", "/v1/admin/accounts/{name}/sign-out"): Rule(
        _OPERATOR, "accounts.write", "account.sign_out", (404,)
    ),
    ("GET", "/v1/admin/clients"): Rule(_OPERATOR, "clients.write", "clients.list"),
    ("POST", "/v1/admin/clients"): Rule(_OPERATOR, "clients.write", "client.add", (404, 409)),
    ("POST", "/v1/admin/clients/{client_id}/keys"): Rule(_OPERATOR, "clients.write", "client.rotate", (404,)),
    ("POST", "/v1/admin/clients/{client_id}/disable"): Rule(
        _OPERATOR, "clients.write", "client.disable", (404,)
    ),
    ("POST", "/v1/admin/clients/{client_id}/enable"): Rule(
        _OPERATOR, "clients.write", "client.enable", (404,)
    ),
}
PUBLIC: Final[dict[tuple[str, str], Rule]] = {
    ("GET", "/healthz"): Rule(frozenset(), "", _NONE),
    ("GET", "/readyz"): Rule(frozenset(), "", _NONE, (503,)),
    ("GET", "/metrics"): Rule(frozenset(), "", _NONE),
    # CDS clients come with tokens of their own (exchange.cds_tokens); each check is audited as one
    ("GET", "/fhir/metadata"): Rule(frozenset(), "", _NONE, (406,)),
    ("GET", "/cds-services"): Rule(frozenset(), "", _NONE),
    ("POST", "/cds-services/{service_id}"): Rule(frozenset(), "", _NONE, (400, 401, 404, 412, 429)),
    ("POST", "/cds-services/{service_id}/feedback"): Rule(frozenset(), "", _NONE, (400, 401, 404, 429)),
    ("POST", "/v1/session"): Rule(frozenset(), "", "session.sign_in", (403, 429, 503)),
    ("POST", "/v1/session/first"): Rule(frozenset(), "", "session.first", (403, 429, 503)),
    ("POST", "/oauth2/token"): Rule(frozenset(), "", "token.issue", (400, 401, 503)),
    ("GET", "/v1/public/items"): Rule(frozenset(), "", _NONE, (503,)),
    ("GET", "/v1/public/institutions"): Rule(frozenset(), "", _NONE, (503,)),
    ("GET", "/static/{digest}/{name}"): Rule(frozenset(), "", _NONE, (404,)),
    ("GET", "/.well-known/jwks.json"): Rule(frozenset(), "", _NONE),
    ("GET", "/.well-known/oauth-authorization-server"): Rule(frozenset(), "", _NONE),
    ("GET", "/.well-known/smart-configuration"): Rule(frozenset(), "", _NONE),
}
# the viewer's own files: they are the same for everybody, and what they show they fetch from /dicom-web
PUBLIC_FILES: Final = frozenset({"/viewer"})


def scopes_of(role: str) -> frozenset[str]:
    """Return the scopes of the routes that a role may use."""
    return frozenset(rule.scope for rule in ACCESS.values() if role in rule.roles)


async def caller_of(request: Request) -> Caller:
    """Return who calls, if token or session is good and role and scopes are those of this route.

    Whoever comes by a link to images (exchange.image_links) is its maker, as long as it holds. Raises Unauthenticated
    without any of them, NotAllowed for another role or scope, or without the CSRF token.
    """
    if (secret := image_links.secret_of(request)) is not None:
        links: ImageLinks = request.app.state.image_links
        return _admitted(request, (await links.held(secret)).caller)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not scheme and (cookie := cookies.given(request)):
        found = await run_in_threadpool(cookies.signed_in, request, cookie)
        return _admitted(request, found.caller)
    if scheme.lower() != "bearer" or not (token := token.strip()):
        raise Unauthenticated("missing")
    gate: Gate = request.app.state.gate
    caller = gate.remembered(token)
    if caller is None:
        caller = await run_in_threadpool(gate.verify, token)
    return _admitted(request, caller)


CallerOf = Annotated[Caller, Depends(caller_of)]


def _admitted(request: Request, caller: Caller) -> Caller:
    """Return the caller, if he may use this route and not too often. Raises NotAllowed, TooMany."""
    rule = _required(caller, ACCESS.get((request.method, request.scope["route"].path)))
    pace: Pace = request.app.state.pace
    pace.take(caller, images=rule.scope in (_IMAGES, _STORE))
    return caller


def _required(caller: Caller, rule: Rule | None) -> Rule:
    if rule is None or caller.role not in rule.roles:
        raise NotAllowed("该角色无权使用此接口", "This role may not use this route", code="role_not_allowed")
    if rule.scope not in caller.scopes and EVERY_SCOPE not in caller.scopes:
        raise NotAllowed(
            f"令牌缺少授权范围 {rule.scope}", f"The token lacks the scope {rule.scope}", code="scope_missing"
        )
    return rule


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    """Return every route of a service as method and path, all but those of pages (exchange.web.rooms)."""
    return {each for each in _every_route(app) if not is_page(each[1])}


def pages_of(app: FastAPI) -> set[tuple[str, str]]:
    """Return every page of a service as method and path."""
    return {each for each in _every_route(app) if is_page(each[1])}


def _every_route(app: FastAPI) -> set[tuple[str, str]]:
    return {
        (method, found.path)
        for found in iter_route_contexts(app.routes)  # an included router is one entry of `routes`
        if isinstance(found.route, APIRoute) and found.path is not None
        for method in found.methods or ()
    }


def unlisted_routes(app: FastAPI) -> set[tuple[str, str]]:
    """Return the routes and the mounted files that no table knows: there must be none."""
    mounted = {("MOUNT", each.path) for each in app.routes if isinstance(each, Mount)}
    files = {("MOUNT", path) for path in PUBLIC_FILES}
    return (routes_of(app) | mounted) - set(ACCESS) - set(PUBLIC) - files
