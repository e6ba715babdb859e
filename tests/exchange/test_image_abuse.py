"""FAULTS F5, F7 and F10 on the routes of images: hostile names reach no object, hostile texts run nowhere."""

import itertools
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from catalog.objects import ObjectStore
from exchange.auth import ACCESS
from tests.exchange.image_site import UID, Site, site
from tests.packs import ct

__all__ = ["site"]

LIN: Any = {"PatientID": "A-2", "PatientName": "Lin^Xiaoyu=林^晓渝", "PatientBirthDate": "19800517"}
NAMES = {
    "study": UID,
    "series": f"{UID}.1",
    "instance": f"{UID}.1.1",
    "frames": "1",
    "frame": "1",
    "path": "00281201",
}
HOSTILE = (
    *("..", "../..", "../../etc/passwd", "..%2f..%2fetc", "%2e%2e", "/etc/passwd", "//", ".", "\\..\\", "~"),
    *(
        "\0",
        f"{UID}\0",
        f"{UID}\n",
        f"{UID} ",
        f"{UID}/",
        f"{UID};x",
        f"{UID}?x",
        f"{UID}#x",
        "CON",
        "nul",
        "aux.txt",
    ),
    *(
        "1" * 65,
        "1" * 4_000,
        "1.2.٣",
        "1.2.3",
        "2.25.007",
        "1..2",
        "-1",
        "+1",
        "0x10",
        "1e9",
        "NaN",
        "None",
        "*",
        "%",
    ),
    *(
        "<script>alert(1)</script>",
        "{{7*7}}",
        "${7*7}",
        "' or 1=1 --",
        "\u202e1.2",
        "\ufeff1.2",
        "\ud7ff",
        "😀",
    ),
)
TEXTS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
    "${7*7}",
    "=cmd|' /C calc'!A0",
    "a\u202eb",
    "a\x1b[31mb",
    "</script><script>x",
)


def test_hostile_names_reach_nothing_on_any_route(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """F5."""
    site.open()
    keys: set[str] = set()
    for name in ("stat", "read_range", "open_up_to"):
        real = getattr(ObjectStore, name)

        def told(self: ObjectStore, key: str, *more: Any, real: Any = real) -> Any:
            keys.add(key)
            return real(self, key, *more)

        monkeypatch.setattr(ObjectStore, name, told)
    routes = [
        path
        for method, path in ACCESS
        if method == "GET" and path.startswith(("/dicom-web/studies/", "/look/"))
    ]
    client, token = site.service.client, {"Authorization": f"Bearer {site.service.token('doctor', 'B')}"}
    tried = 0
    for route in routes:
        named = [name for name in NAMES if f"{{{name}}}" in route]
        for name, hostile in itertools.product(named, HOSTILE):
            path = route
            for each in named:
                written = quote(hostile if each == name else NAMES[each], safe="")
                path = path.replace(
                    f"{{{each}}}", written.replace(".", "%2E")
                )  # or a client tidies them away
            answer = client.get(path, headers=token, follow_redirects=False)
            nothing = answer.status_code == 200 and answer.content == b"[]"
            assert nothing or answer.status_code in (307, 400, 404, 405, 406, 422), path
            assert hostile not in answer.text or len(hostile) < 4, path
            tried += 1
    assert tried >= 500
    assert not any(".." in key or "\0" in key for key in keys)


def test_hostile_texts_are_told_as_they_are_and_end_nothing(site: Site) -> None:
    """F7."""
    site.open()
    for number, sent_text in enumerate(TEXTS):
        text = sent_text.replace("\x1b", "")  # control characters are no part of a text
        uid = f"2.25.72{number:02}"
        sent = ct(uid, 1, SeriesDescription=text, InstitutionName=text, ProtocolName=text, **LIN)
        site.images.send("A", sent)
        (series,) = site.get(f"/dicom-web/studies/{uid}/series").json()
        assert series["0008103E"]["Value"] == [text]
        (metadata,) = site.get(f"/dicom-web/studies/{uid}/metadata").json()
        assert metadata["00080080"]["Value"] == [text]
        page = site.get(f"/look/studies/{uid}")
        assert "<script>alert" not in page.text
        data = page.text.partition('id="told">')[2].partition("</script>")[0]
        assert orjson.loads(data)["series"][0]["title"] == text


def test_what_a_document_holds_is_never_shown_by_us(site: Site) -> None:
    """F10."""
    uid = "2.25.7300"
    html = b"%PDF-1.7\n<html><script>alert(1)</script></html>" + b"\n" * 2000
    kinds = ("application/pdf", "text/XML", "model/stl")
    classes = (
        "1.2.840.10008.5.1.4.1.1.104.1",
        "1.2.840.10008.5.1.4.1.1.104.2",
        "1.2.840.10008.5.1.4.1.1.104.3",
    )
    documents = [
        ct(
            uid,
            number,
            SOPClassUID=kind_class,
            MIMETypeOfEncapsulatedDocument=kind,
            EncapsulatedDocument=html + b"\n" * (len(html) % 2),
            **LIN,
        )
        for number, (kind, kind_class) in enumerate(zip(kinds, classes, strict=True), 2)
    ]
    site.images.send("A", ct(uid, 1, **LIN), *documents)
    site.open()
    for number, kind in enumerate(kinds, 2):
        at = f"/dicom-web/studies/{uid}/series/{uid}.1/instances/{uid}.1.{number}"
        shown = site.get(f"{at}/rendered")
        assert shown.status_code == (200 if kind == "application/pdf" else 406)
        raw = site.get(f"{at}/bulkdata/00420011", headers={"Accept": "application/octet-stream"})
        assert raw.status_code == 200
        assert raw.headers["content-type"] == "application/octet-stream"
        for answer in (shown, raw):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        if shown.status_code == 200:
            assert shown.headers["content-disposition"].startswith("attachment")
