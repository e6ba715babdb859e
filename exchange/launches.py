"""A hospital's system hands over to our pages: an address for its user, good once (SMART App Launch's word "launch")."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from catalog import launches
from catalog.launches import Practitioner
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.checks import OrderIn, Words
from exchange.deps import CatalogueOf, GateOf, HarvestOf, SettingsOf
from exchange.examples import answers
from exchange.patients import PatientIn
from exchange.session import Cookie

router = APIRouter(tags=["launches"])

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
_STRICT: Final = ConfigDict(extra="forbid")
_SECRET: Final = "Zm9yIGV4YW1wbGUgb25seSwgb3BlbnMgbm90aGluZyE"  # noqa: S105 (an example)
_LAUNCHED: Final[dict[str, Any]] = {
    "launch_id": "8f0f3f2e-51a6-4c76-9c5e-6c2a9f3d8f11",
    "url": f"https://huren.example/launch/{_SECRET}",
    "expires_at": "2026-06-30T04:05:00+00:00",
}
_CARRIED: Final[dict[str, Any]] = {
    "patient": {"id_type": "01", "id_number": "999999198001010011", "name": "张三丰"},
    "orders": [{"order_id": "MZ20260001", "item_code": "CT07"}],
    "department": "呼吸内科",
    "urgency": "routine",
}


class PractitionerIn(BaseModel):
    """The user of the hospital's system, as it knows him."""

    model_config = _STRICT

    id: Name = Field(examples=["dr.li"])
    name: Name = Field(examples=["李医生"])


class LaunchIn(BaseModel):
    """Who is to be examined, what is about to be ordered, if that is known, and who will look at the page."""

    model_config = _STRICT

    patient: PatientIn
    orders: list[OrderIn] = Field([], max_length=50)
    department: Words = Field("", max_length=64, examples=["呼吸内科"])
    urgency: Literal["routine", "emergency"] = "routine"
    practitioner: PractitionerIn
    lang: Literal["zh", "en"] | None = None


@router.post(
    "/v1/launches",
    status_code=201,
    summary="为本院医生打开互认页面 / open our pages for one of your users",
    responses=answers(_LAUNCHED, 201),
)
def launch(
    body: LaunchIn, caller: CallerOf, catalogue: CatalogueOf, harvest: HarvestOf, settings: SettingsOf
) -> Json:
    """Return an address for the user's browser: it is good once, within five minutes.

    The session that it begins may do no more than this system, and ends with it, after an hour at the latest.
    """
    document = body.patient.document(catalogue, caller.hospital_code)
    harvest.take(catalogue, caller, document.id_type, document.number)
    told = body.model_dump(mode="json", exclude={"practitioner", "lang"}, exclude_none=True)
    practitioner = Practitioner(body.practitioner.id, body.practitioner.name)
    made = launches.add(catalogue, caller, practitioner, told, body.lang or "")
    return Json(
        {
            "launch_id": str(made.id),
            "url": f"{settings.address}/launch/{made.secret}",
            "expires_at": made.expires_at,
        },
        201,
    )


@router.get(
    "/v1/session/launch",
    summary="移交的患者与医嘱 / what the launch carried",
    responses=answers(_CARRIED),
)
def carried(caller: CallerOf, cookie: Cookie, catalogue: GateOf) -> Json:
    """Return whom and what the hospital's system handed over, until it was asked about."""
    return Json(launches.carried(catalogue, caller, cookie))


@router.delete(
    "/v1/session/launch",
    summary="不再保留移交内容 / keep it no longer",
    responses=answers({"kept": False}),
)
def forget(caller: CallerOf, cookie: Cookie, catalogue: GateOf) -> Json:
    """Keep no longer what was handed over, once it was asked about."""
    launches.forget(catalogue, caller, cookie)
    return Json({"kept": False})
