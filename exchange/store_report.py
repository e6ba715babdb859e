"""What a store transaction answers (PS3.18 §10.5.3, Tables 10.5.3-1, I.2-1 and I.2-2). Pure."""

from collections.abc import Sequence
from typing import Any, Final

from catalog.image_index import Json
from catalog.records import DepositedInstance

_RETRIEVE_URL: Final = "00081190"
_FAILURE_REASON: Final = "00081197"
_FAILED: Final = "00081198"
_REFERENCED: Final = "00081199"
_OTHER_FAILURES: Final = "0008119A"
_SOP_CLASS, _SOP_INSTANCE = "00081150", "00081155"
EXAMPLE: Final[Json] = {
    _RETRIEVE_URL: {"vr": "UR", "Value": ["https://huren.example/dicom-web/studies/2.25.1001"]},
    _REFERENCED: {
        "vr": "SQ",
        "Value": [
            {
                _SOP_CLASS: {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
                _SOP_INSTANCE: {"vr": "UI", "Value": ["2.25.1001.1.1"]},
                _RETRIEVE_URL: {
                    "vr": "UR",
                    "Value": [
                        "https://huren.example/dicom-web/studies/2.25.1001/series/2.25.1001.1/instances/2.25.1001.1.1"
                    ],
                },
            }
        ],
    },
}
FAILED_EXAMPLE: Final[Json] = {
    _RETRIEVE_URL: {"vr": "UR"},
    _FAILED: {
        "vr": "SQ",
        "Value": [
            {
                _SOP_CLASS: {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
                _SOP_INSTANCE: {"vr": "UI", "Value": ["2.25.1001.1.2"]},
                _FAILURE_REASON: {"vr": "US", "Value": [0xA900]},
            }
        ],
    },
}


def status_of(outcomes: Sequence[DepositedInstance], *, is_cut: bool) -> int:
    """Return the HTTP status: 200 everything stored, 202 some of it; nothing: 503 for want of room, or 409.

    `is_cut` says that the body was not read whole; where nothing of such a one is stored, that is a problem of its own.
    """
    failures = {each.failure for each in outcomes}
    if 0 in failures:
        return 202 if is_cut or failures != {0} else 200
    return 503 if any(failure & 0xFF00 == 0xA700 for failure in failures) else 409


def report(outcomes: Sequence[DepositedInstance], cut: int, root: str) -> Json:
    """Return the Store Instances Response Module; `cut` is why the body was read no further, 0 where it was read whole.

    What failed and has no name by which it could be told is among the other failures.
    """
    stored = [each for each in outcomes if not each.failure]
    failed = [each for each in outcomes if each.failure and each.SOPInstanceUID and each.SOPClassUID]
    others = [
        each.failure for each in outcomes if each.failure and not (each.SOPInstanceUID and each.SOPClassUID)
    ]
    studies = {each.StudyInstanceUID for each in stored}
    sequences = {
        _FAILED: [_named(each) | {_FAILURE_REASON: _element("US", each.failure)} for each in failed],
        _REFERENCED: [_named(each) | {_RETRIEVE_URL: _element("UR", _at(each, root))} for each in stored],
        _OTHER_FAILURES: [
            {_FAILURE_REASON: _element("US", reason)} for reason in (*others, *filter(None, [cut]))
        ],
    }
    at = _element("UR", f"{root}/studies/{studies.pop()}") if len(studies) == 1 else {"vr": "UR"}
    return {
        _RETRIEVE_URL: at,
        **{tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items},
    }


def _named(instance: DepositedInstance) -> Json:
    return {
        _SOP_CLASS: _element("UI", instance.SOPClassUID),
        _SOP_INSTANCE: _element("UI", instance.SOPInstanceUID),
    }


def _at(instance: DepositedInstance, root: str) -> str:
    study, series = instance.StudyInstanceUID, instance.SeriesInstanceUID
    return f"{root}/studies/{study}/series/{series}/instances/{instance.SOPInstanceUID}"


def _element(vr: str, one: Any) -> Json:
    return {"vr": vr, "Value": [one]}
