"""The engine and the unit of work."""

import re
import select
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString, TypeVar, cast

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq.abc import PGresult
from sqlalchemy import Engine, create_engine, event, exc, text
from sqlalchemy.orm import Session

from catalog import scope
from catalog.connection import CONNECT_ARGS, session_options
from catalog.errors import DatabaseDown, InvalidInput
from catalog.steps import Steps

T = TypeVar("T")
Straight = psycopg.Connection[Any]
_AT_END = "at_end"


def open_engine(database_url: str, *, pool_size: int = 20, statement_timeout_ms: int = 30_000) -> Engine:
    """Return an engine for a postgresql:// address; nothing is connected yet."""
    url = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg://", database_url)
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,  # what overflows is closed at once: under load every other transaction would connect anew
        pool_timeout=5,
        pool_use_lifo=True,
        hide_parameters=True,  # they are patients', and an error's text goes to the log
        connect_args={**CONNECT_ARGS, "options": session_options(statement_timeout_ms)},
    )
    event.listen(engine, "checkout", _leave_if_closed)
    event.listen(engine, "begin", scope.begin)
    return engine


def _leave_if_closed(connection: psycopg.Connection[Any], *_: Any) -> None:
    """Refuse a pooled connection that the server has closed.

    At rest the server sends nothing, so there is something to read only where it has ended the connection (or told
    a setting); that costs no round trip, as a statement to try it would at every transaction.
    """
    try:
        resting = select.poll()
        resting.register(connection.fileno(), select.POLLIN)
        if resting.poll(0):
            connection.execute("select 1")
            connection.rollback()
    except psycopg.Error as error:
        raise exc.DisconnectionError("closed by the server while at rest") from error


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """Yield a session whose work is committed at the end, or undone as a whole.

    Raises DatabaseDown where the server cannot be reached or gives up, InvalidInput for a value that no column
    holds: a NUL in a text, a number beyond 64 bits.
    """
    with faults_told(), Session(engine, expire_on_commit=False) as session, session.begin():
        yield session
        if last := session.info.pop(_AT_END, {}):
            session.flush()
            scope.ends(session)
        for work in last.values():
            work(session)


def at_end(session: Session, name: str, work: Callable[[Session], None]) -> None:
    """Have bookkeeping done at the end of the session's transaction, once for each name: what others wait for, last."""
    session.info.setdefault(_AT_END, {}).setdefault(name, work)


@contextmanager
def straight(engine: Engine) -> Iterator[Straight]:
    """Yield a transaction at the driver, for whom the engine works, as scope.beginning says; a session takes longer.

    Raises what `transaction` does.
    """
    with faults_told():
        pooled = engine.raw_connection()
        raw: Straight = pooled.driver_connection  # type: ignore[assignment]
        try:
            beginning = scope.beginning(engine)
            raw.execute(beginning.text, beginning.values)
            yield raw
            refuse_undone(raw.pgconn.exec_(b"commit"))
        except BaseException:
            if raw.closed:
                pooled.invalidate()
            raise
        finally:
            pooled.close()  # what is not committed by now is undone


def refuse_undone(result: PGresult) -> None:
    """Raise psycopg.Error where the answer to COMMIT says that the transaction was undone, or nothing."""
    if result.command_status != b"COMMIT":
        raise error_from_result(result)


@contextmanager
def faults_told() -> Iterator[None]:
    """Raise DatabaseDown and InvalidInput for what the database says, as `transaction` does."""
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, psycopg.OperationalError) as error:
        raise database_down() from error
    except (exc.DataError, psycopg.DataError) as error:
        raise InvalidInput(
            "内容含有无法保存的字符或数值", "A character or number that cannot be kept", code="not_storable"
        ) from error
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            raise database_down() from error
        raise


def rows(
    at: Session | Straight, statement: LiteralString, values: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Run one statement as it is written, in the transaction there, and return its rows, if it has any.

    For what is asked at every order: it costs a quarter of what SQLAlchemy makes of the same. Nothing that pends in
    a session is flushed. Raises what SQLAlchemy raises.
    """
    raw: Straight = at.connection().connection.driver_connection if isinstance(at, Session) else at  # type: ignore[assignment]
    try:
        # At once, not the sixth time: to plan one of these takes several times as long as to run it.
        cursor = raw.execute(statement, values, prepare=True)
        return cursor.fetchall() if cursor.pgresult and cursor.pgresult.nfields else []
    except psycopg.Error as error:
        raise told(error, statement, is_lost=raw.closed) from error


def run(at: Session | Straight, steps: Steps[T]) -> T:
    """Return what the steps come to in the transaction there; they are told of a statement that fails."""
    try:
        statement = next(steps)
        while True:
            try:
                found = rows(at, statement.text, statement.values)
            except exc.DBAPIError as error:
                statement = steps.throw(error)
            else:
                statement = steps.send(found)
    except StopIteration as done:
        result: T = done.value
        return result


def told(error: psycopg.Error, statement: str, *, is_lost: bool = False) -> exc.DBAPIError:
    """Return an error of the driver as SQLAlchemy tells it, without values."""
    found = exc.DBAPIError.instance(
        statement, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=is_lost
    )
    return cast(exc.DBAPIError, found)  # an error of the driver is never told as another


def ping(engine: Engine) -> None:
    """Ask the database for a sign of life. Raises DatabaseDown."""
    with transaction(engine) as session:
        session.execute(text("select 1"))


def database_down() -> DatabaseDown:
    """Return the error that says the database does not answer."""
    return DatabaseDown(
        "目录数据库暂时无法访问,请稍后再试", "The catalogue's database does not answer; try again later"
    )
