"""Patients as callers name them, and the link from a hospital's PatientID to a person."""

from datetime import date
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from catalog import people
from catalog.context import Catalogue
from catalog.identity import Demographics, Document, normalise_document
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf

router = APIRouter(tags=["patients"])

_SEX: Final = {
    "M": "male",
    "F": "female",
    "O": "other",
    "男": "male",
    "女": "female",
    "0": "unknown",
    "1": "male",
    "2": "female",
    "9": "unknown",
}


def _sex(value: Any) -> Any:
    """Accept the codes of DICOM and GB/T 2261.1 beside FHIR's."""
    return _SEX.get(str(value).strip().upper(), value) if value is not None else None


class PatientIn(BaseModel):
    """A person by document; name, birth date and sex only confirm."""

    model_config = ConfigDict(extra="forbid", str_max_length=128)

    id_type: str = Field("01", description="证件类型 (WS 364 CV02.01.101), 01 居民身份证", examples=["01"])
    id_number: str = Field(min_length=1, max_length=64, examples=["99990119800101001X"])
    name: str | None = Field(None, examples=["张三丰"])
    birth_date: date | None = Field(None, examples=["1980-01-01"])
    sex: Annotated[Literal["male", "female", "other", "unknown"] | None, BeforeValidator(_sex)] = None

    def document(self, catalogue: Catalogue, issuer: str) -> Document:
        """Return the checked document, as `issuer` (a hospital's code) gave it. Raises InvalidInput."""
        return normalise_document(self.id_type, self.id_number, people.today_of(catalogue), issuer=issuer)

    def demographics(self) -> Demographics:
        """Return what confirms the person."""
        return Demographics(name=self.name or None, birth_date=self.birth_date, sex=self.sex)


class PatientLink(PatientIn):
    """A person and the PatientID under which the caller's hospital knows him."""

    patient_id: str = Field(min_length=1, max_length=64, description="本机构患者编号 (0010,0020)")


@router.post("/v1/patients", summary="登记患者编号与证件 / link a PatientID to a person")
def register_patient(body: PatientLink, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Link; a conflict with what is known holds the link for review (`doubtful`) and shows nothing meanwhile."""
    answer = people.register_patient(
        catalogue,
        caller,
        body.document(catalogue, caller.hospital_code),
        body.demographics(),
        body.patient_id,
    )
    return Json(answer, 201 if answer["state"] == people.LINKED else 202)
