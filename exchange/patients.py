"""Patients as callers name them, and the link from a hospital's PatientID to a person."""

from datetime import date
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from catalog import people, sharing
from catalog.context import Catalogue
from catalog.errors import InvalidInput
from catalog.identity import NEWBORN, Demographics, Document, newborn_document, normalise_document
from exchange import examples
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, HarvestOf
from exchange.examples import answers

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


class MotherIn(BaseModel):
    """The document of a newborn's mother."""

    model_config = ConfigDict(extra="forbid", str_max_length=128)

    id_type: str = Field("01", examples=["01"])
    id_number: str = Field(min_length=1, max_length=64, examples=["999999199001010024"])
    country: str = Field("", max_length=3)

    def document(self, today: date, issuer: str) -> Document:
        """Return the checked document. Raises InvalidInput."""
        return normalise_document(self.id_type, self.id_number, today, issuer=issuer, country=self.country)


class PatientIn(BaseModel):
    """A person by document; name, birth date and sex only confirm."""

    model_config = ConfigDict(extra="forbid", str_max_length=128)

    id_type: str = Field("01", description="证件类型 (WS 364 CV02.01.101), 01 居民身份证", examples=["01"])
    id_number: str = Field("", max_length=128, examples=["999999198001010011"])
    country: str = Field(
        "", max_length=3, description="护照签发国家或地区 / who issued a passport (ICAO 9303)"
    )
    mother: MotherIn | None = Field(None, description="95 新生儿:母亲的证件 / the mother of a newborn (95)")
    birth_order: int | None = Field(None, ge=1, le=9, description="95 当日出生顺序 / order among that day's")
    name: str | None = Field(None, examples=["张三丰"])
    birth_date: date | None = Field(None, examples=["1980-01-01"])
    sex: Annotated[Literal["male", "female", "other", "unknown"] | None, BeforeValidator(_sex)] = None

    def document(self, catalogue: Catalogue, issuer: str) -> Document:
        """Return the checked document, as `issuer` (a hospital's code) gave it. Raises InvalidInput."""
        today = people.today_of(catalogue)
        if self.id_type == NEWBORN and self.mother is not None:
            if self.birth_date is None or self.birth_order is None:
                raise InvalidInput(
                    "新生儿须有出生日期和出生顺序",
                    "A newborn needs a birth date and the order of birth",
                    field="birth_order",
                    code="newborn_incomplete",
                )
            mother = self.mother.document(today, issuer)
            return newborn_document(mother, self.birth_date, self.birth_order)
        return normalise_document(self.id_type, self.id_number, today, issuer=issuer, country=self.country)

    def demographics(self) -> Demographics:
        """Return what confirms the person."""
        return Demographics(name=self.name or None, birth_date=self.birth_date, sex=self.sex)


class Sharing(PatientIn):
    """A person's own wish: may results be shown to doctors of the exchange."""

    shared: bool


class PatientLink(PatientIn):
    """A person and the PatientID under which the caller's hospital knows him."""

    patient_id: str = Field(min_length=1, max_length=64, description="本机构患者编号 (0010,0020)")


@router.post(
    "/v1/patients",
    status_code=201,
    summary="登记患者编号与证件 / link a PatientID to a person",
    responses=answers(examples.LINKED, 201) | answers(examples.DOUBTFUL, 202),
)
def register_patient(body: PatientLink, caller: CallerOf, catalogue: CatalogueOf, harvest: HarvestOf) -> Json:
    """Link; a conflict with what is known holds the link for review (`doubtful`) and shows nothing meanwhile."""
    document = body.document(catalogue, caller.hospital_code)
    harvest.take(catalogue, caller, document.id_type, document.number)
    answer = people.register_patient(catalogue, caller, document, body.demographics(), body.patient_id)
    return Json(answer, 201 if answer["state"] == people.LINKED else 202)


@router.post(
    "/v1/patients/sharing",
    summary="退出或恢复共享 / opt out of sharing, or in again",
    responses=answers({"shared": False}),
)
def set_sharing(body: Sharing, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Keep the wish; it holds for the very next question, and the answer never says whether anybody is known."""
    document = body.document(catalogue, caller.hospital_code)
    sharing.set_sharing(catalogue, caller, document, body.demographics(), shared=body.shared)
    return Json({"shared": body.shared})
