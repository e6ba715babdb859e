"""The registry: hospitals, their peers, regions and scopes, quality evaluations and prices."""

import ipaddress
import re
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from catalog.certificates import Certificate
from catalog.errors import Conflict, InvalidInput, NotFound
from catalog.items import ItemList
from catalog.pricing import PriceRow, price_that_applies
from catalog.records import Evaluation, Institution
from catalog.tables import Hospital, LocalCode, Price, QcEvaluation, Region
from catalog.tables_dicom import Peer

_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_LEVEL_WORDS: Final = {
    "national": "country",
    "全国": "country",
    "alliance": "alliance",
    "province": "province",
    "municipality": "municipality",
    "district": "district",
}


def hospital_by_code(session: Session, code: str) -> Hospital:
    """Return the active hospital with this code. Raises NotFound."""
    hospital = session.scalars(select(Hospital).where(Hospital.code == code, Hospital.active)).one_or_none()
    if hospital is None:
        raise unknown_hospital()
    return hospital


def unknown_hospital() -> NotFound:
    """Return the error for a code that is no active hospital's."""
    return NotFound("没有登记该机构", "No such hospital is registered", code="unknown_hospital")


def add_hospital(
    session: Session, *, code: str, name: str, tier: int, region: str, ae_titles: Iterable[str] = ()
) -> Hospital:
    """Register a hospital with the AE titles that send for it.

    Raises InvalidInput for a malformed code, name, tier or AE title, NotFound for an unknown region,
    Conflict where the code or an AE title is taken.
    """
    if not _CODE.fullmatch(code):
        raise InvalidInput(
            "机构代码限 1 到 32 位字母、数字和 _ . -",
            "A hospital code takes 1 to 32 letters, digits and _ . -",
            field="code",
        )
    _check_named(name, tier)
    place = find_region(session, region)
    row = {"code": code, "name": name.strip(), "tier": tier, "region_code": place.code}
    made = session.scalars(
        insert(Hospital).values(row).on_conflict_do_nothing().returning(Hospital.id)
    ).one_or_none()
    if made is None:
        raise Conflict(
            "该机构代码已登记", "A hospital with this code is registered already", code="hospital_exists"
        )
    hospital = session.get_one(Hospital, made)
    for title in ae_titles:
        add_peer(session, hospital, title)
    return hospital


def change_hospital(session: Session, hospital: Hospital, *, name: str, tier: int, region: str) -> None:
    """Set a hospital's name, tier and region. Raises as `add_hospital`."""
    _check_named(name, tier)
    hospital.region_code = find_region(session, region).code
    hospital.name, hospital.tier = name.strip(), tier


def _check_named(name: str, tier: int) -> None:
    if not name.strip():
        raise InvalidInput("机构名称不能为空", "The hospital needs a name", field="name")
    if tier not in (1, 2, 3):
        raise InvalidInput("机构等级为 1、2 或 3", "The tier is 1, 2 or 3", field="tier")


def add_peer(
    session: Session,
    hospital: Hospital,
    ae_title: str,
    addresses: Sequence[str] = (),
    *,
    host: str = "",
    port: int = 0,
    tls: bool = False,
) -> None:
    """Let an AE title send for a hospital, from anywhere or from the given networks only.

    `host`, `port` and `tls`, where and how it takes storage commitment reports and what C-MOVE sends to it, may also be given later or anew.

    Raises InvalidInput for a title outside PS3.5 6.2 (1 to 16 printable ASCII characters, no backslash)
    or a malformed network or listening address, Conflict where another hospital has the title.
    """
    title = ae_title.strip(" ")
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", title):
        raise InvalidInput(
            "AE 标题须为 1 到 16 个可打印 ASCII 字符,不含反斜线",
            "An AE title takes 1 to 16 printable ASCII characters without a backslash",
            field="ae",
        )
    row = {"ae_title": title, "hospital_id": hospital.id, "addresses": [_network(a) for a in addresses]}
    session.execute(insert(Peer).values(row).on_conflict_do_nothing())
    peer = session.get_one(Peer, title)
    if peer.hospital_id != hospital.id:
        raise Conflict(
            "该 AE 标题已属于另一机构", "Another hospital has this AE title", code="ae_title_taken"
        )
    if host or port:
        peer.host, peer.port = _listening_address(host, port)
        peer.tls = tls


def set_certificates(
    session: Session, hospital: Hospital, ae_title: str, certificates: Collection[Certificate]
) -> None:
    """Let only TLS with one of these client certificates be this peer; none: plain again.

    Raises NotFound where the hospital has no such AE title.
    """
    peer = _peer_of(session, hospital, ae_title)
    ends = {each.fingerprint: each.ends_at.isoformat() for each in certificates}
    peer.certificates, peer.certificate_ends = sorted(ends), ends


def set_addresses(session: Session, hospital: Hospital, ae_title: str, addresses: Sequence[str]) -> None:
    """Let a peer send from these networks only; none: from anywhere. Raises NotFound, InvalidInput."""
    _peer_of(session, hospital, ae_title).addresses = [_network(each) for each in addresses]


def set_peer_active(session: Session, hospital: Hospital, ae_title: str, *, active: bool) -> None:
    """Let a peer send no more, or again. Raises NotFound where the hospital has no such AE title."""
    _peer_of(session, hospital, ae_title).active = active


def _peer_of(session: Session, hospital: Hospital, ae_title: str) -> Peer:
    peer = session.get(Peer, ae_title.strip(" "))
    if peer is None or peer.hospital_id != hospital.id:
        raise NotFound("该机构没有此 AE 标题", "The hospital has no such AE title", code="unknown_ae_title")
    return peer


def find_region(session: Session, text: str) -> Region:
    """Return the region with this code or Chinese name. Raises NotFound."""
    query = select(Region).where(or_(Region.code == text, Region.name == text, Region.mark_name == text))
    found = session.scalars(query).first()
    if found is None:
        raise NotFound("没有该地区", "No such region", code="unknown_region")
    return found


def institutions(session: Session, hospitals: Iterable[Hospital]) -> dict[int, Institution]:
    """Return, by id, the hospitals as the rules see them, with every scope that holds them."""
    tree = {region.code: region for region in session.scalars(select(Region))}
    return {hospital.id: _institution(hospital, tree) for hospital in hospitals}


def find_scope(session: Session, hospital: Hospital, text: str) -> Region:
    """Return the region meant by a code, a name, or a level word as seen from `hospital`.

    Raises InvalidInput where the text names nothing, or several things.
    """
    kind = _LEVEL_WORDS.get(text.lower())
    if kind is None:
        return find_region(session, text)
    scopes = institutions(session, [hospital])[hospital.id].scopes
    found = session.scalars(select(Region).where(Region.kind == kind, Region.code.in_(scopes))).all()
    if len(found) != 1:
        raise InvalidInput("请用代码指明互认范围", "Name the scope by its code", field="scope")
    return found[0]


def scope_of(session: Session, hospital: Hospital, text: str) -> Region:
    """Return the scope meant by `text`, which must hold the hospital itself: who evaluates it, evaluates its own.

    Raises NotFound, InvalidInput as `find_scope`, and InvalidInput where the hospital lies outside.
    """
    scope = find_scope(session, hospital, text)
    if scope.code not in institutions(session, [hospital])[hospital.id].scopes:
        raise InvalidInput(
            "互认范围不含该机构本身", "The scope does not hold the hospital itself", field="scope"
        )
    return scope


def add_evaluation(
    session: Session,
    items: ItemList,
    *,
    hospital_code: str,
    item: str | None,
    group: str | None,
    scope: str,
    valid_from: date,
    valid_to: date,
    passed: bool = True,
) -> QcEvaluation:
    """Record a quality evaluation for one item or a group; days inclusive.

    Raises NotFound for an unknown hospital, scope, item or group, InvalidInput for reversed days or a scope that
    does not hold the hospital.
    """
    if item is not None and items.get(item) is None:
        raise NotFound("清单中没有该项目", "No such item on the list", code="unknown_item")
    if group is not None and group not in items.groups:
        raise NotFound("清单中没有该项目组", "No such group on the list", code="unknown_group")
    if valid_from > valid_to:
        raise InvalidInput("起始日期晚于截止日期", "The first day lies after the last day", field="to")
    hospital = hospital_by_code(session, hospital_code)
    row = QcEvaluation(
        hospital_id=hospital.id,
        item_code=item,
        item_group=group,
        scope_code=scope_of(session, hospital, scope).code,
        passed=passed,
        valid_from=valid_from,
        valid_to=valid_to,
    )
    session.add(row)
    session.flush()
    return row


def evaluations(session: Session, hospital_ids: Iterable[int]) -> dict[int, tuple[Evaluation, ...]]:
    """Return the quality evaluations of these hospitals, by hospital id, with the text of their marks."""
    query = (
        select(QcEvaluation, Region.mark_name)
        .join(Region, Region.code == QcEvaluation.scope_code)
        .where(QcEvaluation.hospital_id.in_(set(hospital_ids)))
    )
    found: dict[int, list[Evaluation]] = {}
    for row, mark_name in session.execute(query):
        evaluation = Evaluation(
            scope=row.scope_code,
            mark=f"{mark_name}HR",
            passed=row.passed,
            valid_from=row.valid_from,
            valid_to=row.valid_to,
            item_code=row.item_code,
            item_group=row.item_group,
        )
        found.setdefault(row.hospital_id, []).append(evaluation)
    return {hospital_id: tuple(rows) for hospital_id, rows in found.items()}


def prices_for(
    session: Session, asker: Institution, item_codes: Iterable[str], on: date
) -> dict[str, PriceRow]:
    """Return the price that applies to each item at the asking hospital on a day; unpriced items are absent."""
    wanted = set(item_codes)
    query = select(Price).where(
        Price.item_code.in_(wanted),
        Price.valid_from <= on,
        or_(Price.valid_to.is_(None), Price.valid_to >= on),
        or_(
            (Price.scope_kind == "hospital") & (Price.scope == asker.code),
            (Price.scope_kind == "region") & Price.scope.in_(asker.regions),
            (Price.scope_kind == "tier") & (Price.scope == str(asker.tier)),
        ),
    )
    rows = [_price_row(price) for price in session.scalars(query)]
    found = {
        code: price_that_applies(
            rows,
            hospital_code=asker.code,
            regions_small_to_large=asker.regions,
            tier=asker.tier,
            item_code=code,
            on=on,
        )
        for code in wanted
    }
    return {code: row for code, row in found.items() if row is not None}


def add_prices(session: Session, rows: Iterable[PriceRow], *, source: str) -> int:
    """Add price rows; one that is there already stays as it is. Returns how many were new.

    Raises Conflict where a row contradicts one that stands: past prices are never changed.
    """
    new = 0
    for row in rows:
        values = {
            "item_code": row.item_code,
            "scope_kind": row.scope_kind,
            "scope": row.scope,
            "price_fen": row.price_fen,
            "valid_from": row.valid_from,
            "valid_to": row.valid_to,
            "source": source,
        }
        added = session.execute(insert(Price).values(values).on_conflict_do_nothing().returning(Price.id))
        if added.scalar_one_or_none() is not None:
            new += 1
        elif not _same_price(session, values):
            raise Conflict(
                f"价格已存在且不同:{row.item_code} {row.scope_kind} {row.scope} {row.valid_from}",
                "A different price stands already for the same item, scope and first day",
                code="price_exists",
            )
    return new


def local_item(session: Session, hospital_id: int, code: str) -> LocalCode | None:
    """Return what a hospital's own code stands for, if its table has it."""
    return session.get(LocalCode, (hospital_id, code))


def known_local_codes(
    session: Session, hospital_id: int, codes: Collection[str]
) -> dict[str, tuple[str, str | None, str | None]]:
    """Return those of the codes that a hospital's own table has, each with its item, side and body part."""
    query = select(LocalCode).where(LocalCode.hospital_id == hospital_id, LocalCode.code.in_(codes))
    return {row.code: (row.item_code, row.laterality, row.body_part) for row in session.scalars(query)}


def local_names(session: Session, hospital_id: int) -> Sequence[tuple[str, str, str | None, str | None]]:
    """Return the names of a hospital's own table, each with its item, side and body part."""
    columns = (LocalCode.name, LocalCode.item_code, LocalCode.laterality, LocalCode.body_part)
    query = select(*columns).where(LocalCode.hospital_id == hospital_id, LocalCode.name != "")
    return session.execute(query).tuples().all()


def map_local_codes(session: Session, hospital: Hospital, rows: Iterable[dict[str, Any]]) -> int:
    """Write a hospital's own codes; a code given again takes the new meaning. Returns how many."""
    count = 0
    for row in rows:
        statement = insert(LocalCode).values(hospital_id=hospital.id, **row)
        update = {key: statement.excluded[key] for key in row if key != "code"}
        session.execute(statement.on_conflict_do_update(index_elements=["hospital_id", "code"], set_=update))
        count += 1
    return count


def _institution(hospital: Hospital, tree: dict[str, Region]) -> Institution:
    path: list[str] = []
    code: str | None = hospital.region_code
    while code is not None and code not in path:
        path.append(code)
        code = tree[code].parent_code
    # An alliance has regions for members, a consortium hospitals: a hospital's code may look like a region's.
    alliances = {r.code for r in tree.values() if set(r.members) & _as_members(r, path, hospital.code)}
    return Institution(
        code=hospital.code,
        name=hospital.name,
        tier=hospital.tier,
        regions=tuple(path),
        scopes=frozenset({*path, *alliances, *hospital.consortia}),
    )


def _as_members(region: Region, path: Iterable[str], hospital_code: str) -> set[str]:
    return {hospital_code} if region.kind == "consortium" else set(path)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise InvalidInput(
            "地址须为 IP 或网段", "An address is an IP or a network", field="address"
        ) from error


def _listening_address(host: str, port: int) -> tuple[str, int]:
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,253}", host):
        raise InvalidInput("监听主机须为主机名或 IP", "The host is a name or an IP address", field="host")
    if not 1 <= port <= 65_535:
        raise InvalidInput("监听端口为 1 到 65535", "The port is 1 to 65535", field="port")
    return host, port


def _price_row(price: Price) -> PriceRow:
    return PriceRow(
        scope_kind=price.scope_kind,  # type: ignore[arg-type]
        scope=price.scope,
        item_code=price.item_code,
        price_fen=price.price_fen,
        valid_from=price.valid_from,
        valid_to=price.valid_to,
        row_id=str(price.id),
    )


def _same_price(session: Session, values: dict[str, Any]) -> bool:
    keys = ("item_code", "scope_kind", "scope", "valid_from")
    query = select(Price).where(*(getattr(Price, key) == values[key] for key in keys))
    row = session.scalars(query).one()
    return bool(row.price_fen == values["price_fen"] and row.valid_to == values["valid_to"])
