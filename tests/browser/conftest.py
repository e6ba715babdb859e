"""A real service on a socket, a real browser before it, and a patient's pictures behind it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, sync_playwright

from catalog import accounts
from catalog.context import Caller
from catalog.embedded import Services
from catalog.errors import Unavailable
from catalog.objects import ObjectStore
from exchange import viewer_installation
from exchange.app import create_app
from exchange.connection import ConnectionLimits, guarded
from exchange.health import Health
from exchange.settings import ExchangeSettings
from exchange.tokens import TokenKey, open_token_key
from tests.browser.visiting import PASSWORD
from tests.city import City, id_number, open_catalogue, serving
from tests.dicom_node.raw_peer import wait_until
from tests.images import Images
from tests.needs import find_tool, missing

SYSTEM = Caller("his.A", "hospital_system", "A")


@dataclass
class House:
    """The exchange as a browser reaches it, with hospitals A and B."""

    city: City
    images: Images
    key: TokenKey
    url: str
    grants: list[str] = field(default_factory=list)
    accounts: set[str] = field(default_factory=set)
    app: Any = None
    _last: str = ""

    def token(self, role: str = "doctor", hospital: str = "B") -> str:
        """Return a bearer token."""
        return self.key.issue(
            subject=f"test {role}", role=role, hospital=hospital, lifetime=timedelta(hours=1)
        )

    def call(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """Call as B's doctor."""
        headers = {"Authorization": f"Bearer {self.token()}"} | more.pop("headers", {})
        with httpx2.Client(timeout=60, trust_env=False) as client:
            return client.request(method, self.url + path, headers=headers, **more)

    def invitation(self, role: str, hospital: str) -> str:
        """Return the one-time link by which a new account is given its password."""
        operator = Caller("operator", "operator")
        return accounts.add(self.city.catalogue, operator, f"{role}.{hospital}".lower(), role, hospital)

    def account(self, role: str, hospital: str = "") -> str:
        """Return the name of an account that can sign in with PASSWORD; made at the first call."""
        name = f"{role}.{hospital or 'all'}".lower()
        if name not in self.accounts:
            link = accounts.add(self.city.catalogue, Caller("operator", "operator"), name, role, hospital)
            accounts.use_link(self.city.catalogue, link, PASSWORD)
            self.accounts.add(name)
        return name

    def open_person(self, person: int = 2) -> None:
        """Have B's doctor ask about a person, which lets him see the images."""
        orders = [{"order_id": "1", "item_code": "CT07"}]
        body = {"patient": {"id_number": id_number(person)}, "orders": orders}
        assert self.call("POST", "/v1/checks", json=body).json()["orders"][0]["candidates"]

    def link(self, *uids: str) -> str:
        """Return the address at which a link of B's doctor opens studies in the viewer."""
        return self._linked("viewer", *uids)

    def look(self, uid: str) -> str:
        """Return the address at which a link of B's doctor opens a study in the quick look."""
        return self._linked("quick_look", uid)

    def _linked(self, what: str, *uids: str) -> str:
        answer = self.call("POST", "/v1/image-grants", json={"StudyInstanceUIDs": list(uids)})
        assert answer.status_code == 201, answer.text
        told = answer.json()
        self.grants.append(told["grant"])
        self._last = told["grant_id"]
        address: str = told[what]
        return address.removeprefix(self.url)

    def end_link(self) -> None:
        """End the last link."""
        assert self.call("POST", f"/v1/image-grants/{self._last}/end").status_code == 200

    def told(self, person: int = 2, days_ago: int = 7) -> dict[str, str]:
        """Return what the headers of a person's images say of him."""
        exam = self.city.now - timedelta(days=days_ago)
        return {
            "PatientID": f"A-{person}",
            "PatientName": "Lin^Xiaoyu=林^晓渝",
            "PatientBirthDate": "19800517",
            "PatientSex": "M" if person % 2 else "F",
            "StudyDate": f"{exam:%Y%m%d}",
            "StudyTime": "101500",
            "AccessionNumber": f"ACC-{days_ago}",
            "StudyDescription": "胸部CT平扫",
            "BodyPartExamined": "CHEST",
        }


@pytest.fixture(scope="session")
def viewer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the viewer is installed: where `make` put it, or fetched for this session."""
    usual = ExchangeSettings().viewer_dir
    if viewer_installation.find(usual) is not None:
        return usual
    made = tmp_path_factory.mktemp("viewer")
    try:
        viewer_installation.install(made, None, lambda *_: None)
    except Unavailable as error:
        missing(str(error))
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; while it is open no other event loop can run in this thread, so it is not kept."""
    program = find_tool("chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def open_house(
    database_url: str, services: Services, store: ObjectStore, folder: Path, **given: Any
) -> Iterator[House]:
    """Serve an empty city to browsers; `given` are settings."""
    made: list[City] = []
    catalogue = open_catalogue(database_url, folder, lambda: made[0].now)
    made.append(City(catalogue))
    served = serving(catalogue, services)
    key = open_token_key(folder / "token.pem")
    settings = ExchangeSettings(**{"check_seconds": 20, "totp_required": False, **given})
    app = create_app(served, key, settings, Health({}, {}), store=store)
    server, thread = _serve(app, settings.connection_limits())
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield House(made[0], Images(made[0], store, folder), key, f"http://127.0.0.1:{port}", app=app)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
        served.engine.dispose()
        catalogue.engine.dispose()


@pytest.fixture(scope="module")
def house(
    database_url: str,
    services: Services,
    s3_store: ObjectStore,
    viewer_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[House]:
    """Nobody has sent anything yet, and nobody has asked."""
    folder = tmp_path_factory.mktemp("house")
    with open_house(database_url, services, s3_store, folder, viewer_dir=viewer_dir) as made:
        made.city.hospital("A")
        made.city.hospital("B", tier=2, region="500107")
        made.city.link(SYSTEM, "A-2", 2)
        yield made


def _serve(app: FastAPI, limits: ConnectionLimits) -> tuple[uvicorn.Server, threading.Thread]:
    config = uvicorn.Config(
        app,
        port=0,
        http=guarded(limits),
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, 20)
    return server, thread
