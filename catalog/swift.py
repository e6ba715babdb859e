"""Connections of one event loop, for what is asked at every order: no thread waits for them, and none is woken.

psycopg opens them and knows the protocol; a thread with its turn of the interpreter for each answer would take the
check longer than all its statements take PostgreSQL.
"""

import asyncio
import re
import select
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, PipelineStatus, TransactionStatus
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
        self._writer, self._reader = Transformer(opened), Transformer(opened)
        self._pg.nonblocking = 1
        self._socket = self._pg.socket
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[list[PGresult]] | None = None
        self._results: list[PGresult] = []
        self._prepared: dict[str, tuple[bytes, list[str]]] = {}
        self._loop.add_reader(self._socket, self._readable)

    @property
    def rests(self) -> bool:
        """Say whether it is good, and neither a message nor a transaction is under way."""
        return self.hears and self._pg.transaction_status == TransactionStatus.IDLE

    @property
    def hears(self) -> bool:
        """Say whether it is good and no message is under way."""
        is_good = self._pg.status == ConnStatus.OK and self._pg.pipeline_status == PipelineStatus.OFF
        return self._answer is None and is_good

    def still_rests(self) -> bool:
        """Say whether it is at rest and the server has not ended it: then there is something to read."""
        while self.rests:
            waiting = select.poll()
            waiting.register(self._socket, select.POLLIN)
            if not waiting.poll(0):
                return True
            self._readable()
        return False

    def close(self) -> None:
        """End it: the server undoes what was not committed."""
        if self._socket >= 0:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._socket)
                self._loop.remove_writer(self._socket)
            self._socket = -1
            self._pg.finish()

    async def batch(self, statements: Sequence[Statement]) -> list[PGresult]:
        """Send statements in one message and return the result of each. Raises psycopg.Error for the first fault."""
        messages = []  # whole before the first is sent: a value that cannot be written costs no connection
        for statement in statements:
            name, wanted = await self._prepare(statement.text)
            messages.append((name, self._written([statement.values[each] for each in wanted])))
        self._pg.enter_pipeline_mode()
        for name, values in messages:
            self._pg.send_query_prepared(name, values)
        self._pg.pipeline_sync()
        results = await self._answered()
        self._pg.exit_pipeline_mode()
        return [_good(result) for result in results[:-1]]  # the last says that all of them came

    def rows(self, result: PGresult) -> Rows:
        """Return the rows of a result."""
        if not result.ntuples:
            return []
        self._reader.set_pgresult(result)
        return self._reader.load_rows(0, result.ntuples, tuple)

    async def undo(self) -> None:
        """Undo the transaction."""
        self._pg.send_query(b"rollback")
        _good((await self._answered())[-1])

    def _written(self, values: Sequence[Any]) -> Sequence[Any]:
        return self._writer.dump_sequence(values, [PyFormat.TEXT] * len(values)) if values else ()

    async def _prepare(self, text: LiteralString) -> tuple[bytes, list[str]]:
        if text not in self._prepared:
            names = list(dict.fromkeys(filter(None, _VALUE.findall(text))))
            numbered = _VALUE.sub(lambda v: f"${names.index(v[1]) + 1}" if v[1] else "%", text)
            name = f"s{len(self._prepared)}".encode()
            self._pg.send_prepare(name, numbered.encode())
            _good((await self._answered())[-1])
            self._prepared[text] = name, names
        return self._prepared[text]

    async def _answered(self) -> list[PGresult]:
        """Return every result of what was sent."""
        self._results = []
        self._answer = self._loop.create_future()  # stays where this wait is given up: then it is not at rest
        while self._pg.flush():
            await self._writable()
        results = await self._answer
        self._answer = None
        return results

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
            if self._is_whole() and self._answer is not None and not self._answer.done():
                self._answer.set_result(self._results)
            elif self._pg.status != ConnStatus.OK:
                raise psycopg.OperationalError("the connection is lost")
        except psycopg.Error as error:
            answer = self._answer
            self.close()
            if answer is not None and not answer.done():
                answer.set_exception(error)

    def _is_whole(self) -> bool:
        """Take the results that have come; say whether they are all. In a pipeline none stands between two statements'."""
        before: PGresult | None = self._results[-1] if self._results else None
        while not self._pg.is_busy():
            result = self._pg.get_result()
            if result is None and (before is None or self._pg.pipeline_status == PipelineStatus.OFF):
                return self._pg.pipeline_status == PipelineStatus.OFF
            if result is not None:
                self._results.append(result)
                if result.status == ExecStatus.PIPELINE_SYNC:
                    return True
            before = result
        return False


def _good(result: PGresult) -> PGresult:
    if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        raise error_from_result(result)
    return result


class Transaction:
    """A transaction on a connection; `found` are the rows of the statements that it began with."""

    def __init__(self, link: Link, found: list[Rows]) -> None:
        self._link = link
        self.found: Final = found
        self.is_committed = False

    async def run(self, steps: Steps[T], *, before_commit: Callable[[], None] = lambda: None) -> T:
        """Return what the steps come to; they are told of a statement that fails.

        With one that ends them goes COMMIT; `before_commit` may raise what stands against it.
        """
        try:
            statement = next(steps)
            while True:
                try:
                    found = await self._execute(statement, before_commit)
                except psycopg.Error as error:
                    statement = steps.throw(db.told(error, statement.text))
                else:
                    statement = steps.send(found)
        except StopIteration as done:
            result: T = done.value
            return result

    async def commit(self) -> None:
        """Commit, unless that is done. Raises psycopg.Error where the transaction was undone instead."""
        if not self.is_committed:
            self._committed(*await self._link.batch([_COMMIT]))

    async def _execute(self, statement: Statement, before_commit: Callable[[], None]) -> Rows:
        if not statement.ends:
            (result,) = await self._link.batch([statement])
        else:
            before_commit()
            result, done = await self._link.batch([statement, _COMMIT])
            self._committed(done)
        return self._link.rows(result)

    def _committed(self, result: PGresult) -> None:
        db.refuse_undone(result)
        self.is_committed = True


_BEGIN: Final = Statement("begin")
_COMMIT: Final = Statement("commit")


@dataclass(slots=True)
class _Resting:
    """What belongs to one event loop: its connections at rest, and how many more may be at work."""

    turns: asyncio.Semaphore
    few: asyncio.Semaphore
    links: list[Link] = field(default_factory=list)

    @asynccontextmanager
    async def turn(self, patience_seconds: float) -> AsyncIterator[None]:
        """Wait to be one of the few that work at once, and no longer than that for those: they may hang."""
        async with self.turns:
            is_one_of_few = await self._is_one_of_few(patience_seconds)
            try:
                yield
            finally:
                if is_one_of_few:
                    self.few.release()

    async def _is_one_of_few(self, patience_seconds: float) -> bool:
        if not self.few.locked():
            return await self.few.acquire()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds):
                return await self.few.acquire()
        return False

    def take(self) -> Link | None:
        """Return the connection used last that is still good."""
        while self.links:
            link = self.links.pop()
            if link.still_rests():
                return link
            link.close()
        return None

    def give_back(self, link: Link) -> None:
        """Keep a connection for the next, if it is good and rests; else end it."""
        if link.rests:
            self.links.append(link)
        else:
            link.close()

    def close(self) -> None:
        """End what is at rest."""
        while self.links:
            self.links.pop().close()


class Swift:
    """The connections, `size` at most for each event loop; each is made when it is first needed.

    Only `at_once` are at work while none waits longer than `patience_seconds`: more make none quicker, and sixteen take
    PostgreSQL a third more of the processors for each check. Where some hang, the others go past them.
    """

    def __init__(
        self,
        engine: Engine,
        size: int,
        *,
        at_once: int = 4,
        patience_seconds: float = 0.05,
        statement_timeout_ms: int = 30_000,
    ) -> None:
        self._address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._options = session_options(statement_timeout_ms)
        self._size = size
        self._at_once = at_once
        self._patience_seconds = patience_seconds
        self._loops: dict[asyncio.AbstractEventLoop, _Resting] = {}

    @asynccontextmanager
    async def straight(self, engine: Engine, *statements: Statement) -> AsyncIterator[Transaction]:
        """Yield a transaction that begins with these statements, all in one message.

        As db.straight does for a thread: for whom the engine works, committed at the end. Raises what that does.
        """
        here = self._here()
        with db.faults_told():
            async with here.turn(self._patience_seconds):
                link = here.take() or await self._open()
                try:
                    results = await link.batch([_BEGIN, scope.beginning(engine), *statements])
                    found = (
                        [link.rows(result) for result in results[-len(statements) :]] if statements else []
                    )
                    transaction = Transaction(link, found)
                    yield transaction
                    await transaction.commit()
                except Exception:
                    if link.hears:
                        await link.undo()
                    raise
                finally:
                    here.give_back(link)

    def close(self) -> None:
        """End what is at rest."""
        for resting in self._loops.values():
            resting.close()

    def _here(self) -> _Resting:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            for ended in [each for each in self._loops if each.is_closed()]:
                self._loops.pop(ended).close()  # they hear nothing any more
            self._loops[loop] = _Resting(asyncio.Semaphore(self._size), asyncio.Semaphore(self._at_once))
        return self._loops[loop]

    async def _open(self) -> Link:
        arguments: dict[str, Any] = {**CONNECT_ARGS, "options": self._options}
        return Link(await psycopg.AsyncConnection.connect(self._address, autocommit=True, **arguments))
