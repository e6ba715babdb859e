"""Connections of an event loop: what a transaction on one promises, whatever happens to it."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any, LiteralString, TypeVar

import orjson
import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from catalog import recognition, scope
from catalog.context import Caller, Catalogue
from catalog.db import open_engine, rows, run, transaction
from catalog.embedded import Services
from catalog.errors import DatabaseDown, InvalidInput, NotFound
from catalog.identity import Demographics, Document
from catalog.orders import OrderRequest
from catalog.recognition import CheckRequest
from catalog.registry_view import NotKept
from catalog.scope import Scope
from catalog.steps import Rows, Statement, Steps
from catalog.swift import Swift
from tests.city import City, id_number, serving

T = TypeVar("T")
FIRST = Statement("select 1")
PID = Statement("select pg_backend_pid()")


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """An engine of a database with a table for notes."""
    made = open_engine(fresh_database_url)
    with transaction(made) as session:
        rows(session, "create table note (number int primary key, said text)", {})
    yield made
    made.dispose()


def with_swift(engine: Engine, use: Callable[[Swift], Awaitable[T]], size: int = 2) -> T:
    """Run on a loop of its own."""

    async def used() -> T:
        swift = Swift(engine, size)
        try:
            return await use(swift)
        finally:
            swift.close()

    return asyncio.run(used())


def noted(engine: Engine) -> list[Any]:
    with transaction(engine) as session:
        return [number for (number,) in rows(session, "select number from note order by number", {})]


def writing(number: int, said: str = "") -> Steps[None]:
    yield Statement(
        "insert into note values (%(number)s::int, %(said)s::text)", {"number": number, "said": said}
    )


def asking(statement: LiteralString, values: dict[str, Any]) -> Steps[Rows]:
    return (yield Statement(statement, values))


def test_what_is_written_stands_when_the_work_is_done_and_nothing_of_it_where_it_fails(
    engine: Engine,
) -> None:
    def refusing() -> Steps[None]:
        yield from writing(2)
        raise NotFound("没有", "none")

    async def use(swift: Swift) -> None:
        async with swift.straight(engine, FIRST, PID) as at:
            (one,), pid = at.found
            assert one == (1,)
            await at.run(writing(1))
        assert noted(engine) == [1]
        with pytest.raises(NotFound):
            async with swift.straight(engine) as at:
                await at.run(refusing())
        async with swift.straight(engine, PID) as at:
            assert at.found == [pid]  # the same connection, which rested meanwhile
            await at.run(writing(3))

    with_swift(engine, use)
    assert noted(engine) == [1, 3]


def test_steps_are_told_of_a_statement_that_fails_and_after_it_nothing_can_stand(engine: Engine) -> None:
    def twice() -> Steps[str]:
        yield from writing(1)
        try:
            yield from writing(1)
        except DBAPIError as error:
            return type(error.orig).__name__
        return ""

    async def use(swift: Swift) -> None:
        with pytest.raises(psycopg.Error):
            async with swift.straight(engine) as at:
                assert await at.run(twice()) == "UniqueViolation"
        async with swift.straight(engine) as at:
            await at.run(writing(2))

    with_swift(engine, use)
    assert noted(engine) == [2]


def test_values_arrive_as_a_thread_would_send_them(engine: Engine) -> None:
    moment = datetime(2026, 6, 30, 4, 0, 0, 123_456, tzinfo=UTC)
    said = 'O\'Neil "x" \\ %s %(a)s 林晓渝 𬭎\n'
    values = {
        "a": said,
        "b": None,
        "c": 2**40,
        "d": True,
        "e": moment,
        "f": date(2026, 2, 28),
        "g": uuid.UUID(int=7),
        "h": [3, 1],
        "i": [],
    }
    statement: LiteralString = (
        "select %(a)s::text, %(a)s::text, %(b)s::text, %(c)s::bigint, %(d)s::bool, %(e)s::timestamptz, %(f)s::date,"
        " %(g)s::uuid, %(h)s::bigint[], %(i)s::text[], 5 %% 3, array[%(a)s::text, null]"
    )

    async def use(swift: Swift) -> Rows:
        first = Statement("select %(a)s::text, %(b)s::text", {"a": said, "b": ""})
        async with swift.straight(engine, first) as at:
            assert at.found == [[(said, "")]]
            return await at.run(asking(statement, values))

    by_loop = with_swift(engine, use)
    with transaction(engine) as session:
        assert by_loop == run(session, asking(statement, values))
    assert by_loop[0][:3] == (said, said, None)


def test_a_nul_is_refused_and_nothing_is_cut_off_at_it(engine: Engine) -> None:
    async def use(swift: Swift) -> None:
        with pytest.raises(InvalidInput) as refused:
            async with swift.straight(engine, Statement("select %(a)s::text", {"a": "a\0b"})):
                pass
        assert refused.value.code == "not_storable"
        with pytest.raises(InvalidInput):
            async with swift.straight(engine) as at:
                await at.run(writing(1, "a\0b"))

    with_swift(engine, use)
    assert noted(engine) == []


def test_more_than_a_socket_takes_at_once_goes_through_both_ways(engine: Engine) -> None:
    said = "渝" * 5_000_000

    async def use(swift: Swift) -> Rows:
        async with swift.straight(engine) as at:
            return await at.run(asking("select %(a)s::text", {"a": said}))

    assert with_swift(engine, use) == [(said,)]


@pytest.mark.parametrize("is_heard", [False, True])
def test_a_connection_that_the_server_ended_is_replaced(engine: Engine, is_heard: bool) -> None:
    """Whether or not the loop has heard of it before the next one asks."""

    def end(pid: int) -> None:
        with transaction(engine) as session:
            assert rows(session, "select pg_terminate_backend(%(pid)s, 5000)", {"pid": pid}) == [(True,)]

    async def use(swift: Swift) -> None:
        for _ in range(3):
            async with swift.straight(engine, PID) as at:
                (((pid,),),) = at.found
            if is_heard:
                await asyncio.to_thread(end, pid)
            else:
                end(pid)

    with_swift(engine, use)


def test_a_connection_lost_at_work_is_the_database_down_and_nothing_stands(engine: Engine) -> None:
    def lost() -> Steps[Rows]:
        yield from writing(1)
        return (yield Statement("select pg_terminate_backend(pg_backend_pid())", {}))

    async def use(swift: Swift) -> None:
        with pytest.raises(DatabaseDown):
            async with swift.straight(engine) as at:
                await at.run(lost())
        async with swift.straight(engine) as at:
            await at.run(writing(2))

    with_swift(engine, use)
    assert noted(engine) == [2]


def test_who_gives_up_waiting_leaves_nothing_behind_and_nobody_gets_his_answer(engine: Engine) -> None:
    def slow() -> Steps[Rows]:
        yield from writing(1)
        return (yield Statement("select 'late' from pg_sleep(60)", {}))

    async def use(swift: Swift) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), swift.straight(engine) as at:
                await at.run(slow())
        async with swift.straight(engine, FIRST) as at:
            assert at.found == [[(1,)]]
            assert await at.run(asking("select 'mine'", {})) == [("mine",)]

    with_swift(engine, use, size=1)
    assert noted(engine) == []


def test_who_gives_up_between_two_statements_leaves_no_transaction_to_the_next(engine: Engine) -> None:
    async def given_up(swift: Swift) -> None:
        async with asyncio.timeout(0.2), swift.straight(engine) as at:
            await at.run(writing(1))
            await asyncio.Event().wait()

    async def use(swift: Swift) -> None:
        with pytest.raises(TimeoutError):
            await given_up(swift)
        async with swift.straight(engine) as at:
            await at.run(writing(2))

    with_swift(engine, use, size=1)
    assert noted(engine) == [2]


def test_no_more_connections_are_made_than_allowed_and_whoever_waits_gets_his_turn(engine: Engine) -> None:
    async def use(swift: Swift) -> set[int]:
        async def one() -> int:
            slow = Statement("select pg_backend_pid() from pg_sleep(0.01)")
            async with swift.straight(engine, slow) as at:
                return int(at.found[0][0][0])

        return set(await asyncio.gather(*(one() for _ in range(12))))

    assert len(with_swift(engine, use, size=3)) == 3


def test_only_a_few_work_at_once_while_none_waits_long(engine: Engine) -> None:
    async def use() -> set[int]:
        swift = Swift(engine, 8, at_once=2, patience_seconds=60)

        async def one() -> int:
            slow = Statement("select pg_backend_pid() from pg_sleep(0.01)")
            async with swift.straight(engine, slow) as at:
                return int(at.found[0][0][0])

        try:
            return set(await asyncio.gather(*(one() for _ in range(12))))
        finally:
            swift.close()

    assert len(asyncio.run(use())) == 2


def test_where_the_few_hang_the_others_go_past_them_and_the_few_are_a_few_again(engine: Engine) -> None:
    async def use() -> tuple[set[int], int]:
        swift = Swift(engine, 4, at_once=2, patience_seconds=0.01)
        done, at_work = asyncio.Event(), 0

        async def hang() -> int:
            nonlocal at_work
            async with swift.straight(engine, PID) as at:
                at_work += 1
                await done.wait()
                return int(at.found[0][0][0])

        try:
            hanging = [asyncio.create_task(hang()) for _ in range(6)]
            async with asyncio.timeout(20):
                while at_work < 4:
                    await asyncio.sleep(0)
            done.set()
            return set(await asyncio.gather(*hanging)), swift._here().few._value
        finally:
            swift.close()

    used, free = asyncio.run(use())
    assert len(used) == 4
    assert free == 2


def test_another_loop_gets_connections_of_its_own(engine: Engine) -> None:
    swift = Swift(engine, 2)

    async def use() -> int:
        async with swift.straight(engine, PID) as at:
            return int(at.found[0][0][0])

    assert asyncio.run(use()) != asyncio.run(use())
    swift.close()


def test_a_server_that_cannot_be_reached_is_the_database_down() -> None:
    nowhere = open_engine("postgresql://nobody@127.0.0.1:1/none")

    async def use(swift: Swift) -> None:
        with pytest.raises(DatabaseDown):
            async with swift.straight(nowhere):
                pass

    with_swift(nowhere, use)


def asked(person: int = 2) -> CheckRequest:
    orders = (OrderRequest("1", "CT07"), OrderRequest("2", "MR01"))
    return CheckRequest(Document("01", id_number(person)), Demographics(), orders, department="急诊")


async def ask(catalogue: Catalogue, swift: Swift, doctor: Caller, person: int = 2) -> dict[str, Any]:
    acting = scope.acting_as(catalogue, Scope.of(doctor))
    written = await recognition.check_swiftly(acting, swift, doctor, asked(person), still_wanted=lambda: True)
    given: dict[str, Any] = orjson.loads(written)
    return given


def test_what_ends_the_steps_is_committed_with_them_unless_something_stands_against_it(
    engine: Engine,
) -> None:
    def ending(number: int) -> Steps[None]:
        yield Statement("insert into note values (%(number)s, '')", {"number": number}, ends=True)

    def refuse() -> None:
        raise NotFound("没有", "none")

    async def use(swift: Swift) -> None:
        async with swift.straight(engine) as at:
            await at.run(ending(1))
            assert noted(engine) == [1]
        with pytest.raises(NotFound):
            async with swift.straight(engine) as at:
                await at.run(ending(2), before_commit=refuse)
        with pytest.raises(DBAPIError):
            async with swift.straight(engine) as at:
                await at.run(ending(1))

    with_swift(engine, use)
    assert noted(engine) == [1]


def test_a_check_by_the_loop_answers_and_keeps_what_one_by_a_thread_does(
    city: City, services: Services
) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    city.study("A")
    city.study("A", person=4)
    catalogue = serving(city.catalogue, services)

    async def use(swift: Swift) -> dict[str, Any]:
        with pytest.raises(NotKept):
            await ask(catalogue, swift, doctor)
        by_thread = recognition.check(scope.acting_as(catalogue, Scope.of(doctor)), doctor, asked())
        by_loop = await ask(catalogue, swift, doctor)
        assert by_thread["orders"][0]["candidates"]
        assert by_loop | {"check_id": ""} == by_thread | {"check_id": ""}
        return by_loop

    given = with_swift(catalogue.engine, use)
    with transaction(city.catalogue.engine) as session:
        kept = "select given, caller, department from order_check order by number"
        thread, loop = rows(session, kept, {})
        assert loop[0] == given
        assert loop[1:] == thread[1:]
        told = "select role, person_id, detail ->> 'check_id' from audit_event where action = 'check' order by id"
        assert [row[2] for row in rows(session, told, {})] == [thread[0]["check_id"], given["check_id"]]
    catalogue.engine.dispose()


def test_a_check_nobody_waits_for_any_more_is_not_kept(city: City) -> None:
    doctor = city.hospital("B")
    city.check(doctor, [{"order_number": "1", "item_code": "CT07"}])

    async def use(swift: Swift) -> None:
        with pytest.raises(TimeoutError):
            await recognition.check_swiftly(
                city.catalogue, swift, doctor, asked(), still_wanted=lambda: False
            )

    with_swift(city.catalogue.engine, use)
    with transaction(city.catalogue.engine) as session:
        assert rows(session, "select count(*) from order_check", {}) == [(1,)]


def test_the_look_up_shows_the_service_nobody_but_whom_the_transaction_has_opened(
    city: City, services: Services
) -> None:
    city.hospital("A")
    doctor = city.hospital("B")
    for hospital, person in (("A", 2), ("A", 4), ("B", 6)):
        city.study(hospital, person=person)
    catalogue = serving(city.catalogue, services)
    everybody: LiteralString = "select person_id, uid is not null from opened_result"
    with transaction(catalogue.engine) as session:
        assert rows(session, everybody, {}) == []
    with transaction(scope.acting_as(catalogue, Scope.of(doctor)).engine) as session:
        assert rows(session, everybody, {}) == []
        digests = catalogue.vault.digests("01", id_number(4))
        person = scope.open_number(session, "01", digests)
        assert rows(session, everybody, {}) == [(person, True)]
    with transaction(city.catalogue.engine) as session:
        assert len(rows(session, everybody, {})) == 3
    catalogue.engine.dispose()
