"""What is told of a study and its patient to who searches for it, as DICOM JSON."""

from typing import Any, Final

from catalog.image_index import Json
from catalog.image_views import ShownStudy
from catalog.rules import HOSPITAL_ZONE

_SEX: Final = {"male": "M", "female": "F", "other": "O"}


def study_row(study: ShownStudy) -> Json:
    """Return the attributes of a study, its patient's among them; the number is the regional one."""
    at = study.exam_time.astimezone(HOSPITAL_ZONE)
    birth_date = f"{study.birth_date:%Y%m%d}" if study.birth_date else None
    told = {
        "00080005": ("CS", "ISO_IR 192"),
        "00080020": ("DA", f"{at:%Y%m%d}"),
        "00080030": ("TM", f"{at:%H%M%S}"),
        "00080050": ("SH", study.accession_number or None),
        "00081030": ("LO", study.description or None),
        "00100020": ("LO", str(study.patient_id)),
        "00100030": ("DA", birth_date),
        "00100040": ("CS", _SEX.get(study.sex)),
        "0020000D": ("UI", study.StudyInstanceUID),
        "00201206": ("IS", study.series_count),
        "00201208": ("IS", study.instance_count),
    }
    row = {tag: _element(vr, each) for tag, (vr, each) in told.items()}
    row["00080061"] = {"vr": "CS", "Value": list(study.modalities)}
    row["00100010"] = _element("PN", {"Alphabetic": study.patient_name} if study.patient_name else None)
    return row


def _element(vr: str, one: Any) -> Json:
    return {"vr": vr} if one is None else {"vr": vr, "Value": [one]}
