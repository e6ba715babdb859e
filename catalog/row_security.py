"""Which rows the HTTP service may see and write, table by table, below the application (PostgreSQL row security).

`huren_api` serves HTTP: it owns nothing, bypasses nothing, and sees what catalog.scope says the transaction works
for; nothing without it. `huren_worker` is for processes that catalogue what arrives and for operators' commands: all
hospitals' rows, but no change to a table. The owner only migrates. Every table is in GUARDS or no migration ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from catalog.errors import NotAllowed

API: Final = "huren_api"
WORKER: Final = "huren_worker"
_WRITE: Final = ("insert", "update", "delete")
_ADD: Final = ("insert", "update")


@dataclass(frozen=True, slots=True)
class Guard:
    """What the service may do with rows: conditions for seeing and for writing, and the verbs of writing.

    `added` says it of new rows, where that is something else.
    """

    seen: str
    written: str = "false"
    verbs: tuple[str, ...] = ()
    added: str = ""


def _acting(*roles: str) -> str:
    return f"(select acting_role()) = any ('{{{','.join(roles)}}}')"


def _any_of(*conditions: str) -> str:
    return " or ".join(conditions)


# Wrapped in a sub-select each of these is evaluated once for a statement, and an index can serve it.
_HOSPITAL: Final = "(select acting_hospital())"
_OPENED: Final = "any ((select opened_people())::bigint[])"
_OWN: Final = f"hospital_id = {_HOSPITAL}"
_OF_OPENED: Final = f"person_id = {_OPENED}"
_OFFICES: Final = ("curator", "operator", "bookkeeping")
_CURATION: Final = _acting(*_OFFICES)


def _open(written: str = "false") -> Guard:
    """Say nothing of anybody: registers and lists that every caller reads."""
    return Guard("true", written, () if written == "false" else _ADD)


def _only(*roles: str, verbs: tuple[str, ...] = _WRITE) -> Guard:
    """Belong to a duty of the service or to an office, not to a hospital."""
    return Guard(_acting(*roles), _acting(*roles), verbs)


def _own(*writers: str, readers: tuple[str, ...] = (), verbs: tuple[str, ...] = _WRITE) -> Guard:
    """Belong to one hospital; offices stand above hospitals."""
    written = _any_of(_OWN, _acting("bookkeeping", *writers))
    seen = _any_of(_OWN, _acting("bookkeeping", *writers, *readers))
    return Guard(seen, written, verbs)


def _under(parent: str, link: str, *roles: str, verbs: tuple[str, ...] = _WRITE) -> Guard:
    """Belong to the hospital of the row they stand under."""
    mine = f"exists (select from {parent} where {link} and {parent}.{_OWN})"
    mine = _any_of(mine, _acting("bookkeeping", *roles))
    return Guard(mine, mine, verbs)


def _clinical(opened: str, verbs: tuple[str, ...] = _WRITE) -> Guard:
    """Are shared by nature: seen by their own hospital and where the person is opened, written by the first."""
    return Guard(_any_of(_OWN, opened, _CURATION), _any_of(_OWN, _CURATION), verbs)


def _kept_by_operators(*verbs: str) -> Guard:
    """Are made by operators and used by whoever signs in."""
    return Guard(_acting("gate", "operator"), _acting("gate", "operator"), verbs, added=_acting("operator"))


def _part_of(parent: str, link: str) -> Guard:
    """Are seen as what they are a part of is seen, and written by its hospital."""
    seen = f"exists (select from {parent} where {link})"
    written = f"exists (select from {parent} where {link} and {parent}.{_OWN})"
    return Guard(_any_of(seen, _CURATION), _any_of(written, _CURATION), _WRITE)


_CLOSED: Final = Guard("false")
_ENTRANCE: Final = _acting("gate", "operator")
_ANYBODY: Final = "(select acting_role()) is not null"
_FIGURES: Final = ("regulator", "auditor")
_INVESTIGATION: Final = _acting(*_FIGURES, "curator", "operator")  # the last two erase
_ENDS: Final = "update (closed_at, verdict, note, reviewed_by, reviewed_at, reason)"

GUARDS: Final[dict[str, Guard]] = {
    # registers and lists
    "alembic_version": _open(),
    "region": _open(_CURATION),
    "hospital": _open(_CURATION),
    "registry_stamp": _open(),
    "qc_evaluation": _open(_CURATION),
    "price": Guard("true", _CURATION, ("insert",)),
    "supply_month": _open(),
    "supply_changed": _open(),
    "item_list": _open(_CURATION),
    "item": _open(_CURATION),
    # what belongs to one hospital
    "order_check": _own("curator", "operator", readers=_FIGURES, verbs=("insert", "update (given)")),
    "ordered_item": _own(readers=_FIGURES, verbs=_ADD),
    "decision": _own("curator", "operator", readers=_FIGURES, verbs=("insert", "update (reason_text)")),
    "ledger": _own(readers=_FIGURES, verbs=("insert",)),
    "monthly": _own(readers=_FIGURES, verbs=_ADD),
    "repeat": _own(readers=_FIGURES, verbs=("insert", "update (superseded_at)")),
    "supply": _own(readers=(*_FIGURES, "operator"), verbs=()),
    "result_shown": _own(readers=(*_FIGURES, "operator"), verbs=()),
    "idempotency": _own(verbs=_ADD),
    "access_grant": _own("auditor", "curator", "operator", verbs=("insert", "update (revoked_at, reason)")),
    "break_glass_review": _under(
        "access_grant",
        "access_grant.id = grant_id",
        *("auditor", "curator", "operator"),
        verbs=("insert", "update (note)"),
    ),
    "study_viewing": _own(verbs=_ADD),
    "image_grant": _own(readers=("gate",), verbs=("insert", "update (revoked_at)", "delete")),
    "launch": _own("gate", verbs=("insert", "delete")),
    "stated_purpose": _own("curator", "operator", verbs=("insert", "update (reason)")),
    "notice": _own(readers=("courier",), verbs=("insert", "update (read_at, read_by)")),
    "webhook": _own("operator", readers=("courier",), verbs=_ADD),
    "webhook_delivery": _under("webhook", "webhook.id = webhook_id", "operator", "courier", verbs=_ADD),
    "local_code": _own("curator", "operator"),
    "alias": _own("curator", "operator"),
    "sealed_number": _own("curator", "operator"),
    "mapping_answer": _own("curator", "operator"),
    "review_task": _own("curator", "operator", verbs=_ADD),
    "report_shown": _own("curator", "operator"),
    "cds_card": _under("cds_client", "cds_client.id = client_id", verbs=("insert",)),
    "cds_feedback": _under(
        "cds_client",
        "cds_client.id = (select client_id from cds_card where cds_card.id = card_id)",
        verbs=("insert",),
    ),
    # what is shared by nature
    "person": Guard(
        _any_of(f"id = {_OPENED}", _CURATION),
        _any_of(f"id = {_OPENED}", _CURATION),
        _ADD,
        added=_ANYBODY,
    ),
    "study": _clinical(_OF_OPENED, _ADD),
    "result": _clinical(_OF_OPENED, _ADD),
    "report": _clinical(
        f"{_OF_OPENED} or exists (select from study where study.id = study_id and study.{_OF_OPENED})", _ADD
    ),
    "pack": _part_of("study", "study.id = study_id"),
    "report_version": _part_of("report", "report.id = report_id"),
    "observation": _part_of("report", "report.id = report_id"),
    "report_attachment": Guard(
        _any_of("exists (select from report_version where report_version.id = report_version_id)", _CURATION),
        _any_of(
            "exists (select from report_version join report on report.id = report_id"
            f" where report_version.id = report_version_id and report.{_OWN})",
            _CURATION,
        ),
        _WRITE,
    ),
    "identity_event": Guard(_any_of(_OF_OPENED, _CURATION), _any_of(_OF_OPENED, _CURATION), ("insert",)),
    # what only curators and the exchange's books look at
    "study_claim": _only(*_OFFICES),
    "identity_hold": _only(*_OFFICES),
    "report_hold": _only(*_OFFICES),
    "report_ruling": _only(*_OFFICES),
    "quality_task": _only(*_OFFICES),
    "conflict": _only(*_OFFICES),
    "remap_job": _only(*_OFFICES, verbs=_ADD),
    "erasure": _only(*_OFFICES, verbs=_ADD),
    # digests of what was erased and must not come back
    "erased_study": Guard(_ANYBODY, _CURATION, ("insert",)),
    "erased_report": Guard(_ANYBODY, _CURATION, ("insert",)),
    # how a regulator comes to a name: through the view `investigated` alone
    "investigation": Guard(_INVESTIGATION, _INVESTIGATION, ("insert", _ENDS), added=_acting("regulator")),
    # who may come in
    "client": _only("gate", "operator", verbs=_ADD),
    "client_assertion": _only("gate"),
    "revoked_token": _only("gate", verbs=()),
    "blocked_subject": _only("gate", verbs=()),
    "account": _kept_by_operators("insert", "update"),
    "account_link": _kept_by_operators(*_WRITE),
    "account_session": Guard(_ENTRANCE, _ENTRANCE, _WRITE, added=_acting("gate")),
    "launched_session": _only("gate"),
    "sign_in_failure": Guard(_ENTRANCE, _ENTRANCE, _WRITE, added=_acting("gate")),
    "cds_client": Guard(_any_of(_OWN, _acting("gate")), _acting("gate"), ("update",)),
    "cds_nonce": _only("gate"),
    # whoever acts leaves a record, and only its readers see any
    "audit_event": Guard(
        _any_of(_acting("auditor"), f"{_acting('reviewer')} and {_OWN}"), _ANYBODY, ("insert",)
    ),
    "peer": _only("curator", "operator", verbs=_ADD),
    # what the other processes keep for themselves
    "hl7_peer": _CLOSED,
    "commitment": _CLOSED,
    "arrival_part": _CLOSED,
    "audit_read": _CLOSED,
    "audit_seal": _CLOSED,
    "audit_forward": _CLOSED,
}
_WORKER_WRITES: Final[dict[str, tuple[str, ...]]] = {
    "alembic_version": (),
    "registry_stamp": (),
    "audit_event": ("insert",),
    "audit_seal": ("insert",),
    "ledger": ("insert",),
    "identity_event": ("insert",),
    "order_check": ("insert", "update (given)"),
    "decision": ("insert", "update (reason_text)"),
    "repeat": ("insert", "update (superseded_at)"),
    "stated_purpose": ("insert", "update (reason)"),
    "investigation": ("insert", _ENDS),
}


def apply(connection: Connection) -> None:
    """Bring rights and policies of every table in line with GUARDS, in the transaction of the migration.

    Raises LookupError for a table that is in no class.
    """
    tables = set(connection.scalars(_TABLES))
    if missing := tables - GUARDS.keys():
        raise LookupError(f"tables without a guard: {sorted(missing)}")
    old = connection.execute(_POLICIES).tuples().all()
    for table, name in old:
        connection.execute(text(f"drop policy {name} on {table}"))
    for table in sorted(tables):
        connection.execute(text(";".join(_statements(table, GUARDS[table]))))
    connection.execute(
        text(f"grant select on all sequences in schema public to {WORKER}")
    )  # how far they are


_TABLES: Final = text(
    "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
)
_POLICIES: Final = text("select tablename, policyname from pg_policies where schemaname = 'public'")


def _statements(table: str, guard: Guard) -> Iterator[str]:
    yield f"alter table {table} enable row level security"
    yield f"revoke all on {table} from public, {API}, {WORKER}"
    yield f"grant select on {table} to {WORKER}"
    yield f"create policy worker on {table} to {WORKER} using (true) with check (true)"
    for verb in _WORKER_WRITES.get(table, _WRITE):
        yield f"grant {verb} on {table} to {WORKER}"
    if guard is _CLOSED:
        return
    yield f"grant select on {table} to {API}"
    yield f"create policy api_select on {table} for select to {API} using ({guard.seen})"
    for verb in guard.verbs:
        kind = verb.split()[0]
        using = "" if kind == "insert" else f"using ({guard.written})"
        kept = guard.added if kind == "insert" and guard.added else guard.written
        check = "" if kind == "delete" else f"with check ({kept})"
        yield f"grant {verb} on {table} to {API}"
        yield f"create policy api_{kind} on {table} for {kind} to {API} {using} {check}"


def refuse_privileged(connection: Connection) -> None:
    """Let the service work only under a role that the policies bind.

    Raises NotAllowed for a superuser, for whoever bypasses them, owns a table, makes roles or sees all hospitals, and
    where they are off.
    """
    found = connection.execute(_FAULTS, {"api": API, "worker": WORKER}).mappings().one()
    faults = [_SAID[name] for name, is_so in found.items() if is_so]
    if faults:
        raise NotAllowed(
            f"HTTP 服务不能以此数据库账户运行:{'、'.join(zh for zh, _ in faults)}。请使用仅具 {API} 角色的账户",
            f"The HTTP service may not run as this database user: it {', '.join(en for _, en in faults)}."
            f" Use one that has the role {API} and nothing else",
            code="privileged_database_user",
        )


_SAID: Final = {
    "rules": ("可绕过行级安全的特权", "can pass over row security"),
    "owns": ("拥有数据表", "owns tables"),
    "works": (f"具有 {WORKER} 角色", f"has the role {WORKER}"),
    "lacks": (f"没有 {API} 角色", f"lacks the role {API}"),
    "off": ("有数据表未启用行级安全", "meets tables without row security"),
}
# By the user that signed in: SET ROLE can always be taken back.
_FAULTS: Final = text("""
    select exists (select from pg_roles where (rolsuper or rolbypassrls or rolcreaterole)
                   and pg_has_role(session_user, oid, 'member')) as rules,
           exists (select from pg_class where relnamespace = 'public'::regnamespace
                   and pg_has_role(session_user, relowner, 'member')) as owns,
           pg_has_role(session_user, :worker, 'member') as works,
           not pg_has_role(session_user, :api, 'usage') as lacks,
           exists (select from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
                   and not relrowsecurity) as off
""")
