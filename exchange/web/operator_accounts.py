"""The operator's page of accounts: make one and show its link once, look at one, and do to it what he may."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from exchange.tokens import ROLES
from exchange.web.texts import msgid
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)
_API: Final = "/v1/admin/accounts"
_ROWS: Final = 50
ROLE_NAMES: Final[Mapping[str, str]] = {
    "doctor": msgid("医生"),
    "curator": msgid("质控与编目"),
    "regulator": msgid("监管"),
    "auditor": msgid("审计"),
    "operator": msgid("系统管理员"),
    "hospital_system": msgid("机构系统"),
}
Name = Annotated[str, Path(max_length=64)]
Act = Literal["disable", "unlock", "sign-out"]


@router.get("/operator/accounts")
async def accounts(
    visitor: VisitorOf,
    containing: Annotated[str, Query(max_length=64)] = "",
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Show the accounts, and the form for a new one."""
    return await _listed(visitor, {"containing": containing, "offset": offset, "limit": _ROWS})


@router.post("/operator/accounts")
async def add_account(visitor: VisitorOf) -> Response:
    """Make an account, and show the address for its first password this once."""
    form = await visitor.form()
    given = {name: str(form.get(name) or "").strip() for name in ("name", "role", "hospital")}
    try:
        made = await visitor.ask("POST", _API, body=given)
    except Refusal as refusal:
        return await _listed(visitor, {"limit": _ROWS}, refusal, given)
    return visitor.page("operator/account_link.html", made=made, is_new=True)


@router.get("/operator/accounts/{name}")
async def account(visitor: VisitorOf, name: Name) -> Response:
    """Show one account."""
    return await _shown(visitor, name, None)


@router.post("/operator/accounts/{name}/reset")
async def reset_account(visitor: VisitorOf, name: Name) -> Response:
    """Forget its password and second factor, and show another address this once."""
    try:
        made = await visitor.ask("POST", f"{_API}/{name}/reset")
    except Refusal as refusal:
        return await _shown(visitor, name, refusal)
    return visitor.page("operator/account_link.html", made=made, is_new=False)


@router.post("/operator/accounts/{name}/role")
async def change_role(visitor: VisitorOf, name: Name) -> Response:
    """Let it be of another role or hospital."""
    form = await visitor.form()
    given = {key: str(form.get(key) or "").strip() for key in ("role", "hospital")}
    try:
        await visitor.ask("POST", f"{_API}/{name}/role", body=given)
    except Refusal as refusal:
        return await _shown(visitor, name, refusal)
    return visitor.go(f"/operator/accounts/{name}", done="role")


@router.post("/operator/accounts/{name}/{act}")
async def act_on_account(visitor: VisitorOf, name: Name, act: Act) -> Response:
    """Shut it out, let it try again, or end its sessions."""
    try:
        await visitor.ask("POST", f"{_API}/{name}/{act}")
    except Refusal as refusal:
        return await _shown(visitor, name, refusal)
    return visitor.go(f"/operator/accounts/{name}", done=act)


async def _listed(
    visitor: Visitor,
    asked: dict[str, Any],
    refusal: Refusal | None = None,
    given: Mapping[str, str] | None = None,
) -> Response:
    found = await visitor.ask("GET", _API, asked)
    return visitor.page(
        "operator/accounts.html",
        refusal.status if refusal else 200,
        found=found,
        containing=asked.get("containing", ""),
        roles=_roles(),
        role_names=ROLE_NAMES,
        refusal=refusal,
        given=given or {"name": "", "role": "doctor", "hospital": ""},
    )


async def _shown(visitor: Visitor, name: str, refusal: Refusal | None) -> Response:
    row = await visitor.ask("GET", f"{_API}/{name}")
    status = refusal.status if refusal else 200
    own = visitor.account is not None and visitor.account.name == row["name"]
    return visitor.page(
        "operator/account.html",
        status,
        row=row,
        is_own=own,
        roles=_roles(),
        role_names=ROLE_NAMES,
        refusal=refusal,
    )


def _roles() -> list[str]:
    return [role for role in ROLE_NAMES if role in ROLES]
