"""The values that travel between rooms: frozen, without behaviour beyond their own meaning."""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from catalog.report_records import ReportMessage

Laterality = Literal["L", "R", "B"]
Urgency = Literal["routine", "emergency"]


class Shown(StrEnum):
    """How a prior stands towards an order."""

    RECOGNISABLE = "recognisable"
    REFERENCE = "reference"
    HIDDEN = "hidden"


class ReportStatus(StrEnum):
    """FHIR R4 DiagnosticReport.status, the codes that are used here."""

    REGISTERED = "registered"
    PARTIAL = "partial"
    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"
    CORRECTED = "corrected"
    APPENDED = "appended"
    CANCELLED = "cancelled"
    ENTERED_IN_ERROR = "entered-in-error"


@dataclass(frozen=True, slots=True)
class Institution:
    """A hospital as the rules see it: where it stands and which scopes hold it.

    `scopes` are the codes of every region, alliance and consortium the hospital lies in;
    `regions` the administrative ones only, smallest first.
    """

    code: str
    name: str
    tier: int
    regions: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One quality evaluation of a hospital for an item or a group of items; days inclusive."""

    scope: str
    mark: str
    passed: bool
    valid_from: date
    valid_to: date
    item_code: str | None = None
    item_group: str | None = None


@dataclass(frozen=True, slots=True)
class ReportVersion:
    """One version of a report, by the time it was reported."""

    status: ReportStatus
    reported_at: datetime


@dataclass(frozen=True, slots=True)
class Order:
    """One ordered item, resolved against the recognised list."""

    item_code: str
    category: Literal["imaging", "laboratory"]
    window_days: int
    negative: bool
    answered_by: frozenset[str]
    requester: Institution
    ordered_at: datetime
    laterality: Laterality | None = None
    paired: bool = False
    body_part: str | None = None
    spans_body_parts: bool = False
    urgency: Urgency = "routine"


@dataclass(frozen=True, slots=True)
class Prior:
    """One result of the person, with everything the rules ask about it."""

    result_id: str
    item_code: str
    category: Literal["imaging", "laboratory"]
    negative: bool
    hospital: Institution
    exam_time: datetime
    evaluations: tuple[Evaluation, ...] = ()
    item_groups: frozenset[str] = frozenset()
    reports: tuple[ReportVersion, ...] = ()
    person_linked: bool = True
    person_in_conflict: bool = False
    opted_out: bool = False
    laterality: Laterality | None = None
    body_part: str | None = None
    withdrawn: bool = False
    images_complete: bool = True
    quality_flagged: bool = False
    uid_conflict: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What a region may settle for itself."""

    window_from: Literal["exam", "report"] = "exam"
    report_required: bool = False
    own_hospital: Literal["offer", "hide"] = "offer"
    own_hospital_hidden_hours: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `decide` found: how the prior is shown, why, and under which marks."""

    shown: Shown
    reasons: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    own_hospital: bool = False
    valid_until: date | None = None


@dataclass(frozen=True, slots=True)
class StudyHeader:
    """What one study says of itself, read from its instances; texts are already decoded.

    `names` are PN values as decoded; `identifiers` every text that may hold a national ID number
    ((0010,0020), (0010,1000), (0010,1002)). `procedure_codes` and `anatomic_regions` are "scheme|code", of
    the requested, performed and scheduled procedures and protocols, and of (0008,2218).
    """

    StudyInstanceUID: str
    PatientID: str
    PatientName: str
    name_rule: str
    PatientBirthDate: date | None
    PatientSex: str
    AccessionNumber: str
    exam_time: datetime
    exam_time_source: str
    identifiers: tuple[str, ...]
    modalities: tuple[str, ...]
    BodyPartExamined: str
    Laterality: str
    ContrastBolusAgent: str
    StudyDescription: str
    RequestedProcedureDescription: str
    series_descriptions: tuple[str, ...]
    protocol_names: tuple[str, ...]
    view_positions: tuple[str, ...]
    Manufacturer: str
    SpecificCharacterSet: str
    procedure_codes: tuple[str, ...] = ()
    anatomic_regions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Placed:
    """Where one instance says it stands among the others of its series and study; counts not declared are 0.

    `position_um` is the place of a slice along its `normal` (thousandths), in micrometres; None for all else.
    """

    SeriesInstanceUID: str
    number: int | None = None
    position_um: int | None = None
    normal: tuple[int, int, int] | None = None
    acquisition: int | None = None
    acquisition_images: int = 0
    series_instances: int = 0
    study_instances: int = 0


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One instance inside a pack; offsets count from the start of the tar, sizes are bytes.

    `sha256` is of the data set exactly as received; `metadata` is its DICOM JSON without bulk data.
    """

    SOPInstanceUID: str
    SOPClassUID: str
    SeriesInstanceUID: str
    TransferSyntaxUID: str
    offset: int
    size_bytes: int
    dataset_offset: int
    dataset_size_bytes: int
    sha256: str
    flaws: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PackRecord:
    """A pack that is already in the object store, ready to be registered, with the reports found in it.

    `completeness` is what `catalog.completeness.summarise` made of its instances; `unreadable` are the
    SOPInstanceUIDs that came with this study alone and could not be read.
    """

    key: str
    sidecar_key: str
    sha256: str
    size_bytes: int
    hospital_code: str
    calling_ae: str
    received_at: datetime
    header: StudyHeader
    instances: tuple[InstanceRecord, ...]
    completeness: dict[str, Any] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    reports: "tuple[ReportMessage, ...]" = ()


@dataclass(frozen=True, slots=True)
class DepositedInstance:
    """How an instance fared that was handed in over HTTP; `failure` is a status of C-STORE, 0 where it is durable.

    A UID is empty where it could not be read, or is none.
    """

    SOPClassUID: str = ""
    SOPInstanceUID: str = ""
    StudyInstanceUID: str = ""
    SeriesInstanceUID: str = ""
    failure: int = 0


@dataclass(frozen=True, slots=True)
class Depositor:
    """Who hands instances in over HTTP: for which hospital, by which system of it, and from where."""

    hospital_code: str
    client: str
    address: str
