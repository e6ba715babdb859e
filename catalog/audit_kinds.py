"""What kind of event an audit record is, told by its action, as FHIR, BALP and DICOM sort events. Pure."""

from dataclasses import dataclass
from typing import Final, Literal

Pattern = Literal["Read", "Query", "Create", "Update", "Delete", "Alert"]

_CHANGES: Final = (
    *(
        "enable",
        "disable",
        "unlock",
        "password",
        "role",
        "reset",
        "totp",
        "totp_begin",
        "first",
        "sign_in",
        "sign_out",
    ),
    *(
        "issue",
        "revoke",
        "end",
        "close",
        "review",
        "remove",
        "retry",
        "consortium",
        "remap",
        "restore",
        "conflict",
        "decide",
        "change",
        "certificates",
    ),
    *(
        "undo",
        "merge",
        "accept",
        "reject",
        "opt_out",
        "opt_in",
        "reopen",
        "dismissed",
        "confirmed",
        "resolved",
    ),
)
_VERBS: Final[dict[str, Pattern]] = {
    **dict.fromkeys(("read", "show", "attachment", "verify", "recount", "sheet", "record_text"), "Read"),
    **dict.fromkeys(("list", "queue", "check", "search", "match", "export", "plan", "questions"), "Query"),
    **dict.fromkeys(
        ("register", "receive", "add", "import", "recognise", "override", "cite", "store"), "Create"
    ),
    **dict.fromkeys(_CHANGES, "Update"),
    **dict.fromkeys(("erasure", "withdraw"), "Delete"),
    **dict.fromkeys(
        ("association_refused", "refused", "prepare", "rotate", "retire", "alarm", "open"), "Alert"
    ),
}
_OF_ACTIONS: Final[dict[str, Pattern]] = {"launch.open": "Update"}  # a session begins, nothing is broken open
_REFUSED: Final = frozenset({"association_refused", "refused"})
_LETTER: Final[dict[Pattern, Literal["C", "R", "U", "D", "E"]]] = {
    "Read": "R",
    "Query": "E",
    "Create": "C",
    "Update": "U",
    "Delete": "D",
    "Alert": "E",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """The pattern of BALP; `letter` is the event action code both standards share (PS3.15 A.5.2.5)."""

    pattern: Pattern
    refused: bool

    @property
    def letter(self) -> Literal["C", "R", "U", "D", "E"]:
        """Return C, R, U, D or E."""
        return _LETTER[self.pattern]

    @property
    def outcome(self) -> Literal["0", "4"]:
        """Return "0" for success, "4" for what was refused."""
        return "4" if self.refused else "0"


def is_named(action: str) -> bool:
    """Say whether somebody has thought about what kind an action is."""
    return action.rpartition(".")[2] in _VERBS


def kind_of(action: str) -> Kind:
    """Return the kind of an action by its last word; what is named nowhere changed something."""
    verb = action.rpartition(".")[2]
    return Kind(_OF_ACTIONS.get(action) or _VERBS.get(verb, "Update"), verb in _REFUSED)
