"""The keys for ID numbers: they rotate under running work, and nobody is lost or made twice."""

import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import func, select, text

from catalog import keyring, people
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import Conflict, IntegrityFault, NotFound
from catalog.identity import Document
from catalog.tables import AuditEvent, Person
from catalog.vault import Vault, open_vault
from tests.city import City, id_number, open_catalogue

OPERATOR = Caller("operator.zhao", "operator")


@pytest.fixture
def city(fresh_database_url: str, tmp_path: Path) -> Iterator[City]:
    """A city with ten people, known to hospital A."""
    made: list[City] = []
    catalogue = open_catalogue(fresh_database_url, tmp_path, lambda: made[0].now)
    made.append(City(catalogue))
    made[0].doctors["A"] = made[0].hospital("A")
    for number in range(2, 22, 2):
        made[0].link(made[0].doctors["A"], f"P{number}", number)
    yield made[0]
    catalogue.engine.dispose()


def everybody(city: City) -> dict[int, int]:
    """Return person by number of the test, each found by document."""
    with transaction(city.catalogue.engine) as session:
        found = {
            number: people.find(session, city.catalogue, Document("01", id_number(number)))
            for number in range(2, 22, 2)
        }
        return {number: person.id for number, person in found.items() if person}


def count_of_people(city: City) -> int:
    with transaction(city.catalogue.engine) as session:
        return session.scalar(select(func.count()).select_from(Person)) or 0


def test_a_new_key_writes_at_once_and_old_numbers_are_found_and_read_before_and_after_rehashing(
    city: City,
) -> None:
    before = everybody(city)
    old = city.catalogue.vault.ring.current
    name = keyring.rotate(city.catalogue, OPERATOR)
    assert (everybody(city), city.catalogue.vault.ring.current) == (before, name)
    city.link(city.doctors["A"], "again", 2)
    city.link(city.doctors["A"], "new", 22)
    assert {row.name: row.people for row in keyring.state(city.catalogue)} == {old: 10, name: 1}
    with pytest.raises(Conflict) as refused:
        keyring.retire(city.catalogue, OPERATOR, old)
    assert refused.value.code == "key_in_use"
    seen: list[tuple[int, int]] = []
    assert keyring.rehash(city.catalogue, lambda done, total: seen.append((done, total))) == []
    assert seen == [(10, 10)]
    keyring.retire(city.catalogue, OPERATOR, old)
    assert (everybody(city), count_of_people(city)) == (before, 11)
    with transaction(city.catalogue.engine) as session:
        for person in session.scalars(select(Person)):
            assert city.catalogue.vault.open("01", person.number_cipher).startswith("999999")
        actions = session.scalars(
            select(AuditEvent.action).where(AuditEvent.caller == OPERATOR.subject)
        ).all()
    assert list(actions) == ["keys.rotate", "keys.retire"]


def test_rehashing_that_was_stopped_goes_on_where_it_was(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everybody(city)
    name = keyring.rotate(city.catalogue, OPERATOR)
    monkeypatch.setattr(keyring, "_BATCH", 3)

    def stop(done: int, total: int) -> None:
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keyring.rehash(city.catalogue, stop)
    assert {row.people for row in keyring.state(city.catalogue)} == {4, 6}
    assert everybody(city) == before
    seen: list[tuple[int, int]] = []
    keyring.rehash(city.catalogue, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)
    assert {row.name: row.people for row in keyring.state(city.catalogue) if row.people} == {name: 10}


def test_rotating_while_fifty_register_the_same_number_makes_one_person(city: City) -> None:
    def register(number: int) -> None:
        if number == 25:
            keyring.rotate(city.catalogue, OPERATOR)
        city.link(city.doctors["A"], f"N{number}", 30)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(register, range(50)))
    assert count_of_people(city) == 11


def test_a_key_is_prepared_copied_and_only_then_writes(city: City) -> None:
    old = city.catalogue.vault.ring.current
    prepared = keyring.rotate(city.catalogue, OPERATOR, prepare=True)
    assert city.catalogue.vault.ring.current == old
    assert keyring.rotate(city.catalogue, OPERATOR) == prepared
    assert city.catalogue.vault.ring.current == prepared


def test_another_process_takes_the_new_key_without_a_restart(city: City) -> None:
    other = Vault(city.catalogue.vault.path)
    name = keyring.rotate(city.catalogue, OPERATOR)
    assert other.seal("01", "x").startswith(bytes.fromhex(name))
    assert other.digest("01", "x") == city.catalogue.vault.digest("01", "x")


def test_a_number_known_under_two_keys_is_left_for_a_curator(city: City) -> None:
    """Two machines whose copies of the file differed: each made its own person."""
    vault = city.catalogue.vault
    keyring.rotate(city.catalogue, OPERATOR)
    with transaction(city.catalogue.engine) as session:
        session.add(
            Person(
                id_type="01",
                number_hash=vault.digest("01", id_number(2)),
                number_cipher=vault.seal("01", id_number(2)),
                name="",
                sex="unknown",
            )
        )
    left = keyring.rehash(city.catalogue)
    assert left == [everybody(city)[2]]


def test_the_keys_are_in_a_file_of_mode_0600_and_nowhere_in_the_database(city: City) -> None:
    keyring.rotate(city.catalogue, OPERATOR)
    path = city.catalogue.vault.path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secrets = [value for key in orjson.loads(path.read_bytes())["keys"].values() for value in key.values()]
    assert len(secrets) == 4
    with transaction(city.catalogue.engine) as session:
        tables = session.scalars(text("select tablename from pg_tables where schemaname = 'public'")).all()
        rows = (session.scalars(text(f'select t::text from "{name}" t')) for name in tables)  # noqa: S608
        dump = "".join(row for table in rows for row in table)
    assert id_number(2)[:6] not in dump
    assert not any(secret in dump for secret in secrets)


def test_the_file_of_the_first_release_is_still_read(tmp_path: Path) -> None:
    old: dict[str, Any] = {"hash_key": "11" * 32, "cipher_keys": {"aabbccdd": "22" * 32}}
    path = tmp_path / "identity.json"
    path.write_bytes(orjson.dumps(old))
    vault = open_vault(path)
    assert vault.open("01", vault.seal("01", "12")) == "12"
    assert vault.seal("01", "12").startswith(bytes.fromhex("aabbccdd"))


def test_a_value_that_was_altered_or_whose_key_is_gone_cannot_be_read(city: City) -> None:
    vault = city.catalogue.vault
    sealed = vault.seal("01", "12")
    for broken in (sealed[:-1], b"\0\0\0\0" + sealed[4:], sealed[:10] + b"\0" + sealed[11:]):
        with pytest.raises(IntegrityFault):
            vault.open("01", broken)
    with pytest.raises(IntegrityFault):
        vault.open("03", sealed)
    with pytest.raises(NotFound):
        keyring.retire(city.catalogue, OPERATOR, "00000000")
