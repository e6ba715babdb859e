"""Local accounts, for people without an identity provider: made by an operator, opened by a one-time link."""

import re
import secrets
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from catalog import audit, lockouts, passwords, sessions, totp
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, InvalidInput, NotAllowed, NotFound
from catalog.registry import hospital_by_code
from catalog.sessions import digest_of
from catalog.tables import Hospital
from catalog.tables_access import Account, AccountLink, AccountSession
from catalog.totp import SEALED_AS

LINK_LASTS: Final = timedelta(hours=24)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,63}")


def add(catalogue: Catalogue, caller: Caller, name: str, role: str, hospital_code: str) -> str:
    """Make an account and return its one-time link; audited. Raises InvalidInput, NotFound, Conflict."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            "账号名限小写字母、数字和 . _ -", "A name has lower-case letters, digits and . _ -", field="name"
        )
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, hospital_code) if hospital_code else None
        if session.scalars(select(Account.id).where(Account.name == name)).first() is not None:
            raise Conflict("该账号已存在", "There is such an account already", code="account_exists")
        row = Account(
            name=name,
            role=role,
            hospital_id=hospital.id if hospital else None,
            totp_confirmed=False,
            totp_step=0,
            active=True,
            created_at=catalogue.clock(),
        )
        session.add(row)
        session.flush()
        _record(session, caller, "account.add", row)
        return _new_link(session, catalogue, row)


def first_operator(catalogue: Catalogue, caller: Caller) -> str | None:
    """Return a one-time link for the first operator, or None once one has a password; an earlier link ends. Audited."""
    with transaction(catalogue.engine) as session:
        operators = session.scalars(
            select(Account).where(Account.role == "operator").order_by(Account.id)
        ).all()
        if any(each.active and each.password_hash is not None for each in operators):
            return None
        waiting = next((each.name for each in operators if each.active), None)
    if waiting is not None:
        return reset(catalogue, caller, waiting)
    return add(
        catalogue, caller, f"operator-{len(operators) + 1}" if operators else "operator", "operator", ""
    )


def reset(catalogue: Catalogue, caller: Caller, name: str) -> str:
    """Forget an account's password and second factor, end its sessions, and return a new link; audited.

    Raises NotFound, Conflict for one's own.
    """
    with transaction(catalogue.engine) as session:
        row = by_name(session, name)
        _refuse_own(caller, row)
        row.password_hash, row.totp_cipher, row.totp_confirmed = None, None, False
        row.active = True
        end_sessions(session, row)
        lockouts.forget(session, catalogue, name)
        _record(session, caller, "account.reset", row)
        return _new_link(session, catalogue, row)


def disable(catalogue: Catalogue, caller: Caller, name: str) -> None:
    """Shut an account out at once; audited. Raises NotFound, Conflict for one's own."""
    with transaction(catalogue.engine) as session:
        row = by_name(session, name)
        _refuse_own(caller, row)
        row.active = False
        end_sessions(session, row)
        session.execute(delete(AccountLink).where(AccountLink.account_id == row.id))
        _record(session, caller, "account.disable", row)


def unlock(catalogue: Catalogue, caller: Caller, name: str) -> None:
    """Let an account that failures shut out sign in again at once; audited. Raises NotFound."""
    with transaction(catalogue.engine) as session:
        row = by_name(session, name)
        lockouts.forget(session, catalogue, name)
        _record(session, caller, "account.unlock", row)


def change_role(catalogue: Catalogue, caller: Caller, name: str, role: str, hospital_code: str) -> None:
    """Let an account be of another role or hospital; what it is now counts for its open sessions at once. Audited.

    Raises NotFound, Conflict for one's own: nobody is left without an operator by a slip.
    """
    with transaction(catalogue.engine) as session:
        hospital = hospital_by_code(session, hospital_code) if hospital_code else None
        row = by_name(session, name)
        _refuse_own(caller, row)
        before = {"role_before": row.role, "hospital_before": row.hospital_id}
        row.role, row.hospital_id = role, hospital.id if hospital else None
        _record(session, caller, "account.role", row, role_after=role, **before)


def sign_out(catalogue: Catalogue, caller: Caller, name: str) -> int:
    """End every session of an account and return how many there were; audited. Raises NotFound."""
    with transaction(catalogue.engine) as session:
        row = by_name(session, name)
        ended = end_sessions(session, row)
        _record(session, caller, "account.sign_out", row, sessions=ended)
        return ended


def end_others(catalogue: Catalogue, caller: Caller, keep: bytes) -> int:
    """End every session of one's own account but `keep`, and return how many there were; audited."""
    with transaction(catalogue.engine) as session:
        row = session.get_one(Account, caller.account_id, with_for_update=True)
        ended = end_sessions(session, row, keep=keep)
        _record(session, caller, "session.end", row, sessions=ended)
        return ended


def listed(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return every account."""
    with transaction(catalogue.engine) as session:
        query = select(Account, Hospital.code).outerjoin(Hospital, Hospital.id == Account.hospital_id)
        return [
            {
                "name": row.name,
                "role": row.role,
                "hospital": code or "",
                "active": row.active,
                "password": row.password_hash is not None,
                "totp": row.totp_confirmed,
            }
            for row, code in session.execute(query.order_by(Account.name)).tuples()
        ]


def sign_in(catalogue: Catalogue, name: str, password: str, code: str, source: str = "") -> str:
    """Begin a session with name, password and one-time code, and return its cookie; failures are counted and audited.

    Raises NotAllowed (`sign_in_failed`), the same for whatever was wrong, and TooMany while the name is shut out
    for this source, an address.
    """
    name = name.strip().lower()
    with transaction(catalogue.engine) as session:
        lockouts.refuse_locked(session, catalogue, name, source)
        row = session.scalars(select(Account).where(Account.name == name)).one_or_none()
        kept = row.password_hash if row is not None and row.active else None
    right = passwords.is_right(kept, password)  # no connection is held meanwhile
    with transaction(catalogue.engine) as session:
        account = session.get(Account, row.id, with_for_update=True) if row is not None and right else None
        lockouts.refuse_locked(session, catalogue, name, source)
        still = account is not None and account.active and account.password_hash == kept
        if account is not None and still and _second_factor(catalogue, account, code):
            lockouts.forget(session, catalogue, name)
            _record(session, _caller_of(account), "session.sign_in", account)
            return sessions.begin(session, account.id, catalogue.clock())
        failures = lockouts.count_failure(session, catalogue, name, source)
        anybody = Caller("", "account", account_id=row.id if row is not None else None)
        audit.record(session, anybody, "session.refused", account_id=anybody.account_id, failures=failures)
    raise NotAllowed(
        "账号、口令或动态码不正确", "Name, password or one-time code is not right", code="sign_in_failed"
    )


def use_link(catalogue: Catalogue, link: str, password: str) -> str:
    """Set the first password by a one-time link, begin a session and return its cookie; audited.

    Raises NotAllowed, InvalidInput.
    """
    with transaction(catalogue.engine) as session:
        _linked(session, catalogue, link)  # a guess costs no hash
    kept = passwords.hashed(password)
    with transaction(catalogue.engine) as session:
        row = _linked(session, catalogue, link)
        session.execute(delete(AccountLink).where(AccountLink.account_id == row.id))
        row.password_hash = kept
        _record(session, _caller_of(row), "session.first", row)
        return sessions.begin(session, row.id, catalogue.clock())


def change_password(catalogue: Catalogue, caller: Caller, old: str, new: str, keep: bytes) -> None:
    """Set another password and end every other session than `keep`; audited. Raises NotAllowed, InvalidInput, TooMany."""
    with transaction(catalogue.engine) as session:
        row = session.get_one(Account, caller.account_id)
        lockouts.refuse_locked(session, catalogue, row.name)
        verified = row.password_hash
    kept = passwords.hashed(new) if passwords.is_right(verified, old) else None
    with transaction(catalogue.engine) as session:
        row = session.get_one(Account, caller.account_id, with_for_update=True)
        if kept is not None and row.active and row.password_hash == verified:
            row.password_hash = kept
            end_sessions(session, row, keep=keep)
            _record(session, caller, "account.password", row)
            return
        _count_failure(session, catalogue, caller, row)
    raise NotAllowed("原口令不正确", "The old password is not right", code="sign_in_failed")


def begin_totp(catalogue: Catalogue, caller: Caller) -> dict[str, str]:
    """Return a fresh second factor, which counts once a code of it was given. Raises Conflict where one counts."""
    with transaction(catalogue.engine) as session:
        row = session.get_one(Account, caller.account_id, with_for_update=True)
        if row.totp_confirmed:
            raise Conflict("已启用动态码", "A second factor is in use already", code="totp_enrolled")
        secret = totp.new_secret()
        row.totp_cipher = catalogue.vault.seal(SEALED_AS, secret.hex())
        _record(session, caller, "account.totp_begin", row)
        return {"secret": totp.text_of(secret), "otpauth_url": totp.address_of(secret, row.name)}


def confirm_totp(catalogue: Catalogue, caller: Caller, code: str) -> None:
    """Let the second factor count from now on. Raises NotAllowed where the code is not of it; audited."""
    with transaction(catalogue.engine) as session:
        row = session.get_one(Account, caller.account_id, with_for_update=True)
        lockouts.refuse_locked(session, catalogue, row.name)
        if row.totp_cipher is not None and _code_is_right(catalogue, row, code):
            row.totp_confirmed = True
            _record(session, caller, "account.totp", row)
            return
        _count_failure(session, catalogue, caller, row)
    raise NotAllowed("动态码不正确", "The one-time code is not right", code="sign_in_failed")


def by_name(session: Session, name: str) -> Account:
    """Return an account, locked. Raises NotFound."""
    row = session.scalars(select(Account).where(Account.name == name).with_for_update()).one_or_none()
    if row is None:
        raise unknown_account()
    return row


def unknown_account() -> NotFound:
    """Return the error that says that nobody has this name."""
    return NotFound("没有该账号", "No such account", code="unknown_account")


def end_sessions(session: Session, row: Account, keep: bytes = b"") -> int:
    """End the sessions of an account, all but one, and return how many there were."""
    others = (AccountSession.account_id == row.id) & (AccountSession.digest != keep)
    return len(session.scalars(delete(AccountSession).where(others).returning(AccountSession.digest)).all())


def _refuse_own(caller: Caller, row: Account) -> None:
    if caller.account_id == row.id:
        raise Conflict(
            "不能对自己的账号这样做", "This cannot be done to one's own account", code="own_account"
        )


def _linked(session: Session, catalogue: Catalogue, link: str) -> Account:
    """Return the account a link opens, locked. Raises NotAllowed."""
    found = session.get(AccountLink, digest_of(link), with_for_update=True)
    row = session.get(Account, found.account_id, with_for_update=True) if found is not None else None
    if found is None or row is None or not row.active or found.expires_at <= catalogue.clock():
        raise NotAllowed("链接无效或已用过", "The link is not good, or was used", code="link_used")
    return row


def _count_failure(session: Session, catalogue: Catalogue, caller: Caller, row: Account) -> None:
    failures = lockouts.count_failure(session, catalogue, row.name)
    audit.record(session, caller, "session.refused", account_id=row.id, failures=failures)


def _new_link(session: Session, catalogue: Catalogue, row: Account) -> str:
    link = secrets.token_urlsafe(32)
    session.execute(delete(AccountLink).where(AccountLink.account_id == row.id))
    expires_at = catalogue.clock() + LINK_LASTS
    session.add(AccountLink(digest=digest_of(link), account_id=row.id, expires_at=expires_at))
    return link


def _second_factor(catalogue: Catalogue, row: Account, code: str) -> bool:
    return not row.totp_confirmed or _code_is_right(catalogue, row, code)


def _code_is_right(catalogue: Catalogue, row: Account, code: str) -> bool:
    """Say whether a code is good now, and let it be so this once."""
    secret = bytes.fromhex(catalogue.vault.open(SEALED_AS, row.totp_cipher or b""))
    step = totp.step_of(secret, code.strip(), catalogue.clock(), row.totp_step)
    if step is not None:
        row.totp_step = step
    return step is not None


def _caller_of(row: Account) -> Caller:
    return Caller(row.name, row.role, account_id=row.id)


def _record(session: Session, caller: Caller, action: str, row: Account, **detail: Any) -> None:
    audit.record(session, caller, action, hospital_id=row.hospital_id, account_id=row.id, **detail)
