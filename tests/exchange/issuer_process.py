"""A small real identity provider as a process of its own: FOLDER. Serves what its folder holds, and notes who asked.

`jwks.json` is what it answers; `port` is written once it listens; each request adds its path to `asked`. A file
`redirect` holds an address to send everybody to; `slow` the seconds to wait; `jwks_uri` another address of the keys.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])


class Provider(BaseHTTPRequestHandler):
    """Answers discovery and keys."""

    def do_GET(self) -> None:
        """Answer, as the folder says now."""
        with (FOLDER / "asked").open("a") as asked:
            asked.write(f"{self.path}\n")
        if (to := FOLDER / "redirect").exists():
            return self._send(302, b"", location=to.read_text())
        if (slow := FOLDER / "slow").exists():
            time.sleep(float(slow.read_text()))
        if self.path.endswith("/.well-known/openid-configuration"):
            return self._send(200, json.dumps(self._description()).encode())
        if self.path.partition("?")[0] == "/jwks":
            return self._send(200, (FOLDER / "jwks.json").read_bytes())
        return self._send(404, b"{}")

    def _description(self) -> dict[str, str]:
        own = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
        other = FOLDER / "jwks_uri"
        return {"issuer": own, "jwks_uri": other.read_text() if other.exists() else f"{own}/jwks"}

    def _send(self, status: int, body: bytes, location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    (FOLDER / "port.draft").write_text(str(server.server_port))
    (FOLDER / "port.draft").rename(FOLDER / "port")
    server.serve_forever()
