"""The errors of the domain; each wire maps them once and none of them knows a wire.

    HurenError
    ├── InvalidInput          what was given cannot be accepted; `field` says which part
    ├── NotFound              there is no such thing, or it is not yours to see
    ├── NotAllowed            this caller may not do this
    ├── Conflict              it contradicts what already stands
    ├── Expired               it was possible earlier
    ├── TooMany               more than this caller may ask now; `seconds` says when to come again
    ├── IntegrityFault        bytes are not the bytes that were promised
    └── Unavailable           a store is down; trying again later is right
        ├── DatabaseDown
        ├── AuditDown
        └── ObjectStoreDown

Messages are for the person who meets them, Chinese first, and never carry patient data.
"""


class HurenError(Exception):
    """An error with a stable code and a message in Chinese and English."""

    code = "error"

    def __init__(self, zh: str, en: str, *, code: str | None = None) -> None:
        super().__init__(f"{zh} / {en}")
        self.zh = zh
        self.en = en
        if code is not None:
            self.code = code


class InvalidInput(HurenError):
    """What was given cannot be accepted; `field` names the part, as a dotted path."""

    code = "invalid_input"

    def __init__(self, zh: str, en: str, *, field: str = "", code: str | None = None) -> None:
        super().__init__(zh, en, code=code)
        self.field = field


class NotFound(HurenError):
    """There is no such thing, or it is not the caller's to see: the two look alike."""

    code = "not_found"


class NotAllowed(HurenError):
    """This caller may not do this."""

    code = "not_allowed"


class Conflict(HurenError):
    """It contradicts what already stands."""

    code = "conflict"


class Expired(HurenError):
    """It was possible earlier and is no longer."""

    code = "expired"


class TooMany(HurenError):
    """More than this caller may ask now; after `seconds` he may again."""

    code = "too_many"

    def __init__(self, zh: str, en: str, *, seconds: int = 1, code: str | None = None) -> None:
        super().__init__(zh, en, code=code)
        self.seconds = seconds


class IntegrityFault(HurenError):
    """Bytes are not the bytes that were promised."""

    code = "integrity_fault"


class Unavailable(HurenError):
    """A store is down; trying again later is right."""

    code = "unavailable"


class DatabaseDown(Unavailable):
    """The catalogue's database does not answer."""

    code = "database_down"


class AuditDown(Unavailable):
    """The audit cannot be written: no audit, no data."""

    code = "audit_down"


class ObjectStoreDown(Unavailable):
    """The object store does not answer."""

    code = "object_store_down"
