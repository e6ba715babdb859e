"""WADO-URI (PS3.18 §9): one instance by the names in a query, for viewers from before DICOMweb."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from catalog.errors import InvalidInput
from exchange import multipart
from exchange.image_reader import UNCHANGED, ReaderOf
from exchange.pictures import JPEG, PNG, View
from exchange.rendered import picture

router = APIRouter(tags=["dicomweb"])
_UID: Final = r"^[0-9.]{1,64}$"
_PIXELS: Final = 8_192
_FILE: Final[dict[int | str, dict[str, Any]]] = {
    **UNCHANGED,
    200: {
        "content": {
            each: {"schema": {"type": "string", "format": "binary"}, "example": "…"}
            for each in (multipart.DICOM, JPEG, PNG)
        }
    },
}


@router.get(
    "/dicom-web/wado", response_class=Response, summary="单幅图像 (WADO-URI) / one instance", responses=_FILE
)
async def wado(
    request: Request,
    reader: ReaderOf,
    requestType: Literal["WADO"],
    studyUID: Annotated[str, Query(pattern=_UID)],
    seriesUID: Annotated[str, Query(pattern=_UID)],
    objectUID: Annotated[str, Query(pattern=_UID)],
    contentType: Literal["application/dicom", "image/jpeg", "image/png"] = "image/jpeg",
    frameNumber: Annotated[int, Query(ge=1, le=999_999)] = 1,
    rows: Annotated[int | None, Query(ge=1, le=_PIXELS)] = None,
    columns: Annotated[int | None, Query(ge=1, le=_PIXELS)] = None,
    windowCenter: Annotated[float | None, Query(gt=-1e12, lt=1e12)] = None,
    windowWidth: Annotated[float | None, Query(gt=0, lt=1e12)] = None,
    imageQuality: Annotated[int, Query(ge=1, le=100)] = 90,
) -> Response:
    """Return the stored file, or a picture of a frame."""
    found = (await reader.look(studyUID)).instance(seriesUID, objectUID)
    if contentType == multipart.DICOM:
        return reader.file(studyUID, multipart.file_part(found, ""), "")
    if (windowCenter is None) != (windowWidth is None):
        raise InvalidInput(
            "windowCenter 与 windowWidth 须同时给出",
            "Give windowCenter and windowWidth together",
            field="windowWidth",
        )
    window = None if windowCenter is None or windowWidth is None else (windowCenter, windowWidth, "linear")
    size = None if rows is None and columns is None else (columns or _PIXELS, rows or _PIXELS)
    view = View(window, size, quality=imageQuality)  # type: ignore[arg-type]
    return await picture(request, reader, found, frameNumber, view, contentType)
