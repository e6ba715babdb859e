"""Hospitals, their application entities and certificates over HTTP: list, add, change, close; regions."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from catalog import hospitals, registry
from catalog.certificates import read_certificates
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, HospitalCode
from exchange.examples import answers

router = APIRouter(tags=["hospitals"])

_PEER: Final[dict[str, Any]] = {
    "ae_title": "A_PACS",
    "active": True,
    "addresses": ["10.1.2.0/24"],
    "host": "10.1.2.9",
    "port": 104,
    "tls": False,
    "certificates": [{"sha256": "a" * 64, "ends_at": "2027-06-30T00:00:00+00:00", "days_left": 364}],
}
_HOSPITAL: Final[dict[str, Any]] = {
    "code": "A",
    "name": "甲医院",
    "tier": 3,
    "region": "500103",
    "region_name": "渝中区",
    "region_name_en": "Yuzhong District",
    "active": True,
    "peers": [_PEER],
}
_STRICT: Final = ConfigDict(extra="forbid")
AeTitle = Annotated[str, Field(min_length=1, max_length=16, examples=["A_PACS"])]


class HospitalFacts(BaseModel):
    """What is known of a hospital."""

    model_config = _STRICT

    name: str = Field(min_length=1, max_length=200, examples=["甲医院"])
    tier: int = Field(ge=1, le=3, examples=[3])
    region: str = Field(max_length=64, examples=["500103"], description="代码或名称 / code or name")


class HospitalIn(HospitalFacts):
    """A hospital to register."""

    code: str = Field(max_length=32, examples=["A"])


class PeerIn(BaseModel):
    """An application entity: from where it may send, and where it listens itself."""

    model_config = _STRICT

    ae_title: AeTitle
    addresses: list[Annotated[str, Field(max_length=64)]] = Field(
        [], max_length=64, examples=[["10.1.2.0/24"]], description="空为任意地址 / none: from anywhere"
    )
    host: str = Field("", max_length=253, examples=["10.1.2.9"])
    port: int = Field(0, ge=0, le=65_535, examples=[104])
    tls: bool = False


class PeerName(BaseModel):
    """An application entity of the hospital."""

    model_config = _STRICT

    ae_title: AeTitle


class CertificatesIn(PeerName):
    """The client certificates of an application entity; none: plain connections again."""

    pem: str = Field("", max_length=65_536, examples=["-----BEGIN CERTIFICATE-----\n…"])


@router.get("/v1/admin/regions", summary="地区 / regions", responses=answers({"regions": [
    {"code": "500103", "name": "渝中区", "name_en": "Yuzhong District", "kind": "district"}
]}))  # fmt: skip
def list_regions(caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return regions, alliances and consortia."""
    return Json({"regions": hospitals.regions(catalogue)})


@router.get(
    "/v1/admin/hospitals",
    summary="医疗机构及其接入设备 / hospitals and their application entities",
    responses=answers({"hospitals": [_HOSPITAL]}),
)
def list_hospitals(
    caller: CallerOf,
    catalogue: CatalogueOf,
    after: Annotated[
        str, Query(max_length=32, description="接着此代码往后列 / read on after this code")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=2000)] = 100,
) -> Json:
    """Return hospitals by their codes, closed ones too, with each device, its certificates and their ends."""
    return Json({"hospitals": hospitals.hospitals(catalogue, after=after, limit=limit)})


@router.get("/v1/admin/hospitals/{code}", summary="一家医疗机构 / one hospital", responses=answers(_HOSPITAL))
def one_hospital(code: HospitalCode, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return a hospital as the list does."""
    return Json(_one(catalogue, code))


@router.post(
    "/v1/admin/hospitals",
    status_code=201,
    summary="登记医疗机构 / register a hospital",
    responses=answers({**_HOSPITAL, "peers": []}, 201),
)
def add(body: HospitalIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Register a hospital; its devices and accounts are added after it."""
    hospitals.add(catalogue, caller, code=body.code, name=body.name, tier=body.tier, region=body.region)
    return Json(_one(catalogue, body.code), 201)


@router.post(
    "/v1/admin/hospitals/{code}",
    summary="更改机构信息 / change a hospital",
    responses=answers(_HOSPITAL),
)
def change(code: HospitalCode, body: HospitalFacts, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Change name, tier and region for what is asked from now on; what was answered stays."""
    hospitals.change(catalogue, caller, code, name=body.name, tier=body.tier, region=body.region)
    return Json(_one(catalogue, code))


@router.post(
    "/v1/admin/hospitals/{code}/deactivate",
    summary="停用机构 / close a hospital",
    responses=answers({**_HOSPITAL, "active": False}),
)
def deactivate(code: HospitalCode, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Let it neither send nor ask; what it sent stays and is shown to others."""
    hospitals.set_active(catalogue, caller, code, active=False)
    return Json(_one(catalogue, code))


@router.post(
    "/v1/admin/hospitals/{code}/activate",
    summary="重新启用机构 / open a hospital again",
    responses=answers(_HOSPITAL),
)
def activate(code: HospitalCode, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Let a closed hospital send and ask again."""
    hospitals.set_active(catalogue, caller, code, active=True)
    return Json(_one(catalogue, code))


@router.post(
    "/v1/admin/hospitals/{code}/peers",
    summary="登记接入设备 / let an AE title send",
    responses=answers(_HOSPITAL),
)
def add_peer(code: HospitalCode, body: PeerIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Register an AE title, or set its addresses anew; a removed one sends again, with the certificates it had."""
    hospitals.add_peer(
        catalogue,
        caller,
        code,
        body.ae_title,
        body.addresses,
        host=body.host,
        port=body.port,
        tls=body.tls,
    )
    return Json(_one(catalogue, code))


@router.post(
    "/v1/admin/hospitals/{code}/peers/remove",
    summary="移除接入设备 / let an AE title send no more",
    responses=answers({**_HOSPITAL, "peers": [{**_PEER, "active": False}]}),
)
def remove_peer(code: HospitalCode, body: PeerName, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Refuse its associations from the next second on; what is registered of it is kept for `restore`."""
    hospitals.set_peer_active(catalogue, caller, code, body.ae_title, active=False)
    return Json(_one(catalogue, code))


@router.post(
    "/v1/admin/hospitals/{code}/peers/restore",
    summary="恢复接入设备 / let it send again",
    responses=answers(_HOSPITAL),
)
def restore_peer(code: HospitalCode, body: PeerName, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Let a removed AE title send again as it was registered."""
    hospitals.set_peer_active(catalogue, caller, code, body.ae_title, active=True)
    return Json(_one(catalogue, code))


@router.post(
    "/v1/admin/hospitals/{code}/peers/certificates",
    summary="登记设备的客户端证书 / bind an AE title to certificates",
    responses=answers(_HOSPITAL),
)
def set_certificates(
    code: HospitalCode, body: CertificatesIn, caller: CallerOf, catalogue: CatalogueOf
) -> Json:
    """Accept this AE title over TLS with one of these certificates only; without any: plain again."""
    found = read_certificates(body.pem.encode()) if body.pem.strip() else []
    hospitals.set_certificates(catalogue, caller, code, body.ae_title, found)
    return Json(_one(catalogue, code))


def _one(catalogue: CatalogueOf, code: str) -> dict[str, Any]:
    found = hospitals.hospitals(catalogue, code=code, limit=1)
    if not found:
        raise registry.unknown_hospital()
    return found[0]
