"""What stands behind a figure is seen below the application by offices of figures alone, and never with a name."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from catalog import scope
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.embedded import Services
from catalog.scope import COURIER, GATE, Scope
from tests.city import City, serving

VIEWS = ("examined", "pack_digest", "audited_act", "merged")
Counts = tuple[int, int, int, int]


@pytest.fixture
def served(city: City, services: Services) -> Iterator[Catalogue]:
    """The service's catalogue after B recognised what A did of one person; A and B did one thing each of another.

    Both are merged, which changes no figure here.
    """
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A")
    check = city.check(doctor, [{"order_number": "1", "item_code": "CT07"}])
    city.decide(doctor, check, "1", "recognise")
    for code in "AB":
        city.study(code, 4)
    with transaction(city.catalogue.engine) as session:
        session.execute(text("update person set group_id = 1"))  # as a curator's merging of both does
    catalogue = serving(city.catalogue, services)
    yield catalogue
    catalogue.engine.dispose()


def counts(catalogue: Catalogue, acting: Scope | None) -> Counts:
    engine = catalogue.engine if acting is None else scope.scoped(catalogue.engine, acting)
    with transaction(engine) as session:
        return tuple(session.scalar(text(f"select count(*) from {view}")) for view in VIEWS)  # type: ignore[return-value]  # noqa: S608


@pytest.mark.parametrize(
    ("role", "hospital", "seen"),
    [
        ("regulator", "", (3, 3, 2, 2)),
        ("auditor", "", (3, 3, 2, 2)),
        ("auditor", "B", (2, 2, 2, 2)),  # what B did, what B recognised; not what A did of somebody else
        ("auditor", "A", (2, 2, 0, 2)),
        ("auditor", "ZZ", (0, 0, 0, 2)),
        ("doctor", "B", (0, 0, 0, 0)),
        ("hospital_system", "B", (0, 0, 0, 0)),
        ("curator", "", (0, 0, 0, 0)),
        ("operator", "", (0, 0, 0, 0)),
    ],
)
def test_each_role_sees_of_the_figures_what_its_office_needs(
    served: Catalogue, role: str, hospital: str, seen: Counts
) -> None:
    assert counts(served, Scope.of(Caller("x", role, hospital))) == seen


@pytest.mark.parametrize("acting", [None, GATE, COURIER, Scope("bookkeeping", "B"), Scope("", "B")])
def test_whoever_has_no_such_office_sees_nothing(served: Catalogue, acting: Scope | None) -> None:
    assert counts(served, acting) == (0, 0, 0, 0)


def test_no_column_of_them_names_a_patient(served: Catalogue) -> None:
    with served.engine.connect() as connection:
        found = connection.scalars(
            text(
                "select attname from pg_attribute where attrelid = any(cast(:views as regclass[])) and attnum > 0"
            ),
            {"views": list(VIEWS)},
        )
        columns = set(found)
    assert {"person_id", "sha256", "saving_fen"} < columns
    assert not columns & {
        "name",
        "patient_name",
        "patient_id",
        "birth_date",
        "sex",
        "accession_number",
        "facts",
        "detail",
    }
