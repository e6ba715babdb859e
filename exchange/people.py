"""For curators: whose a number or a study is, and who is one human being with whom.

A patient's number stands in no address: everything but the queue is asked for in a body.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from catalog import curation, identity_events, people
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import NotFound
from exchange import examples
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.examples import answers
from exchange.patients import PatientIn, PatientLink

router = APIRouter(prefix="/v1/admin/people", tags=["people"])

Key = Annotated[int, Field(ge=1, lt=1 << 63)]
Reason = Annotated[str, Field(min_length=1, max_length=500, examples=["已与医院核对原始登记"])]
_STRICT: Final = ConfigDict(extra="forbid")


class WhoIn(BaseModel):
    """A person by the number of the catalogue, or by document."""

    model_config = _STRICT

    person_id: Key | None = None
    patient: PatientIn | None = None

    @model_validator(mode="after")
    def _names_one(self) -> "WhoIn":
        if (self.person_id is None) is (self.patient is None):
            raise ValueError("one of person_id or patient is needed")
        return self


class RegistrationIn(PatientLink):
    """A person, and the PatientID under which a hospital knows him."""

    hospital: str = Field(min_length=1, max_length=32, examples=["A"])


class MergeIn(BaseModel):
    """Two people who are one human being."""

    model_config = _STRICT

    person_id: Key
    into_person_id: Key
    reason: Reason
    despite_conflicts: bool = False


class RulingIn(BaseModel):
    """A claim: that a hospital's number, one study or one report is of this person."""

    model_config = _STRICT

    person_id: Key
    alias_id: Key | None = None
    study_id: Key | None = None
    report_id: Key | None = None
    reason: Reason


class UndoIn(BaseModel):
    """A merge or a ruling to take back."""

    model_config = _STRICT

    event_id: Key
    reason: Reason


@router.get("/queue", summary="待确认的归属 / what waits for a ruling", responses=answers(examples.QUEUE))
def queue(
    caller: CallerOf, catalogue: CatalogueOf, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Json:
    """Return numbers in doubt, held studies and reports, with every person they may be of; audited."""
    return Json(curation.queue(catalogue, caller, limit=limit))


@router.get(
    "/history", summary="处理记录 / what was decided about people", responses=answers(examples.PEOPLE_HISTORY)
)
def history(
    caller: CallerOf,
    catalogue: CatalogueOf,
    before: Annotated[
        int, Query(ge=0, lt=1 << 63, description="只列编号更小的;0 为全部 / below this id; 0: all")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """Return merges and rulings, the newest first, each of which `undo` takes back; audited."""
    return Json({"events": curation.history(catalogue, caller, before=before, limit=limit)})


@router.post("/show", summary="一个人的编号、检查与处理记录 / one person", responses=answers(examples.PERSON))
def show(body: WhoIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return one person with the number masked; audited."""
    person_id = body.person_id
    if body.patient is not None:
        document = body.patient.document(catalogue, caller.hospital_code)
        with transaction(catalogue.engine) as session:
            found = people.find(session, catalogue, document)
        person_id = found.id if found else None
    if person_id is None:
        raise NotFound("没有该人员", "No such person", code="unknown_person")
    return Json(curation.show(catalogue, caller, person_id))


@router.post(
    "/register",
    status_code=201,
    summary="代机构登记患者编号与证件 / link a hospital's PatientID to a person",
    responses=answers(examples.LINKED, 201) | answers(examples.DOUBTFUL, 202),
)
def register(body: RegistrationIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Link for a hospital that cannot do it itself; as `/v1/patients`, a conflict holds the link for review."""
    acting = Caller(caller.subject, caller.role, body.hospital)
    answer = people.register_patient(
        catalogue, acting, body.document(catalogue, body.hospital), body.demographics(), body.patient_id
    )
    return Json(answer, 201 if answer["state"] == people.LINKED else 202)


@router.post("/merge", summary="合并为同一人 / find two people to be one", responses=answers(examples.RULED))
def merge(body: MergeIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Show the results of both to whoever asks for one; undoing it restores exactly what was."""
    return Json(
        identity_events.merge(
            catalogue,
            caller,
            body.person_id,
            body.into_person_id,
            body.reason,
            despite_conflicts=body.despite_conflicts,
        )
    )


@router.post("/accept", summary="确认归属 / accept a claim", responses=answers(examples.RULED))
def accept(body: RulingIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Link a number, a study or a report that was held."""
    return Json(_rule("accept", body, caller, catalogue))


@router.post("/reject", summary="否定归属 / reject a claim", responses=answers(examples.RULED))
def reject(body: RulingIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Say that a number, a study or a report is not this person's."""
    return Json(_rule("reject", body, caller, catalogue))


@router.post("/undo", summary="撤销合并或认定 / undo a merge or a ruling", responses=answers(examples.RULED))
def undo(body: UndoIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Take an event back; the event itself stays in the record."""
    return Json(identity_events.undo(catalogue, caller, body.event_id, body.reason))


def _rule(kind: str, body: RulingIn, caller: CallerOf, catalogue: CatalogueOf) -> dict[str, object]:
    return identity_events.rule(
        catalogue,
        caller,
        kind,
        body.person_id,
        body.reason,
        alias_id=body.alias_id,
        study_id=body.study_id,
        report_id=body.report_id,
    )
