"""Audit messages to a syslog receiver over TLS: RFC 5424 messages, framed by their length (RFC 5425 §4.3).

Syslog acknowledges nothing. So each batch has a connection of its own, ended in TLS: the receiver's own end is its
word that it has read all of ours, and only then is the position moved. What is in doubt is sent again: a receiver may
see a record twice, never miss one. Only sealed records are sent, below which nothing can appear any more.
"""

import os
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql import insert

from catalog.audit_kinds import kind_of
from catalog.audit_reading import Told, sealed_after
from catalog.db import transaction
from catalog.errors import InvalidInput, Unavailable
from catalog.tables_audit import AuditForward
from exchange.audit_message import audit_message

BATCH: Final = 500
_SECONDS: Final = 15.0
_FACILITY: Final = 10  # security and authorisation messages (RFC 5424 §6.2.1)
_NOTICE, _WARNING = 5, 4
_MSGID: Final = "DICOM+RFC3881"
_BOM: Final = b"\xef\xbb\xbf"
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # RFC 9325 §4.2


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where to send and how to trust it."""

    host: str
    port: int
    tls: ssl.SSLContext

    @property
    def name(self) -> str:
        """Return the name under which its position is kept."""
        return f"{self.host}:{self.port}"


def open_receiver(address: str, authorities: Path, certificate: Path | None, key: Path | None) -> Receiver:
    """Return a receiver at HOST:PORT whose certificate these authorities sign. Raises InvalidInput."""
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidInput("地址应为 主机:端口", "An address is HOST:PORT", field="receiver")
    try:
        tls = ssl.create_default_context(cafile=authorities)
        if certificate is not None:
            tls.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(
            "TLS 证书文件无法使用",
            f"The TLS files cannot be used: {type(error).__name__}",
            field="ca",
        ) from error
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers(_CIPHERS)
    return Receiver(host.strip("[]"), int(port), tls)


def forward(
    engine: Engine, receiver: Receiver, source: str, on_sent: Callable[[int], None] = lambda _: None
) -> int:
    """Send what the receiver has not had yet and return how many records; `on_sent` is told after each batch.

    Raises Unavailable where the receiver cannot be reached, proves to be another or breaks off; what it had of that
    batch is sent again next time.
    """
    sent = 0
    while True:
        with transaction(engine) as session:
            position = session.get(AuditForward, receiver.name)
            batch = sealed_after(session, position.record_id if position else 0, BATCH)
        if not batch:
            return sent
        _send(receiver, b"".join(frame(told, source) for told in batch))
        _remember(engine, receiver.name, batch[-1].entry.id)
        sent += len(batch)
        on_sent(sent)


def frame(told: Told, source: str) -> bytes:
    """Return a record as one syslog message, with its length before it."""
    severity = _WARNING if kind_of(told.entry.action).refused else _NOTICE
    header = (
        f"<{_FACILITY * 8 + severity}>1 {told.entry.recorded_at} {source} huren {os.getpid()} {_MSGID} - "
    )
    message = header.encode("ascii") + _BOM + audit_message(told, source)
    return b"%d %s" % (len(message), message)


def source_name() -> str:
    """Return this machine's name as a syslog HOSTNAME (printable ASCII, at most 255)."""
    return re.sub(r"[^!-~]", "-", socket.gethostname())[:255] or "-"


def _send(receiver: Receiver, content: bytes) -> None:
    try:
        with (
            socket.create_connection((receiver.host, receiver.port), timeout=_SECONDS) as plain,
            receiver.tls.wrap_socket(plain, server_hostname=receiver.host) as secured,
        ):
            secured.sendall(content)
            _end(secured)
    except OSError as error:
        raise Unavailable(
            f"审计未能送达 {receiver.name},将重发",
            f"The audit did not reach {receiver.name}: {type(error).__name__}; it will be sent again",
            code="receiver_down",
        ) from error


def _end(secured: ssl.SSLSocket) -> None:
    """Say that this is all, and wait until the receiver has read it and ends too. Raises OSError."""
    try:
        secured.unwrap()
    except (
        ssl.SSLEOFError
    ):  # it closed without a word of its own, but in order: a broken connection is a reset
        return


def _remember(engine: Engine, destination: str, record_id: int) -> None:
    values = {"record_id": record_id}
    statement = insert(AuditForward).values(destination=destination, **values)
    with transaction(engine) as session:
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["destination"], set_={**values, "sent_at": statement.excluded.sent_at}
            )
        )
