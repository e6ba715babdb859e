"""Senders of HL7 v2: which hospital an application and facility (MSH-3, MSH-4) send for, and from where."""

import ipaddress
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.tables import Hospital
from catalog.tables_reports import Hl7Peer

_LIMIT: Final = 180


def add(
    session: Session, hospital: Hospital, application: str, facility: str, addresses: Sequence[str] = ()
) -> None:
    """Let a sender send for a hospital, from anywhere or from the given networks only.

    Raises InvalidInput for an empty name or a malformed network, Conflict where it sends for another hospital.
    """
    application, facility = application.strip(), facility.strip()
    if not application or max(len(application), len(facility)) > _LIMIT:
        raise InvalidInput(
            "须给出发送应用(MSH-3)", "The sending application (MSH-3) is needed", field="application"
        )
    networks = [_network(address) for address in addresses]
    row = {
        "application": application,
        "facility": facility,
        "hospital_id": hospital.id,
        "addresses": networks,
    }
    session.execute(insert(Hl7Peer).values(row).on_conflict_do_nothing())
    peer = session.get_one(Hl7Peer, (application, facility))
    if peer.hospital_id != hospital.id:
        raise Conflict("该发送方已属于另一机构", "Another hospital has this sender", code="hl7_peer_taken")
    peer.addresses, peer.active = networks, True


def stop(session: Session, application: str, facility: str) -> None:
    """Take no more messages of a sender. Raises NotFound."""
    peer = session.get(Hl7Peer, (application, facility))
    if peer is None:
        raise NotFound("没有该发送方", "No such sender", code="unknown_hl7_peer")
    peer.active = False


def listed(session: Session) -> list[dict[str, Any]]:
    """Return every sender."""
    query = select(Hl7Peer, Hospital.code).join(Hospital, Hospital.id == Hl7Peer.hospital_id)
    return [
        {
            "application": peer.application,
            "facility": peer.facility,
            "hospital": code,
            "addresses": " ".join(peer.addresses),
            "active": peer.active,
        }
        for peer, code in session.execute(query.order_by(Hl7Peer.application, Hl7Peer.facility)).tuples()
    ]


def sender_of(session: Session, application: str, facility: str, address: str) -> Hospital | None:
    """Return the hospital a sender at an address sends for, or None where it is unknown."""
    query = (
        select(Hospital, Hl7Peer.addresses)
        .join(Hl7Peer, Hl7Peer.hospital_id == Hospital.id)
        .where(
            Hl7Peer.application == application,
            Hl7Peer.facility == facility,
            Hl7Peer.active,
            Hospital.active,
        )
    )
    row = session.execute(query).tuples().one_or_none()
    if row is None or not _is_within(address, row[1]):
        return None
    return row[0]


def _is_within(address: str, networks: Sequence[str]) -> bool:
    if not networks:
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in ipaddress.ip_network(network) for network in networks)


def _network(address: str) -> str:
    try:
        return str(ipaddress.ip_network(address.strip(), strict=False))
    except ValueError as error:
        raise InvalidInput(
            "地址须为 IP 或网段", "An address is an IP or a network", field="address"
        ) from error
