"""Hospitals with their devices, certificates and own codes."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from starlette.datastructures import FormData

from exchange.web.forms import file_of, kept, text_of
from exchange.web.visitor import Refusal, Visitor, VisitorOf

router = APIRouter(include_in_schema=False)
PAGE: Final = 50
Code = Annotated[str, Path(max_length=32)]


@router.get("/curator/hospitals")
async def hospitals(visitor: VisitorOf, after: Annotated[str, Query(max_length=32)] = "") -> Response:
    """Show hospitals by their codes, and the form by which one is registered."""
    return await _hospitals(visitor, after=after)


@router.post("/curator/hospitals")
async def add(visitor: VisitorOf) -> Response:
    """Register a hospital."""
    form = await visitor.form()
    given = {"code": text_of(form, "code"), **_facts(form)}
    try:
        await visitor.ask("POST", "/v1/admin/hospitals", body=given)
    except Refusal as refusal:
        return await _hospitals(visitor, given=given, refusal=refusal)
    return visitor.go(f"/curator/hospitals/{given['code']}", done="added")


@router.get("/curator/hospitals/{code}")
async def one(visitor: VisitorOf, code: Code, peer: Annotated[str, Query(max_length=16)] = "") -> Response:
    """Show a hospital, its devices and its codes."""
    return await _one(visitor, code, removed=peer)


@router.post("/curator/hospitals/{code}")
async def change(visitor: VisitorOf, code: Code) -> Response:
    """Change name, tier and region."""
    facts = _facts(await visitor.form())
    return await _act(visitor, code, "", facts, "changed")


@router.post("/curator/hospitals/{code}/state/{act}")
async def set_state(visitor: VisitorOf, code: Code, act: Literal["activate", "deactivate"]) -> Response:
    """Close a hospital, or open it again."""
    return await _act(visitor, code, f"/{act}", None, f"{act}d")


@router.post("/curator/hospitals/{code}/peers")
async def add_peer(visitor: VisitorOf, code: Code) -> Response:
    """Register a device, or its addresses anew."""
    form = await visitor.form()
    addresses = text_of(form, "addresses").replace(",", " ").replace("\uff0c", " ").split()
    body = {
        "ae_title": text_of(form, "ae_title"),
        "addresses": addresses,
        "host": text_of(form, "host"),
        "port": text_of(form, "port") or 0,  # what is no number, the API says
        "tls": text_of(form, "tls") == "yes",
    }
    return await _act(visitor, code, "/peers", body, "peer")


@router.post("/curator/hospitals/{code}/peers/{act}")
async def peer_state(visitor: VisitorOf, code: Code, act: Literal["remove", "restore"]) -> Response:
    """Let a device send no more, or again."""
    title = text_of(await visitor.form(), "ae_title")
    undo = {"peer": title} if act == "remove" else {}
    return await _act(visitor, code, f"/peers/{act}", {"ae_title": title}, f"peer_{act}", **undo)


@router.post("/curator/hospitals/{code}/certificates")
async def certificates(visitor: VisitorOf, code: Code) -> Response:
    """Bind a device to the certificates of a file, or unbind it."""
    form = await visitor.form()
    chosen = (await file_of(form)).decode("utf-8", "replace") or "-"  # no file is refused as no certificate
    body = {
        "ae_title": text_of(form, "ae_title"),
        "pem": "" if text_of(form, "way") == "none" else chosen,
    }
    return await _act(visitor, code, "/peers/certificates", body, "certificates")


@router.post("/curator/hospitals/{code}/codes")
async def codes(visitor: VisitorOf, code: Code) -> Response:
    """Say what a table of codes would change, or take it."""
    form = await visitor.form()
    content = await file_of(form)
    trial = text_of(form, "way") != "import"
    try:
        path, query = f"/v1/admin/hospitals/{code}/local-codes", {"dry_run": "true" if trial else "false"}
        told = await visitor.ask("POST", path, query, content)
    except Refusal as refusal:
        return await _one(visitor, code, codes_refusal=refusal)
    if trial:
        return await _one(visitor, code, told=told, kept=kept(content))
    return visitor.go(f"/curator/hospitals/{code}", done="codes")


async def _act(visitor: Visitor, code: str, path: str, body: Any, done: str, **query: str) -> Response:
    try:
        await visitor.ask("POST", f"/v1/admin/hospitals/{code}{path}", body=body)
    except Refusal as refusal:
        return await _one(visitor, code, refusal=refusal)
    return visitor.go(f"/curator/hospitals/{code}", done=done, **query)


async def _one(visitor: Visitor, code: str, **told: Any) -> Response:
    found = await visitor.ask("GET", f"/v1/admin/hospitals/{code}")
    table: list[dict[str, Any]] = []
    if found["active"]:
        table = (await visitor.ask("GET", f"/v1/admin/hospitals/{code}/local-codes"))["codes"]
    shown = {"removed": "", "refusal": None, "codes_refusal": None, "told": None, "kept": ""} | told
    refusal = shown["refusal"] or shown["codes_refusal"]
    return visitor.page(
        "curator/hospital.html",
        refusal.status if refusal else 200,
        hospital=found,
        codes=table,
        regions=await _districts(visitor),
        **shown,
    )


async def _hospitals(
    visitor: Visitor, *, after: str = "", given: dict[str, Any] | None = None, refusal: Refusal | None = None
) -> Response:
    rows = (await visitor.ask("GET", "/v1/admin/hospitals", {"after": after, "limit": PAGE}))["hospitals"]
    return visitor.page(
        "curator/hospitals.html",
        refusal.status if refusal else 200,
        rows=rows,
        after=after,
        more=rows[-1]["code"] if len(rows) == PAGE else "",
        regions=await _districts(visitor),
        given=given or {"code": "", "name": "", "tier": 3, "region": ""},
        refusal=refusal,
    )


async def _districts(visitor: Visitor) -> list[dict[str, Any]]:
    """Return the regions a hospital can lie in."""
    regions = (await visitor.ask("GET", "/v1/admin/regions"))["regions"]
    return [each for each in regions if each["kind"] not in ("alliance", "consortium", "country")]


def _facts(form: FormData) -> dict[str, Any]:
    return {
        "name": text_of(form, "name"),
        "tier": text_of(form, "tier"),
        "region": text_of(form, "region"),
    }
