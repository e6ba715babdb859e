"""What a call asks: whose priors, which orders under which number, which item; never more certain than was said."""

from datetime import date
from typing import Any

import pytest
from sqlalchemy import update

from catalog import people, registry
from catalog.context import Caller
from catalog.db import transaction
from catalog.identity import Demographics, Document, normalise_document
from catalog.items import ItemList, load_item_list
from catalog.orders import OrderRequest
from catalog.tables_cds import CdsClient as Registered
from exchange.cds_orders import Asked, order_requests, read_call
from exchange.cds_types import Call
from tests.cds_client import ITEM, CdsClient, call, order, patient
from tests.city import id_number
from tests.exchange.conftest import Service

CARD = {"system": "urn:huren:id-type:01", "value": id_number(2)}
OLD = {**CARD, "value": id_number(4), "use": "old"}
OTHERS = [
    {"system": f"urn:huren:id-type:{kind}", "value": value}
    for kind, value in (("03", "CHN:E12345678"), ("04", "军字第0012345号"), ("05", "500103198005170021"))
]
BAD = {"system": "urn:huren:id-type:03", "value": "?"}
OWN = {"K1": ("CT07", None, None), "K2": ("CT01", None, None), "K3": ("CT07", "L", None)}


@pytest.fixture(scope="module")
def items() -> ItemList:
    return load_item_list()


def asked(*orders: dict[str, Any], identifiers: Any = (CARD,), **context: str) -> Asked:
    body = call(*orders, context=context, prefetch={"patient": patient(identifier=list(identifiers))})
    return read_call(Call.model_validate(body), "order-sign", "B", date(2026, 6, 30), {})


def order_of(items: ItemList, *codings: dict[str, str], systems: tuple[str, ...] = ()) -> OrderRequest:
    drafts = asked(order(code={"coding": list(codings), "text": "胸部CT平扫"})).drafts
    (read,) = order_requests(
        drafts, items, lambda codes: {code: OWN[code] for code in codes if code in OWN}, systems
    )
    return read


@pytest.mark.parametrize("more", [*([each] for each in OTHERS), [OLD], [BAD], OTHERS, [OLD, BAD, *OTHERS]])
def test_the_identity_card_is_asked_by_whatever_else_identifies_the_patient_before_or_after_it(
    more: list[Any],
) -> None:
    for identifiers in ([CARD, *more], [*more, CARD]):
        assert asked(identifiers=identifiers).documents[0] == Document("01", id_number(2))


@pytest.mark.parametrize(
    "identifiers", [[OLD], [CARD, {**OLD, "use": "usual"}], [*OTHERS, {**CARD, "value": "123"}], [BAD]]
)
def test_who_cannot_be_told_for_certain_is_nobody_to_look_up(identifiers: list[Any]) -> None:
    assert asked(identifiers=identifiers).documents == ()


def test_a_prior_under_any_of_several_documents_is_found_and_two_people_are_unknown(
    cds: CdsClient, service: Service
) -> None:
    passport = normalise_document("03", "CHN:E12345678", date(2026, 6, 30), issuer="A")
    identifiers = [{**CARD, "value": id_number(6)}, OTHERS[0]]  # nobody knows the card
    unread = patient(identifier=[identifiers[0], BAD])
    assert "尚不清楚" in cds.cards(call(prefetch={"patient": unread}))[0]["summary"]
    body = call(prefetch={"patient": patient(identifier=identifiers)})
    assert cds.cards(body) == []
    people.register_patient(
        service.city.catalogue, Caller("his", "hospital_system", "A"), passport, Demographics(), "A-passport"
    )
    service.city.study("A", None, PatientID="A-passport")
    assert cds.cards(body)[0]["suggestions"]
    body["prefetch"]["patient"] = patient(identifier=[CARD, OTHERS[0]])
    assert "尚不清楚" in cds.cards(body)[0]["summary"]


def test_a_draft_without_a_number_is_known_by_patient_encounter_and_id() -> None:
    bare = order(identifier=[])
    first, again, later = (asked(bare, encounterId=e).drafts[0].number for e in ("e1", "e1", "e2"))
    assert first == again != later
    assert len(first) == 64
    assert asked(order("MZ1")).drafts[0].number == "MZ1"


@pytest.mark.parametrize(
    ("codings", "item", "local"),
    [
        ([{"code": "K1"}], None, "K1"),
        ([{"system": "urn:b:orders", "code": "K1"}], None, "K1"),
        ([{"system": "urn:else", "code": "K1"}], None, None),
        ([{"system": ITEM, "code": "CT07"}, {"code": "K1"}], "CT07", None),
    ],
)
def test_a_code_is_the_hospitals_own_without_a_system_or_with_one_of_its_client(
    items: ItemList, codings: list[dict[str, str]], item: str | None, local: str | None
) -> None:
    read = order_of(items, *codings, systems=("urn:b:orders",))
    assert (read.item_code, read.local_code) == (item, local)


@pytest.mark.parametrize(
    "codings",
    [
        [{"system": ITEM, "code": "CT07"}, {"system": ITEM, "code": "CT01"}],
        [{"code": "K1"}, {"code": "K2"}],
        [{"code": "K1"}, {"code": "K3"}],
        [{"system": ITEM, "code": "CT01"}, {"code": "K1"}],
    ],
)
def test_codings_that_contradict_each_other_name_no_item(
    items: ItemList, codings: list[dict[str, str]]
) -> None:
    read = order_of(items, *codings)
    assert (read.item_code, read.local_code, read.text) == (None, None, "")


def test_the_system_of_its_own_codes_is_registered_with_a_client(cds: CdsClient, service: Service) -> None:
    row = {"code": "K-17", "name": "甲", "item_code": "CT07", "laterality": None, "body_part": None}
    with transaction(service.city.catalogue.engine) as session:
        registry.map_local_codes(session, registry.hospital_by_code(session, "B"), [row])
    body = call(order(code={"coding": [{"system": "urn:b:orders", "code": "K-17"}]}))
    assert all("suggestions" not in card for card in cds.cards(body))
    with transaction(service.city.catalogue.engine) as session:
        session.execute(update(Registered).values(code_systems=["urn:b:orders"]))
    assert cds.cards(body)[0]["suggestions"]
