"""Work as a row of statements, each asked for when it is needed: a thread's connection or an event loop's may run it."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString, TypeVar

from sqlalchemy import exc
from sqlalchemy.orm import Session

from catalog import db

T = TypeVar("T")
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement as psycopg writes it (`%(name)s`), and its values."""

    text: LiteralString
    values: Mapping[str, Any]


Steps = Generator[Statement, Rows, T]


def run(at: Session | db.Straight, steps: Steps[T]) -> T:
    """Return what the steps come to in the transaction there; they are told of a statement that fails."""
    try:
        statement = next(steps)
        while True:
            try:
                found = db.rows(at, statement.text, statement.values)
            except exc.DBAPIError as error:
                statement = steps.throw(error)
            else:
                statement = steps.send(found)
    except StopIteration as done:
        result: T = done.value
        return result
