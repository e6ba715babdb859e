"""`huren hl7` as a hospital's laboratory meets it: registered, answered over MLLP, ended by SIGTERM."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from catalog.db import open_engine, transaction
from catalog.embedded import Embedded
from catalog.reference import load_reference_data
from catalog.schema import migrate
from tests.flow.running import HUREN, huren
from tests.messages import laboratory, wire

pytestmark = pytest.mark.flow


def test_a_message_is_acknowledged_by_the_command_and_kept_when_it_ends(
    embedded: Embedded, fresh_database_url: str, tmp_path: Path
) -> None:
    s3 = embedded.services.s3
    assert s3 is not None
    engine = open_engine(fresh_database_url)
    migrate(engine)
    with transaction(engine) as session:
        load_reference_data(session)
    engine.dispose()
    env = {
        "HUREN_DATABASE_URL": fresh_database_url,
        "HUREN_S3_ENDPOINT": s3.endpoint,
        "HUREN_S3_ACCESS_KEY": s3.access_key,
        "HUREN_S3_SECRET_KEY": s3.secret_key,
        "HUREN_DATA_DIR": str(tmp_path),
    }
    for arguments in (
        ("hospital", "add", "A", "--name", "甲医院", "--tier", "3", "--region", "500103"),
        ("hl7", "peer", "add", "A", "LIS", "A", "--address", "127.0.0.0/8"),
    ):
        done = huren(*arguments, **env)
        assert done.returncode == 0, done.stderr
    command = [*HUREN, "hl7", "--port", "0"]
    with subprocess.Popen(command, env=os.environ | env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = int(process.stderr.readline().rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
            peer.sendall(b"\x0b" + wire(laboratory("1", 2, "F-1", days_ago=500)) + b"\x1c\r")
            answer = b""
            while not answer.endswith(b"\x1c\r"):
                piece = peer.recv(4096)
                assert piece
                answer += piece
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert b"MSA|AA|1\r" in answer, answer.decode()
    listed = huren("reports", "unmapped", "A", "--json", **env)
    assert listed.stdout.strip() == "[]"
    assert "LIS" in huren("hl7", "peer", "list", **env).stdout
