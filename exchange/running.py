"""For operators: how the exchange runs. Numbers and names of hospitals; nothing of any patient."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request

from catalog import running
from catalog.audit_anchor import Anchor, last_file_anchor
from catalog.errors import InvalidInput
from catalog.running_notices import notices
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.examples import answers
from exchange.health import Health
from exchange.pulse import Outlook, Pulse

router = APIRouter(prefix="/v1/admin/running", tags=["running"])

_AT: Final = "2026-06-30T04:00:00+00:00"
_STORES: Final[Mapping[str, tuple[str, str]]] = {
    "database": ("数据库", "Database"),
    "object_store": ("对象存储", "Object store"),
    "spool": ("接收缓冲", "Spool"),
}
_JOBS: Final[Mapping[str, tuple[str, str]]] = {
    "shipping": ("影像归档", "Images to be shipped"),
    "sealing": ("审计封存", "Audit records to be sealed"),
    "webhooks": ("通知投递", "Deliveries to webhooks"),
    "commitments": ("存储承诺", "Storage commitments"),
    "recount": ("供给统计重算(月)", "Months of supply to be counted again"),
    "remapping": ("检查项目重新对照", "Studies to be mapped again"),
    "erasures": ("删除执行", "Erasures under way"),
}
_RUNNING: Final[dict[str, Any]] = {
    "at": _AT,
    "receiving": {
        "associations_open": 2,
        "associations_accepted": 120,
        "associations_refused": 1,
        "associations_aborted": 0,
        "instances_stored": 50210,
        "instances_refused": 3,
        "bytes_stored": 26843545600,
        "per_minute": 812.0,
    },
    "spool": {
        "packs": 3,
        "bytes": 104857600,
        "quarantined": 0,
        "oldest_at": _AT,
        "free_bytes": 512 << 30,
        "total_bytes": 1024 << 30,
    },
    "stores": [
        {
            "store": "database",
            "name": "数据库",
            "name_en": "Database",
            "state": "up",
            "code": None,
            "milliseconds": 0.8,
        }
    ],
    "jobs": [
        {
            "kind": "shipping",
            "name": "影像归档",
            "name_en": "Images to be shipped",
            "waiting": 3,
            "failed": 0,
            "oldest_at": _AT,
        }
    ],
    "audit": {
        "seal": 42,
        "head": "5f2b…",
        "sealed_at": _AT,
        "unsealed": 7,
        "oldest_unsealed_at": _AT,
        "anchored": "matches",
        "anchor": 42,
    },
    "notices": [
        {
            "level": "warn",
            "kind": "webhooks",
            "text": "通知投递已放弃",
            "text_en": "Deliveries to webhooks were given up",
            "subject": "",
            "subject_en": "",
            "count": 2,
            "at": None,
        }
    ],
}
_HOSPITAL: Final[dict[str, Any]] = {
    "code": "A",
    "name": "A医院",
    "active": True,
    "last_images_at": _AT,
    "last_instances": 120,
    "refused": 0,
    "commitments_waiting": 0,
    "commitments_given_up": 0,
    "webhooks_waiting": 0,
    "webhooks_given_up": 0,
}
_REFUSAL: Final[dict[str, Any]] = {
    "ae_title": "X_PACS",
    "reason": "unknown_calling_ae",
    "count": 4,
    "last_at": _AT,
    "hospital": None,
}


@router.get("", summary="运行情况 / how the exchange runs", responses=answers(_RUNNING))
def read_running(request: Request, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return what is received now, the stores, what waits, the audit's chain, and what should be seen to."""
    state = request.app.state
    pulse: Pulse = state.pulse
    outlook: Outlook = state.outlook
    health: Health = state.health
    seen = health.whole()
    anchor = _anchor(
        state.anchor_file
    )  # before the chain's end: what is sealed meanwhile is no contradiction
    told = running.jobs_and_audit(catalogue)
    spool = _spool(seen.get("spool", {}))
    if spool is not None:
        shipping = {"kind": "shipping", "waiting": spool["packs"], "failed": spool["quarantined"]}
        told["jobs"].insert(0, {**shipping, "oldest_at": spool["oldest_at"]})
    told |= {"spool": spool, "stores": [_store(name, each) for name, each in seen.items()]}
    told["audit"] |= _anchored(anchor, told["audit"], is_here=state.anchor_file is not None)
    now = catalogue.clock()
    said = notices(told, outlook.of(lambda: running.outlook(catalogue)), now)
    jobs = [{**each, **_named(_JOBS, each["kind"])} for each in told["jobs"]]
    receiving = pulse.receiving(state.counters())
    return Json({**told, "at": now, "receiving": receiving, "jobs": jobs, "notices": said})


@router.get(
    "/hospitals",
    summary="各机构运行情况 / how each hospital runs",
    responses=answers({"hospitals": [_HOSPITAL], "total": 1, "offset": 0, "limit": 50}),
)
def read_hospitals(
    caller: CallerOf,
    catalogue: CatalogueOf,
    offset: Annotated[int, Query(ge=0, le=1_000_000, description="跳过的条数 / how many to pass over")] = 0,
    limit: Annotated[
        int, Query(ge=1, le=running.MOST_HOSPITALS, description="最多条数 / at most so many")
    ] = 50,
) -> Json:
    """Return when images of each hospital came last, and what of it was refused or given up within a day."""
    return Json(running.hospitals(catalogue, offset=offset, limit=limit))


@router.get(
    "/refusals",
    summary="一天内被拒的连接 / associations refused within a day",
    responses=answers({"refusals": [_REFUSAL]}),
)
def read_refusals(caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return refused associations by calling title and reason; titles are as whoever called gave them."""
    return Json({"refusals": running.refusals(catalogue)})


def _named(names: Mapping[str, tuple[str, str]], key: str) -> dict[str, str]:
    name, name_en = names.get(key, (key, key))
    return {"name": name, "name_en": name_en}


def _store(name: str, seen: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"store": name, **_named(_STORES, name), "state": seen["state"]}
    took = seen.get("_milliseconds") if seen["state"] == "up" else None
    return {**shown, "code": seen.get("code"), "milliseconds": took}


def _spool(seen: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the spool where this machine has one and it was read."""
    if "packs" not in seen or "_free_bytes" not in seen:
        return None
    counts = {name: seen[name] for name in ("packs", "bytes", "quarantined")}
    return counts | {name: seen[f"_{name}"] for name in ("oldest_at", "free_bytes", "total_bytes")}


def _anchor(file: Path | None) -> Anchor | None:
    try:
        return last_file_anchor(file) if file is not None else None
    except (InvalidInput, OSError):
        return None


def _anchored(found: Anchor | None, audit: Mapping[str, Any], *, is_here: bool) -> dict[str, Any]:
    """Compare the chain's end with the newest anchor in the file beside it.

    `matches`, `behind` (older links are anchored), `contradicts`, `missing`, `elsewhere` (no file is kept here).
    """
    if found is None:
        return {"anchored": "missing" if is_here else "elsewhere", "anchor": None}
    number = audit["seal"] or 0
    if found.number > number or (found.number == number and found.head != audit["head"]):
        return {"anchored": "contradicts", "anchor": found.number}
    return {"anchored": "matches" if found.number == number else "behind", "anchor": found.number}
