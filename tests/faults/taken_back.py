"""A database connection whose every commit can be taken back: what one call changed, the next one never sees."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from catalog import scope
from catalog.connection import CONNECT_ARGS, session_options

_STATEMENT_MS = 30_000


class TakenBack(psycopg.Connection[Any]):
    """Commits and rolls back to savepoints of one transaction, until `take_back` undoes it whole."""

    def take_back(self) -> None:
        """Undo everything since the last time, and begin anew."""
        super().rollback()
        self.execute("savepoint step")

    def commit(self) -> None:
        """Keep it until it is taken back."""
        self.execute("release savepoint step; savepoint step")

    def rollback(self) -> None:
        """Undo what came since the last commit."""
        self.execute("rollback to savepoint step")


@contextmanager
def taken_back(engine: Engine) -> Iterator[tuple[Engine, TakenBack]]:
    """Yield an engine beside another that hands out one connection alone, and that connection."""
    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = TakenBack.connect(address, **CONNECT_ARGS, options=session_options(_STATEMENT_MS))
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ  # a route that asks for it finds it
    connection.take_back()
    single = create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool)
    event.listen(
        single, "begin", scope.begin
    )  # within the one transaction: it says for whom the next call works
    try:
        yield single, connection
    finally:
        connection.close()
