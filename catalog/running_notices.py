"""What an operator should see to, told from how the exchange runs: the gravest first. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

LATE: Final = timedelta(minutes=15)  # what should have gone on by then
_SCARCE: Final = 0.10  # of a disk, free
_ALMOST_NONE: Final = 0.05
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "store_down": ("存储不可用", "A store does not answer"),
    "disk_low": ("磁盘空间不足", "The disk is nearly full"),
    "quarantined": ("有影像包被隔离,须人工处理", "Packs were put aside; somebody must see to them"),
    "shipping_late": ("影像归档滞后", "Images wait long to be shipped"),
    "sealing_late": ("审计记录久未封存", "Audit records wait long to be sealed"),
    "not_anchored": ("审计封存未在数据库之外锚定", "The audit's chain is not anchored outside the database"),
    "forked": (
        "审计链与锚定不符,请立即核查",
        "The audit's chain contradicts its anchor; look into it at once",
    ),
    "webhooks": ("通知投递已放弃", "Deliveries to webhooks were given up"),
    "commitments": ("存储承诺应答未送达", "Answers about storage commitment reached nobody"),
    "certificates": ("设备证书即将到期或已到期", "Certificates of devices end soon, or have ended"),
    "evaluations": ("质量评价即将到期", "Quality evaluations end soon"),
}


def notices(told: Mapping[str, Any], outlook: Mapping[str, int], now: datetime) -> list[dict[str, Any]]:
    """Return what is wrong (`bad`), then what soon will be (`warn`), each with its count or the time it is about."""
    found = [*_of_stores(told), *_of_jobs(told, now), *_of_the_audit(told, now)]
    found += [_notice("warn", kind, count) for kind, count in outlook.items() if count]
    return sorted(found, key=lambda each: each["level"] != "bad")


def _notice(level: str, kind: str, count: int | None = None, at: datetime | None = None) -> dict[str, Any]:
    told, told_en = _WORDS[kind]
    shown = {"level": level, "kind": kind, "text": told, "text_en": told_en}
    return {**shown, "subject": "", "subject_en": "", "count": count, "at": at}


def _of_stores(told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for each in told["stores"]:
        if each["state"] == "down":
            yield _notice("bad", "store_down") | {"subject": each["name"], "subject_en": each["name_en"]}
    spool = told["spool"]
    if spool is None:
        return
    free = spool["free_bytes"] / max(1, spool["total_bytes"])
    if free < _SCARCE:
        yield _notice("bad" if free < _ALMOST_NONE else "warn", "disk_low")
    if spool["quarantined"]:
        yield _notice("bad", "quarantined", spool["quarantined"])


def _of_jobs(told: Mapping[str, Any], now: datetime) -> Iterator[dict[str, Any]]:
    jobs = {each["kind"]: each for each in told["jobs"]}
    for kind in ("shipping", "sealing"):
        oldest = jobs[kind]["oldest_at"] if kind in jobs else None
        if oldest is not None and now - oldest > LATE:
            yield _notice("warn", f"{kind}_late", jobs[kind]["waiting"], oldest)
    for kind in ("webhooks", "commitments"):
        if jobs[kind]["failed"]:
            yield _notice("warn", kind, jobs[kind]["failed"])


def _of_the_audit(told: Mapping[str, Any], now: datetime) -> Iterator[dict[str, Any]]:
    audit = told["audit"]
    if audit["anchored"] == "contradicts":
        yield _notice("bad", "forked")
    elif audit["anchored"] == "missing" and audit["sealed_at"] and now - audit["sealed_at"] > LATE:
        yield _notice("warn", "not_anchored", at=audit["sealed_at"])
