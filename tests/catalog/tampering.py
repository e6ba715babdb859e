"""Changing the books below the application, and what the recount says then."""

from typing import Any

from sqlalchemy import text

from catalog import recount
from catalog.db import transaction
from tests.city import City

TABLES = (
    *("price", "decision", "ledger", "monthly", "ordered_item", "order_check", "audit_event", "result"),
    *("pack", "repeat"),
)


def found(city: City) -> dict[str, Any]:
    with transaction(city.catalogue.engine) as session:
        return recount.verify(session)


def kinds(answer: dict[str, Any]) -> set[str]:
    return {fault["fault"] for fault in answer["faults"]}


def tamper(city: City, *statements: str) -> None:
    """Change what the database itself refuses to change: as somebody would who owns it."""
    with transaction(city.catalogue.engine) as session:
        for table in TABLES:
            session.execute(text(f"alter table {table} disable trigger all"))
        for statement in statements:
            assert session.execute(text(statement)).rowcount, statement
        for table in TABLES:
            session.execute(text(f"alter table {table} enable trigger all"))
