"""Who goes on after the last notice he has read misses none, in whatever order they are committed."""

import ipaddress
from datetime import timedelta

from sqlalchemy import func, select

from catalog import break_glass, notice_numbers, notices, webhooks
from catalog.context import Caller
from catalog.db import transaction
from catalog.identity import Document
from catalog.outbound import Outbound
from catalog.tables_access import AccessGrant
from catalog.tables_asking import WebhookDelivery
from catalog.tables_people import Notice
from tests.city import City, id_number

SYSTEM = Caller("his", "hospital_system", "B")
OUTBOUND = Outbound(
    hosts=frozenset({"hooks.b.example:443"}),
    networks=(ipaddress.ip_network("127.0.0.1/32"),),
    https_only=True,
    seconds=1,
    resolve=lambda _host, _port: ["127.0.0.1"],
)


def break_glass_for(city: City, doctor: Caller, person: int) -> int:
    document = Document("01", id_number(person))
    opened = break_glass.open_glass(city.catalogue, doctor, document, "抢救昏迷", timedelta(hours=1))
    return int(opened["grant_id"])


def test_a_later_notice_waits_for_an_earlier_one_that_is_not_committed_yet(city: City) -> None:
    doctors = {code: city.hospital(code) for code in "BC"}
    webhooks.add(city.catalogue, OUTBOUND, Caller("op", "operator"), "B", "https://hooks.b.example/x")
    grant = break_glass_for(city, doctors["B"], 2)
    (first,) = notices.notices(city.catalogue, SYSTEM)
    with transaction(city.catalogue.engine) as slow:
        hospital_id = slow.get_one(AccessGrant, grant).hospital_id
        notice_numbers.announce(slow, {hospital_id})
        news = Notice(hospital_id=hospital_id, grant_id=grant, kind="break_glass", created_at=city.now)
        slow.add(news)
        webhooks.enqueue(slow, city.catalogue, [news])
        break_glass_for(city, doctors["B"], 4)
        break_glass_for(city, doctors["C"], 4)
        after = first["notice_id"]
        assert notices.notices(city.catalogue, SYSTEM, after=after) == []
        assert len(notices.notices(city.catalogue, Caller("his", "hospital_system", "C"))) == 1
        assert [each.notice_id for each in webhooks.claim(city.catalogue)] == [after]
        webhooks.settle(city.catalogue, _claimed(city, after), None)
        assert webhooks.claim(city.catalogue) == []
        slow_id = news.id
    listed = [each["notice_id"] for each in notices.notices(city.catalogue, SYSTEM, after=after)]
    assert listed[0] == slow_id
    assert len(listed) == 2
    assert [each.notice_id for each in webhooks.claim(city.catalogue)] == [slow_id]


def _claimed(city: City, notice_id: int) -> webhooks.Delivery:
    with transaction(city.catalogue.engine) as session:
        row = session.scalars(select(WebhookDelivery).filter_by(notice_id=notice_id)).one()
        return webhooks.Delivery(
            row.id, row.webhook_id, "", notice_id, "break_glass", "B", city.now, row.attempts
        )


def test_an_emergency_access_is_told_to_the_webhooks_of_its_hospital(city: City) -> None:
    doctor = city.hospital("B")
    webhooks.add(city.catalogue, OUTBOUND, Caller("op", "operator"), "B", "https://hooks.b.example/x")
    break_glass_for(city, doctor, 2)
    (told,) = webhooks.claim(city.catalogue)
    assert (told.kind, told.hospital_code) == ("break_glass", "B")
    with transaction(city.catalogue.engine) as session:
        assert session.scalar(select(func.count()).select_from(Notice)) == 1
