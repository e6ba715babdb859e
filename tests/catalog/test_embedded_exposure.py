"""What the embedded servers show to others: nothing beyond this machine, nothing without a key, no secret."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
import urllib3

from catalog.embedded import Embedded, Services, State
from catalog.objects import ObjectStore


def test_nothing_listens_on_anything_but_loopback(embedded: Embedded, s3_store: ObjectStore) -> None:
    seen = set()
    for process in _processes(embedded):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip == "127.0.0.1"
                seen.add(process.pid)
    assert seen == set(embedded.pids.values())


@pytest.mark.parametrize("part", ["master", "volume", "filer", "s3"])
@pytest.mark.parametrize(
    "path", ["/buckets/huren/guarded", "/huren/guarded", "/dir/assign", "/col/delete?collection=huren"]
)
def test_no_part_of_the_object_store_gives_or_takes_anything_without_a_key(
    embedded: Embedded, s3_store: ObjectStore, part: str, path: str
) -> None:
    s3_store.put_bytes("guarded", b"x")
    port = _state_of(embedded).s3.port(part)
    with urllib3.HTTPConnectionPool("127.0.0.1", port, retries=False) as pool:
        assert pool.request("GET", path).status in (401, 403, 404)
    assert s3_store.read_range("guarded", 0, 1) == b"x"


def test_the_object_store_syncs_what_it_acknowledges(embedded: Embedded, s3_store: ObjectStore) -> None:
    seat = _state_of(embedded).s3
    shell = subprocess.run(
        [
            Path(sys.executable).with_name("weed"),
            "shell",
            f"-master=127.0.0.1:{seat.port('master')}.{seat.port('master', 'grpc')}",
        ],
        cwd=embedded.data_dir / "s3",
        input=b"fs.configure\n",
        capture_output=True,
        check=True,
    )
    rules = json.loads(shell.stdout[shell.stdout.index(b"{") : shell.stdout.rindex(b"}") + 1])
    assert [(rule["locationPrefix"], rule["fsync"]) for rule in rules["locations"]] == [("/buckets/", True)]
    assert (embedded.data_dir / "s3" / "names.db").stat().st_size > 0  # SQLite: each commit is synced


def test_secrets_are_private_and_stand_in_no_log_and_no_command_line(
    embedded: Embedded, s3_store: ObjectStore
) -> None:
    state = _state_of(embedded)
    secrets = [state.postgres.password, state.s3.secret_key, state.s3.signing_key]
    folder = embedded.data_dir
    for path in folder.rglob("*"):
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets):
            assert path.stat().st_mode & 0o077 == 0, path
            assert path.parent.stat().st_mode & 0o077 == 0, path
            assert path.parent.name != "logs"
    spoken = [" ".join(process.cmdline()) for process in _processes(embedded)]
    assert not any(secret in line for secret in secrets for line in spoken)
    assert not any(secret in repr((state, embedded.services)) for secret in secrets)


def test_a_wrong_password_opens_no_database(services: Services) -> None:
    wrong = services.owner_url.replace(services.owner_url.split(":")[2].split("@")[0], "guess")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(wrong)


def test_the_database_is_utf8_checksummed_and_synced(tmp_path: Path) -> None:
    wanted = {"server_encoding": "UTF8", "data_checksums": "on", "fsync": "on", "synchronous_commit": "on"}
    wanted |= {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
    }
    with (
        Embedded(tmp_path, own=True, s3=False) as own,
        psycopg.connect(own.services.owner_url) as connection,
    ):
        assert connection.info.server_version >= 180_000
        for name, value in wanted.items():
            assert connection.execute("SELECT current_setting(%s)", [name]).fetchone() == (value,)


def test_a_value_in_a_failing_statement_stands_in_no_log(embedded: Embedded, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE held (name text PRIMARY KEY)")
        connection.execute("INSERT INTO held VALUES ('张样本')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO held VALUES ('张样本')")
    log = (embedded.data_dir / "logs" / "postgres.log").read_text()
    assert "held_pkey" in log
    assert "张样本" not in log


def _state_of(embedded: Embedded) -> State:
    state = State.read(embedded.data_dir / "run" / "services.json")
    assert state is not None
    return state


def _processes(embedded: Embedded) -> list[psutil.Process]:
    """Return the servers; PostgreSQL's children come and go, and inherit what it listens on."""
    return [psutil.Process(pid) for pid in embedded.pids.values()]
