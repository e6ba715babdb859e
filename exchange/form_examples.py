"""Examples of the regulators' forms, as JSON and as files, for the OpenAPI document."""

from dataclasses import asdict
from typing import Any, Final

from catalog.filled_forms import forms
from catalog.forms import form_named
from exchange.examples import answers
from exchange.form_files import form_table
from exchange.savings_examples import DECIDED, with_files

FORMS: Final[dict[str, Any]] = {"forms": forms()}
_FORM: Final = form_named("institution")
_COUNTED: Final[dict[str, Any]] = (
    {
        column.key: None if column.kind == "flag" or "eqa" in column.key else 0
        for column in _FORM.columns
        if column.kind != "text"
    }
    | dict.fromkeys(("ct_items", "total_items"), 1)
    | dict.fromkeys(("ct_fen", "total_fen"), 19800)
)
_SUMMED: Final[dict[str, Any]] = {"institutions": 1, **_COUNTED}
FILLED: Final[dict[str, Any]] = {
    "as_of": DECIDED,
    **FORMS["forms"][0],
    "from": "2026-06",
    "to": "2026-06",
    "columns": [asdict(column) for column in _FORM.columns],
    "rows": [{"hospital": "B", "hospital_name": "乙医院", "class": "二级", **_COUNTED}],
    "summary": [{"class": "二级", **_SUMMED}],
    "total": _SUMMED,
}
FORM_ANSWERS: Final = with_files(answers(FILLED), form_table(FILLED, DECIDED))
