"""The quick look: one page that shows a study's images with no other viewer, from pictures made on the server."""

from datetime import datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from catalog.image_index import IndexedInstance, Json
from catalog.image_views import ShownStudy
from catalog.rules import HOSPITAL_ZONE
from exchange import image_links, viewer_installation
from exchange.image_desk import Index
from exchange.image_reader import ReaderOf, Study
from exchange.pixels import is_known
from exchange.web.look_texts import TEXTS
from exchange.web.pages import language_of, page, told_to_scripts

router = APIRouter(tags=["pages"])
_DOCUMENT: Final = "00420011"
# Centre and width in Hounsfield units.
_PRESETS: Final[dict[str, dict[str, tuple[int, int]]]] = {
    "CT": {
        "lung": (-600, 1500),
        "mediastinum": (40, 400),
        "bone": (400, 1800),
        "brain": (40, 80),
        "abdomen": (60, 350),
    }
}
_PAGE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            "text/html": {"schema": {"type": "string"}, "example": "<!doctype html><title>快速阅片</title>…"}
        }
    }
}


@router.get(
    "/look/studies/{study}", response_class=Response, summary="快速阅片 / quick look", responses=_PAGE
)
async def look(
    study: Study,
    request: Request,
    reader: ReaderOf,
    series: Annotated[int, Query(ge=1, le=9_999, description="which series, the first is 1")] = 1,
    image: Annotated[int, Query(ge=1, le=999_999, description="which image of it, the first is 1")] = 1,
    lang: Annotated[str, Query(max_length=8, description="zh, en")] = "",
) -> Response:
    """Return the page: the study's series, one image of one of them, and what is needed to go on from there."""
    looked = await reader.look(study)
    request.app.state.darkroom.warm_up()
    installed = await run_in_threadpool(viewer_installation.find, request.app.state.settings.viewer_dir)
    language = language_of(request)
    at = image_links.through_link(request, "/dicom-web") + f"/studies/{study}"
    told = _series(looked.index, at)
    shown = [each for each in told if each["count"]]
    chosen = shown[min(series, len(shown)) - 1] if shown else None
    number = min(image, chosen["count"]) if chosen else 0
    secret = image_links.secret_of(request)
    return page(
        "look.html",
        language,
        text=TEXTS[language],
        study=_study(looked.study.shown),
        all_series=told,
        shown=shown,
        chosen=chosen,
        position=shown.index(chosen) + 1 if chosen else 0,
        number=number,
        picture=_frame_at(chosen, number) if chosen else "",
        presets=[key for key in TEXTS[language] if key.startswith("preset_")],
        has_viewer=installed is not None,
        viewer=f"/viewer/basic?{f'grant={secret}&' if secret else ''}StudyInstanceUIDs={study}",
        data=told_to_scripts(
            {
                "series": [{name: each[name] for name in _TOLD} for each in shown],
                "chosen": shown.index(chosen) if chosen else 0,
                "number": number,
                "text": TEXTS[language],
            }
        ),
    )


_TOLD: Final = ("at", "title", "instances", "presets", "rate")
_RATE: Final = 10  # frames a second


def _study(shown: ShownStudy) -> dict[str, str]:
    return {
        "hospital": shown.hospital,
        "patient": shown.patient_name,
        "sex": shown.sex,
        "age": _age(shown),
        "description": shown.description,
        "modalities": " ".join(shown.modalities),
        "date": f"{shown.exam_time.astimezone(HOSPITAL_ZONE):%Y-%m-%d %H:%M}",
        "accession": shown.accession_number,
    }


def _age(shown: ShownStudy) -> str:
    """Return how old the patient was at the examination, in years."""
    if shown.birth_date is None:
        return ""
    day: datetime = shown.exam_time.astimezone(HOSPITAL_ZONE)
    return str(
        day.year
        - shown.birth_date.year
        - ((day.month, day.day) < (shown.birth_date.month, shown.birth_date.day))
    )


def _series(index: Index, at: str) -> list[dict[str, Any]]:
    """Return what is told of each series; `instances` are (UID, frames), in the order they are scrolled in."""
    found = []
    for uid, members in index.items():
        first: Json = orjson.loads(members[0].described)
        instances = [(each.SOPInstanceUID, _frame_count(each)) for each in members if _frame_count(each)]
        count = sum(frames for _, frames in instances)
        modality = _text(first, "00080060")
        found.append(
            {
                "at": f"{at}/series/{uid}",
                "title": _text(first, "0008103E") or modality or uid,
                "modality": modality,
                "instances": instances,
                "count": count,
                "presets": _PRESETS.get(modality, {}),
                "rate": _rate(first) if len(instances) < count else _RATE,
                "documents": [
                    f"{at}/series/{uid}/instances/{each.SOPInstanceUID}/rendered"
                    for each in members
                    if _DOCUMENT in each.bulk
                ],
            }
        )
    return found


def _frame_count(instance: IndexedInstance) -> int:
    return len(instance.frames) if is_known(instance.TransferSyntaxUID) else 0


def _frame_at(series: dict[str, Any], number: int) -> str:
    """Return the address of the picture at a place in the order of a series, the first being 1."""
    for uid, count in series["instances"]:
        if number <= count:
            return f"{series['at']}/instances/{uid}/frames/{number}/rendered"
        number -= count
    raise IndexError(number)


def _rate(told: Json) -> int:
    """Return how many frames a second a film was made with (PS3.3 C.7.6.5), within what can be shown."""
    for tag in ("00082144", "00180040"):
        value = next(iter(told.get(tag, {}).get("Value") or []), None)
        if isinstance(value, int | float) and value > 0:
            return _shown_rate(value)
    milliseconds = next(iter(told.get("00181063", {}).get("Value") or []), None)
    if isinstance(milliseconds, int | float) and milliseconds > 0:
        return _shown_rate(1000 / milliseconds)
    return _RATE


def _shown_rate(per_second: float) -> int:
    return max(1, min(60, round(per_second)))


def _text(told: Json, tag: str) -> str:
    value = next(iter(told.get(tag, {}).get("Value") or []), "")
    return value if isinstance(value, str) else ""
