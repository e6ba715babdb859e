"""Hospitals and their application entities as curators keep them: list, add, change, close, open again.

What may be registered is for `catalog.registry` to say; here every act is audited.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import audit, registry
from catalog.certificates import Certificate
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict
from catalog.tables import Hospital, Region
from catalog.tables_dicom import Peer


def hospitals(
    catalogue: Catalogue, *, after: str = "", limit: int = 100, code: str = ""
) -> list[dict[str, Any]]:
    """Return hospitals by their codes with their application entities, closed ones too; `code` asks for one."""
    query = select(Hospital, Region.name, Region.name_en).join(Region, Region.code == Hospital.region_code)
    query = query.where(Hospital.code == code) if code else query.where(Hospital.code > after)
    now = catalogue.clock()
    with transaction(catalogue.engine) as session:
        rows = session.execute(query.order_by(Hospital.code).limit(limit)).tuples().all()
        peers = _peers(session, {hospital.id for hospital, _, _ in rows}, now)
        return [
            {
                "code": hospital.code,
                "name": hospital.name,
                "tier": hospital.tier,
                "region": hospital.region_code,
                "region_name": name,
                "region_name_en": name_en,
                "active": hospital.active,
                "peers": peers.get(hospital.id, []),
            }
            for hospital, name, name_en in rows
        ]


def regions(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return the regions, alliances and consortia, by their codes."""
    with transaction(catalogue.engine) as session:
        return [
            {"code": row.code, "name": row.name, "name_en": row.name_en, "kind": row.kind}
            for row in session.scalars(select(Region).order_by(Region.code))
        ]


def add(catalogue: Catalogue, caller: Caller, *, code: str, name: str, tier: int, region: str) -> None:
    """Register a hospital. Raises as `registry.add_hospital`."""
    with transaction(catalogue.engine) as session:
        hospital = registry.add_hospital(session, code=code, name=name, tier=tier, region=region)
        audit.record(session, caller, "hospital.add", hospital_id=hospital.id)


def change(catalogue: Catalogue, caller: Caller, code: str, *, name: str, tier: int, region: str) -> None:
    """Change a hospital's name, tier or region; answers already given stay. Raises as `registry.change_hospital`."""
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, code)
        before = {"name": hospital.name, "tier": hospital.tier, "region": hospital.region_code}
        registry.change_hospital(session, hospital, name=name, tier=tier, region=region)
        audit.record(session, caller, "hospital.change", hospital_id=hospital.id, before=before)


def set_active(catalogue: Catalogue, caller: Caller, code: str, *, active: bool) -> None:
    """Close a hospital, or open it again: a closed one sends nothing and asks nothing, what it sent stays.

    Raises NotFound, Conflict where it is so already.
    """
    with transaction(catalogue.engine) as session:
        query = select(Hospital).where(Hospital.code == code).with_for_update()
        hospital = session.scalars(query).one_or_none()
        if hospital is None:
            raise registry.unknown_hospital()
        if hospital.active is active:
            raise Conflict(
                "该机构已启用" if active else "该机构已停用",
                f"The hospital is {'active' if active else 'closed'} already",
                code="hospital_state",
            )
        hospital.active = active
        audit.record(
            session, caller, "hospital.enable" if active else "hospital.disable", hospital_id=hospital.id
        )


def add_peer(
    catalogue: Catalogue,
    caller: Caller,
    code: str,
    ae_title: str,
    addresses: Sequence[str],
    *,
    host: str = "",
    port: int = 0,
    tls: bool = False,
) -> None:
    """Let an AE title send for a hospital, as said now, also where it was removed. Raises as `registry.add_peer`."""
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, code)
        registry.add_peer(session, hospital, ae_title, addresses, host=host, port=port, tls=tls)
        registry.set_addresses(session, hospital, ae_title, addresses)
        registry.set_peer_active(session, hospital, ae_title, active=True)
        audit.record(session, caller, "peer.add", hospital_id=hospital.id, ae_title=ae_title.strip())


def set_peer_active(catalogue: Catalogue, caller: Caller, code: str, ae_title: str, *, active: bool) -> None:
    """Let an AE title send no more, or again with the addresses and certificates it had. Raises NotFound."""
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, code)
        registry.set_peer_active(session, hospital, ae_title, active=active)
        audit.record(
            session,
            caller,
            "peer.restore" if active else "peer.remove",
            hospital_id=hospital.id,
            ae_title=ae_title.strip(),
        )


def set_certificates(
    catalogue: Catalogue, caller: Caller, code: str, ae_title: str, found: Collection[Certificate]
) -> None:
    """Let only TLS with one of these be this AE title; none: plain again. Raises NotFound."""
    with transaction(catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, code)
        registry.set_certificates(session, hospital, ae_title, found)
        audit.record(session, caller, "peer.certificates", hospital_id=hospital.id, ae_title=ae_title.strip())


def _peers(session: Session, hospital_ids: Collection[int], now: datetime) -> dict[int, list[dict[str, Any]]]:
    query = select(Peer).where(Peer.hospital_id.in_(hospital_ids)).order_by(Peer.ae_title)
    found: dict[int, list[dict[str, Any]]] = {}
    for peer in session.scalars(query):
        found.setdefault(peer.hospital_id, []).append(_peer(peer, now))
    return found


def _peer(peer: Peer, now: datetime) -> dict[str, Any]:
    return {
        "ae_title": peer.ae_title,
        "active": peer.active,
        "addresses": peer.addresses,
        "host": peer.host,
        "port": peer.port,
        "tls": peer.tls,
        "certificates": [
            _certificate(fingerprint, peer.certificate_ends.get(fingerprint), now)
            for fingerprint in peer.certificates
        ],
    }


def _certificate(fingerprint: str, ends_at: str | None, now: datetime) -> dict[str, Any]:
    """A certificate that was registered by its fingerprint alone says no end."""
    left = (datetime.fromisoformat(ends_at) - now).days if ends_at else None
    return {"sha256": fingerprint, "ends_at": ends_at, "days_left": left}
