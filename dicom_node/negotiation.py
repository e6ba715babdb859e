"""Which presentation contexts are accepted (PS3.8 §7.1.1.13, PS3.7 Annex D)."""

from collections.abc import Sequence
from typing import Final

from dicom_node.pdu import AnsweredContext, AssociateRequest, ProposedContext
from dicom_node.sop_classes import STORAGE_CLASSES, TRANSFER_SYNTAXES

VERIFICATION: Final = "1.2.840.10008.1.1"
STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
# Query/Retrieve (PS3.4 Annex C): by what the models begin with, FIND, MOVE and GET.
_PATIENT_ROOT: Final = "1.2.840.10008.5.1.4.1.2.1"
_STUDY_ROOT: Final = "1.2.840.10008.5.1.4.1.2.2"
FIND_CLASSES: Final = frozenset({f"{_PATIENT_ROOT}.1", f"{_STUDY_ROOT}.1"})
MOVE_CLASSES: Final = frozenset({f"{_PATIENT_ROOT}.2", f"{_STUDY_ROOT}.2"})
GET_CLASSES: Final = frozenset({f"{_PATIENT_ROOT}.3", f"{_STUDY_ROOT}.3"})
QUERY_CLASSES: Final = FIND_CLASSES | MOVE_CLASSES | GET_CLASSES

ACCEPTED: Final = 0
USER_REJECTION: Final = 1
ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4

_UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


def negotiate(request: AssociateRequest) -> tuple[list[AnsweredContext], dict[str, tuple[bool, bool]]]:
    """Answer each proposed context, and each role selection of an accepted class.

    We are SCP; for storage the requestor may be SCP as well where it proposes C-GET beside it.
    """
    gets = any(
        context.abstract_syntax in GET_CLASSES and choose_command_syntax(context.transfer_syntaxes)
        for context in request.contexts
    )
    supported = {context.abstract_syntax for context in request.contexts if _is_supported(context)}
    # PS3.7 D.3.3.4: a role may be granted only where it was proposed.
    roles = {
        uid: (scu, scp and gets and uid in STORAGE_CLASSES)
        for uid, (scu, scp) in request.roles.items()
        if uid in supported
    }
    return [_answer(context, roles) for context in request.contexts], roles


def is_patient_root(SOPClassUID: str) -> bool:
    """Say whether a class of query/retrieve is of the Patient Root model."""
    return SOPClassUID.startswith(_PATIENT_ROOT)


def choose_command_syntax(proposed: Sequence[str]) -> str | None:
    """Choose for a service whose data sets are read here: little endian, not compressed."""
    return next((syntax for syntax in proposed if syntax in _UNCOMPRESSED), None)


def choose_transfer_syntax(proposed: Sequence[str]) -> str | None:
    """Choose among the proposed syntaxes: the requestor's order is the preference; data sets are kept as sent."""
    return next((syntax for syntax in proposed if syntax in TRANSFER_SYNTAXES), None)


def _answer(context: ProposedContext, roles: dict[str, tuple[bool, bool]]) -> AnsweredContext:
    # The syntax in a refusal is not significant (PS3.8 Table 9-18); the first proposed one is echoed.
    is_read_here = context.abstract_syntax == STORAGE_COMMITMENT or context.abstract_syntax in QUERY_CLASSES
    choose = choose_command_syntax if is_read_here else choose_transfer_syntax
    chosen = choose(context.transfer_syntaxes)
    if not _is_supported(context):
        result = ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif chosen is None:
        result = TRANSFER_SYNTAXES_NOT_SUPPORTED
    elif not any(roles.get(context.abstract_syntax, (True, False))):
        result = USER_REJECTION
    else:
        return AnsweredContext(context.context_id, ACCEPTED, chosen)
    return AnsweredContext(context.context_id, result, context.transfer_syntaxes[0])


def _is_supported(context: ProposedContext) -> bool:
    return (
        context.abstract_syntax in (VERIFICATION, STORAGE_COMMITMENT)
        or context.abstract_syntax in STORAGE_CLASSES
        or context.abstract_syntax in QUERY_CLASSES
    )
