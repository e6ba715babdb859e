"""A service with images in its archive, and a doctor who can be let in to them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from catalog.context import Caller
from catalog.embedded import Services
from catalog.objects import ObjectStore
from exchange.app import create_app
from exchange.health import Health
from exchange.settings import ExchangeSettings
from exchange.tokens import open_token_key
from tests.city import City, id_number, open_catalogue, serving
from tests.exchange.conftest import Service
from tests.images import Images
from tests.packs import Sent

UID = "2.25.7001"
AT = f"/dicom-web/studies/{UID}"
SERIES = f"{AT}/series/{UID}.1"
FIRST = f"{SERIES}/instances/{UID}.1.1"
PALETTE = bytes(range(256)) * 8
SYSTEM = Caller("his.A", "hospital_system", "A")


@dataclass
class Site:
    """A service with a chest CT of person 2 that hospital A did, in the archive."""

    service: Service
    images: Images
    sent: list[Sent]

    def open(self, person: int = 2) -> None:
        """Have B's doctor ask about a person."""
        body = {
            "patient": {"id_number": id_number(person)},
            "orders": [{"order_id": "1", "item_code": "CT07"}],
        }
        assert self.service.call("POST", "/v1/checks", json=body).json()["orders"][0]["candidates"]

    def get(self, path: str, **more: Any) -> httpx2.Response:
        return self.service.call("GET", path, told=False, **more)


@pytest.fixture
def site(
    fresh_database_url: str,
    services: Services,
    s3_store: ObjectStore,
    tmp_path: Path,
    settings: ExchangeSettings,
) -> Iterator[Site]:
    """Nobody has asked about anybody yet."""
    made: list[City] = []
    catalogue = open_catalogue(fresh_database_url, tmp_path, lambda: made[0].now)
    made.append(City(catalogue))
    served = serving(catalogue, services)
    key = open_token_key(tmp_path / "token.pem")
    app = create_app(served, key, settings, Health({}, {}), store=s3_store)
    with TestClient(app, raise_server_exceptions=False) as client:
        city = made[0]
        city.hospital("A")
        city.hospital("B", tier=2, region="500107")
        city.link(SYSTEM, "A-2", 2)
        images = Images(city, s3_store, tmp_path)
        sent = images.chest(
            "A",
            2,
            UID,
            OtherPatientIDs="SECRET-1",
            RedPaletteColorLookupTableDescriptor=[256, 0, 16],
            RedPaletteColorLookupTableData=PALETTE,
        )
        yield Site(Service(client, city, key), images, sent)
    served.engine.dispose()
    catalogue.engine.dispose()


def parts_of(answer: httpx2.Response) -> list[tuple[dict[str, str], bytes]]:
    """Read a multipart as its own lengths say; fails where anything is left over."""
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)
    boundary = re.search(r"boundary=(\w+)", answer.headers["content-type"])
    assert boundary is not None
    rest, found = answer.content, []
    line = f"--{boundary[1]}\r\n".encode()
    while rest.startswith(line):
        head, _, rest = rest.removeprefix(line).partition(b"\r\n\r\n")
        headers = dict(each.split(": ", 1) for each in head.decode().split("\r\n"))
        size = int(headers["Content-Length"])
        found.append((headers, rest[:size]))
        rest = rest[size:].removeprefix(b"\r\n")
    assert rest == f"--{boundary[1]}--\r\n".encode()
    return found
