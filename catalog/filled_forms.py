"""The regulators' forms filled in for some months. What the catalogue does not know is None, never 0."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any, Final

from sqlalchemy.orm import Session

from catalog import institution_form, national_form, savings
from catalog.context import Catalogue
from catalog.errors import InvalidInput
from catalog.form_months import MOST_MONTHS, FormMonths
from catalog.forms import Form, every_form, form_named

Filled = dict[str, Any]
_FILLERS: Final[Mapping[str, Callable[[Session, Catalogue, FormMonths], Filled]]] = {
    "institution": institution_form.fill,
    "national": national_form.fill,
}


def forms() -> list[dict[str, Any]]:
    """Return what forms there are, without figures."""
    return [_described(form) for form in every_form()]


def fill(
    session: Session, catalogue: Catalogue, name: str, *, first: date, last: date, hospital_code: str = ""
) -> Filled:
    """Return a form for the months from `first` to `last`, both inclusive: columns, rows, summary, total and notes.

    `hospital_code` is the hospital of a caller who sees no other's. Raises NotFound for an unknown form, InvalidInput
    for a reversed range or one of more than 120 months.
    """
    form = form_named(name)
    months = FormMonths(*savings.months(first, last), hospital_code)
    if months.count > MOST_MONTHS:
        raise InvalidInput(f"至多 {MOST_MONTHS} 个月", f"At most {MOST_MONTHS} months", field="from")
    filled = _FILLERS[name](session, catalogue, months)
    columns = [asdict(column) for column in (*form.columns, *filled.pop("more_columns", ()))]
    return {
        **_described(form),
        "from": f"{months.first:%Y-%m}",
        "to": f"{months.last:%Y-%m}",
        "columns": columns,
        **filled,
    }


def _described(form: Form) -> dict[str, Any]:
    return {
        "form": form.name,
        "version": form.header.version,
        "title": form.header.title_zh,
        "title_en": form.header.title_en,
        "source": form.header.source,
        "notes": [{"zh": zh, "en": en} for zh, en in form.notes],
    }
