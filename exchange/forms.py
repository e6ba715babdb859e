"""The regulators' forms: which there are, and each filled in, as an answer or as a file."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response

from catalog import audit, filled_forms
from catalog.db import transaction
from catalog.scope import steady
from exchange import form_examples
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.examples import answers
from exchange.figures import First, Form, Last, as_file, months_of, now
from exchange.form_files import form_table

router = APIRouter(tags=["savings"])


@router.get(
    "/v1/savings/forms", summary="监管报表 / the regulators' forms", responses=answers(form_examples.FORMS)
)
def list_forms(caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return which forms there are, without figures."""
    with transaction(catalogue.engine) as session:
        audit.record(session, caller, "savings.list", forms=True)
    return Json({"forms": filled_forms.forms()})


@router.get(
    "/v1/savings/forms/{form_name}",
    summary="填好的监管报表 / a form filled in",
    responses=form_examples.FORM_ANSWERS,
)
def read_form(
    caller: CallerOf,
    catalogue: CatalogueOf,
    form_name: Annotated[str, Path(max_length=32, pattern="^[a-z]+$", description="institution, national")],
    first: First = None,
    last: Last = None,
    form: Form = "json",
) -> Response:
    """Return a form for some months, in fen; a file has yuan. What the catalogue does not know is null or empty."""
    months = months_of(catalogue.clock, first, last)
    with transaction(steady(catalogue.engine)) as session:
        filled = filled_forms.fill(
            session,
            catalogue,
            form_name,
            first=months[0],
            last=months[1],
            hospital_code=caller.hospital_code,
        )
        audit.record(session, caller, "savings.read", form=filled["form"])
    as_of = now(catalogue.clock)
    if form == "json":
        return Json({"as_of": as_of, **filled})
    return as_file(form_table(filled, as_of), form, f"form-{filled['form']}", months)
