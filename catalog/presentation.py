"""How an ordering screen is to put an answer: whether it may interrupt, and which reason it offers first."""

from collections.abc import Iterable
from typing import Any

from catalog.reasons import EMERGENCY_CODE, OverrideReason
from catalog.records import Urgency


def presented(reasons: Iterable[OverrideReason], urgency: Urgency) -> dict[str, Any]:
    """Return whether the screen may interrupt the doctor, and the codes of the reasons in the order to offer.

    An emergency is never interrupted; its reason (the fourth of the Measures of 2022) stands first.
    """
    emergency = urgency == "emergency"
    ordered = sorted(reasons, key=lambda reason: emergency and reason.national_code != EMERGENCY_CODE)
    return {"interrupts": not emergency, "reason_codes": [reason.code for reason in ordered]}
