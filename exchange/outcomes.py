"""FHIR R4 OperationOutcome: what went wrong, where, in Chinese and English, and no patient data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from fastapi.responses import Response

FHIR_JSON: Final = "application/fhir+json"
Severity = Literal["fatal", "error", "warning", "information"]

# http://hl7.org/fhir/R4/valueset-issue-type.html
_OF_STATUS: Final[Mapping[int, str]] = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    409: "conflict",
    410: "expired",
    413: "too-long",
    422: "business-rule",
    429: "throttled",
    503: "transient",
}


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing wrong; `kind` is an issue-type code, `code` ours, `expression` a FHIRPath from the resource sent."""

    kind: str
    code: str
    zh: str
    en: str
    expression: str = ""
    severity: Severity = "error"


class Refused(Exception):
    """A resource that cannot be taken, with everything found wrong with it and the HTTP status to say so."""

    def __init__(self, status: int, issues: Iterable[Issue]) -> None:
        self.status = status
        self.issues = tuple(issues)
        super().__init__(f"{status}: {', '.join(issue.code for issue in self.issues)}")


def refusal(kind: str, code: str, expression: str, zh: str, en: str, *, status: int = 422) -> Refused:
    """Return the refusal with a single issue."""
    return Refused(status, [Issue(kind, code, zh, en, expression)])


def operation_outcome(issues: Iterable[Issue]) -> dict[str, Any]:
    """Return issues as an OperationOutcome."""
    return {"resourceType": "OperationOutcome", "issue": [_described(issue) for issue in issues]}


def outcome(status: int, issues: Iterable[Issue], headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer that is an OperationOutcome."""
    sent = {"Cache-Control": "no-store", **(headers or {})}
    return Response(orjson.dumps(operation_outcome(issues)), status, sent, media_type=FHIR_JSON)


def issue_of_problem(status: int, code: str, zh: str, en: str, field: str = "") -> Issue:
    """Return the issue that says what a problem+json answer would."""
    return Issue(_OF_STATUS.get(status, "exception"), code, zh, en, field)


def _described(issue: Issue) -> dict[str, Any]:
    described: dict[str, Any] = {
        "severity": issue.severity,
        "code": issue.kind,
        "details": {
            "coding": [{"system": "urn:huren:problem", "code": issue.code}],
            "text": f"{issue.zh} / {issue.en}",
        },
    }
    if issue.expression:
        described["expression"] = [issue.expression]
    return described
