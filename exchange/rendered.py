"""Pictures of images (PS3.18 §8.7.4, §10.4.1.1.3 and §10.4.1.1.4): rendered frames and thumbnails, PNG or JPEG.

A picture is made of the stored frame in a limited process (exchange.darkroom); nothing else of its file is read.
"""

import re
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from catalog.errors import InvalidInput, NotFound
from catalog.image_index import IndexedInstance
from catalog.pack_windows import Range
from exchange import multipart
from exchange.darkroom import FRAME_LIMIT_BYTES, Darkroom, Negative
from exchange.image_reader import (
    NO_STORE,
    UNCHANGED,
    Instance,
    Reader,
    ReaderOf,
    Series,
    Study,
    etag,
    unchanged,
)
from exchange.picture_facts import document_type, facts_of
from exchange.pictures import JPEG, PNG, Function, View, Window
from exchange.pixels import is_known
from exchange.problems import NoPicture, NotAcceptable

router = APIRouter(tags=["dicomweb"])
_STUDY: Final = "/dicom-web/studies/{study}"
_SERIES: Final = _STUDY + "/series/{series}"
_INSTANCE: Final = _SERIES + "/instances/{instance}"
_FRAME: Final = _INSTANCE + "/frames/{frame}"
_MOST_PIXELS: Final = 8_192
_SIZE: Final = re.compile(r"[1-9][0-9]{0,3}")
_FARTHEST: Final = 1e12
_THUMBNAIL: Final = 128
_TYPES: Final = {"image/jpeg": JPEG, "image/png": PNG, "image/*": JPEG, "*/*": JPEG}
_FUNCTIONS: Final[dict[str, Function]] = {
    "linear": "linear",
    "linear-exact": "linear-exact",
    "sigmoid": "sigmoid",
}
_PDF: Final = "application/pdf"
_IN_PARTS: Final = frozenset({"multipart/related", "multipart/*", "*/*"})
_MOST_PICTURES: Final = 2_000
_DOCUMENT: Final = "00420011"
_PICTURE: Final[dict[int | str, dict[str, Any]]] = {
    **UNCHANGED,
    200: {
        "content": {
            each: {"schema": {"type": "string", "format": "binary"}, "example": "…"} for each in (JPEG, PNG)
        }
    },
}

_PICTURES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            "multipart/related": {
                "schema": {"type": "string", "format": "binary"},
                "example": "--…\r\nContent-Type: image/jpeg\r\n\r\n…",
            }
        }
    }
}

Frame = Annotated[str, Path(pattern="^[1-9][0-9]{0,5}$", description="the first is 1", examples=["1"])]


async def view_of(
    window: Annotated[
        str, Query(max_length=100, description="窗位,窗宽,函数 / centre,width,linear|linear-exact|sigmoid")
    ] = "",
    viewport: Annotated[str, Query(max_length=40, description="宽,高 / columns,rows to fit into")] = "",
    quality: Annotated[int, Query(ge=1, le=100, description="of a JPEG")] = 90,
) -> View:
    """Return how a picture is wanted (PS3.18 §8.3.5.1). Raises InvalidInput."""
    return View(_window(window), _viewport(viewport), quality=quality)


ViewOf = Annotated[View, Depends(view_of)]


def _window(text: str) -> Window | None:
    if not text:
        return None
    parts = text.split(",")
    try:
        if len(parts) not in (2, 3):
            raise ValueError
        window = float(parts[0]), float(parts[1]), _FUNCTIONS[(*parts, "linear")[2].lower()]
        if not (abs(window[0]) < _FARTHEST and 0 < window[1] < _FARTHEST):
            raise ValueError
    except (ValueError, KeyError):
        raise _refused("window", "窗位,窗宽", "centre,width[,function]") from None
    return window


def _viewport(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    sizes = [int(each) for each in text.split(",") if _SIZE.fullmatch(each)]
    if len(sizes) != 2 or len(text.split(",")) != 2 or max(sizes) > _MOST_PIXELS:
        raise _refused("viewport", "宽,高", "columns,rows")
    return sizes[0], sizes[1]


def _refused(field: str, zh: str, en: str) -> InvalidInput:
    return InvalidInput(f"{field} 应为 {zh}", f"{field} is {en}", field=field)


@router.get(
    _INSTANCE + "/rendered",
    response_class=Response,
    summary="图像显示 / an instance as a picture",
    responses=_PICTURE,
)
async def rendered_instance(
    study: Study, series: Series, instance: Instance, request: Request, reader: ReaderOf, view: ViewOf
) -> Response:
    """Return a picture of the first frame; a document (PDF) as a file to keep."""
    found = (await reader.look(study)).instance(series, instance)
    if _DOCUMENT in found.bulk:
        return _document(reader, study, found)
    return await picture(request, reader, found, 1, view)


@router.get(
    _FRAME + "/rendered",
    response_class=Response,
    summary="图像帧显示 / a frame as a picture",
    responses=_PICTURE,
)
async def rendered_frame(
    study: Study,
    series: Series,
    instance: Instance,
    frame: Frame,
    request: Request,
    reader: ReaderOf,
    view: ViewOf,
) -> Response:
    """Return a picture of a frame."""
    found = (await reader.look(study)).instance(series, instance)
    return await picture(request, reader, found, int(frame), view)


@router.get(
    _STUDY + "/rendered",
    response_class=Response,
    summary="整个检查的图片 / a study as pictures",
    responses=_PICTURES,
)
async def rendered_study(study: Study, request: Request, reader: ReaderOf, view: ViewOf) -> Response:
    """Return a picture of every frame of a study, in order; what cannot be shown is left out."""
    return _pictures(request, reader, study, (await reader.look(study)).everything(), view)


@router.get(
    _SERIES + "/rendered",
    response_class=Response,
    summary="整个序列的图片 / a series as pictures",
    responses=_PICTURES,
)
async def rendered_series(
    study: Study, series: Series, request: Request, reader: ReaderOf, view: ViewOf
) -> Response:
    """Return a picture of every frame of a series, in order; what cannot be shown is left out."""
    return _pictures(request, reader, study, (await reader.look(study)).series(series), view)


def _pictures(
    request: Request, reader: Reader, study: str, members: Sequence[IndexedInstance], view: View
) -> Response:
    """Return pictures as a multipart. Raises NotAcceptable, NoPicture where there is none, InvalidInput for too many."""
    kinds = [each.type or each.media_type for each in reader.accepted if each.media_type in _IN_PARTS]
    wanted = [_TYPES[kind] for kind in (*kinds,) if kind in _TYPES]
    if not wanted:
        raise NotAcceptable
    shown = [
        (each, n)
        for each in members
        if is_known(each.TransferSyntaxUID)
        for n in range(1, len(each.frames) + 1)
    ]
    if not shown:
        raise _no_frames()
    if len(shown) > _MOST_PICTURES:
        raise InvalidInput(
            "图像过多,请按帧获取", "Too many pictures: fetch them frame by frame", field="series"
        )
    reader.desk.readers.refuse_more()
    view, boundary = replace(view, media_type=wanted[0]), secrets.token_hex(16)
    content_type = multipart.related(boundary, view.media_type)
    return StreamingResponse(
        _made(request, reader, study, shown, view, boundary),
        headers={**NO_STORE, "Content-Type": content_type},
    )


async def _made(
    request: Request,
    reader: Reader,
    study: str,
    shown: Sequence[tuple[IndexedInstance, int]],
    view: View,
    boundary: str,
) -> AsyncIterator[bytes]:
    darkroom: Darkroom = request.app.state.darkroom
    with reader.desk.readers.one_more():
        for instance, number in shown:
            await reader.still(study)
            ranges = _ranges(instance, number)
            try:
                content = await darkroom.develop(await _negative(reader, instance, number, ranges), view)
            except NoPicture:
                continue
            at = f"{multipart.location(instance, f'{reader.root}/studies/{study}')}/frames/{number}/rendered"
            head = (
                f"\r\n--{boundary}\r\nContent-Type: {view.media_type}\r\nContent-Length: {len(content)}\r\n"
            )
            yield f"{head}Content-Location: {at}\r\n\r\n".encode() + content
        yield f"\r\n--{boundary}--\r\n".encode()


@router.get(
    _STUDY + "/thumbnail",
    response_class=Response,
    summary="检查缩略图 / a study in small",
    responses=_PICTURE,
)
async def study_thumbnail(study: Study, request: Request, reader: ReaderOf, view: ViewOf) -> Response:
    """Return a small picture of the middle of its first series that has pictures."""
    looked = await reader.look(study)
    for members in looked.index.values():
        if any(each.frames for each in members):
            return await _thumbnail(request, reader, members, view)
    raise _no_frames()


@router.get(
    _SERIES + "/thumbnail",
    response_class=Response,
    summary="序列缩略图 / a series in small",
    responses=_PICTURE,
)
async def series_thumbnail(
    study: Study, series: Series, request: Request, reader: ReaderOf, view: ViewOf
) -> Response:
    """Return a small picture of its middle."""
    return await _thumbnail(request, reader, (await reader.look(study)).series(series), view)


@router.get(
    _INSTANCE + "/thumbnail",
    response_class=Response,
    summary="图像缩略图 / an instance in small",
    responses=_PICTURE,
)
async def instance_thumbnail(
    study: Study, series: Series, instance: Instance, request: Request, reader: ReaderOf, view: ViewOf
) -> Response:
    """Return a small picture of its middle frame."""
    found = (await reader.look(study)).instance(series, instance)
    return await _thumbnail(request, reader, [found], view)


@router.get(
    _FRAME + "/thumbnail",
    response_class=Response,
    summary="图像帧缩略图 / a frame in small",
    responses=_PICTURE,
)
async def frame_thumbnail(
    study: Study,
    series: Series,
    instance: Instance,
    frame: Frame,
    request: Request,
    reader: ReaderOf,
    view: ViewOf,
) -> Response:
    """Return a small picture of a frame."""
    found = (await reader.look(study)).instance(series, instance)
    return await picture(request, reader, found, int(frame), _small(view))


async def _thumbnail(
    request: Request, reader: Reader, members: list[IndexedInstance], view: View
) -> Response:
    shown = [each for each in members if each.frames]
    if not shown:
        raise _no_frames()
    middle = shown[len(shown) // 2]
    return await picture(request, reader, middle, (len(middle.frames) + 1) // 2, _small(view))


def _small(view: View) -> View:
    return replace(view, viewport=view.viewport or (_THUMBNAIL, _THUMBNAIL))


async def picture(
    request: Request, reader: Reader, instance: IndexedInstance, number: int, view: View, media_type: str = ""
) -> Response:
    """Return a picture of a frame, the first being 1.

    Raises NotFound where there is no such frame, NoPicture where it cannot be shown, NotAcceptable where neither PNG
    nor JPEG is what was asked for.
    """
    view = replace(view, media_type=media_type or _media_type(reader))
    if not instance.frames or not is_known(instance.TransferSyntaxUID):
        raise _no_frames()
    if number > len(instance.frames):
        raise NotFound("没有该帧", "No such frame", code="unknown_frame")
    ranges = _ranges(instance, number)
    tag = etag("picture", ranges, view)
    if reader.has(tag):
        return unchanged(tag)
    negative = await _negative(reader, instance, number, ranges)
    darkroom: Darkroom = request.app.state.darkroom
    content = await darkroom.develop(negative, view)
    return Response(content, headers={**NO_STORE, "ETag": tag, "Vary": "Accept"}, media_type=view.media_type)


def _ranges(instance: IndexedInstance, number: int) -> list[Range]:
    flat = instance.frames[number - 1]
    return [(instance.key, at, size) for at, size in zip(flat[::2], flat[1::2], strict=True)]


async def _negative(reader: Reader, instance: IndexedInstance, number: int, ranges: list[Range]) -> Negative:
    facts = facts_of(instance, number)
    if sum(size for _, _, size in ranges) > FRAME_LIMIT_BYTES:
        raise _no_frames()
    packs = reader.desk.packs

    def read() -> tuple[dict[str, bytes], bytes]:
        tables = {name: bytes(packs.read_range(*place)) for name, place in facts.missing.items()}
        return tables, b"".join(packs.read_range(*each) for each in ranges)

    tables, frame = await reader.threads.run(read)
    return Negative(frame, facts.stored, facts.shades, {**facts.tables, **tables})


def _media_type(reader: Reader) -> str:
    wanted = [_TYPES[each.media_type] for each in reader.accepted if each.media_type in _TYPES]
    if not wanted:
        raise NotAcceptable
    return wanted[0]


def _document(reader: Reader, study: str, found: IndexedInstance) -> Response:
    """Return the document of an instance as a file: nothing of other hospitals runs in a page of ours."""
    if document_type(found) != _PDF:
        raise _no_frames()
    part = multipart.Part(_PDF, "", ((found.key, *found.bulk[_DOCUMENT]),))
    return reader.file(study, part, "document.pdf")


def _no_frames() -> NoPicture:
    return NoPicture(
        "该对象没有可显示的图像,可下载原始数据",
        "Nothing of this object can be shown as a picture; its stored bytes can be fetched",
        code="no_picture",
    )
