"""Tells hospitals that there is news: signed, in order, again and again until it is taken or given up.

What is sent follows Standard Webhooks (standardwebhooks.com), with its asymmetric signature: `webhook-id`,
`webhook-timestamp` (seconds) and `webhook-signature`, "v1a," and the Base64 of the Ed25519 signature over
"id.timestamp.body". The body names the notice and where to fetch it, and holds nothing about a patient.
"""

import base64
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from catalog import webhooks
from catalog.context import Catalogue
from catalog.errors import HurenError
from catalog.outbound import DeliveryFailed, Outbound, TargetRefused, post, target_of
from catalog.webhooks import Delivery
from exchange.tokens import open_token_key

KEY_FILE: Final = "webhook.pem"
POLL_SECONDS: Final = 2.0
_AT_ONCE: Final = 8
_LOG: Final = logging.getLogger("huren.webhooks")


class Courier:
    """Delivers what is due."""

    def __init__(
        self, catalogue: Catalogue, outbound: Outbound, key: Ed25519PrivateKey, *, public_url: str = ""
    ) -> None:
        self._catalogue = catalogue
        self._outbound = outbound
        self._key = key
        self._public_url = public_url.rstrip("/")

    def deliver_due(self) -> int:
        """Try what is due once, each webhook's oldest first; returns how many attempts were made."""
        attempts = 0
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while claimed := webhooks.claim(self._catalogue):
                attempts += len(claimed)
                list(pool.map(self._deliver, claimed))
        return attempts

    def run(self, stop: threading.Event) -> None:
        """Deliver until told to stop; a store that is down is waited for."""
        while not stop.wait(POLL_SECONDS):
            try:
                self.deliver_due()
            except HurenError as error:
                _LOG.warning("webhooks wait: %s", error.code)
            except Exception as error:
                _LOG.error("webhooks: %s", type(error).__name__)
                _LOG.debug("traceback", exc_info=error)

    def _deliver(self, delivery: Delivery) -> None:
        error = self._attempt(delivery)
        if error is not None:
            _LOG.warning("webhook %d, notice %d: %s", delivery.webhook_id, delivery.notice_id, error)
        webhooks.settle(self._catalogue, delivery, error)

    def _attempt(self, delivery: Delivery) -> str | None:
        """Return None where the news was taken, or the code of what went wrong."""
        body = self._body(delivery)
        try:
            target = target_of(self._outbound, delivery.url)
            status = post(self._outbound, target, self._headers(delivery, body), body)
        except TargetRefused as refused:
            return refused.code
        except DeliveryFailed as failed:
            return failed.reason
        if 200 <= status < 300:
            return None
        return "redirect" if 300 <= status < 400 else f"status_{status}"

    def _body(self, delivery: Delivery) -> bytes:
        news = {
            "type": "notice",
            "timestamp": delivery.created_at.isoformat(),
            "data": {
                "notice_id": delivery.notice_id,
                "kind": delivery.kind,
                "hospital": delivery.hospital_code,
                "link": f"{self._public_url}/v1/notices?after={delivery.notice_id - 1}&limit=1",
            },
        }
        return orjson.dumps(news)

    def _headers(self, delivery: Delivery, body: bytes) -> dict[str, str]:
        message_id = f"notice_{delivery.notice_id}"
        sent_at = str(int(self._catalogue.clock().timestamp()))
        signature = self._key.sign(f"{message_id}.{sent_at}.".encode() + body)
        return {
            "Content-Type": "application/json",
            "User-Agent": "Huren-Webhooks",
            "webhook-id": message_id,
            "webhook-timestamp": sent_at,
            "webhook-signature": "v1a," + base64.b64encode(signature).decode(),
        }


def open_webhook_key(keys: Path) -> Ed25519PrivateKey:
    """Return the key that signs webhooks, made if absent."""
    return open_token_key(keys / KEY_FILE).private


def public_text(key: Ed25519PrivateKey) -> str:
    """Return what receivers verify with, as Standard Webhooks writes it."""
    return "whpk_" + base64.b64encode(key.public_key().public_bytes_raw()).decode()


@contextmanager
def delivering(courier: Courier, *, wanted: bool) -> Iterator[None]:
    """Deliver beside what else is done here, if wanted."""
    stop = threading.Event()
    thread = threading.Thread(target=courier.run, args=(stop,), name="webhooks", daemon=True)
    if wanted:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if wanted:
            thread.join(timeout=5)
