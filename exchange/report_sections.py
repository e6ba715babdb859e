"""Which part of a report a text is: what was seen, or what the doctor concludes from it. Pure."""

from collections.abc import Iterable
from typing import Final, Literal

Section = Literal["findings", "conclusion"]

# LOINC 59776-5 findings, 18782-3 study observation, 19005-8 impression; HL7 v2 suffixes GDT and IMP.
_CODES: Final[dict[str, Section]] = {
    "59776-5": "findings",
    "18782-3": "findings",
    "GDT": "findings",
    "19005-8": "conclusion",
    "59768-2": "conclusion",
    "IMP": "conclusion",
    "REC": "conclusion",
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


def section_of(codes: Iterable[str], names: Iterable[str]) -> Section:
    """Return the section a text belongs to; what is not known to conclude is what was seen."""
    for code in codes:
        if code.upper() in _CODES:
            return _CODES[code.upper()]
    concludes = any(word in name.upper() for name in names for word in _CONCLUDING)
    return "conclusion" if concludes else "findings"
