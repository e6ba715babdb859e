"""Connections of one event loop, for what is asked at every order: no thread waits for them, and none is woken.

psycopg opens them and knows the protocol; a thread with its turn of the interpreter for each answer would take the
check longer than all its statements take PostgreSQL.
"""

import asyncio
import re
import select
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import Engine

from catalog import db, scope
from catalog.connection import CONNECT_ARGS, session_options
from catalog.steps import Rows, Statement, Steps

T = TypeVar("T")
_VALUE: Final = re.compile(r"%\((\w+)\)s|%%")


class Link:
    """One connection, with at most one message under way."""

    def __init__(self, opened: psycopg.AsyncConnection[Any]) -> None:
        self._opened = opened  # closes the socket when it goes
        self._pg = opened.pgconn
        self._pg.nonblocking = 1
        self._socket = self._pg.socket
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[list[PGresult]] | None = None
        self._results: list[PGresult] = []
        self._prepared: dict[str, tuple[bytes, list[str]]] = {}
        self._loop.add_reader(self._socket, self._readable)

    @property
    def at_rest(self) -> bool:
        """Say whether it is good and nothing is under way."""
        return self._answer is None and self._pg.status == ConnStatus.OK

    def still_rests(self) -> bool:
        """Say whether it is at rest and the server has not ended it: then there is something to read."""
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        while self.at_rest and waiting.poll(0):
            self._readable()
        return self.at_rest

    def close(self) -> None:
        """End it: the server undoes what was not committed."""
        if self._socket >= 0:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._socket)
                self._loop.remove_writer(self._socket)
            self._socket = -1
            self._pg.finish()

    async def begin(self, options: Mapping[str, Any], statement: bytes, *values: str) -> Rows:
        """Begin a transaction as scope.begin_with does."""
        return self._rows(await self._simple(scope.beginning_with(self._pg, options, statement, *values)))

    async def run(self, steps: Steps[T]) -> T:
        """Return what the steps come to in the transaction; they are told of a statement that fails."""
        try:
            statement = next(steps)
            while True:
                try:
                    found = self._rows(await self._execute(statement))
                except psycopg.Error as error:
                    statement = steps.throw(db.told(error, statement.text))
                else:
                    statement = steps.send(found)
        except StopIteration as done:
            result: T = done.value
            return result

    async def commit(self) -> None:
        """Commit. Raises psycopg.Error where the transaction was undone instead."""
        db.refuse_undone(await self._simple(b"commit"))

    async def undo(self) -> None:
        """Undo the transaction."""
        await self._simple(b"rollback")

    def _rows(self, result: PGresult) -> Rows:
        if not result.ntuples:
            return []
        loader = Transformer(self._opened)
        loader.set_pgresult(result)
        return loader.load_rows(0, result.ntuples, tuple)

    async def _execute(self, statement: Statement) -> PGresult:
        name, wanted = await self._prepare(statement.text)
        values = [statement.values[each] for each in wanted]
        written = Transformer(self._opened).dump_sequence(values, [PyFormat.TEXT] * len(values))
        self._pg.send_query_prepared(name, written)
        return await self._answered()

    async def _prepare(self, text: LiteralString) -> tuple[bytes, list[str]]:
        if text not in self._prepared:
            names = list(dict.fromkeys(filter(None, _VALUE.findall(text))))
            numbered = _VALUE.sub(lambda v: f"${names.index(v[1]) + 1}" if v[1] else "%", text)
            name = f"s{len(self._prepared)}".encode()
            self._pg.send_prepare(name, numbered.encode())
            await self._answered()
            self._prepared[text] = name, names
        return self._prepared[text]

    async def _simple(self, message: bytes) -> PGresult:
        self._pg.send_query(message)
        return await self._answered()

    async def _answered(self) -> PGresult:
        """Return the last result of what was sent. Raises psycopg.Error for the first that is a fault."""
        self._results = []
        self._answer = self._loop.create_future()  # stays where this wait is given up: then it is not at rest
        while self._pg.flush():
            await self._writable()
        results = await self._answer
        self._answer = None
        for result in results:
            if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
                raise error_from_result(result)
        return results[-1]

    async def _writable(self) -> None:
        free = self._loop.create_future()
        self._loop.add_writer(self._socket, free.set_result, None)
        try:
            await free
        finally:
            self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        try:
            self._pg.consume_input()
            while not self._pg.is_busy():
                result = self._pg.get_result()
                if result is None:
                    self._tell(self._results)
                    return
                self._results.append(result)
        except psycopg.Error as error:
            answer = self._answer
            self.close()
            if answer is not None and not answer.done():
                answer.set_exception(error)

    def _tell(self, results: Sequence[PGresult]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(list(results))


@dataclass(slots=True)
class _Resting:
    """What belongs to one event loop: its connections at rest, and how many more may be at work."""

    turns: asyncio.Semaphore
    links: list[Link] = field(default_factory=list)

    def take(self) -> Link | None:
        """Return the connection used last that is still good."""
        while self.links:
            link = self.links.pop()
            if link.still_rests():
                return link
            link.close()
        return None

    def close(self) -> None:
        """End what is at rest."""
        while self.links:
            self.links.pop().close()


class Swift:
    """The connections, `size` at most for each event loop; each is made when it is first needed."""

    def __init__(self, engine: Engine, size: int, *, statement_timeout_ms: int = 30_000) -> None:
        self._address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._options = session_options(statement_timeout_ms)
        self._size = size
        self._loops: dict[asyncio.AbstractEventLoop, _Resting] = {}

    @asynccontextmanager
    async def straight(
        self, engine: Engine, statement: LiteralString, *values: str
    ) -> AsyncIterator[tuple[Link, Rows]]:
        """Yield a transaction with the rows of its first statement, as db.straight does for a thread.

        `engine` says for whom it works (catalog.scope).
        """
        with db.faults_told():
            async with self._link() as link:
                options = engine.get_execution_options()
                yield link, await link.begin(options, statement.encode(), *values)
                await link.commit()

    def close(self) -> None:
        """End what is at rest."""
        for resting in self._loops.values():
            resting.close()

    @asynccontextmanager
    async def _link(self) -> AsyncIterator[Link]:
        here = self._here()
        async with here.turns:
            link = here.take() or await self._open()
            try:
                yield link
            except Exception:
                if link.at_rest:
                    await link.undo()
                raise
            finally:
                if link.at_rest:
                    here.links.append(link)
                else:
                    link.close()

    def _here(self) -> _Resting:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            for ended in [each for each in self._loops if each.is_closed()]:
                self._loops.pop(ended).close()  # they hear nothing any more
            self._loops[loop] = _Resting(asyncio.Semaphore(self._size))
        return self._loops[loop]

    async def _open(self) -> Link:
        arguments: dict[str, Any] = {**CONNECT_ARGS, "options": self._options}
        return Link(await psycopg.AsyncConnection.connect(self._address, autocommit=True, **arguments))
