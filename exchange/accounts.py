"""For operators: the accounts of people without an identity provider."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from catalog import account_list, accounts, audit
from catalog.db import transaction
from exchange.answers import Json
from exchange.auth import CallerOf
from exchange.checks import Words
from exchange.deps import CatalogueOf, SettingsOf
from exchange.examples import answers
from exchange.settings import ExchangeSettings
from exchange.tokens import refuse_role

router = APIRouter(prefix="/v1/admin/accounts", tags=["accounts"])

_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{1,63}$"
Name = Annotated[str, Path(pattern=_PATTERN, description="账号名 / the account's name", examples=["dr.li"])]
Role = Literal["hospital_system", "doctor", "curator", "regulator", "auditor", "operator"]
_LINK: Final[dict[str, Any]] = {"name": "dr.li", "link": "https://huren.example/first#q1w2…", "hours": 24}
_ACCOUNT: Final[dict[str, Any]] = {
    "name": "dr.li",
    "role": "doctor",
    "hospital": "B",
    "hospital_name": "B医院",
    "totp": True,
    "created_at": "2026-06-01T04:00:00+00:00",
    "sessions": 1,
    "seen_at": "2026-06-30T04:00:00+00:00",
    "link_expires_at": None,
    "locked_until": None,
    "state": "active",
}


class RoleIn(BaseModel):
    """What an account may do, and for which hospital."""

    model_config = ConfigDict(extra="forbid")

    role: Role
    hospital: Words = Field("", max_length=32, examples=["B"])


class AccountIn(RoleIn):
    """A person who is to sign in here."""

    name: str = Field(pattern=_PATTERN, examples=["dr.li"])


@router.get(
    "",
    summary="账号 / accounts",
    responses=answers({"accounts": [_ACCOUNT], "total": 1, "offset": 0, "limit": 50}),
)
def list_accounts(
    caller: CallerOf,
    catalogue: CatalogueOf,
    containing: Annotated[
        str,
        Query(max_length=64, description="账号名的一部分,或机构代码 / part of a name, or a hospital's code"),
    ] = "",
    offset: Annotated[int, Query(ge=0, le=1_000_000, description="跳过的条数 / how many to pass over")] = 0,
    limit: Annotated[int, Query(ge=1, le=account_list.MOST, description="最多条数 / at most so many")] = 50,
) -> Json:
    """Return accounts by name with how each stands: active, invited, locked or disabled; audited."""
    with transaction(catalogue.engine) as session:
        audit.record(session, caller, "accounts.list")
    return Json(
        account_list.accounts(catalogue, containing=containing.replace("\0", ""), offset=offset, limit=limit)
    )


@router.post("", status_code=201, summary="新建账号 / make an account", responses=answers(_LINK, 201))
def add_account(body: AccountIn, caller: CallerOf, catalogue: CatalogueOf, settings: SettingsOf) -> Json:
    """Make an account and return, this once, the address at which its first password is chosen."""
    refuse_role(body.role, body.hospital)
    link = accounts.add(catalogue, caller, body.name, body.role, body.hospital)
    return Json(_linked(settings, body.name, link), 201)


@router.get("/{name}", summary="一个账号 / one account", responses=answers(_ACCOUNT))
def show_account(name: Name, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Return one account as the list shows it; audited."""
    found = account_list.account(catalogue, name)
    with transaction(catalogue.engine) as session:
        audit.record(session, caller, "accounts.show", account=name)
    return Json(found)


@router.post("/{name}/reset", summary="重置 / another link", responses=answers(_LINK))
def reset_account(name: Name, caller: CallerOf, catalogue: CatalogueOf, settings: SettingsOf) -> Json:
    """Forget password and second factor, end all sessions, and return another one-time address."""
    return Json(_linked(settings, name, accounts.reset(catalogue, caller, name)))


@router.post(
    "/{name}/disable", summary="停用 / shut out", responses=answers({"name": "dr.li", "state": "disabled"})
)
def disable_account(name: Name, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Shut an account out at once; a reset lets it in again."""
    accounts.disable(catalogue, caller, name)
    return Json({"name": name, "state": "disabled"})


@router.post("/{name}/unlock", summary="解除锁定 / unlock", responses=answers({"name": "dr.li"}))
def unlock_account(name: Name, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Let an account that failed sign-ins shut out try again at once."""
    accounts.unlock(catalogue, caller, name)
    return Json({"name": name})


@router.post(
    "/{name}/role",
    summary="更改角色 / another role",
    responses=answers({"name": "dr.li", "role": "curator", "hospital": None}),
)
def change_role(name: Name, body: RoleIn, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """Let an account be of another role or hospital, in its open sessions as well."""
    refuse_role(body.role, body.hospital)
    accounts.change_role(catalogue, caller, name, body.role, body.hospital)
    return Json({"name": name, "role": body.role, "hospital": body.hospital or None})


@router.post(
    "/{name}/sign-out",
    summary="结束会话 / end its sessions",
    responses=answers({"name": "dr.li", "ended": 2}),
)
def sign_out_account(name: Name, caller: CallerOf, catalogue: CatalogueOf) -> Json:
    """End every session of an account; it may sign in again."""
    return Json({"name": name, "ended": accounts.sign_out(catalogue, caller, name)})


def _linked(settings: ExchangeSettings, name: str, link: str) -> dict[str, Any]:
    """Return the address of the link; what follows # is sent to no server and stands in no log."""
    hours = int(accounts.LINK_LASTS.total_seconds()) // 3600
    return {"name": name, "link": f"{settings.address}/first#{link}", "hours": hours}
