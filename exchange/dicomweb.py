"""DICOMweb (PS3.18): QIDO-RS and WADO-RS, everything from packs and sidecars; no DICOM is parsed here.

Who asks sees the studies of patients that a check or a stated purpose has opened to him; a search must name the
patient or the study. Frames and instances are given as they are stored, byte by byte.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydicom.datadict import keyword_for_tag

from catalog import image_views, whose
from catalog.attribute_matching import listed
from catalog.chart import Chart, Entry
from catalog.errors import InvalidInput, NotFound
from catalog.image_index import IndexedInstance, Json
from exchange import dicom_json, multipart
from exchange.dicom_json import Query, read_query
from exchange.image_desk import Looked
from exchange.image_reader import UNCHANGED, DicomJson, Instance, Reader, ReaderOf, Series, Study
from exchange.multipart import Part

router = APIRouter(tags=["dicomweb"])
_STUDY: Final = "/dicom-web/studies/{study}"
_SERIES: Final = _STUDY + "/series/{series}"
_INSTANCE: Final = _SERIES + "/instances/{instance}"
_MOST_LOOKED_AT: Final = 50
_EXAMPLE: Final[dict[str, Any]] = {
    "0020000D": {"vr": "UI", "Value": ["2.25.1001"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "林晓渝"}]},
}
_JSON: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {dicom_json.MEDIA_TYPE: {"schema": {"type": "array"}, "example": [_EXAMPLE]}}}
}
_RELATED: Final[dict[int | str, dict[str, Any]]] = {
    **UNCHANGED,
    200: {
        "content": {
            "multipart/related": {
                "schema": {"type": "string", "format": "binary"},
                "example": "--…\r\nContent-Type: application/dicom;transfer-syntax=1.2.840.10008.1.2.1\r\n\r\n…",
            }
        }
    },
}


def _keys(tags: frozenset[str]) -> dict[str, Any]:
    """Describe the parameters of a search; each may be named by its tag as well."""
    names = [*sorted(keyword_for_tag(int(tag, 16)) for tag in tags), "includefield", "limit", "offset"]
    return {"parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]}


# --- QIDO-RS --------------------------------------------------------------------------------------------


@router.get(
    "/dicom-web/studies",
    response_class=DicomJson,
    summary="查询检查 / search for studies",
    responses=_JSON,
    openapi_extra=_keys(dicom_json.STUDY_KEYS),
)
async def search_studies(request: Request, reader: ReaderOf) -> Response:
    """Return the studies of one patient, newest first; PatientID is the regional number, as it stands in answers."""
    query = read_query(request.query_params.multi_items()).ask_only(dicom_json.STUDY_KEYS)
    named = (*_named(query), *reader.patient())
    asked = query.without(dicom_json.PATIENT)

    def tell(_: Chart, entry: Entry) -> Json | None:
        row = dicom_json.of_study(entry.told["study"], reader.root)
        return row if asked.matches(row) else None

    page = await run_in_threadpool(
        image_views.search, reader.catalogue, reader.caller, named, tell, reader.counted
    )
    return await reader.json(asked.page(page.given))


def _named(query: Query) -> tuple[whose.Whose, ...]:
    """Return who is asked about. Raises InvalidInput where that is nobody in particular."""
    named = [whose.of_study_uid(uid) for uid in listed(query.matching.get(dicom_json.STUDY, ""))]
    patient = query.matching.get(dicom_json.PATIENT)
    if patient is not None:
        is_number = patient.isascii() and patient.isdecimal() and len(patient) <= 18
        named.append(whose.person(int(patient)) if is_number else whose.nobody)
    if not named:
        raise InvalidInput(
            "须指明 PatientID 或 StudyInstanceUID",
            "Name the patient or the study: PatientID or StudyInstanceUID",
            field="StudyInstanceUID",
        )
    return tuple(named)


@router.get(
    "/dicom-web/series",
    response_class=DicomJson,
    summary="查询患者的序列 / search for series of a patient",
    responses=_JSON,
    openapi_extra=_keys(dicom_json.SERIES_KEYS | {dicom_json.PATIENT}),
)
async def search_all_series(request: Request, reader: ReaderOf) -> Response:
    """Return the series of one patient's studies, the newest study first."""

    def told(looked: Looked, include: frozenset[str]) -> Iterator[Json]:
        for members in looked.index.values():
            yield dicom_json.of_series(looked.study.shown, members, reader.root, include)

    return await _search_below(request, reader, dicom_json.SERIES_KEYS, told)


@router.get(
    "/dicom-web/instances",
    response_class=DicomJson,
    summary="查询患者的图像 / search for instances of a patient",
    responses=_JSON,
    openapi_extra=_keys(dicom_json.INSTANCE_KEYS | {dicom_json.PATIENT}),
)
async def search_all_instances(request: Request, reader: ReaderOf) -> Response:
    """Return the instances of one patient's studies, the newest study first."""

    def told(looked: Looked, include: frozenset[str]) -> Iterator[Json]:
        for each in looked.everything():
            yield dicom_json.of_instance(looked.study.shown, each, reader.root, include)

    return await _search_below(request, reader, dicom_json.INSTANCE_KEYS, told)


async def _search_below(
    request: Request,
    reader: Reader,
    keys: frozenset[str],
    told: Callable[[Looked, frozenset[str]], Iterator[Json]],
) -> Response:
    query = read_query(request.query_params.multi_items())
    asked = query.without(dicom_json.PATIENT).ask_only(keys)
    rows = [row for looked in await _looked_at(reader, query) for row in told(looked, asked.include)]
    return await reader.json(asked.page([row for row in rows if asked.matches(row)]))


async def _looked_at(reader: Reader, query: Query) -> list[Looked]:
    """Return the studies that a search below them is about. Raises InvalidInput where it names nobody, or very many."""
    named = (*_named(query), *reader.patient())
    uids = frozenset(listed(query.matching.get(dicom_json.STUDY, "")))

    def tell(_: Chart, entry: Entry) -> str | None:
        uid: str = entry.told["study"].StudyInstanceUID
        return uid if not uids or uid in uids else None

    page = await run_in_threadpool(
        image_views.search, reader.catalogue, reader.caller, named, tell, reader.counted
    )
    if len(page.given) > _MOST_LOOKED_AT:
        raise InvalidInput(
            "该患者的检查过多,请指明 StudyInstanceUID",
            "The patient has very many studies: name some by StudyInstanceUID",
            field="StudyInstanceUID",
        )
    return [await reader.look(uid) for uid in page.given]


@router.get(
    _STUDY + "/series",
    response_class=DicomJson,
    summary="查询序列 / search for series",
    responses=_JSON,
    openapi_extra=_keys(dicom_json.SERIES_KEYS),
)
async def search_series(study: Study, request: Request, reader: ReaderOf) -> Response:
    """Return the series of a study."""
    query = read_query(request.query_params.multi_items()).ask_only(dicom_json.SERIES_KEYS)
    looked = await reader.look(study)
    shown = looked.study.shown
    rows = [dicom_json.of_series(shown, each, reader.root, query.include) for each in looked.index.values()]
    return await reader.json(query.page([row for row in rows if query.matches(row)]))


@router.get(
    _STUDY + "/instances",
    response_class=DicomJson,
    summary="查询图像 / search for instances of a study",
    responses=_JSON,
    openapi_extra=_keys(dicom_json.INSTANCE_KEYS),
)
async def search_study_instances(study: Study, request: Request, reader: ReaderOf) -> Response:
    """Return the instances of a study."""
    looked = await reader.look(study)
    return await _instances(request, reader, looked, looked.everything())


@router.get(
    _SERIES + "/instances",
    response_class=DicomJson,
    summary="查询序列图像 / search for instances of a series",
    responses=_JSON,
    openapi_extra=_keys(dicom_json.INSTANCE_KEYS),
)
async def search_series_instances(
    study: Study, series: Series, request: Request, reader: ReaderOf
) -> Response:
    """Return the instances of a series."""
    looked = await reader.look(study)
    return await _instances(request, reader, looked, looked.index.get(series, []))


async def _instances(
    request: Request, reader: Reader, looked: Looked, found: Sequence[IndexedInstance]
) -> Response:
    query = read_query(request.query_params.multi_items()).ask_only(dicom_json.INSTANCE_KEYS)
    shown = looked.study.shown
    rows = [dicom_json.of_instance(shown, each, reader.root, query.include) for each in found]
    return await reader.json(query.page([row for row in rows if query.matches(row)]))


# --- WADO-RS --------------------------------------------------------------------------------------------


@router.get(
    _STUDY + "/metadata",
    response_class=DicomJson,
    summary="检查的元数据 / metadata of a study",
    responses=_JSON | UNCHANGED,
)
async def study_metadata(study: Study, reader: ReaderOf) -> Response:
    """Return everything but the pixels of a study."""
    looked = await reader.look(study)
    return await reader.described(looked, looked.everything())


@router.get(
    _SERIES + "/metadata",
    response_class=DicomJson,
    summary="序列的元数据 / metadata of a series",
    responses=_JSON | UNCHANGED,
)
async def series_metadata(study: Study, series: Series, reader: ReaderOf) -> Response:
    """Return everything but the pixels of a series."""
    looked = await reader.look(study)
    return await reader.described(looked, looked.series(series))


@router.get(
    _INSTANCE + "/metadata",
    response_class=DicomJson,
    summary="一幅图像的元数据 / metadata of an instance",
    responses=_JSON | UNCHANGED,
)
async def instance_metadata(study: Study, series: Series, instance: Instance, reader: ReaderOf) -> Response:
    """Return everything but the pixels of an instance."""
    looked = await reader.look(study)
    return await reader.described(looked, [looked.instance(series, instance)])


@router.get(_STUDY, response_class=Response, summary="整个检查 / a study", responses=_RELATED)
async def retrieve_study(study: Study, reader: ReaderOf) -> Response:
    """Return the files of a study as they are stored."""
    return _files(reader, study, (await reader.look(study)).everything())


@router.get(_SERIES, response_class=Response, summary="整个序列 / a series", responses=_RELATED)
async def retrieve_series(study: Study, series: Series, reader: ReaderOf) -> Response:
    """Return the files of a series as they are stored."""
    return _files(reader, study, (await reader.look(study)).series(series))


@router.get(_INSTANCE, response_class=Response, summary="一幅图像 / an instance", responses=_RELATED)
async def retrieve_instance(study: Study, series: Series, instance: Instance, reader: ReaderOf) -> Response:
    """Return a file as it is stored, as a multipart or, with `Accept: application/dicom`, alone."""
    return _files(reader, study, [(await reader.look(study)).instance(series, instance)])


@router.get(
    _INSTANCE + "/frames/{frames}", response_class=Response, summary="图像帧 / frames", responses=_RELATED
)
async def retrieve_frames(
    study: Study,
    series: Series,
    instance: Instance,
    frames: Annotated[str, Path(pattern=r"^[0-9]{1,6}(,[0-9]{1,6}){0,999}$", description="1,2,3")],
    reader: ReaderOf,
) -> Response:
    """Return frames as they are stored; each part names its transfer syntax."""
    found = (await reader.look(study)).instance(series, instance)
    at = _at(reader, study)
    try:
        parts = [multipart.frame_part(found, int(each), at) for each in frames.split(",")]
    except IndexError:
        raise NotFound("没有该帧", "No such frame", code="unknown_frame") from None
    return reader.parts(study, parts)


@router.get(
    _INSTANCE + "/bulkdata/{path}",
    response_class=Response,
    summary="元数据中未列出的值 / a value that metadata leaves out",
    responses=_RELATED,
)
async def retrieve_bulkdata(
    study: Study,
    series: Series,
    instance: Instance,
    path: Annotated[str, Path(max_length=512, description="00281201, 00400555.0.0040A160")],
    reader: ReaderOf,
) -> Response:
    """Return the bytes of a value, where metadata has its address."""
    found = (await reader.look(study)).instance(series, instance)
    if path not in found.bulk:
        raise NotFound("没有该值", "No such value", code="unknown_value")
    here = f"{multipart.location(found, _at(reader, study))}/bulkdata/{path}"
    part = Part(multipart.OCTETS, here, ((found.key, *found.bulk[path]),))
    return reader.parts(study, [part])


def _files(reader: Reader, study: str, found: Sequence[IndexedInstance]) -> Response:
    return reader.parts(study, [multipart.file_part(each, _at(reader, study)) for each in found])


def _at(reader: Reader, study: str) -> str:
    return f"{reader.root}/studies/{study}"
