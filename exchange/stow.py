"""DICOMweb (PS3.18 §10.5): STOW-RS. Instances are told as stored once they are durable in the spool, as by C-STORE.

Nothing is disclosed by an answer: a study that is there already, another hospital's included, is as one that is not.
Whose study it is and what contradicts it is found when it is shipped, by whichever way it came.
"""

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from catalog import registry
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.records import Depositor
from exchange import dicom_json
from exchange.auth import CallerOf
from exchange.deposit import Deposits
from exchange.deps import CatalogueOf, SettingsOf
from exchange.image_reader import Study, root_of
from exchange.multipart import accepted
from exchange.part_reader import MalformedBody, PartReader, boundary_of, media_type
from exchange.problems import NotAcceptable, problem
from exchange.settings import ExchangeSettings
from exchange.store_audit import StoreAudit
from exchange.store_report import EXAMPLE, FAILED_EXAMPLE, report, status_of
from exchange.upload import Cut, Gone, Storing, Uploads, is_dicom_multipart, take_in

router = APIRouter(tags=["dicomweb"])
STUDIES: Final = "/dicom-web/studies"
_NO_STORE: Final = {"Cache-Control": "no-store"}
_GONE: Final = 499  # nobody reads it


def is_upload(method: str, path: str) -> bool:
    """Say whether a request goes to one of these routes, whose bodies are read as they come."""
    start, _, study = path.removeprefix(STUDIES).partition("/")
    return method == "POST" and path.startswith(STUDIES) and not start and "/" not in study


def _told(description: str, example: Any) -> dict[str, Any]:
    content = {dicom_json.MEDIA_TYPE: {"schema": {"type": "object"}, "example": example}}
    return {"description": description, "content": content}


_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: _told("全部保存 / everything is stored", EXAMPLE),
    202: _told("部分保存 / some of it is stored", {**EXAMPLE, **{"00081198": FAILED_EXAMPLE["00081198"]}}),
    409: _told("全部未保存 / nothing is stored", FAILED_EXAMPLE),
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/related": {
                "schema": {"type": "string", "format": "binary"},
                "example": "--…\r\nContent-Type: application/dicom\r\n\r\n…",
            }
        },
    }
}


class Desk:
    """Who hands instances in, what keeps them, and how he is answered."""

    def __init__(
        self, request: Request, caller: Caller, catalogue: Catalogue, settings: ExchangeSettings
    ) -> None:
        self._request = request
        self._caller = caller
        self._catalogue = catalogue
        self._limits = settings.upload_limits()
        self._root = root_of(request, settings)
        self._uploads: Uploads = request.app.state.uploads
        self._audit: StoreAudit = request.app.state.store_audit
        self._deposits: Deposits | None = request.app.state.deposits

    async def store(self, StudyInstanceUID: str = "") -> Response:
        """Take the body in and report of each instance. Raises what stands against reading it at all."""
        if self._deposits is None:
            return problem(
                501, "stow_off", "此处不接收 STOW-RS 上传", "Nothing can be stored by STOW-RS at this address"
            )
        self._check_accept()
        given = media_type(self._request.headers.get("content-type", ""))
        if not is_dicom_multipart(given) or "content-encoding" in self._request.headers:
            return problem(
                415,
                "media_type_not_supported",
                '须为 multipart/related; type="application/dicom"',
                'The body must be multipart/related; type="application/dicom"',
            )
        try:
            reader = PartReader(boundary_of(given))
        except MalformedBody as error:
            return problem(400, error.code, error.zh, error.en)
        await run_in_threadpool(self._check_hospital)
        with self._uploads.place(self._caller.hospital_code):
            return await self._stored(self._deposits, reader, StudyInstanceUID)

    async def _stored(self, deposits: Deposits, reader: PartReader, StudyInstanceUID: str) -> Response:
        deposit = await self._uploads.run(lambda: deposits.open(self._depositor(), StudyInstanceUID))
        storing = Storing(deposit, reader, self._limits.parts)
        try:
            cut = await take_in(self._uploads, storing, self._request.receive, self._limits)
        except Gone:
            return Response(status_code=_GONE)
        finally:
            await run_in_threadpool(self._note, storing)
        return self._answer(storing, cut)

    def _answer(self, storing: Storing, cut: Cut | None) -> Response:
        if cut is not None and all(each.failure for each in storing.outcomes):
            return problem(cut.status, cut.code, cut.zh, cut.en)
        status = status_of(storing.outcomes, is_cut=cut is not None)
        told = report(storing.outcomes, cut.failure if cut else 0, self._root)
        headers = _NO_STORE | ({"Retry-After": "2"} if status == 503 else {})
        return Response(orjson.dumps(told), status, headers, dicom_json.MEDIA_TYPE)

    def _check_accept(self) -> None:
        wanted = accepted(",".join(self._request.headers.getlist("accept")))
        if not any(each.media_type in dicom_json.WRITTEN_AS for each in wanted):
            raise NotAcceptable

    def _check_hospital(self) -> None:
        """Raise NotFound where shipping would not know whose it is."""
        with transaction(self._catalogue.engine) as session:
            registry.hospital_by_code(session, self._caller.hospital_code)

    def _note(self, storing: Storing) -> None:
        """Audit what was stored; what cannot be audited is not told as stored, and may be sent again."""
        self._audit.note(self._catalogue, self._caller, self._depositor().address, storing.outcomes)

    def _depositor(self) -> Depositor:
        client = self._request.client
        named = self._caller.client_id or self._caller.subject
        return Depositor(self._caller.hospital_code, named, client.host if client else "")


async def desk_of(request: Request, caller: CallerOf, catalogue: CatalogueOf, settings: SettingsOf) -> Desk:
    """Return who hands instances in."""
    return Desk(request, caller, catalogue, settings)


DeskOf = Annotated[Desk, Depends(desk_of)]


@router.post(
    STUDIES,
    response_class=Response,
    summary="上传影像 / store instances",
    responses=_ANSWERS,
    openapi_extra=_BODY,
)
async def store_instances(desk: DeskOf) -> Response:
    """Store DICOM files of any studies, byte by byte; sending them again does no harm."""
    return await desk.store()


@router.post(
    STUDIES + "/{study}",
    response_class=Response,
    summary="上传一个检查的影像 / store instances of a study",
    responses=_ANSWERS,
    openapi_extra=_BODY,
)
async def store_study_instances(study: Study, desk: DeskOf) -> Response:
    """Store DICOM files of this study; those of another one are refused."""
    return await desk.store(study)
