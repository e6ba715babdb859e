"""For whom a transaction works: PostgreSQL shows it that hospital's rows, and those of the people it has opened.

The policies stand in catalog.row_security; what they ask is set for one transaction only and goes with its BEGIN.
A connection whose engine has no scope sets nothing: to the service's role it then shows nothing, while workers and
the owner need none.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, Literal, ParamSpec, TypeVar

from psycopg import sql
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from catalog.steps import Statement

if TYPE_CHECKING:
    from catalog.context import Caller, Catalogue

Kind = Literal["person", "study", "uid", "result", "report"]
P = ParamSpec("P")
T = TypeVar("T")

_OPTION: Final = "huren_scope"
_STEADY: Final = "huren_steady"
_PLANNED: Final = "huren_planned"
_BOOKS: Final = "huren_books"
_ENDS: Final = "huren_ends"
BOOKKEEPING: Final = "bookkeeping"
REVIEWER: Final = "reviewer"  # an auditor who belongs to a hospital: what is that hospital's, no more


@dataclass(frozen=True, slots=True)
class Scope:
    """What a transaction acts as: a caller's role and hospital, or one of the service's own duties."""

    role: str
    hospital_code: str = ""

    @classmethod
    def of(cls, caller: "Caller") -> "Scope":
        """Return the scope of whoever calls."""
        reviews = caller.role == "auditor" and caller.hospital_code
        code = "" if "\0" in caller.hospital_code else caller.hospital_code  # PostgreSQL knows no such text
        return cls(REVIEWER if reviews else caller.role, code)


GATE: Final = Scope("gate")  # who may come in: clients, accounts, sessions, tokens
COURIER: Final = Scope("courier")  # news on their way to hospitals


@lru_cache(maxsize=8_192)  # some for each hospital
def scoped(engine: Engine, scope: Scope) -> Engine:
    """Return the engine for work in this scope; it shares the connections of the other."""
    return engine.execution_options(**{_OPTION: scope})


def steady(engine: Engine) -> Engine:
    """Return the engine for figures: one state of the database from beginning to end, plans for what is asked.

    A plan for any months at all, which PostgreSQL keeps after five questions of a kind, takes ten times as long; and
    parallel workers cost a month's figures more than they save, and orders' checks their processors.
    """
    return engine.execution_options(**{_STEADY: True})


@lru_cache(maxsize=8_192)
def planned(engine: Engine) -> Engine:
    """Return the engine for transactions whose statements have one good plan for all values (see `beginning`)."""
    return engine.execution_options(**{_PLANNED: True})


def begin(connection: Connection) -> None:
    """Begin a scoped transaction: BEGIN and what the policies ask go in one message, so it costs no round trip."""
    options = connection.get_execution_options()
    scope: Scope | None = options.get(_OPTION)
    is_steady, is_planned = options.get(_STEADY, False), options.get(_PLANNED, False)
    if scope is None and not is_steady and not is_planned:
        return
    raw: Any = connection.connection.driver_connection
    statement: sql.Composable = sql.SQL("begin isolation level repeatable read" if is_steady else "begin")
    if scope is not None:
        statement += sql.SQL("; select act_for({}, {})").format(scope.role, scope.hospital_code)
    if is_planned:
        statement += sql.SQL(f"; select {_ONE_PLAN}")
    elif is_steady:
        statement += sql.SQL(f"; {_PLAN_FOR_FIGURES}")
    result = raw.pgconn.exec_(statement.as_bytes(raw))
    if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        raise error_from_result(result)


def beginning(engine: Engine) -> Statement:
    """Return what to say after BEGIN: for whom the engine works, and that each statement has one plan for all values.

    Else PostgreSQL plans look-ups by arrays anew each time, as it takes an array it does not know to be long: for those
    of a check that is two thirds of their work. Only for transactions whose statements have one good plan.
    """
    scope: Scope | None = engine.get_execution_options().get(_OPTION)
    if scope is None:
        return Statement(f"select {_ONE_PLAN}")
    return Statement(
        f"select act_for(%(role)s, %(code)s), {_ONE_PLAN}", {"role": scope.role, "code": scope.hospital_code}
    )


_PLAN_FOR_FIGURES: Final = (
    "set local plan_cache_mode = force_custom_plan; set local max_parallel_workers_per_gather = 0"
)
_ONE_PLAN: Final = "set_config('plan_cache_mode', 'force_generic_plan', true)"


def acting_as(catalogue: "Catalogue", scope: Scope) -> "Catalogue":
    """Return the catalogue for work in this scope."""
    return replace(catalogue, engine=scoped(catalogue.engine, scope))


def ends(session: Session) -> None:
    """Say that only bookkeeping and the commit are still to come: whom it acted for before, it need not act for again."""
    session.info[_ENDS] = True


@contextmanager
def bookkeeping(session: Session) -> Iterator[None]:
    """Let the exchange's books follow from what a hospital did: links, savings and news cross hospitals.

    Within, all rows of patients, decisions and news are seen; a caller has been answered to by what comes after.
    """
    scope: Scope | None = session.connection().get_execution_options().get(_OPTION)
    if scope is None or session.info.get(_BOOKS):
        yield
        return
    session.flush()
    _act_as(session, BOOKKEEPING)
    session.info[_BOOKS] = True
    try:
        yield
        session.flush()
        if not session.info.get(_ENDS):
            _act_as(session, scope.role)
    finally:
        del session.info[_BOOKS]


def books(work: Callable[Concatenate[Session, P], T]) -> Callable[Concatenate[Session, P], T]:
    """Have a function of a session do its work as the exchange's bookkeeping."""

    @wraps(work)
    def kept(session: Session, /, *args: P.args, **more: P.kwargs) -> T:
        with bookkeeping(session):
            return work(session, *args, **more)

    return kept


def _act_as(session: Session, role: str) -> None:
    # At the driver: the books are kept at every decision, and SQLAlchemy would take longer than the statement.
    raw: Any = session.connection().connection.driver_connection
    raw.execute("select set_config('huren.role', %s, true)", (role,))


def open_people(session: Session, person_ids: Collection[int]) -> frozenset[int]:
    """Let the transaction see these people and those merged with them; returns all of them that there are."""
    found: list[int] = session.scalar(
        text("select open_people(cast(:ids as bigint[]))"), {"ids": sorted(person_ids)}
    )
    return frozenset(found)


def open_number(session: Session, id_type: str, digests: Sequence[bytes]) -> int | None:
    """Let the transaction see whoever has a number with one of these hashes; returns his id, if he is known."""
    statement = text("select open_number(:id_type, cast(:digests as bytea[]))")
    found: int | None = session.scalar(statement, {"id_type": id_type, "digests": list(digests)})
    return found


def owner_of(session: Session, kind: Kind, key: int | str) -> int | None:
    """Return the number of the person whom this names: it may be known where nothing else of him may be seen."""
    found: int | None = session.scalar(_OWNER, {"kind": kind, "key": str(key)})
    return found


_OWNER: Final = text("select owner_of(:kind, :key)")
