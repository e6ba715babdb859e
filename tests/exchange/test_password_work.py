"""Sign-ins of anybody take nobody else's place, whatever their number."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from exchange.password_work import AT_ONCE, MOST_WAITING
from tests.dicom_node.raw_peer import wait_until
from tests.exchange.conftest import Service
from tests.exchange.served import served

CROWD = 60  # more than the threads that all other routes share


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Hashing that does not end before the event."""
    release = threading.Event()
    monkeypatch.setattr("catalog.passwords.is_right", lambda *_: not release.wait(30))
    yield release
    release.set()


def test_a_flood_of_sign_ins_is_turned_away_at_once_and_an_ordering_screen_does_not_wait(
    quiet: Service, held: threading.Event
) -> None:
    with served(quiet.client.app) as http, ThreadPoolExecutor(CROWD) as pool:
        address = f"http://127.0.0.1:{http.port}"

        def sign_in(turn: int) -> requests.Response:
            body = {"name": f"nobody-{turn}", "password": "guess"}
            return requests.post(f"{address}/v1/session", json=body, timeout=30)

        answers = [pool.submit(sign_in, turn) for turn in range(CROWD)]
        turned_away = CROWD - AT_ONCE - MOST_WAITING
        wait_until(lambda: sum(each.done() for each in answers) == turned_away)
        headers = {"Authorization": f"Bearer {quiet.token('doctor', 'A')}"}
        assert requests.get(f"{address}/v1/notices", headers=headers, timeout=10).status_code == 200
        held.set()
        found = [each.result() for each in answers]
    refused = [each for each in found if each.status_code == 429]
    assert len(refused) == turned_away
    assert {each.headers["Retry-After"] for each in refused} == {"2"}
    assert {each.status_code for each in found} == {403, 429}


def test_a_guessed_link_costs_no_hash(quiet: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.passwords.hashed", pytest.fail)
    body = {"link": "guessed", "password": "correct horse battery"}
    assert quiet.call("POST", "/v1/session/first", role="", json=body).json()["code"] == "link_used"
