"""Who calls, from a bearer token: issued here or by a configured provider, remembered for a moment once verified."""

import hashlib
import time
from typing import Final

from catalog.context import Caller
from catalog.revocations import Revocations
from exchange.issuers import Issuers
from exchange.jose import BadToken, read_unverified
from exchange.problems import Unauthenticated
from exchange.tokens import ISSUER, TokenKey, Verified

_REMEMBER_SECONDS: Final = 60.0  # a key that its issuer took back is trusted no longer than this
_MOST_REMEMBERED: Final = 10_000


class Gate:
    """Verifies tokens; a good one is not verified again within a minute, and never outlives its expiry."""

    def __init__(self, key: TokenKey, issuers: Issuers, revocations: Revocations) -> None:
        self._key = key
        self._issuers = issuers
        self._revocations = revocations
        self._remembered: dict[bytes, tuple[float, Verified]] = {}

    def start(self) -> None:
        """Begin to read who is shut out, and the issuers' keys."""
        self._revocations.start()
        self._issuers.start()

    def stop(self) -> None:
        """Read nothing more."""
        self._revocations.stop()
        self._issuers.stop()

    def remembered(self, token: str) -> Caller | None:
        """Return whom a token speaks for that was verified a moment ago, without waiting for anything.

        Raises Unauthenticated where it was taken back since, DatabaseDown where that cannot be known.
        """
        found = self._remembered.get(_digest(token))
        if found is None or found[0] <= time.time():
            return None
        return self._admitted(found[1])

    def verify(self, token: str) -> Caller:
        """Return whom a token speaks for. Raises Unauthenticated, DatabaseDown."""
        try:
            unverified = read_unverified(token)
            local = unverified.claims.get("iss") == ISSUER
            verified = (self._key if local else self._issuers).verify(token, unverified)
        except BadToken as error:
            raise Unauthenticated(error.reason) from error
        caller = self._admitted(verified)
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered = {}
        now = time.time()
        self._remembered[_digest(token)] = (min(verified.expires_at, now + _REMEMBER_SECONDS), verified)
        return caller

    def refuse_shut_out(self, caller: Caller) -> None:
        """Raise Unauthenticated where somebody was shut out, whatever stands for him."""
        if self._revocations.holds("", caller.client_id, caller.subject):
            raise Unauthenticated("revoked")

    def _admitted(self, verified: Verified) -> Caller:
        caller = verified.caller
        if self._revocations.holds(verified.jti, caller.client_id, caller.subject):
            raise Unauthenticated("revoked")
        return caller


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
