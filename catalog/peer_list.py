"""Who may send, read without SQLAlchemy: the receiving node holds this and its memory counts."""

import re
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from catalog.connection import CONNECT_ARGS, session_options
from catalog.errors import DatabaseDown

_STATEMENT_MS: Final = 2_000
_QUERY: Final = """
select peer.ae_title, hospital.code, peer.addresses, peer.certificates
from peer join hospital on hospital.id = peer.hospital_id
where peer.active and hospital.active and (%(title)s::text is null or peer.ae_title = %(title)s)
order by peer.ae_title
"""


@dataclass(frozen=True, slots=True)
class PeerRow:
    """An application entity title and the hospital it sends for."""

    ae_title: str
    hospital_code: str
    addresses: tuple[str, ...]
    certificates: tuple[str, ...] = ()


class PeerList:
    """The registered peers, over one connection that is opened when needed and again when lost; one thread's."""

    def __init__(self, database_url: str) -> None:
        self._url = re.sub(r"^postgres(ql)?\+\w+://", "postgresql://", database_url)
        self._connection: psycopg.Connection[Any] | None = None

    def read(self, ae_title: str | None = None) -> list[PeerRow]:
        """Return every peer that may send now, or the one of this title. Raises DatabaseDown."""
        try:
            rows = self._open().execute(_QUERY, {"title": ae_title}).fetchall()
        except psycopg.OperationalError as error:
            self.close()
            raise DatabaseDown(
                "目录数据库暂时无法访问", "The catalogue's database does not answer"
            ) from error
        return [PeerRow(row[0], row[1], tuple(row[2]), tuple(row[3])) for row in rows]

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> "psycopg.Connection[Any]":
        if self._connection is None:
            options = session_options(_STATEMENT_MS)
            self._connection = psycopg.connect(self._url, autocommit=True, options=options, **CONNECT_ARGS)  # type: ignore[arg-type]
        return self._connection
