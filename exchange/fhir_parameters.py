"""Which search parameters each kind of resource has, and what they ask of a resource as it is shown. Pure.

A parameter compares with the resource that goes out and with nothing else, so no search tells what is not shown.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from exchange.fhir_dates import span_of
from exchange.fhir_types import moment

Resource = Mapping[str, Any]
Token = tuple[str, str]  # system and code
Test = Callable[[Resource], bool]
DICOM_UID: Final = "urn:dicom:uid"
_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A search parameter: its type, what it means, and what of a resource it compares with."""

    kind: Literal["token", "date"]
    meaning: str
    of: Callable[[Resource], Iterable[Any]]

    def test(self, value: str) -> Test:
        """Return what a value asks of a resource. Raises ValueError for one that this type does not have."""
        if self.kind == "date":
            span = span_of(value)
            return lambda resource: any(span.holds(moment(each)) for each in self.of(resource))
        wanted = [token_of(each) for each in split(value)]
        return lambda resource: any(_is(token, each) for each in self.of(resource) for token in wanted)


def split(value: str) -> list[str]:
    """Return the alternatives in a value; an escaped comma separates nothing (R4 §3.1.1.4.3). Raises ValueError."""
    found, escaped = [""], False
    for character in value:
        if escaped or character not in ",\\":
            found[-1] += character if character in "\\,|$" or not escaped else f"\\{character}"
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            found.append("")
    if not all(found):
        raise ValueError("an empty alternative")
    return found


def token_of(value: str) -> tuple[str | None, str]:
    """Return system and code of a token; None is any system. Raises ValueError where it says neither."""
    system, bar, code = value.partition("|")
    if not bar:
        return None, value
    if not system and not code:
        raise ValueError("neither system nor code")
    return system, code


def _is(wanted: tuple[str | None, str], token: Token) -> bool:
    system, code = wanted
    return (system is None or token[0] in (system, _ANY)) and code in ("", token[1])


def _code(name: str) -> Callable[[Resource], Iterable[Token]]:
    """An element of type code has its system by definition: whichever is asked for will do."""
    return lambda resource: [(_ANY, resource[name])] if name in resource else []


def _concepts(name: str) -> Callable[[Resource], Iterable[Token]]:
    def read(resource: Resource) -> Iterable[Token]:
        given = resource.get(name, [])
        for concept in given if isinstance(given, list) else [given]:
            for coding in concept.get("coding", [concept]):
                yield coding.get("system", ""), coding.get("code", "")

    return read


def _identifiers(resource: Resource) -> Iterable[Token]:
    for identifier in resource.get("identifier", []):
        system, value = identifier.get("system", ""), identifier.get("value", "")
        yield system, value
        if system == DICOM_UID:
            yield system, value.removeprefix("urn:oid:")


def _time(*names: str) -> Callable[[Resource], Iterable[str]]:
    return lambda resource: [resource[name] for name in names if name in resource]


_ID: Final = Parameter("token", "编号 / logical id", lambda resource: [(_ANY, resource["id"])])
_STATUS: Final = Parameter("token", "状态 / status", _code("status"))
_CATEGORY: Final = Parameter("token", "类别 / category", _concepts("category"))
_CODE: Final = Parameter("token", "LOINC、统一项目或本院代码 / code", _concepts("code"))
_UPDATED: Final = Parameter(
    "date",
    "现行版本收到的时间 / when what stands was received",
    lambda resource: _time("lastUpdated")(resource["meta"]),
)
PARAMETERS: Final[Mapping[str, Mapping[str, Parameter]]] = {
    "Patient": {"_id": _ID},
    "ImagingStudy": {
        "_id": _ID,
        "identifier": Parameter(
            "token", "检查UID;检查号仅用 POST / study UID; accession number by POST only", _identifiers
        ),
        "status": _STATUS,
        "modality": Parameter("token", "设备类型 / modality", _concepts("modality")),
        "started": Parameter("date", "检查时间 / when it was done", _time("started")),
    },
    "DiagnosticReport": {
        "_id": _ID,
        "_lastUpdated": _UPDATED,
        "identifier": Parameter("token", "报告编号,仅用 POST / report number, by POST only", _identifiers),
        "status": _STATUS,
        "category": _CATEGORY,
        "code": _CODE,
        "date": Parameter("date", "检查或检验时间 / when it was done", _time("effectiveDateTime")),
        "issued": Parameter("date", "报告时间 / when it was issued", _time("issued")),
    },
    "Observation": {
        "_id": _ID,
        "_lastUpdated": _UPDATED,
        "status": _STATUS,
        "category": _CATEGORY,
        "code": _CODE,
        "date": Parameter("date", "检验时间 / when it was done", _time("effectiveDateTime")),
    },
}
NEWEST_FIRST: Final[Mapping[str, str]] = {
    "ImagingStudy": "-started",
    "DiagnosticReport": "-date",
    "Observation": "-date",
}
