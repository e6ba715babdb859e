"""Reports for whom a check has shown them; documents only ever as attachments."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from catalog import documents, report_views
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, DownloadsOf, StoreOf
from exchange.examples import answers

router = APIRouter(tags=["reports"])
Id = Annotated[int, Path(ge=1, le=1 << 62)]

_EXAMPLE: Final[dict[str, Any]] = {
    "report_id": "12",
    "number": "R20260630001",
    "category": "imaging",
    "hospital": {"code": "A", "name": "甲医院"},
    "label": "原诊断意见,仅供参考",
    "label_en": "The issuing hospital's opinion, for reference only",
    "standing_version": 1,
    "versions": [
        {
            "version": 1,
            "status": "final",
            "status_text": "已审核",
            "status_text_en": "final",
            "reported_at": "2026-06-24T12:00:00+08:00",
            "received_at": "2026-06-24T12:01:03+08:00",
            "source": "fhir",
            "title": "胸部CT平扫",
            "author": "王医生",
            "findings": "双肺纹理清晰。",
            "conclusion": "未见明显异常。",
            "attachments": [],
            "values": [],
        }
    ],
}
_DOCUMENTS: Final[dict[str, Any]] = {
    "application/pdf": {"schema": {"type": "string", "format": "binary"}, "example": "%PDF-1.7 …"},
    "application/xml": {
        "schema": {"type": "string", "format": "binary"},
        "example": '<ClinicalDocument xmlns="urn:hl7-org:v3">…</ClinicalDocument>',
    },
}
# A document may hold script: it is never shown inside a page of this origin.
_AS_ATTACHMENT: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@router.get(
    "/v1/reports/{report_id}",
    summary="报告全文及各版本 / a report with all its versions",
    responses=answers(_EXAMPLE),
)
def read_report(report_id: Id, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return a report to a hospital that a check has shown it; audited."""
    return Json(report_views.read(catalogue, caller, report_id))


@router.get(
    "/v1/reports/{report_id}/attachments/{attachment_id}",
    summary="报告附件,只供下载 / a document, as an attachment only",
    response_class=Response,
    responses={200: {"content": _DOCUMENTS}},
)
async def read_attachment(
    report_id: Id,
    attachment_id: Id,
    caller: CallerOf,
    catalogue: CatalogueOf,
    store: StoreOf,
    downloads: DownloadsOf,
) -> Response:
    """Return the bytes exactly as received, once their digest was checked; audited."""
    found = await run_in_threadpool(report_views.find_attachment, catalogue, caller, report_id, attachment_id)
    headers = _AS_ATTACHMENT | {"Content-Disposition": f'attachment; filename="{found.file_name}"'}
    return await downloads.answer(
        found.key,
        found.size_bytes,
        lambda: documents.read(store, found.key, found.sha256, found.size_bytes),
        headers,
        found.content_type,
    )
