"""Questions about figures that are not plausible, as JSON and as files."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from catalog import audit, item_lists, questions
from catalog.db import transaction
from catalog.plausibility import months_before
from catalog.rules import local_day
from catalog.scope import steady
from exchange import question_examples, question_files
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.figures import Entries, First, Form, Last, NoNul, Offset, as_file, month_of, now, page_of

router = APIRouter(tags=["savings"])


@router.get(
    "/v1/savings/questions",
    summary="合理性疑问 / questions about figures, for somebody to answer",
    responses=question_examples.QUESTIONS_ANSWERS,
)
def list_questions(
    caller: CallerOf,
    catalogue: CatalogueOf,
    first: First = None,
    last: Last = None,
    hospital: Annotated[str | None, Query(max_length=32, pattern=NoNul)] = None,
    offset: Offset = 0,
    limit: Entries = 100,
    form: Form = "json",
) -> Response:
    """Return questions by month, hospital, kind and item: what was seen, what was expected and why; never a verdict.

    At most twelve months at a time; without any, this month and the one before. A file has all of them.
    """
    today = local_day(catalogue.clock())
    months = month_of(first, "from", months_before(today, 1)), month_of(last, "to", today)
    with transaction(steady(catalogue.engine)) as session:
        found = questions.ask(
            session,
            item_lists.every_item(session, catalogue),
            catalogue.thresholds,
            first=months[0],
            last=months[1],
            hospital=hospital,
            **page_of(form, offset, limit),
        )
        audit.record(session, caller, "savings.questions", hospital=hospital)
    as_of = now(catalogue.clock)
    if form != "json":
        return as_file(question_files.questions_table(found, as_of), form, "savings-questions", months)
    return Json({"as_of": as_of, **found})
