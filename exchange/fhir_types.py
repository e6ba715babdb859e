"""The part of FHIR R4 (4.0.1) that is read here, as strict models: names, cardinality and value sets as there.

`fhir.resources`, which has R5, R4B and STU3 but R4 no more, checks in the tests what is emitted; for what comes
in, 27 MB of models that say nothing of the rules below would not do.
"""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from catalog.rules import HOSPITAL_ZONE

_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_DATE_TIME: Final = re.compile(
    r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d))?)?)?", re.ASCII
)

Text = Annotated[str, StringConstraints(min_length=1, max_length=1 << 20)]
Short = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class Element(BaseModel):
    """Anything in a resource. What is not read is left aside, but a modifier extension may not be (R4 §2.4.1)."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    modifierExtension: list[Any] | None = None

    @field_validator("modifierExtension")
    @classmethod
    def _is_not_understood(cls, value: Any) -> Any:
        if value:
            raise ValueError("a modifier extension is not understood")
        return value


class Coding(Element):
    """Coding."""

    system: Short | None = None
    code: Short | None = None
    display: Short | None = None


class CodeableConcept(Element):
    """CodeableConcept."""

    coding: list[Coding] = Field(default_factory=list)
    text: Short | None = None

    def codes(self) -> list[str]:
        """Return every code, whatever its system."""
        return [coding.code for coding in self.coding if coding.code]

    def name(self) -> str:
        """Return what it is called."""
        return self.text or next((coding.display for coding in self.coding if coding.display), "")


class Identifier(Element):
    """Identifier."""

    system: Short | None = None
    value: Short | None = None
    type: CodeableConcept | None = None
    use: Short | None = None

    def is_in_use(self) -> bool:
        """Say whether it is still the patient's (http://hl7.org/fhir/R4/valueset-identifier-use.html)."""
        return self.use != "old"

    def is_of(self, *codes: str) -> bool:
        """Say whether the type has one of these codes of v2-0203."""
        return self.type is not None and not set(codes).isdisjoint(self.type.codes())


class Reference(Element):
    """Reference: literal, logical or in words."""

    reference: Short | None = None
    identifier: Identifier | None = None
    display: Short | None = None


class HumanName(Element):
    """HumanName."""

    text: Short | None = None
    family: Short | None = None
    given: list[Short] = Field(default_factory=list)


class Quantity(Element):
    """Quantity."""

    value: Decimal | None = None
    comparator: Literal["<", "<=", ">=", ">"] | None = None
    unit: Short | None = None
    code: Short | None = None

    @field_validator("value", mode="before")
    @classmethod
    def _is_number(cls, value: Any) -> Any:
        if value is None or isinstance(value, Decimal):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return Decimal(value)
        raise ValueError("a decimal is a JSON number")

    def text(self) -> str:
        """Return comparator and number as they are written."""
        return f"{self.comparator or ''}{self.value}" if self.value is not None else ""


class ReferenceRange(Element):
    """Observation.referenceRange."""

    low: Quantity | None = None
    high: Quantity | None = None
    text: Short | None = None

    def described(self) -> str:
        """Return the range in words."""
        if self.text:
            return self.text
        low, high = (each.text() if each else "" for each in (self.low, self.high))
        return f"{low}-{high}" if low and high else f">={low}" if low else f"<={high}" if high else ""


class Attachment(Element):
    """Attachment; `data` is Base64."""

    contentType: Short | None = None
    data: str | None = None
    url: Short | None = None
    title: Short | None = None


class Period(Element):
    """Period."""

    start: str | None = None
    end: str | None = None

    @field_validator("start", "end")
    @classmethod
    def _is_time(cls, value: str | None) -> str | None:
        return _checked(value, _DATE_TIME)


class Resource(Element):
    """A resource with what it contains."""

    resourceType: str
    id: str | None = None
    contained: list[dict[str, Any]] = Field(default_factory=list)
    implicitRules: str | None = None

    @field_validator("implicitRules")
    @classmethod
    def _has_no_rules_of_its_own(cls, value: str | None) -> str | None:
        if value:
            raise ValueError("implicit rules are not understood")
        return value


class Timed(Resource):
    """A resource with an effective time and a time of issue."""

    effectiveDateTime: str | None = None
    effectiveInstant: str | None = None
    effectivePeriod: Period | None = None
    issued: str | None = None

    @field_validator("effectiveDateTime")
    @classmethod
    def _is_date_time(cls, value: str | None) -> str | None:
        return _checked(value, _DATE_TIME)

    @field_validator("effectiveInstant", "issued")
    @classmethod
    def _is_instant(cls, value: str | None) -> str | None:
        return _checked(value, _INSTANT)

    def effective(self) -> datetime | None:
        """Return when it was done, in UTC."""
        period = self.effectivePeriod.start or self.effectivePeriod.end if self.effectivePeriod else None
        text = self.effectiveDateTime or self.effectiveInstant or period
        return moment(text) if text else None


class Patient(Resource):
    """Patient."""

    resourceType: Literal["Patient"]
    identifier: list[Identifier] = Field(default_factory=list)
    name: list[HumanName] = Field(default_factory=list)
    gender: Literal["male", "female", "other", "unknown"] | None = None
    birthDate: str | None = None

    @field_validator("birthDate")
    @classmethod
    def _is_date(cls, value: str | None) -> str | None:
        if value is not None:
            date.fromisoformat(value if len(value) == 10 else f"{value}-01-01"[:10])
        return value


class Observation(Timed):
    """Observation."""

    resourceType: Literal["Observation"]
    identifier: list[Identifier] = Field(default_factory=list)
    status: Literal[
        "registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error"
    ]
    code: CodeableConcept
    subject: Reference | None = None
    valueQuantity: Quantity | None = None
    valueString: Text | None = None
    valueCodeableConcept: CodeableConcept | None = None
    valueInteger: int | None = None
    valueBoolean: bool | None = None
    interpretation: list[CodeableConcept] = Field(default_factory=list)
    referenceRange: list[ReferenceRange] = Field(default_factory=list)
    method: CodeableConcept | None = None
    hasMember: list[Reference] = Field(default_factory=list)

    def value_text(self) -> str:
        """Return the value as it is written."""
        if self.valueQuantity is not None:
            return self.valueQuantity.text()
        if self.valueCodeableConcept is not None:
            return self.valueCodeableConcept.name() or next(iter(self.valueCodeableConcept.codes()), "")
        if self.valueString is not None:
            return self.valueString
        plain = self.valueInteger if self.valueInteger is not None else self.valueBoolean
        return "" if plain is None else str(plain).lower()


class Identified(Resource):
    """ImagingStudy and ServiceRequest: of interest for their identifiers."""

    resourceType: Literal["ImagingStudy", "ServiceRequest"]
    identifier: list[Identifier] = Field(default_factory=list)


class DiagnosticReport(Timed):
    """DiagnosticReport."""

    resourceType: Literal["DiagnosticReport"]
    identifier: list[Identifier] = Field(min_length=1)
    basedOn: list[Reference] = Field(default_factory=list)
    status: Literal[
        "registered",
        "partial",
        "preliminary",
        "final",
        "amended",
        "corrected",
        "appended",
        "cancelled",
        "entered-in-error",
    ]
    category: list[CodeableConcept] = Field(default_factory=list)
    code: CodeableConcept
    subject: Reference | None = None
    performer: list[Reference] = Field(default_factory=list)
    resultsInterpreter: list[Reference] = Field(default_factory=list)
    result: list[Reference] = Field(default_factory=list)
    imagingStudy: list[Reference] = Field(default_factory=list)
    conclusion: Text | None = None
    presentedForm: list[Attachment] = Field(default_factory=list)


class EntryRequest(Element):
    """Bundle.entry.request."""

    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]
    url: Short
    ifNoneExist: Short | None = None


class Entry(Element):
    """Bundle.entry; its resource is read by its own kind later."""

    fullUrl: Short | None = None
    resource: dict[str, Any]
    request: EntryRequest


class Bundle(Element):
    """Bundle: a transaction or a batch."""

    resourceType: Literal["Bundle"]
    type: Literal["transaction", "batch"]
    entry: list[Entry] = Field(min_length=1, max_length=500)


def moment(text: str) -> datetime:
    """Return a dateTime or instant in UTC; a date alone is the start of that day in the hospitals' zone."""
    if "T" in text:
        return datetime.fromisoformat(text).astimezone(UTC)
    year, month, day = (int(part) for part in (text + "-01-01")[:10].split("-"))
    return datetime(year, month, day, tzinfo=HOSPITAL_ZONE).astimezone(UTC)


def _checked(value: str | None, form: re.Pattern[str]) -> str | None:
    if value is not None:
        if not form.fullmatch(value):
            raise ValueError("not a time as FHIR writes it")
        try:
            moment(value)
        except (ValueError, OverflowError):
            raise ValueError("no such time") from None
    return value
