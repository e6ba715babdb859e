"""The identity provider of hospital A in the tests: a process, its keys, and tokens it signs."""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exchange.issuers import IssuerRule
from tests.exchange.signers import Signer

PROGRAM = Path(__file__).with_name("issuer_process.py")


@dataclass
class Provider:
    """A running provider."""

    folder: Path
    url: str
    signer: Signer

    def publish(self, *signers: Signer) -> None:
        """Let the provider answer with these keys from now on, the first of which signs."""
        self.signer = signers[0]
        keys = [key for signer in signers for key in signer.jwks["keys"]]
        self.put("jwks.json", json.dumps({"keys": keys}))

    def put(self, name: str, content: str) -> None:
        """Write a file of its folder as a whole."""
        draft = self.folder / f".{name}"
        draft.write_text(content)
        draft.rename(self.folder / name)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Claims as the provider has them for a doctor."""
        now = int(time.time())
        told = {"iss": self.url, "aud": "huren", "sub": "li", "iat": now, "exp": now + 300}
        return told | {"jti": uuid.uuid4().hex, "realm": {"roles": ["staff", "physician"]}} | changes

    def token(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Return a token of a doctor, good unless claims say otherwise; a claim that is None is left out."""
        return self.signer.sign(self.claims(**changes), **(header or {}))

    def rule(self, **changes: Any) -> IssuerRule:
        """How the exchange is to know it."""
        told = {
            "name": "a",
            "url": self.url,
            "audience": "huren",
            "hospital": "A",
            "role_claim": "realm.roles",
            "roles": {"physician": "doctor", "records": "curator"},
            "refetch_seconds": 0.2,
        }
        return IssuerRule.model_validate(told | changes)

    def asked(self) -> list[str]:
        """Every path somebody asked it for."""
        file = self.folder / "asked"
        return file.read_text().split() if file.exists() else []


@contextmanager
def running_provider(folder: Path, signer: Signer | None = None) -> Iterator[Provider]:
    """Run a provider until the end."""
    folder.mkdir()
    process = subprocess.Popen([sys.executable, str(PROGRAM), str(folder)])
    try:
        deadline = time.monotonic() + 30
        while not (folder / "port").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        provider = Provider(
            folder, f"http://127.0.0.1:{(folder / 'port').read_text()}", signer or Signer("RS256")
        )
        provider.publish(provider.signer)
        yield provider
    finally:
        process.kill()
        process.wait()
