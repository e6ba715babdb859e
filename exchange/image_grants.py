"""Links by which a page or a viewer fetches images for a short time without a token of its own."""

from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from catalog import image_grants
from exchange import cookies
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, HarvestOf, SettingsOf
from exchange.examples import answers

router = APIRouter(tags=["dicomweb"])

GrantId = Annotated[int, Path(ge=1, lt=1 << 63)]
Uid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$", examples=["2.25.1001"])]
_SECRET: Final = "Zm9yIGV4YW1wbGUgb25seSwgb3BlbnMgbm90aGluZyE"  # noqa: S105 (an example)
_OPENED: Final[dict[str, Any]] = {
    "grant_id": "12",
    "grant": _SECRET,
    "expires_at": "2026-06-30T04:30:00+00:00",
    "dicom_web": f"https://huren.example/dicom-web/g/{_SECRET}",
    "quick_look": f"https://huren.example/look/g/{_SECRET}/studies/2.25.1001",
    "viewer": f"https://huren.example/viewer/basic?grant={_SECRET}&StudyInstanceUIDs=2.25.1001",
}


class ImageGrantIn(BaseModel):
    """Which studies are to be looked at, all of one patient: with two of them the viewer shows both beside each other."""

    model_config = ConfigDict(extra="forbid")

    StudyInstanceUIDs: list[Uid] = Field(min_length=1, max_length=image_grants.MOST_STUDIES)


@router.post(
    "/v1/image-grants",
    status_code=201,
    summary="生成影像链接 / a link to images",
    responses=answers(_OPENED, 201),
)
def open_link(
    body: ImageGrantIn,
    request: Request,
    caller: CallerOf,
    catalogue: CatalogueOf,
    harvest: HarvestOf,
    settings: SettingsOf,
) -> Json:
    """Return addresses that open one patient's images in a browser until the link ends.

    It shows no more than its maker may see at that moment, and ends with his session, or when it is told to.
    """
    opened = image_grants.open_link(
        catalogue,
        caller,
        body.StudyInstanceUIDs,
        timedelta(minutes=settings.image_grant_minutes),
        lambda id_type, number: harvest.take(catalogue, caller, id_type, number),
        cookie="" if request.headers.get("authorization") else cookies.given(request),
    )
    root = settings.public_url or str(request.base_url).rstrip("/")
    named = urlencode(
        [("grant", opened.secret), *(("StudyInstanceUIDs", uid) for uid in body.StudyInstanceUIDs)]
    )
    return Json(
        {
            "grant_id": str(opened.id),
            "grant": opened.secret,
            "expires_at": opened.expires_at,
            "dicom_web": f"{root}/dicom-web/g/{opened.secret}",
            "quick_look": f"{root}/look/g/{opened.secret}/studies/{body.StudyInstanceUIDs[0]}",
            "viewer": f"{root}/viewer/basic?{named}",
        },
        201,
    )


@router.post(
    "/v1/image-grants/{grant_id}/end",
    summary="提前结束影像链接 / end a link to images",
    responses=answers({"grant_id": "12", "ended_at": "2026-06-30T04:20:00+00:00"}),
)
def end_link(grant_id: GrantId, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """End one's own link: what it is fetching stops within seconds."""
    return Json({"grant_id": str(grant_id), "ended_at": image_grants.end(catalogue, caller, grant_id)})
