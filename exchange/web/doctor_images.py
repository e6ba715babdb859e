"""Images of priors beside their reports: one quick look, or two beside each other; and looking without an order."""

from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response

from exchange.web.forms import text_of
from exchange.web.visitor import Refusal, VisitorOf

router = APIRouter(include_in_schema=False)

_BESIDE: Final = 2  # so many find room beside each other
_NOTHING: Final = {"id_number": "", "reason": ""}


@router.post("/doctor/checks/{check_id}/images")
async def images(visitor: VisitorOf, check_id: UUID) -> Response:
    """Open the images of one prior, or of two beside each other, with what their reports conclude."""
    form = await visitor.form()
    wanted = [each for each in form.getlist("study") if isinstance(each, str)][:_BESIDE]
    check = await visitor.ask("GET", f"/v1/checks/{check_id}")
    shown = _shown(check, wanted)
    studies = [each["images"]["StudyInstanceUID"] for each in shown]
    link = await visitor.ask("POST", "/v1/image-grants", body={"StudyInstanceUIDs": studies})
    told = {
        "check_id": check_id,
        "shown": [(each, _look(link["grant"], each)) for each in shown],
        "viewer": _viewer(link["grant"], studies),
    }
    return visitor.page("doctor/_images.html" if visitor.is_htmx else "doctor/images.html", **told)


@router.get("/doctor/emergency")
async def emergency_form(visitor: VisitorOf) -> Response:
    """Show what an emergency access is, and ask for whom and why."""
    return visitor.page("doctor/emergency.html", opened=None, found=None, refusal=None, given=_NOTHING)


@router.post("/doctor/emergency")
async def emergency(visitor: VisitorOf) -> Response:
    """Open an emergency access, and show what is known of the patient; every one is reviewed."""
    form = await visitor.form()
    given = {name: text_of(form, name) for name in ("id_number", "reason")}
    patient = {"id_number": given["id_number"]}
    try:
        opened = await visitor.ask(
            "POST", "/v1/break-glass", body={"patient": patient, "reason": given["reason"]}
        )
        asked = {"patient": patient, "purpose": "ETREAT", "reason": given["reason"]}
        found = await visitor.ask("POST", "/v1/results/search", body=asked)
    except Refusal as refusal:
        return visitor.page(
            "doctor/emergency.html", refusal.status, opened=None, found=None, refusal=refusal, given=given
        )
    return visitor.page("doctor/emergency.html", opened=opened, found=found, refusal=None, given=_NOTHING)


@router.post("/doctor/emergency/end")
async def end_emergency(visitor: VisitorOf) -> Response:
    """End one's own emergency access before its time."""
    grant = text_of(await visitor.form(), "grant_id")
    await visitor.ask("POST", f"/v1/break-glass/{grant if grant.isdecimal() else 0}/end")
    return visitor.go("/doctor/emergency", done="ended")


@router.post("/doctor/emergency/images")
async def emergency_images(visitor: VisitorOf) -> Response:
    """Open the images of a result that an emergency access shows."""
    study = text_of(await visitor.form(), "study")
    link = await visitor.ask("POST", "/v1/image-grants", body={"StudyInstanceUIDs": [study]})
    look = f"/look/g/{link['grant']}/studies/{study}"
    return visitor.page("doctor/emergency_images.html", look=look, viewer=_viewer(link["grant"], [study]))


def _shown(check: dict[str, Any], wanted: list[str]) -> list[dict[str, Any]]:
    """Return the priors of a check whose images are wanted, each once, in the order in which they are."""
    found = {
        each["images"]["StudyInstanceUID"]: each
        for order in check["orders"]
        for each in order["candidates"]
        if each["images"]
    }
    return [found[uid] for uid in dict.fromkeys(wanted) if uid in found]


def _look(grant: str, candidate: dict[str, Any]) -> str:
    return f"/look/g/{grant}/studies/{candidate['images']['StudyInstanceUID']}"


def _viewer(grant: str, studies: list[str]) -> str:
    return f"/viewer/basic?{urlencode([('grant', grant), *(('StudyInstanceUIDs', uid) for uid in studies)])}"
