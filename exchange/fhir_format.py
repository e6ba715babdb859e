"""In which form a FHIR answer is wanted: JSON is the only one there is (R4 §3.1.0.1.11)."""

import re
from typing import Annotated, Final

from fastapi import Depends, Request

from exchange.outcomes import refusal

_JSON: Final = frozenset({"json", "text/json", "application/json", "application/fhir+json"})
_RANGES: Final = _JSON | {"", "*/*", "application/*"}
_VERSION: Final = re.compile(r"fhirversion=\"?4\.0(\.\d)?\"?")


async def in_json(request: Request) -> None:
    """Let a request pass whose `_format`, or else `Accept`, allows FHIR R4 in JSON. Raises Refused (406)."""
    asked = request.query_params.get("_format")
    accepted = asked.replace(" ", "+") if asked is not None else request.headers.get("accept", "")
    if not any(_allows(each) for each in accepted.split(",")):
        raise refusal(
            "not-supported",
            "format_not_supported",
            "",
            "仅提供 application/fhir+json(FHIR 4.0)",
            "Only application/fhir+json (FHIR 4.0) is given",
            status=406,
        )


InJson = Annotated[None, Depends(in_json)]


def _allows(accepted: str) -> bool:
    kind, *parameters = (part.strip().lower() for part in accepted.split(";"))
    version = next((each for each in parameters if each.startswith("fhirversion")), None)
    refused = any(re.fullmatch(r"q=0(\.0*)?", each) for each in parameters)
    return kind in _RANGES and not refused and (version is None or bool(_VERSION.fullmatch(version)))
