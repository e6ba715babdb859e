"""For curators: reports that wait, laboratory codes on no list, and mapping them once their meaning is known."""

from typing import Any, Final

from fastapi import APIRouter

from catalog import audit, lab_results, registry, report_views
from catalog.db import transaction
from exchange.admin import Limit
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, HospitalCode
from exchange.examples import answers

router = APIRouter(tags=["curation"])

_WAITING: Final[dict[str, Any]] = {
    "reports": [
        {
            "report_id": "12",
            "hospital": "A",
            "number": "R20260630001",
            "category": "imaging",
            "identity": "unlinked",
            "reasons": ["accession_ambiguous"],
            "AccessionNumber": "ACC-1",
            "StudyInstanceUID": "",
            "versions": 1,
        }
    ]
}
_UNMAPPED: Final[dict[str, Any]] = {
    "codes": [{"local_codes": ["K-1"], "loinc_codes": [], "name": "钾", "count": 12, "reason": "not_on_list"}]
}


@router.get("/v1/admin/reports", summary="待关联的报告 / reports that wait", responses=answers(_WAITING))
def list_waiting(caller: CallerOf, catalogue: CatalogueOf, limit: Limit = 100) -> Json:
    """Return reports without a study, and those held for a human, newest first; audited."""
    with transaction(catalogue.engine) as session:
        rows = report_views.waiting(session, limit=limit)
        audit.record(session, caller, "reports.list", count=len(rows))
        return Json({"reports": rows})


@router.get(
    "/v1/admin/hospitals/{code}/laboratory-codes",
    summary="未对应的检验代码 / laboratory codes on no list",
    responses=answers(_UNMAPPED),
)
def list_unmapped_codes(code: HospitalCode, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return the codes a hospital sends that are on no list, most frequent first."""
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, code)
        return Json({"codes": lab_results.unmapped(session, hospital.id)})


@router.post(
    "/v1/admin/hospitals/{code}/laboratory-codes/remap",
    summary="按代码表重新对应检验结果 / map earlier values again",
    responses=answers({"mapped": 12}),
)
def remap(code: HospitalCode, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Map earlier values by the hospital's table as it is now; what has an item keeps it. Audited."""
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, code)
        count = lab_results.remap(session, catalogue, hospital.id)
        audit.record(session, caller, "laboratory.remap", hospital_id=hospital.id, mapped=count)
        return Json({"mapped": count})
