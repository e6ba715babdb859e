"""A synthetic city of a size of its own, and an `huren api` that serves it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from catalog.embedded import Embedded
from catalog.embedded_child import free_ports
from catalog.seed import IN_FULL_PERCENT, size_of
from exchange.tokens import TokenKey, open_token_key
from tests.benchmarks.asking import HOSPITALS, Question, questions
from tests.cds_client import CdsClient, Key
from tests.city import as_role
from tests.flow import orthanc
from tests.flow.running import HUREN, until


@dataclass(frozen=True)
class Served:
    """An `huren api` on a seeded database."""

    port: int
    database_url: str
    key: TokenKey
    asked: list[Question]
    seed: dict[str, Any]
    cds: CdsClient
    data: Path
    environment: dict[str, str]


@contextmanager
def served(servers: Embedded, data: Path, size: int, count: int, *more: Any) -> Iterator[Served]:
    """Seed a database of its own and serve it as `huren api` does; `count` questions, `more` for `huren seed`."""
    with psycopg.connect(servers.services.owner_url, autocommit=True) as connection:
        connection.execute(f"create database bench_{size}")
    url = f"{servers.services.owner_url.rpartition('/')[0]}/bench_{size}"
    s3 = servers.services.s3
    assert s3 is not None
    environment = os.environ | {
        "HUREN_DATABASE_URL": url,
        "HUREN_API_DATABASE_URL": as_role(url, servers.services.api_url),
        "HUREN_S3_ENDPOINT": s3.endpoint,
        "HUREN_S3_ACCESS_KEY": s3.access_key,
        "HUREN_S3_SECRET_KEY": s3.secret_key,
    }
    run("migrate", "--data-dir", data, environment=environment)
    began = time.monotonic()
    seeded = json.loads(
        run("seed", "--results", size, *more, "--data-dir", data, "--json", environment=environment)
    )
    seeded["total_seconds"] = round(time.monotonic() - began, 1)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("checkpoint")  # what the seed wrote is on the disk before anything is measured
        row = connection.execute("select pg_database_size(current_database())").fetchone()
        assert row is not None
        seeded["size_bytes"] = row[0]
    port = free_ports(1)[0]
    address = f"http://127.0.0.1:{port}"
    command = [*HUREN, "api", "--data-dir", str(data), "--http-port", str(port)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        until(lambda: orthanc.is_listening(port), 60)
        asked = questions(url, size_of(size).people, IN_FULL_PERCENT, count)
        with httpx2.Client(base_url=address, trust_env=False, timeout=30) as http:
            client = CdsClient(http.request, Key(algorithm="EdDSA"), base=address)
            _register(client, data, environment)
            yield Served(
                port,
                url,
                open_token_key(data / "keys" / "token.pem"),
                asked,
                seeded,
                client,
                data,
                environment,
            )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _register(client: CdsClient, data: Path, environment: dict[str, str]) -> None:
    """Let an ordering system of one hospital call."""
    keys = data / "cds.json"
    keys.write_text(json.dumps({"keys": [client.key.public()]}))
    named = ("cds-client", "add", HOSPITALS[0], client.iss)
    run(*named, "--jwks", keys, "--data-dir", data, environment=environment)


def run(*arguments: Any, environment: dict[str, str]) -> str:
    """Run one command to its end and return what it printed."""
    done = subprocess.run(
        [*HUREN, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
