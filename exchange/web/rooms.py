"""Which addresses are pages, and whose: by the first part of the address; what a page shows, the API decides again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from exchange.tokens import ROLES
from exchange.web.texts import msgid

ROOMS: Final[Mapping[str, frozenset[str]]] = {
    "doctor": frozenset({"doctor"}),
    "curator": frozenset({"curator"}),
    "regulator": frozenset({"regulator", "auditor"}),
    "operator": frozenset({"operator"}),
    "account": frozenset(ROLES),
    "sign-out": frozenset(ROLES),
}
# Whoever comes: nothing of a patient is on these.
OPEN: Final = frozenset({"", "sign-in", "first", "public", "launch"})
# Forms that somebody sends who has not signed in yet.
OPEN_FORMS: Final = frozenset({"/sign-in", "/first"})


@dataclass(frozen=True, slots=True)
class Place:
    """One entry of a room's menu."""

    path: str
    title: str


MENUS: Final[Mapping[str, tuple[Place, ...]]] = {
    "doctor": (
        Place("/doctor", msgid("询问互认")),
        Place("/doctor/today", msgid("今日列表")),
        Place("/doctor/notices", msgid("变更通知")),
    ),
    "curator": (
        Place("/curator", msgid("待办")),
        Place("/curator/reviews", msgid("项目对应")),
        Place("/curator/identity", msgid("人员归属")),
        Place("/curator/conflicts", msgid("标识矛盾")),
        Place("/curator/quality", msgid("影像质量")),
        Place("/curator/items", msgid("互认清单")),
        Place("/curator/hospitals", msgid("机构与设备")),
        Place("/curator/evaluations", msgid("质量评价")),
        Place("/curator/prices", msgid("价格表")),
        Place("/curator/history", msgid("处理记录")),
    ),
    "regulator": (
        Place("/regulator", msgid("总览")),
        Place("/regulator/entries", msgid("账目")),
        Place("/regulator/repeats", msgid("重复检查")),
        Place("/regulator/reasons", msgid("拒绝理由")),
        Place("/regulator/supply", msgid("供给")),
        Place("/regulator/questions", msgid("疑问")),
        Place("/regulator/forms", msgid("监管报表")),
        Place("/regulator/investigations", msgid("立案")),
        Place("/regulator/recount", msgid("重新核算")),
    ),
    "operator": (
        Place("/operator", msgid("运行")),
        Place("/operator/hospitals", msgid("机构运行")),
        Place("/operator/audit", msgid("审计链")),
        Place("/operator/accounts", msgid("账号管理")),
        Place("/operator/clients", msgid("系统接入")),
        Place("/operator/webhooks", msgid("通知地址")),
    ),
}


def room_of(path: str) -> str:
    """Return the first part of an address: the room it is in."""
    return path[1:].partition("/")[0]


def is_page(path: str) -> bool:
    """Say whether an address is that of a page."""
    room = room_of(path)
    return room in ROOMS or room in OPEN


def home_of(role: str) -> str:
    """Return where somebody begins who has signed in."""
    entered = (room for room in MENUS if role in ROOMS[room])
    return f"/{next(entered, 'account')}"


def is_way_back(path: str) -> bool:
    """Say whether an address that came from outside leads to a page of ours that is only looked at."""
    return (
        path.startswith("/")
        and not path.startswith("//")
        and len(path) <= 200
        and path.isascii()
        and path.isprintable()
        and "\\" not in path
        and room_of(path.partition("?")[0]) in MENUS
    )
