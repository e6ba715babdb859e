"""The service in process, on a real database, and a city behind it."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from catalog import cds_clients, registry
from catalog.connection import CONNECT_ARGS
from catalog.context import Caller
from catalog.db import ping, transaction
from catalog.embedded import Services
from dicom_node.deposit import Deposits
from dicom_node.settings import NodeSettings
from exchange.app import create_app
from exchange.health import Health
from exchange.settings import ExchangeSettings
from exchange.tokens import TokenKey, open_token_key
from tests.canaries import leaks
from tests.cds_client import BASE, CdsClient
from tests.city import City, open_catalogue, serving
from tests.exchange.witness import AuditWatch, assert_documented, route_of, rule_of


@dataclass
class Service:
    """A client of the service, and the means to act behind it."""

    client: TestClient
    city: City
    key: TokenKey
    hour: timedelta = timedelta(hours=1)

    def token(self, role: str, hospital: str = "") -> str:
        """Return a token for a role."""
        return self.key.issue(subject=f"test {role}", role=role, hospital=hospital, lifetime=self.hour)

    def call(
        self,
        method: str,
        path: str,
        *,
        role: str = "doctor",
        hospital: str = "B",
        headers: Any = None,
        told: bool = True,
        **more: Any,
    ) -> httpx2.Response:
        """Call as a role; `role=""` calls without a token.

        Fails where the answer's status is not documented, or a good answer is not audited as its rule says;
        `told=False` for a repetition, which like a dry run does nothing.
        """
        sent = dict(headers or {})
        if role:
            held = hospital if role in ("doctor", "hospital_system") else ""
            sent["Authorization"] = f"Bearer {self.token(role, held)}"
        watch = AuditWatch(self.city.catalogue.engine)
        answer = self.client.request(method, path, headers=sent, **more)
        if answer.status_code >= 400 or path in ("/metrics", "/readyz"):
            assert leaks(answer.content) == []
        if route := route_of(method, path):
            app: Any = self.client.app
            assert_documented(app.openapi(), method, route, answer.status_code)
            if answer.status_code < 300 and told and "dry_run=true" not in path:
                watch.assert_told(rule_of(method, route), f"{method} {route}")
        return answer


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> ExchangeSettings:
    """The service's own deadline for a test that measures; else a busy machine is given time."""
    measures = request.node.get_closest_marker("alone") is not None
    if measures:
        return ExchangeSettings(public_url=BASE)
    return ExchangeSettings(check_seconds=20, cds_seconds=20, public_url=BASE)


@pytest.fixture
def service(
    fresh_database_url: str,
    services: Services,
    tmp_path: Path,
    settings: ExchangeSettings,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Service]:
    """The service with hospitals A and B, and a chest CT that A did seven days ago."""
    if request.node.get_closest_marker("alone") is None:  # else a busy machine is given time
        monkeypatch.setitem(CONNECT_ARGS, "connect_timeout", 15)
    made: list[City] = []
    catalogue = open_catalogue(fresh_database_url, tmp_path, lambda: made[0].now)
    made.append(City(catalogue))
    served = serving(catalogue, services)

    def database() -> dict[str, Any]:
        ping(served.engine)
        return {}

    key = open_token_key(tmp_path / "token.pem")
    deposits = Deposits(NodeSettings(low_water_bytes=0, blank_packs=0), tmp_path / "spool")
    app = create_app(served, key, settings, Health({"database": database}, {}), deposits=deposits)
    with TestClient(app, raise_server_exceptions=False) as client:
        made[0].hospital("A")
        made[0].hospital("B", tier=2, region="500107")
        made[0].study("A")
        yield Service(client, made[0], key)
    served.engine.dispose()
    catalogue.engine.dispose()


@pytest.fixture(params=["refuses", "never answers"])
def unreachable_database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An address of a database that refuses connections, or accepts them and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "never answers":
            server.listen()
        yield f"postgresql://postgres@127.0.0.1:{server.getsockname()[1]}/none"


@pytest.fixture(scope="module")
def quiet(
    database_url: str, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service for tests that leave nothing behind: hospital A and nobody's studies."""
    made: list[City] = []
    folder = tmp_path_factory.mktemp("keys")
    catalogue = open_catalogue(database_url, folder, lambda: made[0].now)
    made.append(City(catalogue))
    key = open_token_key(folder / "token.pem")
    served = serving(catalogue, services)
    app = create_app(served, key, ExchangeSettings(), Health({}, {}))
    with TestClient(app, raise_server_exceptions=False) as client:
        made[0].hospital("A")
        yield Service(client, made[0], key)
    served.engine.dispose()
    catalogue.engine.dispose()


@pytest.fixture
def cds(service: Service) -> CdsClient:
    """The ordering system of hospital B, registered as a CDS client of the service."""
    return register_client(service.city, service.client.request)


def register_client(city: City, send: Callable[..., httpx2.Response], **client: Any) -> CdsClient:
    """Register a CDS client of hospital B and return it."""
    made = CdsClient(send, **client)
    with transaction(city.catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, "B")
        operator = Caller("test", "operator")
        cds_clients.add(session, operator, hospital, made.iss, {"keys": [made.key.public()]})
    return made
