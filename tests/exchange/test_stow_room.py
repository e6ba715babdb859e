"""STOW-RS where there is no spool, no room or no end: what cannot be kept is told as not stored, and what is kept stays."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from catalog.embedded import Services
from catalog.errors import Unavailable
from dicom_node.deposit import Deposits
from dicom_node.settings import NodeSettings
from dicom_node.spool import Spool
from exchange.app import create_app
from exchange.health import Health
from exchange.settings import ExchangeSettings
from exchange.tokens import open_token_key
from tests.city import City, open_catalogue, serving
from tests.exchange.conftest import Service
from tests.exchange.test_stow import STUDY, kept, send, spool
from tests.packs import ct
from tests.stowing import HEADERS, STUDIES, body_of, failed, part, part10, stored

__all__ = ["spool"]


@pytest.fixture
def make_service(fresh_database_url: str, services: Services, tmp_path: Path) -> Iterator[Any]:
    """Make services with settings of their own."""
    made: list[City] = []
    catalogue = open_catalogue(fresh_database_url, tmp_path, lambda: made[0].now)
    made.append(City(catalogue))
    made[0].hospital("A")
    served = serving(catalogue, services)
    key = open_token_key(tmp_path / "token.pem")

    def make(node: NodeSettings | None, **settings: Any) -> Service:
        deposits = None if node is None else Deposits(node, tmp_path / "spool")
        app = create_app(served, key, ExchangeSettings(**settings), Health({}, {}), deposits=deposits)
        client = running.enter_context(TestClient(app, raise_server_exceptions=False))
        return Service(client, made[0], key)

    with ExitStack() as running:
        yield make
    served.engine.dispose()
    catalogue.engine.dispose()


EMPTY = NodeSettings(low_water_bytes=0)


def test_without_a_spool_it_says_that_nothing_can_be_stored_here(make_service: Any) -> None:
    answer = send(make_service(None), body_of([part10(ct(STUDY, 1))]))
    assert (answer.status_code, answer.json()["code"]) == (501, "stow_off")


def refuse() -> None:
    raise Unavailable("暂存区空间不足", "the spool has no room", code="spool_full")


def test_a_full_spool_is_503_and_one_that_fills_up_keeps_what_it_has(
    make_service: Any, monkeypatch: pytest.MonkeyPatch, spool: Spool
) -> None:
    service = make_service(EMPTY)
    rooms = iter([False, False])
    monkeypatch.setattr(Spool, "check_room", lambda _: next(rooms, True) and refuse())
    sent = [ct(STUDY, 1), ct(STUDY, 2)]
    answer = send(service, body_of(map(part10, sent)))
    assert answer.status_code == 202
    assert (stored(answer), failed(answer)) == ([f"{STUDY}.1.1"], {f"{STUDY}.1.2": 0xA700})
    answer = send(service, body_of(map(part10, sent)))
    assert (answer.status_code, answer.json()["code"]) == (503, "spool_full")
    rooms = iter([False])
    answer = send(service, body_of(map(part10, sent)))
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert failed(answer) == {each.SOPInstanceUID: 0xA700 for each in sent}
    assert kept(spool) == {sent[0].SOPInstanceUID: sent[0].data}


def test_what_is_not_synced_is_not_told_as_stored(
    make_service: Any, monkeypatch: pytest.MonkeyPatch, spool: Spool
) -> None:
    syncs = iter([True, False])
    really = os.fdatasync

    def sync(fd: int) -> None:
        if not next(syncs, True):
            raise OSError(5, "Input/output error")
        really(fd)

    monkeypatch.setattr(os, "fdatasync", sync)
    sent = [ct(STUDY, number) for number in (1, 2, 3)]
    answer = send(make_service(EMPTY), body_of(map(part10, sent)))
    assert answer.status_code == 202
    assert failed(answer) == {sent[1].SOPInstanceUID: 0xA700}
    assert {each.SOPInstanceUID: each.data for each in (sent[0], sent[2])}.items() <= kept(spool).items()


def service_call(service: Service, chunks: Iterator[bytes]) -> httpx2.Response:
    token = service.token("hospital_system", "A")
    return service.client.post(
        STUDIES, content=chunks, headers=HEADERS | {"Authorization": f"Bearer {token}"}
    )


def test_too_many_parts_and_too_much_are_cut_and_what_was_whole_before_stays(
    make_service: Any, spool: Spool
) -> None:
    sent = [ct(STUDY, number) for number in (1, 2, 3)]
    answer = send(make_service(EMPTY, stow_parts=2), body_of(map(part10, sent)))
    assert (answer.status_code, len(stored(answer)), failed(answer)) == (202, 2, {"": 0xA700})
    small = make_service(EMPTY, stow_body_limit_bytes=2000)
    assert send(small, body_of(map(part10, sent))).status_code == 413

    def chunks() -> Iterator[bytes]:
        yield part(part10(sent[2]))
        yield part(bytes(2000))

    answer = service_call(small, chunks())
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert len(kept(spool)) == 2
