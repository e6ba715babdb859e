"""Webhooks: news told to hospitals, signed, in order, until it is taken or given up."""

import base64
import ipaddress
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from catalog import webhooks, withdrawals
from catalog.context import Caller
from catalog.errors import Conflict, NotFound
from catalog.outbound import Outbound
from catalog.webhooks import LEASE, WAITS
from exchange.settings import ExchangeSettings
from exchange.webhook_courier import Courier, delivering, public_text
from tests.city import id_number
from tests.exchange.conftest import Service
from tests.listener import Listener

HOST = "hooks.b.example"
OPERATOR = Caller("op", "operator")
KEY = Ed25519PrivateKey.generate()
FAILS = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def receiver() -> Iterator[Listener]:
    """Hospital B's own listener."""
    with Listener("127.0.0.1") as listener:
        yield listener


def outbound(receiver: Listener) -> Outbound:
    return Outbound(
        hosts=frozenset({f"{HOST}:{receiver.port}"}),
        networks=(ipaddress.ip_network("127.0.0.1/32"),),
        https_only=False,
        seconds=5,
        resolve=lambda _host, _port: ["127.0.0.1"],
    )


def url(receiver: Listener, path: str = "/huren") -> str:
    return f"http://{HOST}:{receiver.port}{path}"


def courier(service: Service, receiver: Listener) -> Courier:
    return Courier(service.city.catalogue, outbound(receiver), KEY, public_url="https://huren.example")


def hook(service: Service, receiver: Listener, hospital: str = "B") -> int:
    made = webhooks.add(service.city.catalogue, outbound(receiver), OPERATOR, hospital, url(receiver))
    return int(made["webhook_id"])


def rely_and_withdraw(service: Service, turns: int = 1) -> None:
    """Have B recognise A's chest CT, and A withdraw and restore it in turn: each turn is news to B."""
    city = service.city
    doctor = Caller("dr.B", "doctor", "B")
    check = city.check(doctor, [{"order_number": "林晓渝-1", "item_code": "CT07"}])
    city.decide(doctor, check, "林晓渝-1", "recognise")
    issuer = Caller("a", "hospital_system", "A")
    for turn in range(turns):
        act = withdrawals.restore_study if turn % 2 else withdrawals.withdraw_study
        act(city.catalogue, issuer, "2.25.1001", "录入错误")


def bodies(receiver: Listener) -> list[dict[str, Any]]:
    return [orjson.loads(heard.partition(b"\r\n\r\n")[2]) for heard in receiver.heard]


def states(service: Service) -> tuple[int, int, int]:
    (found,) = webhooks.listed(service.city.catalogue)
    return found["queued"], found["delivered"], found["dead"]


def test_news_arrives_signed_names_the_notice_and_says_nothing_of_the_patient(
    service: Service, receiver: Listener
) -> None:
    hook(service, receiver)
    rely_and_withdraw(service)
    assert courier(service, receiver).deliver_due() == 1
    head, _, body = receiver.heard[0].partition(b"\r\n\r\n")
    told = orjson.loads(body)
    notice = service.call("GET", "/v1/notices").json()["notices"][0]
    assert told["type"] == "notice"
    assert told["data"] == {
        "notice_id": notice["notice_id"],
        "kind": "study_withdrawn",
        "hospital": "B",
        "link": f"https://huren.example/v1/notices?after={notice['notice_id'] - 1}&limit=1",
    }
    link = told["data"]["link"].removeprefix("https://huren.example")
    assert service.call("GET", link).json()["notices"] == [notice]
    for personal in (id_number(2), "林晓渝", "晓渝", "2.25.1001", "CT07"):
        assert personal.encode() not in receiver.heard[0]
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    scheme, _, signature = headers["webhook-signature"].partition(",")
    shown = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_text(KEY).removeprefix("whpk_")))
    shown.verify(base64.b64decode(signature), signed)
    assert scheme == "v1a"
    assert int(headers["webhook-timestamp"]) == int(service.city.now.timestamp())


def test_news_about_what_was_shown_and_is_yet_to_be_decided_is_told_as_well(
    service: Service, receiver: Listener
) -> None:
    hook(service, receiver)
    service.city.check(Caller("dr.B", "doctor", "B"), [{"order_number": "1", "item_code": "CT07"}])
    issuer = Caller("a", "hospital_system", "A")
    withdrawals.withdraw_study(service.city.catalogue, issuer, "2.25.1001", "录入错误")
    assert courier(service, receiver).deliver_due() == 1
    (told,) = bodies(receiver)
    (notice,) = service.call("GET", told["data"]["link"].removeprefix("https://huren.example")).json()[
        "notices"
    ]
    assert (notice["decision_id"], notice["order_id"], notice["kind"]) == (None, "1", "study_withdrawn")


def test_what_is_taken_is_not_told_again_and_other_hospitals_hear_nothing(
    service: Service, receiver: Listener
) -> None:
    with Listener("127.0.0.1") as other:
        hook(service, receiver)
        webhooks.add(service.city.catalogue, outbound(other), OPERATOR, "A", url(other))
        rely_and_withdraw(service)
        assert courier(service, receiver).deliver_due() == 1
        assert courier(service, receiver).deliver_due() == 0
        assert (receiver.connected, other.connected) == (1, 0)


def test_a_failure_is_tried_again_later_and_those_behind_it_wait_so_that_the_order_is_kept(
    service: Service, receiver: Listener
) -> None:
    receiver.answer = FAILS
    hook(service, receiver)
    rely_and_withdraw(service, turns=3)
    sender = courier(service, receiver)
    assert sender.deliver_due() == 1
    assert sender.deliver_due() == 0
    service.city.now += WAITS[0]
    receiver.answer = Listener.answer
    assert sender.deliver_due() == 3
    kinds = [body["data"]["kind"] for body in bodies(receiver)]
    assert kinds == ["study_withdrawn", "study_withdrawn", "study_restored", "study_withdrawn"]
    assert [body["data"]["notice_id"] for body in bodies(receiver)][1:] == sorted(
        {body["data"]["notice_id"] for body in bodies(receiver)}
    )
    assert states(service) == (0, 3, 0)


def test_after_the_last_wait_a_delivery_is_dead_the_next_goes_on_and_an_operator_tries_again(
    service: Service, receiver: Listener
) -> None:
    receiver.answer = FAILS
    number = hook(service, receiver)
    rely_and_withdraw(service, turns=2)
    sender = courier(service, receiver)
    for wait in WAITS:
        sender.deliver_due()
        service.city.now += wait
    assert states(service) == (2, 0, 0)
    receiver.answer = FAILS
    sender.deliver_due()
    queued, delivered, dead = states(service)
    assert (queued, delivered, dead) == (1, 0, 1)
    receiver.answer = Listener.answer
    service.city.now += WAITS[0]
    sender.deliver_due()
    assert states(service) == (0, 1, 1)
    retried = service.call("POST", f"/v1/admin/webhooks/{number}/retry", role="operator")
    assert (retried.status_code, retried.json()["queued"]) == (200, 1)
    sender.deliver_due()
    assert states(service) == (0, 2, 0)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1/\r\n\r\n", b"", FAILS])
def test_only_a_status_of_two_hundred_and_some_is_taken(
    service: Service, receiver: Listener, answer: bytes
) -> None:
    receiver.answer = answer
    hook(service, receiver)
    rely_and_withdraw(service)
    courier(service, receiver).deliver_due()
    assert states(service) == (1, 0, 0)


def test_a_host_taken_off_the_list_is_not_connected_to_any_more(service: Service, receiver: Listener) -> None:
    hook(service, receiver)
    rely_and_withdraw(service)
    tightened = replace(outbound(receiver), hosts=frozenset())
    Courier(service.city.catalogue, tightened, KEY).deliver_due()
    assert (receiver.connected, states(service)) == (0, (1, 0, 0))


def test_a_courier_that_died_while_it_delivered_is_followed_by_another(
    service: Service, receiver: Listener
) -> None:
    hook(service, receiver)
    rely_and_withdraw(service)
    (lost,) = webhooks.claim(service.city.catalogue)
    assert courier(service, receiver).deliver_due() == 0
    service.city.now += LEASE
    assert courier(service, receiver).deliver_due() == 1
    webhooks.settle(service.city.catalogue, lost, "timeout")
    assert states(service) == (0, 1, 0)


def test_what_a_courier_thought_lost_reports_late_does_not_disturb_the_one_that_followed(
    service: Service, receiver: Listener
) -> None:
    hook(service, receiver)
    rely_and_withdraw(service)
    (lost,) = webhooks.claim(service.city.catalogue)
    service.city.now += LEASE
    assert len(webhooks.claim(service.city.catalogue)) == 1
    webhooks.settle(service.city.catalogue, lost, "timeout")
    service.city.now += WAITS[1]
    assert webhooks.claim(service.city.catalogue) == []


def test_several_couriers_at_once_tell_each_news_once_and_in_order(
    service: Service, receiver: Listener
) -> None:
    hook(service, receiver)
    rely_and_withdraw(service, turns=6)
    threads = [threading.Thread(target=courier(service, receiver).deliver_due) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    courier(service, receiver).deliver_due()
    told = [body["data"]["notice_id"] for body in bodies(receiver)]
    assert told == sorted(set(told))
    assert states(service) == (0, 6, 0)


def test_news_that_is_rolled_back_is_told_to_nobody(service: Service, receiver: Listener) -> None:
    hook(service, receiver)
    rely_and_withdraw(service)
    with pytest.raises(Conflict):
        rely_and_withdraw(service)
    assert states(service) == (1, 0, 0)


def test_a_removed_webhook_is_told_nothing_more_though_it_was_queued(
    service: Service, receiver: Listener
) -> None:
    number = hook(service, receiver)
    rely_and_withdraw(service)
    removed = service.call("POST", f"/v1/admin/webhooks/{number}/remove", role="operator").json()
    assert (removed["active"], removed["dead"]) == (False, 1)
    assert courier(service, receiver).deliver_due() == 0
    assert service.call("GET", "/v1/admin/webhooks", role="operator").json() == {"webhooks": []}
    with pytest.raises(NotFound):
        webhooks.retry(service.city.catalogue, OPERATOR, number)


def test_a_webhook_outside_the_list_of_hosts_is_refused_over_http_and_not_written_down(
    service: Service,
) -> None:
    for refused in ("https://127.0.0.1/x", "https://hooks.b.example/x", "http://x", "x"):
        body = {"hospital": "B", "url": refused}
        answer = service.call("POST", "/v1/admin/webhooks", role="operator", json=body)
        assert answer.status_code == 422, refused
        assert answer.json()["code"].startswith("target_")
    assert service.call("GET", "/v1/admin/webhooks", role="operator").json() == {"webhooks": []}


def test_one_address_is_registered_once_for_a_hospital_and_five_at_most(
    service: Service, receiver: Listener
) -> None:
    catalogue, allowed = service.city.catalogue, outbound(receiver)
    with pytest.raises(NotFound):
        webhooks.add(catalogue, allowed, OPERATOR, "nobody", url(receiver))
    for number in range(5):
        webhooks.add(catalogue, allowed, OPERATOR, "B", url(receiver, f"/{number}"))
    for again, code in (("/0", "webhook_exists"), ("/5", "too_many_webhooks")):
        with pytest.raises(Conflict) as refused:
            webhooks.add(catalogue, allowed, OPERATOR, "B", url(receiver, again))
        assert refused.value.code == code


def test_beside_the_service_news_is_delivered_by_itself(service: Service, receiver: Listener) -> None:
    hook(service, receiver)
    rely_and_withdraw(service)
    with delivering(courier(service, receiver), wanted=True):
        limit = threading.Event()
        for _ in range(300):
            if states(service) == (0, 1, 0):
                break
            limit.wait(0.1)
    assert states(service) == (0, 1, 0)


def test_the_settings_say_where_webhooks_may_go() -> None:
    told = {"webhook_hosts": "Hooks.A.example, b.example:8443 ,", "webhook_networks": "10.20.0.0/16"}
    found = ExchangeSettings(**told).outbound()  # type: ignore[arg-type]
    assert found.hosts == {"hooks.a.example", "b.example:8443"}
    assert (found.networks, found.https_only) == ((ipaddress.ip_network("10.20.0.0/16"),), True)
    assert ExchangeSettings(env="test").outbound().https_only is False
    assert ExchangeSettings().outbound().hosts == frozenset()
    for wrong in ({"webhook_networks": "10.0.0.0/99"}, {"webhook_authorities": "/nowhere.pem"}):
        with pytest.raises(Exception, match="HUREN_WEBHOOK_"):
            ExchangeSettings(**wrong).outbound()  # type: ignore[arg-type]
