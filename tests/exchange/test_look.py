"""The quick look as a page: who gets it, what it tells, that nothing in it runs, and that it works without a script."""

import re
from html.parser import HTMLParser
from typing import Any

import orjson

from exchange.web.pages import address_of
from tests.exchange.image_site import UID, Site, site
from tests.packs import compressed, ct

__all__ = ["site"]

AT = f"/look/studies/{UID}"
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}\u202e=cmd|' /C calc'!A0"
LIN: Any = {"PatientID": "A-2", "PatientName": "Lin^Xiaoyu=林^晓渝", "PatientBirthDate": "19800517"}


class Page(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script" and data.strip():
            self.scripts.append(data)
        else:
            self.words += data

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def looked(site: Site, path: str = AT, **more: Any) -> Page:
    answer = site.get(path, **more)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    return Page(answer.text)


def test_the_page_is_for_whom_the_patient_is_open_and_others_read_why_not(site: Site) -> None:
    shut = site.get(AT)
    assert (shut.status_code, shut.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "没有该检查" in shut.text
    site.open()
    page = looked(site)
    assert "林晓渝" in page.words
    assert "胸部CT平扫" in page.words
    assert "女 46岁" in page.words
    assert "A医院" in page.words
    assert "built-in" not in page.words  # a word of the page that no text has
    assert site.service.call("GET", AT, role="").status_code == 401
    assert site.service.call("GET", AT, role="regulator").status_code == 403


def test_by_a_link_every_address_of_the_page_leads_through_the_link(site: Site) -> None:
    site.open()
    made = site.service.call("POST", "/v1/image-grants", json={"StudyInstanceUIDs": [UID]}).json()
    client = site.service.client
    answer = client.get(made["quick_look"])
    assert answer.status_code == 200
    page = Page(answer.text)
    pictures = [str(each["src"]) for each in page.every("img")]
    assert len(pictures) == 2
    for address in pictures:
        assert address.startswith(f"/dicom-web/g/{made['grant']}/")
        assert client.get(address).headers["content-type"] == "image/jpeg"
    ended = client.get(f"/look/g/{'x' * 43}/studies/{UID}")
    assert ended.status_code == 401
    assert "影像链接已结束" in ended.text


def test_the_page_scrolls_without_a_script(site: Site) -> None:
    site.open()
    shown = []
    path = AT
    for _ in range(4):
        page = looked(site, path)
        (picture,) = [each for each in page.every("img") if each.get("id") == "picture"]
        shown.append(str(picture["src"]))
        (following,) = [each for each in page.every("a") if each.get("id") == "next"]
        path = AT + str(following["href"])
    assert [address.split("/instances/")[1] for address in shown] == [
        f"{UID}.1.{number}/frames/1/rendered" for number in (1, 2, 3, 3)
    ]
    assert looked(site, f"{AT}?series=99&image=99").every("img")  # beyond the end is the end


def test_it_speaks_chinese_and_english(site: Site) -> None:
    site.open()
    assert "序列" in str(looked(site).every("section"))
    assert "Series" in str(looked(site, headers={"Accept-Language": "en-GB,en;q=0.9"}).every("section"))
    assert "Series" in str(looked(site, f"{AT}?lang=en").every("section"))
    assert site.get(f"{AT}?lang=verylonglang").status_code == 422


def test_nothing_that_a_sender_wrote_runs_or_breaks_the_page(site: Site) -> None:
    uid = "2.25.7010"
    sent = ct(uid, 1, **LIN, SeriesDescription=HOSTILE[:64], AccessionNumber="<b onload=x>")
    site.images.send("A", sent)
    site.open()
    answer = site.get(f"/look/studies/{uid}")
    page = Page(answer.text)
    assert [each.get("src") or each.get("type") for each in page.every("script")] == [
        address_of("look.js"),
        "application/json",
    ]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert HOSTILE[:64] in page.words
    (data,) = page.scripts
    assert "<" not in data
    assert orjson.loads(data)["series"][0]["title"] == HOSTILE[:64]


def test_what_has_no_pictures_says_so_and_offers_its_documents(site: Site) -> None:
    uid = "2.25.7011"
    film = compressed(ct(uid, 1, **LIN), "1.2.840.10008.1.2.4.102", [b"\0\0\0\x18ftypmp42"])
    pdf = ct(
        uid,
        2,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
        EncapsulatedDocument=b"%PDF-1.7" + b"\n" * 2000,
        MIMETypeOfEncapsulatedDocument="application/pdf",
        SeriesInstanceUID=f"{uid}.2",
        **LIN,
    )
    site.images.send("A", film)
    site.open()
    assert "没有可显示的图像" in looked(site, f"/look/studies/{uid}").words
    site.images.send("A", pdf, ct(uid, 3, SeriesInstanceUID=f"{uid}.3", **LIN))
    site.service.client.app.state.images.forget()
    page = looked(site, f"/look/studies/{uid}")
    documents = [str(each["href"]) for each in page.every("a") if "download" in each]
    assert documents == [f"/dicom-web/studies/{uid}/series/{uid}.2/instances/{uid}.1.2/rendered"]


def test_files_of_the_page_are_kept_for_ever_under_their_digest(site: Site) -> None:
    for name in ("look.js", "look.css"):
        answer = site.service.call("GET", address_of(name), role="")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert re.fullmatch(r"text/(css|javascript)(; charset=utf-8)?", answer.headers["content-type"])
    assert site.service.call("GET", "/static/0000000000000000/look.js", role="").status_code == 404
    assert (
        site.service.call("GET", address_of("look.js").replace("look.js", "look.html"), role="").status_code
        == 404
    )
    assert site.service.call("GET", "/static/0000000000000000/..%2flook.js", role="").status_code in (
        404,
        422,
    )
