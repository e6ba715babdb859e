"""What a CDS client sends (CDS Hooks 2.0.1), as models: the call of a service, and feedback. Pure."""

import json
import uuid
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from exchange import fhir_types as fhir

ORDER_SELECT: Final = "order-select"
ORDER_SIGN: Final = "order-sign"
Hook = Literal["order-select", "order-sign"]
SERVICES: Final[dict[str, Hook]] = {"huren-order-select": ORDER_SELECT, "huren-order-sign": ORDER_SIGN}

# CDS Hooks 2.0 leaves override reasons and extensions to the service.
REASON_SYSTEM: Final = "urn:huren:override-reason"
TOLD_REASON_SYSTEM: Final = "urn:huren:override-reason:patient-told"
TOLD_EXTENSION: Final = "org.huren.explained-to-patient"

FhirId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,64}$")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class CdsRefused(Exception):
    """A call that cannot be taken, with the HTTP status that says so."""

    def __init__(self, status: int, code: str, zh: str, en: str, faults: list[dict[str, str]] | None = None):
        super().__init__(f"{status}: {code}")
        self.status, self.code, self.zh, self.en = status, code, zh, en
        self.faults = faults or []


class Part(BaseModel):
    """A part of a call; what is not known is left aside."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Context(Part):
    """The context of order-select and order-sign; `selections` belongs to order-select."""

    userId: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    patientId: FhirId
    encounterId: FhirId | None = None
    selections: list[str] | None = Field(None, min_length=1, max_length=1000)
    draftOrders: dict[str, Any]


class Call(Part):
    """The call of a service; `fhirServer` and `fhirAuthorization` are not read: nothing is ever fetched."""

    hook: str
    hookInstance: uuid.UUID
    context: Context
    prefetch: dict[str, Any] = Field(default_factory=dict)


class ServiceRequest(fhir.Resource):
    """ServiceRequest (R4), as far as a draft order is read."""

    resourceType: Literal["ServiceRequest"]
    id: FhirId | None = None
    identifier: list[fhir.Identifier] = Field(default_factory=list)
    status: str | None = None
    doNotPerform: bool = False
    priority: Literal["routine", "urgent", "asap", "stat"] | None = None
    code: fhir.CodeableConcept | None = None
    subject: fhir.Reference | None = None
    bodySite: list[fhir.CodeableConcept] = Field(default_factory=list)


class Accepted(Part):
    """One suggestion that was taken."""

    id: str = Field(min_length=1, max_length=64)


class Reason(Part):
    """The reason that was chosen."""

    code: str = Field(min_length=1, max_length=64)
    system: str | None = Field(None, max_length=255)


class OverrideReason(Part):
    """Why a card was dismissed."""

    reason: Reason | None = None
    userComment: Words | None = None


class FeedbackItem(Part):
    """What became of one card."""

    card: uuid.UUID
    outcome: Literal["accepted", "overridden"]
    acceptedSuggestions: list[Accepted] | None = Field(None, min_length=1, max_length=50)
    overrideReason: OverrideReason | None = None
    outcomeTimestamp: datetime
    extension: dict[str, Any] = Field(default_factory=dict)

    @field_validator("outcomeTimestamp", mode="before")
    @classmethod
    def _is_written(cls, value: Any) -> Any:
        if not isinstance(value, str) or "T" not in value.upper():
            raise ValueError("a time as RFC 3339 writes it")
        return value

    @field_validator("outcomeTimestamp")
    @classmethod
    def _has_a_zone(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("a time with its zone")
        return value


class FeedbackCall(Part):
    """The body of the feedback endpoint."""

    feedback: list[FeedbackItem] = Field(min_length=1, max_length=100)


def parsed(kind: type[Part], body: bytes) -> Any:
    """Return a body as its model. Raises CdsRefused with what is wrong and where, never what stood there."""
    try:
        return kind.model_validate(json.loads(body))
    except ValidationError as error:
        faults = [
            {"field": ".".join(str(part) for part in fault["loc"]), "message": fault["msg"]}
            for fault in error.errors(include_input=False, include_url=False, include_context=False)[:20]
        ]
        raise CdsRefused(
            400, "invalid_request", "请求不符合 CDS Hooks 2.0", "The request is not CDS Hooks 2.0", faults
        ) from None
    except (ValueError, RecursionError):
        raise CdsRefused(400, "bad_request", "请求不是 JSON", "The request is not JSON") from None
