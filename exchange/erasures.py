"""Erasure by law: what it would take, the order to do it, and how far each one is.

The rows are emptied with the answer. The objects follow from the process that ships (dicom_node.erase): the same
list, whoever wrote it down.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.orm import Session

from catalog import audit, erasures
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.examples import answers
from exchange.patients import PatientIn

router = APIRouter(prefix="/v1/admin/erasures", tags=["erasure"])

_PLAN: Final = {"studies": 1, "results": 2, "objects": 4, "size_bytes": 163577856, "held": 0}
_ERASURE: Final[dict[str, Any]] = {
    "erasure_id": 7,
    "scope": "person",
    "basis": "个人信息保护法第四十七条",
    "by": "curator.zhou",
    "studies": 1,
    "objects": 4,
    "size_bytes": 163577856,
    "state": "open",
    "created_at": "2026-06-30T04:00:00+00:00",
    "done_at": None,
}


class ScopeIn(BaseModel):
    """One study, or a person by document: nothing of either stands in an address."""

    model_config = ConfigDict(extra="forbid")

    StudyInstanceUID: str | None = Field(None, max_length=64, pattern=r"^[0-9.]+$")
    patient: PatientIn | None = None

    @model_validator(mode="after")
    def _names_one(self) -> "ScopeIn":
        if (self.StudyInstanceUID is None) is (self.patient is None):
            raise ValueError("one of StudyInstanceUID or patient is needed")
        return self

    def find(self, session: Session, catalogue: Catalogue, caller: Caller) -> erasures.Scope:
        """Return what it takes away. Raises NotFound, InvalidInput."""
        if self.patient is not None:
            document = self.patient.document(catalogue, caller.hospital_code)
            return erasures.scope_of_person(session, catalogue, document)
        return erasures.scope_of_study(session, self.StudyInstanceUID or "")


class ErasureIn(ScopeIn):
    """What to erase, on which legal ground, and how many objects its plan has named."""

    basis: str = Field(min_length=1, max_length=500, description="法律依据,不写患者信息 / naming nobody")
    confirm: int = Field(ge=0, description="试算所示对象数 / the number of objects that the plan named")


@router.post("/plan", summary="试算删除范围 / what would go", responses=answers(_PLAN))
def plan(body: ScopeIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Count what an erasure would take; nothing changes. Audited."""
    with transaction(catalogue.engine) as session:
        scope = body.find(session, catalogue, caller)
        audit.record(
            session, caller, "erasure.plan", people=sorted(scope.people), studies=list(scope.studies)
        )
        return Json(_counted(scope))


@router.post(
    "",
    status_code=202,
    summary="依法删除,不可恢复 / erase by law, for good",
    responses=answers(_ERASURE, 202),
)
def erase(body: ErasureIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Erase rows at once and write down the objects that have to go; 409 where the plan no longer holds."""

    def confirmed(session: Session) -> erasures.Scope:
        scope = body.find(session, catalogue, caller)
        if len(scope.object_keys) != body.confirm:
            raise Conflict(
                "删除范围与确认时不同,请重新试算",
                "The scope is not the one confirmed; plan again",
                code="scope_changed",
            )
        return scope

    number, _ = erasures.erase(catalogue, caller, confirmed, body.basis)
    with transaction(catalogue.engine) as session:
        return Json(erasures.described(session, number), 202)


@router.get(
    "", summary="删除记录及进度 / erasures and their state", responses=answers({"erasures": [_ERASURE]})
)
def list_erasures(
    caller: CallerOf, catalogue: CatalogueOf, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Json:
    """Return erasures, newest first; `done` once every object is gone. Audited."""
    with transaction(catalogue.engine) as session:
        rows = erasures.listed(session, limit=limit)
        audit.record(session, caller, "erasures.list", count=len(rows))
        return Json({"erasures": rows})


def _counted(scope: erasures.Scope) -> dict[str, int]:
    return {
        "studies": len(scope.studies),
        "results": len(scope.results),
        "objects": len(scope.object_keys),
        "size_bytes": scope.size_bytes,
        "held": scope.held,
    }
