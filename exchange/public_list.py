"""What everybody may read without signing in: the recognised items, the institutions and their HR marks."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request

from catalog import public_list
from catalog.public_list import PublicList
from exchange.answers import Json
from exchange.examples import answers
from exchange.figures import NoNul

router = APIRouter(prefix="/v1/public", tags=["public"])

_KEPT: Final = "public, max-age=60"
_ITEM: Final = {
    "code": "CT07",
    "name": "胸部CT平扫",
    "name_en": "CT chest without contrast",
    "category": "imaging",
    "window_days": 30,
    "negative": False,
}
_ITEMS: Final[dict[str, Any]] = {
    "day": "2026-06-30",
    "version": "proposal-1",
    "title": "互认项目清单(建议稿)",
    "title_en": "The recognised list (proposal)",
    "items": [_ITEM],
}
_INSTITUTIONS: Final[dict[str, Any]] = {
    "day": "2026-06-30",
    "total": 1,
    "offset": 0,
    "institutions": [
        {
            "code": "A",
            "name": "甲医院",
            "tier": 3,
            "district": "500103",
            "district_name": "渝中区",
            "district_name_en": "Yuzhong District",
            "marks": [{"mark": "重庆HR", "items": ["CT07"], "categories": ["imaging"]}],
        }
    ],
    "districts": [{"code": "500103", "name": "渝中区", "name_en": "Yuzhong District"}],
}


@router.get("/items", summary="公开:互认项目 / published: the items", responses=answers(_ITEMS))
def items(request: Request) -> Json:
    """Return the items recognised today in the whole exchange."""
    published = _list_of(request).now()
    listed = published.items
    return _kept(
        {
            "day": published.day,
            "version": listed.version,
            "title": listed.title_zh,
            "title_en": listed.title_en,
            "items": [
                {
                    "code": item.code,
                    "name": item.name_zh,
                    "name_en": item.name_en,
                    "category": item.category,
                    "window_days": item.window_days,
                    "negative": item.negative,
                }
                for item in listed
            ],
        }
    )


@router.get(
    "/institutions",
    summary="公开:机构及其标识 / published: institutions and their marks",
    responses=answers(_INSTITUTIONS),
)
def institutions(
    request: Request,
    text: Annotated[
        str, Query(max_length=64, pattern=NoNul, description="名称的一部分或代码 / part of a name, or a code")
    ] = "",
    district: Annotated[str, Query(max_length=32, pattern=NoNul, description="区县代码 / a district")] = "",
    offset: Annotated[int, Query(ge=0, le=100_000, description="从第几家起 / how many to pass over")] = 0,
    limit: Annotated[int, Query(ge=1, le=200, description="最多几家 / how many at most")] = 50,
) -> Json:
    """Return institutions with the marks they carry today, and every district that has one."""
    published = _list_of(request).now()
    found = public_list.institutions(
        published, text=text, districts=[district] if district else [], offset=offset, limit=limit
    )
    return _kept({**found, "districts": public_list.districts(published)})


def _list_of(request: Request) -> PublicList:
    held: PublicList = request.app.state.public_list
    return held


def _kept(content: dict[str, Any]) -> Json:
    answer = Json(content)
    answer.headers["Cache-Control"] = _KEPT
    return answer
