"""Which part of a report a text is: what was seen, or what the doctor concludes from it. Pure."""

from collections.abc import Iterable
from typing import Final, Literal

Section = Literal["findings", "conclusion"]

# LOINC, the suffixes of HL7 v2 (GDT given to findings, IMP, REC), and DICOM PS3.16 CID 7001 and TID 2000.
_CODES: Final[dict[str, Section]] = {
    "59776-5": "findings",
    "18782-3": "findings",
    "GDT": "findings",
    "19005-8": "conclusion",
    "59768-2": "conclusion",
    "IMP": "conclusion",
    "REC": "conclusion",
    "121070": "findings",
    "121071": "findings",
    "121072": "conclusion",
    "121073": "conclusion",
    "121074": "conclusion",
    "121075": "conclusion",
    "121076": "conclusion",
    "121077": "conclusion",
}
_CONCLUDING: Final = (
    "印象",
    "结论",
    "诊断",
    "意见",
    "提示",
    "IMPRESSION",
    "CONCLUSION",
    "DIAGNOSIS",
    "OPINION",
)
_SEEN: Final = ("所见", "描述", "FINDING", "OBSERVATION")


def named_section(codes: Iterable[str], names: Iterable[str]) -> Section | None:
    """Return the section that a code or a name says, or None where neither does."""
    for code in codes:
        if code.upper() in _CODES:
            return _CODES[code.upper()]
    words = [name.upper() for name in names]
    if any(word in name for name in words for word in _CONCLUDING):
        return "conclusion"
    return "findings" if any(word in name for name in words for word in _SEEN) else None


def section_of(codes: Iterable[str], names: Iterable[str]) -> Section:
    """Return the section a text belongs to; what is not known to conclude is what was seen."""
    return named_section(codes, names) or "findings"
