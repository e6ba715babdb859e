"""Where each route stands in the access matrix: which object it names, and what it answers whom it lets in.

Roles and scopes are not told here: they are those of `exchange.auth.ACCESS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from exchange import fhir_examples
from exchange.auth import ACCESS
from tests.exchange.signers import Signer
from tests.faults.matrix_site import (
    COLLEAGUE,
    CROSSED,
    CT07,
    FOREIGN,
    HIDDEN,
    MALFORMED,
    NONE,
    OWN,
    UNKNOWN,
    Kind,
    Names,
)

Route = tuple[str, str]
_USUAL: Final[Mapping[Kind, int]] = {
    NONE: 200,
    OWN: 200,
    FOREIGN: 404,
    HIDDEN: 404,
    COLLEAGUE: 404,
    CROSSED: 404,
    UNKNOWN: 404,
    MALFORMED: 422,
}
_ALIKE: Final = {HIDDEN: 200, UNKNOWN: 200}  # a known person, a hidden and an unknown one look the same


@dataclass(frozen=True)
class Place:
    """A route's object, its request, and the statuses that are not the usual ones, for some roles of their own."""

    thing: str = NONE
    statuses: Mapping[Kind, int] = field(default_factory=dict)
    body: Callable[[Names], Any] | None = None
    query: str = ""
    form: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    of_roles: Mapping[str, Mapping[Kind, int]] = field(default_factory=dict)

    def status(self, role: str, kind: Kind) -> int:
        """Return what it answers a caller of this role who may use the route."""
        return {**_USUAL, **self.statuses, **self.of_roles.get(role, {})}[kind]


def _made(*kinds: Kind, status: int = 201) -> dict[Kind, int]:
    return dict.fromkeys(kinds, status)


def _bundle(names: Names) -> Any:
    told = fhir_examples.BUNDLE["entry"]
    number = {"type": {"coding": [{"code": "NNCHN"}]}, "value": names["patient"]["id_number"]}
    record = {"type": {"coding": [{"code": "MR"}]}, "value": "P-9"}
    patient = {"resourceType": "Patient", "identifier": [record, number]}
    return {**fhir_examples.BUNDLE, "entry": [{**told[0], "resource": patient}, *told[1:]]}


def _report(names: Names) -> Any:
    study = {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{names['uid']}"}}
    return {**fhir_examples.REPORT, "imagingStudy": [study]}


def _turn(names: Names) -> Any:
    return {"StudyInstanceUID": names["uid"], "reason": "录入错误"}


def _with_reason(names: Names) -> Any:
    return {**names, "reason": "已核对"}


def _nothing(_names: Names) -> Any:
    return {}


_ASKING: Final = Place(
    "patient", _ALIKE, lambda names: {**names, "orders": [{"order_id": "m", "item_code": CT07}]}
)
_DECIDING: Final = Place(
    "decision",
    # the check stands, what it showed is not to be had any more; a result it did not show is none of its candidates
    {HIDDEN: 409, CROSSED: 422},
    lambda names: {"order_id": names["order_id"], "action": "recognise", "result_id": names["result_id"]},
    headers={"idempotency-key": "m"},
)
_EVALUATION: Final = {"item": CT07, "scope": "CY", "from": "2026-01-01", "to": "2026-12-31"}
_HOSPITAL: Final = {"name": "某医院", "tier": 2, "region": "500107"}
_KEYS: Final = Signer("EdDSA").jwks
_CSV: Final = {"content-type": "text/csv"}
_OF_THE_REVIEWER: Final = {"auditor": {OWN: 404}, "reviewer": {OWN: 404}}
# nobody's body is not even read
_HOOK: Final = Place(
    "service", {OWN: 401, MALFORMED: 404}, _nothing, of_roles={"": {UNKNOWN: 401, MALFORMED: 401}}
)
_NO_SESSION: Final = Place(NONE, {NONE: 403})  # a bearer token is no session


_NUMBER: Final = "urn:huren:id-type:01|{patient[id_number]}"
_FOUND_BY_NUMBER: Final = Place("patient", _ALIKE, form=f"patient:identifier={_NUMBER}")


def _found(thing: str, parameter: str) -> Place:
    """A search: whoever may not be seen is as nobody, and nobody's chart is empty."""
    seen = {FOREIGN: 200, HIDDEN: 200, UNKNOWN: 200, MALFORMED: 200}
    return Place(thing, seen, query=f"{parameter}={{resource_id}}")


def _match(names: Names) -> Any:
    number = {"system": "urn:huren:id-type:01", "value": names["patient"]["id_number"]}
    patient = {"resourceType": "Patient", "identifier": [number]}
    return {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": patient}]}


def _lines(text: str) -> Callable[[Names], Any]:
    return lambda _: text.encode()


PLACES: Final[dict[Route, Place]] = {
    ("POST", "/v1/checks"): _ASKING,
    ("GET", "/v1/checks"): Place(),
    ("GET", "/v1/checks/{check_id}"): Place("check", {HIDDEN: 200}),
    ("POST", "/v1/checks/{check_id}/decisions"): _DECIDING,
    ("GET", "/v1/checks/{check_id}/orders/{position}/sheet"): Place("check", {HIDDEN: 200}),
    ("GET", "/v1/checks/{check_id}/orders/{position}/record-text"): Place("check", {HIDDEN: 200}),
    ("POST", "/v1/results/search"): Place(
        "patient", _ALIKE, lambda names: {**names, "purpose": "TREAT", "reason": "门诊首诊"}
    ),
    ("GET", "/v1/admin/webhooks"): Place(),
    ("POST", "/v1/admin/webhooks"): Place(
        "hospital", {OWN: 201}, lambda n: {"hospital": n["code"], "url": "https://hooks.b.example/m"}
    ),
    ("POST", "/v1/admin/webhooks/{webhook_id}/remove"): Place("webhook"),
    ("POST", "/v1/admin/webhooks/{webhook_id}/retry"): Place("webhook"),
    ("POST", "/v1/patients"): Place(
        "patient", _made(OWN, HIDDEN, UNKNOWN), lambda names: {**names["patient"], "patient_id": "P-m"}
    ),
    ("POST", "/v1/patients/sharing"): Place(
        "patient", _ALIKE, lambda names: {**names["patient"], "shared": False}
    ),
    ("GET", "/v1/notices"): Place(of_roles={"auditor": {NONE: 404}}),
    ("POST", "/v1/notices/{notice_id}/read"): Place("notice", of_roles=_OF_THE_REVIEWER),
    ("POST", "/v1/break-glass"): Place(
        "patient", _made(OWN, HIDDEN, UNKNOWN), lambda names: {**names, "reason": "抢救,患者昏迷"}
    ),
    ("POST", "/v1/break-glass/{grant_id}/end"): Place("grant"),
    ("GET", "/v1/admin/break-glass"): Place(),
    ("POST", "/v1/admin/break-glass/{grant_id}/review"): Place(
        "grant to review", body=lambda _: {"verdict": "justified"}, of_roles={"auditor": {FOREIGN: 200}}
    ),
    ("POST", "/v1/studies/withdraw"): Place("study", body=_turn),
    ("POST", "/v1/studies/restore"): Place("withdrawn study", body=_turn),
    ("GET", "/v1/reports/{report_id}"): Place("report"),
    ("GET", "/v1/reports/{report_id}/attachments/{attachment_id}"): Place("attachment"),
    ("POST", "/fhir"): Place("patient", _ALIKE, _bundle),
    ("POST", "/fhir/DiagnosticReport"): Place("study", _made(OWN, FOREIGN, UNKNOWN), _report),
    ("GET", "/fhir/DiagnosticReport/{report_id}"): Place("report"),
    ("GET", "/fhir/DiagnosticReport"): _found("chart", "patient"),
    ("POST", "/fhir/DiagnosticReport/_search"): _FOUND_BY_NUMBER,
    ("GET", "/fhir/Patient"): _found("chart", "_id"),
    ("POST", "/fhir/Patient/_search"): Place("patient", _ALIKE, form=f"identifier={_NUMBER}"),
    ("POST", "/fhir/Patient/$match"): Place("patient", _ALIKE, _match),
    ("GET", "/fhir/Patient/{resource_id}"): Place("chart"),
    ("GET", "/fhir/ImagingStudy"): _found("chart", "patient"),
    ("POST", "/fhir/ImagingStudy/_search"): _FOUND_BY_NUMBER,
    ("GET", "/fhir/ImagingStudy/{resource_id}"): Place("image"),
    ("GET", "/dicom-web/studies"): Place(
        "images",
        {FOREIGN: 200, HIDDEN: 200, UNKNOWN: 200, MALFORMED: 200},
        query="StudyInstanceUID={study}",
    ),
    **{
        ("GET", f"/dicom-web/{what}"): Place(
            "images",
            {FOREIGN: 200, HIDDEN: 200, UNKNOWN: 200, MALFORMED: 200},
            query="StudyInstanceUID={study}",
        )
        for what in ("series", "instances")
    },
    ("GET", "/static/{digest}/{name}"): Place("page file"),
    ("GET", "/look/studies/{study}"): Place("images"),
    ("GET", "/dicom-web/wado"): Place(
        "images",
        query="requestType=WADO&contentType=application/dicom&studyUID={study}&seriesUID={series}&objectUID={instance}",
    ),
    ("POST", "/v1/image-grants"): Place(
        "images", _made(OWN), lambda names: {"StudyInstanceUIDs": [names["study"]]}
    ),
    ("POST", "/v1/image-grants/{grant_id}/end"): Place("image grant"),
    **{
        each: Place("images")
        for each in ACCESS
        if each[1].startswith("/dicom-web/studies/") and each[0] == "GET"
    },
    # of what is handed in nobody is told whether it is there: whole bodies are in tests/exchange/test_stow.py
    ("POST", "/dicom-web/studies"): Place(NONE, {NONE: 415}, _nothing),
    ("POST", "/dicom-web/studies/{study}"): Place(
        "images", {**dict.fromkeys((OWN, FOREIGN, HIDDEN, UNKNOWN), 415), MALFORMED: 422}, _nothing
    ),
    ("GET", "/fhir/Observation"): _found("chart", "patient"),
    ("POST", "/fhir/Observation/_search"): _FOUND_BY_NUMBER,
    ("GET", "/fhir/Observation/{resource_id}"): Place("value"),
    ("GET", "/fhir/metadata"): Place(),
    ("GET", "/fhir/AuditEvent"): Place(),
    ("POST", "/fhir/AuditEvent/_search"): Place(form="_count=2"),
    ("GET", "/fhir/AuditEvent/{record_id}"): Place("record", of_roles={"auditor": {FOREIGN: 200}}),
    ("GET", "/v1/session"): _NO_SESSION,
    ("DELETE", "/v1/session"): _NO_SESSION,
    ("POST", "/v1/session/others/end"): _NO_SESSION,
    ("GET", "/v1/session/launch"): _NO_SESSION,
    ("DELETE", "/v1/session/launch"): _NO_SESSION,
    # who is handed over is not looked up
    ("POST", "/v1/launches"): Place(
        "patient",
        _made(OWN, HIDDEN, UNKNOWN),
        lambda names: {**names, "practitioner": {"id": "dr.li", "name": "李医生"}},
    ),
    ("POST", "/v1/session/password"): Place(NONE, {NONE: 403}, lambda _: {"old": "o", "new": "n"}),
    ("POST", "/v1/session/totp"): _NO_SESSION,
    ("POST", "/v1/session/totp/confirm"): Place(NONE, {NONE: 403}, lambda _: {"code": "123456"}),
    ("GET", "/openapi.json"): Place(),
    ("GET", "/docs"): Place(),
    ("GET", "/v1/items"): Place(),
    ("GET", "/v1/reasons"): Place(),
    ("GET", "/v1/savings"): Place(),
    ("GET", "/v1/savings/axes"): Place(),
    ("POST", "/v1/savings/recounts"): Place(NONE, {NONE: 202}),
    ("GET", "/v1/savings/recounts/{recount_id}"): Place("recount"),
    ("GET", "/v1/savings/recounts/{recount_id}/statement"): Place("recount"),
    ("GET", "/v1/savings/entries"): Place(query="?from=2026-01&to=2026-12"),
    ("GET", "/v1/savings/entries/{entry_id}"): Place(
        "entry", of_roles={"regulator": {FOREIGN: 200}, "auditor": {FOREIGN: 200}}
    ),
    ("GET", "/v1/savings/repeats"): Place(),
    ("GET", "/v1/savings/repeats/entries"): Place(query="?from=2026-01&to=2026-12"),
    ("GET", "/v1/savings/reasons"): Place(),
    ("GET", "/v1/savings/supply"): Place(query="?from=2026-01&to=2026-12"),
    ("GET", "/v1/savings/forms"): Place(),
    ("GET", "/v1/savings/forms/{form_name}"): Place("form"),
    ("POST", "/v1/savings/verify"): Place(),
    ("GET", "/v1/savings/questions"): Place(query="from=2026-01&to=2026-06"),
    ("POST", "/v1/investigations"): Place(
        "entry", _made(OWN, FOREIGN), lambda n: {"reason": "核实账目", "entry_id": n["entry_id"]}
    ),
    ("GET", "/v1/investigations"): Place(),
    ("POST", "/v1/investigations/{investigation_id}/close"): Place("investigation"),
    ("POST", "/v1/investigations/{investigation_id}/review"): Place(
        "investigation to review",
        body=lambda _: {"verdict": "justified"},
        of_roles={"reviewer": {OWN: 404}},
    ),
    ("GET", "/v1/investigations/{investigation_id}/entries/{entry_id}"): Place("investigated"),
    ("GET", "/v1/admin/studies"): Place(),
    ("GET", "/v1/admin/unmapped"): Place(),
    ("GET", "/v1/admin/queues"): Place(),
    ("GET", "/v1/admin/withdrawn"): Place(),
    ("GET", "/v1/admin/conflicts"): Place(),
    ("POST", "/v1/admin/conflicts/{conflict_id}/settle"): Place("conflict", body=_nothing),
    ("POST", "/v1/admin/conflicts/{conflict_id}/reopen"): Place("settled conflict", body=_nothing),
    ("GET", "/v1/admin/regions"): Place(),
    ("GET", "/v1/admin/hospitals"): Place(),
    ("POST", "/v1/admin/hospitals"): Place(NONE, {NONE: 201}, lambda _: {**_HOSPITAL, "code": "M"}),
    ("GET", "/v1/admin/hospitals/{code}"): Place("hospital"),
    ("POST", "/v1/admin/hospitals/{code}"): Place("hospital", body=lambda _: _HOSPITAL),
    ("POST", "/v1/admin/hospitals/{code}/deactivate"): Place("hospital to close"),
    ("POST", "/v1/admin/hospitals/{code}/activate"): Place("closed hospital"),
    ("POST", "/v1/admin/hospitals/{code}/peers"): Place("hospital", body=lambda _: {"ae_title": "A_CT"}),
    **{
        ("POST", f"/v1/admin/hospitals/{{code}}/peers/{act}"): Place(
            "hospital", body=lambda _: {"ae_title": "A_PACS"}
        )
        for act in ("remove", "restore", "certificates")
    },
    ("GET", "/v1/admin/prices"): Place(),
    ("GET", "/v1/admin/prices/gaps"): Place(),
    ("POST", "/v1/admin/prices/import"): Place(
        body=_lines(
            "scope_kind,scope,item,price,from,to,source\nhospital,A,CT07,220.00,2019-01-01,2019-12-31,m\n"
        ),
        headers=_CSV,
    ),
    ("GET", "/v1/admin/remap"): Place(),
    ("GET", "/v1/admin/reviews/history"): Place(),
    ("GET", "/v1/admin/reviews/{task_id}"): Place("mapping task"),
    ("POST", "/v1/admin/reviews/mapping"): Place(
        "mapping task", {MALFORMED: 422}, lambda names: {"tasks": [names["task_id"]], "items": []}
    ),
    ("POST", "/v1/admin/reviews/{task_id}/local-code"): Place("code task", body=_nothing),
    ("POST", "/v1/admin/reviews/{task_id}/reopen"): Place("answered task"),
    ("GET", "/v1/admin/reports"): Place(),
    ("GET", "/v1/admin/hospitals/{code}/laboratory-codes"): Place("hospital"),
    ("POST", "/v1/admin/hospitals/{code}/laboratory-codes/remap"): Place("hospital"),
    ("GET", "/v1/admin/people/queue"): Place(),
    ("GET", "/v1/admin/people/history"): Place(),
    ("POST", "/v1/admin/people/show"): Place("person", {HIDDEN: 200}, dict),
    ("POST", "/v1/admin/people/register"): Place(
        "patient",
        _made(OWN, HIDDEN, UNKNOWN),
        lambda n: {**n["patient"], "patient_id": "P-m", "hospital": "B"},
    ),
    ("POST", "/v1/admin/people/merge"): Place("pair", body=_with_reason),
    ("POST", "/v1/admin/people/accept"): Place("claim", body=_with_reason),
    ("POST", "/v1/admin/people/reject"): Place("claim", body=_with_reason),
    ("POST", "/v1/admin/people/undo"): Place("event", body=_with_reason),
    ("GET", "/v1/admin/erasures"): Place(),
    ("POST", "/v1/admin/erasures"): Place(
        "patient", _made(OWN, HIDDEN, status=202), lambda n: {"confirm": 2, "basis": "第四十七条", **n}
    ),
    ("POST", "/v1/admin/erasures/plan"): Place("patient", {HIDDEN: 200}, dict),
    ("POST", "/v1/admin/hospitals/{code}/studies/withdraw"): Place("study of a hospital", body=_turn),
    ("POST", "/v1/admin/hospitals/{code}/studies/restore"): Place(
        "withdrawn study of a hospital", body=_turn
    ),
    ("GET", "/v1/admin/item-lists"): Place(),
    ("POST", "/v1/admin/item-lists"): Place(
        NONE, {NONE: 422}, _lines("code\nCT07\n"), "version=v&effective_from=2027-01-01", headers=_CSV
    ),
    ("GET", "/v1/admin/item-lists/{version}"): Place("version"),
    ("GET", "/v1/admin/item-lists/{version}/diff"): Place("version", query="against=proposal-1"),
    ("GET", "/v1/admin/hospitals/{code}/local-codes"): Place("hospital"),
    ("POST", "/v1/admin/hospitals/{code}/local-codes"): Place(
        "hospital", body=_lines("local_code,name,item_code\nK-17,胸部CT,CT07\n"), headers=_CSV
    ),
    ("POST", "/v1/admin/remap"): Place(),
    ("POST", "/v1/admin/score"): Place(NONE, {NONE: 422}, _lines("modality\nCT\n"), headers=_CSV),
    ("GET", "/v1/admin/reviews"): Place(),
    ("POST", "/v1/admin/reviews/{task_id}/mapping"): Place("mapping task", body=lambda _: {"items": []}),
    ("GET", "/v1/admin/quality"): Place(),
    ("POST", "/v1/admin/quality/{task_id}/confirm"): Place("quality task", body=_nothing),
    ("POST", "/v1/admin/quality/{task_id}/dismiss"): Place("quality task", body=_nothing),
    ("POST", "/v1/admin/quality/{task_id}/reopen"): Place("decided quality task", body=_nothing),
    ("GET", "/v1/admin/qc"): Place(),
    ("POST", "/v1/admin/qc"): Place(
        "hospital", {OWN: 201}, lambda names: {"hospital": names["code"], **_EVALUATION}
    ),
    ("GET", "/v1/admin/qc/expiring"): Place(),
    ("POST", "/v1/admin/qc/import"): Place(
        body=_lines("hospital,item,scope,result,from,to\nA,CT07,全国,合格,2026-01-01,2026-07-31\n"),
        headers=_CSV,
    ),
    ("POST", "/v1/admin/qc/consortia"): Place(
        "hospital", {OWN: 201}, lambda n: {"code": "YUXI", "name": "渝西医联体", "members": [n["code"]]}
    ),
    ("POST", "/v1/admin/qc/{evaluation_id}/end"): Place(
        "evaluation", body=lambda _: {"last_day": "2026-06-30"}
    ),
    ("GET", "/v1/admin/running"): Place(),
    ("GET", "/v1/admin/running/hospitals"): Place(),
    ("GET", "/v1/admin/running/refusals"): Place(),
    ("GET", "/v1/admin/accounts"): Place(),
    ("POST", "/v1/admin/accounts"): Place(
        "hospital", {OWN: 201}, lambda n: {"name": "dr.matrix", "role": "doctor", "hospital": n["code"]}
    ),
    ("GET", "/v1/admin/accounts/{name}"): Place("account"),
    ("POST", "/v1/admin/accounts/{name}/reset"): Place("account"),
    ("POST", "/v1/admin/accounts/{name}/disable"): Place("account"),
    ("POST", "/v1/admin/accounts/{name}/unlock"): Place("account"),
    ("POST", "/v1/admin/accounts/{name}/role"): Place("account", body=lambda _: {"role": "curator"}),
    ("POST", "/v1/admin/accounts/{name}/sign-out"): Place("account"),
    ("GET", "/v1/admin/clients"): Place(),
    ("POST", "/v1/admin/clients"): Place(
        "hospital", {OWN: 201}, lambda n: {"client_id": "m", "hospital": n["code"], "jwks": _KEYS}
    ),
    ("POST", "/v1/admin/clients/{client_id}/keys"): Place("client", body=lambda _: {"jwks": _KEYS}),
    ("POST", "/v1/admin/clients/{client_id}/disable"): Place("client"),
    ("POST", "/v1/admin/clients/{client_id}/enable"): Place("client"),
    # whoever calls, with or without a token
    ("GET", "/healthz"): Place(),
    ("GET", "/v1/public/items"): Place(),
    ("GET", "/v1/public/institutions"): Place(),
    ("GET", "/readyz"): Place(),
    ("GET", "/metrics"): Place(),
    ("GET", "/cds-services"): Place(),
    ("POST", "/cds-services/{service_id}"): _HOOK,
    ("POST", "/cds-services/{service_id}/feedback"): _HOOK,
    ("POST", "/v1/session"): Place(NONE, {NONE: 403}, lambda _: {"name": "nobody", "password": "x"}),
    ("POST", "/v1/session/first"): Place(
        NONE, {NONE: 403}, lambda _: {"link": "x", "password": "correct horse battery"}
    ),
    ("POST", "/oauth2/token"): Place(NONE, {NONE: 400}, form="grant_type=none"),
    ("GET", "/.well-known/jwks.json"): Place(),
    ("GET", "/.well-known/oauth-authorization-server"): Place(),
    ("GET", "/.well-known/smart-configuration"): Place(),
}
