"""Options of every connection to the database, for the engine and for what does without one."""

from typing import Final

# A dropped network must not hang a query for ever: neither statement_timeout nor connect_timeout covers it.
CONNECT_ARGS: Final = {
    "connect_timeout": 2,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "huren",
}


def session_options(statement_timeout_ms: int) -> str:
    """Return libpq's `options` for a session that hangs nowhere."""
    return (
        "-c timezone=UTC -c lock_timeout=5s -c idle_in_transaction_session_timeout=60s"
        f" -c statement_timeout={statement_timeout_ms}"
    )
