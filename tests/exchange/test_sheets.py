"""The explanation sheet and the record's text: what they say, to whom, and that hostile text stays text."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

from sqlalchemy import select

from catalog import erasures, sharing
from catalog.context import Caller
from catalog.db import transaction
from catalog.identity import Demographics, Document
from catalog.tables import AuditEvent
from exchange.sheet_text import one_line
from tests.city import id_number
from tests.exchange.conftest import Service

PATIENT = {"id_type": "01", "id_number": id_number(2)}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'--></style></title><svg onload=alert(1)>",
    "a\r\nSet-Cookie: x=1",
    "a\u2028b\u2029c\x85d",
    "\x1b[2J\x1b[31mred",
    "=cmd|' /C calc'!A0",
    "{{7*7}}${7*7}<%=7*7%>",
    "name\x00nul",
    "\u202egpj.exe\u2066x\u2069",
    "&lt;b&gt;&#60;b&#62;",
    "javascript:alert(1)",
    "\ufeffbom\u200f",
    "</p></body></html>",
)


class Page(HTMLParser):
    """Reads a page as a browser would: its tags, its attributes and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "span", "div", "footer"}


def ask(service: Service, **order: Any) -> dict[str, Any]:
    body = {"patient": PATIENT, "orders": [{"order_id": "林晓渝/1", "item_code": "CT07", **order}]}
    return dict(service.call("POST", "/v1/checks", json={**body, "department": "呼吸内科"}).json())


def decide(service: Service, check: dict[str, Any], **body: Any) -> None:
    path = f"/v1/checks/{check['check_id']}/decisions"
    sent = {"order_id": check["orders"][0]["order_id"], **body}
    key = {"Idempotency-Key": f"k{service.city.count}-{body['action']}"}
    answer = service.call("POST", path, json=sent, headers=key)
    assert answer.status_code == 200, answer.text


def read(service: Service, check: dict[str, Any], form: str, position: int = 1, **more: Any) -> Any:
    return service.call("GET", f"/v1/checks/{check['check_id']}/orders/{position}/{form}", **more)


def first(check: dict[str, Any]) -> str:
    return str(check["orders"][0]["candidates"][0]["result_id"])


def test_a_repeat_is_explained_with_the_prior_the_reason_and_a_line_to_sign(service: Service) -> None:
    check = ask(service)
    told = {"reason_code": "61", "reason_text": "运动伪影", "explained_to_patient": True}
    decide(service, check, action="override", **told)
    answer = read(service, check, "sheet")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for said in (
        "林晓渝",
        "1980-05-17",
        "呼吸内科",
        "CT07 胸部CT平扫",
        "2026-06-23 A医院",
        "重庆HR",
        "可互认",
        "需重新检查,原因:图像质量不满足诊断要求",
        "The image quality does not meet the needs of diagnosis",
        "所属情形:其他情形确需复查的",
        "说明:运动伪影",
        "已向患者或其家属说明复检的目的及必要性",
        "患者或家属签名",
        "Patient or family",
        "原诊断意见,仅供参考",
    ):
        assert said in answer.text, said
    assert id_number(2) not in answer.text
    assert Page(answer.text).tags == TAGS


def test_the_record_says_which_prior_of_which_institution_and_day_was_recognised_by_whom_and_when(
    service: Service,
) -> None:
    check = ask(service)
    assert "尚未决定" in read(service, check, "record-text").text
    decide(service, check, action="recognise", result_id=first(check))
    decide(service, check, action="cite", result_id=first(check))
    answer = read(service, check, "record-text")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    for said in (
        "1. 2026-06-23 A医院 CT07 重庆HR 可互认",
        "认可第 1 项结果,不再重复检查",
        "决定人:test doctor  时间:2026-06-30 12:00",
        "病历引用第 1 项结果",
        "Result 1 is recognised; it is not examined again",
        "The record cites result 1",
    ):
        assert said in answer.text.splitlines(), said
    decide(service, check, action="undo")
    assert "尚未决定" in read(service, check, "record-text").text


def test_a_reference_is_told_with_what_speaks_against_it_and_a_failed_order_with_why(
    service: Service,
) -> None:
    service.city.study("A", days_ago=100)
    check = ask(service)
    assert (
        "2. 2026-03-22 A医院 CT07 重庆HR 仅供参考(超出互认时限)" in read(service, check, "record-text").text
    )
    failed = ask(service, order_id="2", item_code="ZZ99")
    assert "未能查询:清单中没有该项目" in read(service, failed, "record-text").text


def test_a_sheet_runs_no_script_and_loads_nothing_but_its_own_style(service: Service) -> None:
    answer = read(service, ask(service), "sheet")
    policy = answer.headers["content-security-policy"]
    for rule in ("default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert re.search(r"style-src 'sha256-[A-Za-z0-9+/=]{44}'", policy)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_the_hash_in_the_policy_is_that_of_the_style_in_the_page(service: Service) -> None:
    answer = read(service, ask(service), "sheet")
    style = answer.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"]


def hostile_check(service: Service, person: int, text: str) -> dict[str, Any]:
    """Return a check of somebody whose name is hostile, by a department and for an order that are too, decided."""
    service.city.study("A", person, PatientName=text.replace("\x00", ""), days_ago=2)
    number = re.sub(r"[\x00-\x1f\x7f]", "", text)
    body = {
        "patient": {"id_type": "01", "id_number": id_number(person)},
        "orders": [{"order_id": number, "item_code": "CT07"}],
        "department": text.replace("\x00", ""),
    }
    check = dict(service.call("POST", "/v1/checks", json=body).json())
    told = {"reason_code": "6", "reason_text": text.replace("\x00", ""), "explained_to_patient": True}
    decide(service, check, action="override", **told)
    return check


def test_hostile_text_in_a_name_a_reason_or_a_department_stays_text(service: Service) -> None:
    """FAULTS F7: names, descriptions and reasons that try to break out of the page or of their line."""
    usual = read(service, ask(service), "record-text").text
    decided = 2 * 3  # lines that a decision adds, in each language
    for number, text in enumerate(HOSTILE):
        check = hostile_check(service, 2 * number + 4, text)
        page, plain = read(service, check, "sheet").text, read(service, check, "record-text").text
        parsed = Page(page)
        assert parsed.tags == TAGS, text
        assert parsed.attributes == {"lang", "charset", "class"}, text
        for shown in (page, plain):
            assert not set(shown) & set("\x00\x1b\r\x85\u2028\u2029\u202e\u2066\u2069\u200f\ufeff"), text
        words = f"说明:{one_line(text.replace(chr(0), ''))}"
        assert words in "".join(parsed.texts), text
        assert words in plain.splitlines(), text
        assert len(plain.splitlines()) == len(usual.splitlines()) + decided, text


def test_one_line_is_one_harmless_line_and_keeps_what_is_harmless() -> None:
    for text in HOSTILE:
        assert len(one_line(text).splitlines()) <= 1
        assert one_line(one_line(text)) == one_line(text)
    assert one_line("𠮷野 Ѯ é 한 (左)") == "𠮷野 Ѯ é 한 (左)"


def test_the_address_of_a_sheet_holds_no_order_number(service: Service) -> None:
    described = service.client.app.openapi()["paths"]  # type: ignore[attr-defined]
    assert not [path for path in described if "order_id" in path]


def test_another_hospitals_sheet_and_a_place_the_check_does_not_have_look_like_none(
    service: Service,
) -> None:
    check = ask(service)
    for form in ("sheet", "record-text"):
        assert read(service, check, form, hospital="A").json()["code"] == "unknown_check"
        assert read(service, check, form, position=2).json()["code"] == "unknown_order"
        assert read(service, check, form, position=0).status_code == 422


def test_after_opting_out_a_sheet_reads_as_if_nothing_had_been_found(service: Service) -> None:
    check = ask(service)
    decide(service, check, action="recognise", result_id=first(check))
    clerk = Caller("a", "hospital_system", "A")
    document = Document("01", id_number(2))
    sharing.set_sharing(service.city.catalogue, clerk, document, Demographics(), shared=False)
    for form in ("sheet", "record-text"):
        shown = read(service, check, form).text
        assert "未见可供互认或参考的既往结果" in shown
        assert "林晓渝" not in shown
        assert "A医院" not in shown


def test_a_prior_that_was_erased_stands_in_no_sheet(service: Service) -> None:
    check = ask(service)
    decide(service, check, action="recognise", result_id=first(check))
    assert "A医院" in read(service, check, "sheet").text
    curator = Caller("c", "curator")
    erasures.erase(
        service.city.catalogue,
        curator,
        lambda session: erasures.scope_of_study(session, "2.25.1001"),
        "依法删除",
    )
    for form in ("sheet", "record-text"):
        shown = read(service, check, form).text
        assert "A医院" not in shown
        assert "认可第 — 项结果" in shown


def test_every_sheet_and_text_is_audited(service: Service) -> None:
    check = ask(service)
    read(service, check, "sheet")
    read(service, check, "record-text")
    with transaction(service.city.catalogue.engine) as session:
        wanted = AuditEvent.action.in_(("check.sheet", "check.record_text"))
        events = session.scalars(select(AuditEvent).where(wanted).order_by(AuditEvent.id)).all()
    assert [(event.action, event.detail["position"]) for event in events] == [
        ("check.sheet", 1),
        ("check.record_text", 1),
    ]
    assert all(event.person_id is not None for event in events)
