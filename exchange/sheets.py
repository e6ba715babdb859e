"""The sheet that explains an order to the patient, and the text for the medical record.

An order's number may hold anything, so the address names the order by its place in the check.
"""

import base64
import hashlib
import uuid
from collections.abc import Iterable
from html import escape
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from fastapi.responses import Response

from catalog import explanations
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf
from exchange.refusals import refusals
from exchange.sheet_text import Line, decision_lines, found_lines, order_lines, patient_lines, record_text

router = APIRouter(tags=["checks"])

Position = Annotated[
    int, Path(ge=1, le=1000, description="医嘱在询问中的次序,自 1 起 / the order's place, from 1")
]

_STYLE: Final = """
body{font-family:"Noto Serif CJK SC","Songti SC",SimSun,serif;max-width:44em;margin:2em auto;padding:0 1em;line-height:1.6}
h1{font-size:1.4em;text-align:center}h2{font-size:1.05em;margin:1.2em 0 .2em;border-bottom:1px solid #999}
p{margin:.25em 0;overflow-wrap:anywhere}p span{display:block;color:#555;font-size:.85em}
.signatures{display:flex;gap:2em;margin-top:3em}.signatures p{flex:1;border-top:1px solid #000}
footer{margin-top:2em;color:#555;font-size:.8em}
@media print{body{margin:0;max-width:none}@page{size:A4;margin:18mm}h2,p{break-inside:avoid}.signatures{break-inside:avoid}}
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox",
}
_SIGNATURES: Final = (
    ("患者或家属签名", "Patient or family"),
    ("医师签名", "Doctor"),
    ("日期", "Date"),
)


def _shown(media_type: str, example: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {"schema": {"type": "string"}, "example": example}}}}


@router.get(
    "/v1/checks/{check_id}/orders/{position}/sheet",
    summary="检查互认告知单 / the sheet that explains an order, for print",
    response_class=Response,
    responses=_shown("text/html", "<!doctype html><title>检查检验结果互认告知单</title>…")
    | refusals(404, 422, 503),
)
def sheet(check_id: uuid.UUID, position: Position, caller: CallerOf, catalogue: CatalogueOf) -> Response:
    """Return a page to print: what was found, why it is or is not examined again, and a line to sign."""
    told = explanations.explain(catalogue, caller, check_id, position, form="sheet")
    return Response(_page(told), headers=_HEADERS, media_type="text/html; charset=utf-8")


@router.get(
    "/v1/checks/{check_id}/orders/{position}/record-text",
    summary="病历用文字 / a text block for the medical record",
    response_class=Response,
    responses=_shown("text/plain", "【检查检验结果互认记录】\n…") | refusals(404, 422, 503),
)
def text_for_record(
    check_id: uuid.UUID, position: Position, caller: CallerOf, catalogue: CatalogueOf
) -> Response:
    """Return plain text that a record can take in: which prior, of which hospital and day, decided by whom and when."""
    told = explanations.explain(catalogue, caller, check_id, position, form="record_text")
    return Response(record_text(told), headers=_HEADERS, media_type="text/plain; charset=utf-8")


def _page(told: dict[str, Any]) -> str:
    parts = (
        _part("患者与医嘱", "Patient and order", [*patient_lines(told), *order_lines(told)]),
        _part("既往结果", "Prior results", found_lines(told)),
        _part("本次决定", "Decision", decision_lines(told)),
    )
    note = _paragraph((told["label"], told["label_en"]))
    signatures = "".join(_paragraph((f"{zh}:", en)) for zh, en in _SIGNATURES)
    place = escape(f"{told['check_id']}/{told['position']}")
    return (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">'
        f"<title>检查检验结果互认告知单</title><style>{_STYLE}</style></head><body>"
        '<h1>检查检验结果互认告知单 <span lang="en">Explanation of mutual recognition</span></h1>'
        f'{"".join(parts)}{note}<div class="signatures">{signatures}</div>'
        f"<footer>{place}</footer></body></html>"
    )


def _part(zh: str, en: str, lines: Iterable[Line]) -> str:
    return f'<h2>{zh} <span lang="en">{en}</span></h2>' + "".join(map(_paragraph, lines))


def _paragraph(line: Line) -> str:
    zh, en = (escape(text, quote=True) for text in line)
    return f'<p>{zh}<span lang="en">{en}</span></p>'
