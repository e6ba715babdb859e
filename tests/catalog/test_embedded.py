"""The embedded servers: started, found again, attached to, killed at every moment, and never open to others."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from pydantic import SecretStr

from catalog.embedded import Embedded, Services, State, open_services
from catalog.embedded_child import wait_until
from catalog.errors import Conflict
from catalog.objects import ObjectStore
from catalog.settings import S3Access, Settings

pytestmark = pytest.mark.long

# Owns (or attaches), prints what it got as one line of JSON, and stays until its standard input ends.
_HOLDER = """
import json, sys
from pathlib import Path
from catalog.embedded import Embedded
with Embedded(Path(sys.argv[1]), **json.loads(sys.argv[2])) as servers:
    print(json.dumps({"owner": servers.owner, "pids": servers.pids}), flush=True)
    sys.stdin.read()
"""
_ROOT = Path(__file__).parents[2]


class Holder:
    """Another process, in a group of its own, that has the data folder open."""

    def __init__(self, folder: Path, **options: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(folder), json.dumps(options)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def holds(self) -> dict[str, object]:
        """Wait until it has the folder open; return what it printed."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._process.stderr and self._process.stderr.read()
        return dict(json.loads(line))

    def release(self) -> None:
        """Tell it to leave, without waiting."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def leave(self) -> None:
        """Let it end by itself, if it has not ended yet."""
        with self._process:
            self.release()

    def kill(self, *, group: bool) -> None:
        """SIGKILL it; what it had started goes with it only where the whole group is meant."""
        (os.killpg if group else os.kill)(self._process.pid, signal.SIGKILL)
        self.leave()


@pytest.fixture
def hold() -> Iterator[Callable[..., Holder]]:
    holders: list[Holder] = []

    def start(folder: Path, **options: object) -> Holder:
        holders.append(Holder(folder, **options))
        return holders[-1]

    yield start
    for holder in holders:
        holder.release()
    for holder in holders:
        holder.leave()


def _remember(database_url: str, value: int) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS remembered (value integer)")
        connection.execute("INSERT INTO remembered VALUES (%s)", [value])


def _remembered(database_url: str) -> list[int]:
    with psycopg.connect(database_url) as connection:
        return [row[0] for row in connection.execute("SELECT value FROM remembered ORDER BY value")]


def _store(servers: Embedded) -> ObjectStore:
    servers.wait_s3()
    assert servers.services.s3 is not None
    store = ObjectStore(servers.services.s3)
    store.ensure_bucket()
    return store


def _at_work_in(folder: Path) -> dict[int, list[str]]:
    """Return the command lines of the processes whose working directory is in `folder`, by process id."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if folder in Path(process.cwd()).parents:
                found[process.pid] = process.cmdline()
    return found


def _die(pids: dict[str, int]) -> None:
    """Kill children of ours and wait until they could be collected, every thread of them."""
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    for pid in pids.values():
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_a_second_start_finds_data_keys_and_ports_again_and_nothing_runs_between(tmp_path: Path) -> None:
    with Embedded(tmp_path, own=True) as first, _store(first) as store:
        _remember(first.services.owner_url, 1)
        store.put_bytes("k", b"kept")
    assert _at_work_in(tmp_path) == {}
    with Embedded(tmp_path) as second, _store(second) as store:
        assert second.services == first.services
        assert _remembered(second.services.owner_url) == [1]
        assert store.read_range("k", 0, 4) == b"kept"


def test_servers_that_were_killed_come_back_on_their_ports_with_all_they_acknowledged(tmp_path: Path) -> None:
    with Embedded(tmp_path, own=True) as servers, _store(servers) as store:
        before = servers.services
        for value in (1, 2):
            _remember(before.owner_url, value)
            store.put_bytes(f"k{value}", bytes([value]) * 5_000_000)
            _die(servers.pids)
            assert set(servers.check()) == {"s3", "postgres"}
            servers.wait_s3()
        assert servers.services == before
        assert _remembered(before.owner_url) == [1, 2]
        assert [store.digest(f"k{value}")[1] for value in (1, 2)] == [5_000_000, 5_000_000]
        assert servers.check() == ()


def test_an_owner_killed_with_its_group_leaves_nothing_running_and_a_restart_has_all(
    tmp_path: Path, hold: Callable[..., Holder]
) -> None:
    holder = hold(tmp_path, own=True)
    holder.holds()
    with Embedded(tmp_path) as attached, _store(attached) as store:
        assert not attached.owner
        _remember(attached.services.owner_url, 7)
        store.put_bytes("k", b"kept")
    holder.kill(group=True)
    assert wait_until(lambda: not _at_work_in(tmp_path), 10)
    with Embedded(tmp_path, own=True) as servers, _store(servers) as store:
        assert servers.services == attached.services
        assert _remembered(servers.services.owner_url) == [7]
        assert store.read_range("k", 0, 4) == b"kept"


def _keys_written(folder: Path) -> bool:
    return (folder / "run" / "services.json").exists()


def _initdb_at_work(folder: Path) -> bool:
    return any(folder.glob("postgres/new-*/data/PG_VERSION"))


def _data_in_place(folder: Path) -> bool:
    return (folder / "postgres" / "data").exists()


def _postgres_up(folder: Path) -> bool:
    return (folder / "postgres" / "data" / "postmaster.pid").exists()


@pytest.mark.parametrize(
    ("moment", "group"),
    [
        (_keys_written, True),
        (_initdb_at_work, True),
        (_initdb_at_work, False),
        (_data_in_place, True),
        (_postgres_up, True),
        (_postgres_up, False),
    ],
)
def test_an_owner_killed_during_its_first_start_is_no_trouble_for_the_next(
    tmp_path: Path, hold: Callable[..., Holder], moment: Callable[[Path], bool], group: bool
) -> None:
    holder = hold(tmp_path, own=True, s3=False)
    assert wait_until(lambda: moment(tmp_path), 30, every=0.001)
    holder.kill(group=group)
    with Embedded(tmp_path, own=True, s3=False) as servers:
        _remember(servers.services.owner_url, 1)
        assert [p.name for p in (tmp_path / "postgres").iterdir()] == ["data"]
        at_work = {pid for pid, command in _at_work_in(tmp_path).items() if "-D" in command}
        assert at_work == set(servers.pids.values())
    assert _at_work_in(tmp_path) == {}


def test_servers_orphaned_by_a_killed_owner_are_stopped_and_started_anew(
    tmp_path: Path, hold: Callable[..., Holder]
) -> None:
    holder = hold(tmp_path, own=True)
    pids = holder.holds()["pids"]
    assert isinstance(pids, dict)
    holder.kill(group=False)
    assert all(psutil.pid_exists(pid) for pid in pids.values())
    with Embedded(tmp_path, own=True, s3=False) as servers:
        assert not any(psutil.pid_exists(pid) for pid in pids.values())  # S3 too, though not asked for
        assert servers.check() == ()


def test_a_stale_pid_file_with_the_number_of_another_program_harms_neither(tmp_path: Path) -> None:
    with Embedded(tmp_path, own=True, s3=False) as servers:
        _remember(servers.services.owner_url, 1)
        _die(servers.pids)
        pid_file = tmp_path / "postgres" / "data" / "postmaster.pid"
        stale = pid_file.read_text().splitlines()
        same_account = pid_file.stat().st_uid  # PostgreSQL disregards the processes of others by itself
        with subprocess.Popen(["sleep", "600"], user=same_account) as bystander:
            try:
                pid_file.write_text("\n".join([str(bystander.pid), *stale[1:]]) + "\n")
                assert servers.check() == ("postgres",)
                assert _remembered(servers.services.owner_url) == [1]
                assert bystander.poll() is None
            finally:
                bystander.kill()


@pytest.mark.parametrize("left", ["", "\n", "12a\n"])
def test_a_pid_file_whose_writer_was_killed_over_it_stops_no_start(tmp_path: Path, left: str) -> None:
    with Embedded(tmp_path, own=True, s3=False) as servers:
        _remember(servers.services.owner_url, 1)
        _die(servers.pids)
        (tmp_path / "postgres" / "data" / "postmaster.pid").write_text(left)
        assert servers.check() == ("postgres",)
        assert _remembered(servers.services.owner_url) == [1]


def test_a_port_taken_by_someone_else_is_replaced_and_the_data_is_still_there(tmp_path: Path) -> None:
    with Embedded(tmp_path) as first, _store(first) as store:
        _remember(first.services.owner_url, 1)
        store.put_bytes("k", b"kept")
    state = State.read(tmp_path / "run" / "services.json")
    assert state is not None
    with (
        _listening(state.postgres.port),
        _listening(state.s3.port("master")),
        Embedded(tmp_path) as second,
        _store(second) as store,
    ):
        assert second.services.owner_url != first.services.owner_url
        assert _remembered(second.services.owner_url) == [1]
        assert store.read_range("k", 0, 4) == b"kept"
        store.put_bytes("k2", b"new")


def test_an_object_store_that_loses_its_port_while_starting_takes_another(tmp_path: Path) -> None:
    with Embedded(tmp_path, postgres=False) as servers:
        _die(servers.pids)
        port = _state_of(servers).s3.port("s3")
        with _listening(port), _store(servers) as store:
            assert _state_of(servers).s3.port("s3") != port
            store.put_bytes("k", b"x")


def _listening(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def test_a_second_long_running_owner_is_refused_with_a_clear_word(
    tmp_path: Path, hold: Callable[..., Holder]
) -> None:
    hold(tmp_path, own=True, s3=False).holds()
    said: list[str] = []
    with pytest.raises(Conflict) as caught:
        Embedded(tmp_path, own=True, s3=False, on_wait=said.append, wait_seconds=0.2).__enter__()
    assert caught.value.code == "data_folder_in_use"
    assert len(said) == 1


def test_a_command_needing_a_server_the_owner_does_not_run_waits_its_turn(
    tmp_path: Path, hold: Callable[..., Holder]
) -> None:
    holder = hold(tmp_path, s3=False)
    holder.holds()
    leaving = threading.Thread(target=holder.leave)
    with Embedded(tmp_path, postgres=False, on_wait=lambda _text: leaving.start()) as servers:
        assert servers.owner
        assert servers.services.owner_url == ""
        servers.wait_s3()
    leaving.join()


def test_an_owner_waits_for_attached_commands_before_it_stops(
    tmp_path: Path, hold: Callable[..., Holder]
) -> None:
    said: list[str] = []
    owner = Embedded(tmp_path, own=True, s3=False, on_wait=said.append).__enter__()
    user = hold(tmp_path, s3=False)
    assert user.holds()["owner"] is False
    stopping = threading.Thread(target=owner.stop)
    stopping.start()
    assert wait_until(lambda: len(said) == 2, 10)
    _remember(owner.services.owner_url, 1)  # still there for the attached one
    user.leave()
    stopping.join()
    assert _at_work_in(tmp_path) == {}


def test_an_attached_command_starts_and_stops_nothing(tmp_path: Path) -> None:
    with Embedded(tmp_path, own=True, s3=False) as owner:
        with Embedded(tmp_path, s3=False) as attached:
            assert not attached.owner
            assert attached.services == owner.services
            assert attached.check() == ()
        _remember(owner.services.owner_url, 1)


def test_a_data_folder_without_its_keys_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with Embedded(tmp_path, s3=False):
        pass
    (tmp_path / "run" / "services.json").unlink()
    with pytest.raises(Conflict) as caught:
        Embedded(tmp_path, s3=False).__enter__()
    assert caught.value.code == "data_folder_keys_missing"
    assert not (tmp_path / "run" / "services.json").exists()


def test_two_first_starts_at_once_make_one_data_folder(tmp_path: Path, hold: Callable[..., Holder]) -> None:
    holders = [hold(tmp_path, s3=False) for _ in range(3)]
    assert sorted(bool(holder.holds()["owner"]) for holder in holders) == [False, False, True]


def test_named_stores_start_nothing(tmp_path: Path) -> None:
    settings = Settings(
        database_url="postgresql://db.example/huren",
        s3_endpoint="https://store.example",
        s3_access_key="a",
        s3_secret_key=SecretStr("b"),
    )
    with open_services(settings, tmp_path, own=True) as (services, embedded):
        assert embedded is None
        url = "postgresql://db.example/huren"
        named = S3Access("https://store.example", "a", "b")
        assert services == Services(url, named, api_url=url, owner_url=url)
        assert list(tmp_path.iterdir()) == []


def test_a_named_database_leaves_only_the_object_store_to_embed(tmp_path: Path) -> None:
    settings = Settings(database_url="postgresql://db.example/huren")
    with open_services(settings, tmp_path) as (services, embedded):
        assert embedded is not None
        assert set(embedded.pids) == {"s3"}
        assert services.owner_url == "postgresql://db.example/huren"
        embedded.wait_s3()
    assert not (tmp_path / "postgres").exists()


def test_a_named_object_store_leaves_only_the_database_to_embed(tmp_path: Path) -> None:
    settings = Settings(s3_endpoint="localhost:9000", s3_access_key="a", s3_secret_key=SecretStr("b"))
    with open_services(settings, tmp_path) as (services, embedded):
        assert embedded is not None
        assert set(embedded.pids) == {"postgres"}
        assert services.s3 == S3Access("http://localhost:9000", "a", "b")
        assert embedded.s3_ready()
    assert not (tmp_path / "s3").exists()


def _state_of(embedded: Embedded) -> State:
    state = State.read(embedded.data_dir / "run" / "services.json")
    assert state is not None
    return state
