"""Pictures over HTTP: rendered frames and thumbnails, WADO-URI, documents; and hostile frames, which break nothing."""

import asyncio
import os
import signal
import struct
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from catalog.errors import Unavailable
from exchange.darkroom import Darkroom, Negative
from exchange.pictures import JPEG, PNG, Shades, View
from exchange.pixels import Stored
from exchange.problems import NoPicture
from tests.dicom_node.raw_peer import wait_until
from tests.exchange.image_site import AT, FIRST, SERIES, UID, Site, parts_of, site
from tests.exchange.pictured import seen
from tests.packs import compressed, ct

__all__ = ["site"]

ULTRASOUND = "2.25.7003"
LIN: Any = {"PatientID": "A-2", "PatientName": "Lin^Xiaoyu=林^晓渝", "PatientBirthDate": "19800517"}
PDF = b"%PDF-1.7\n<script>alert(1)</script>\n%%EOF"
WRONG = (
    *(
        "window=1",
        "window=a,b",
        "window=1,0",
        "window=1,2,cubic",
        "window=nan,3",
        "window=1e99,1",
        "quality=0",
    ),
    *("viewport=5", "viewport=0,5", "viewport=9999,5", "viewport=5,٥", "viewport=1,2,3"),
)
ROUTES = (
    f"{FIRST}/rendered",
    f"{FIRST}/frames/1/rendered",
    f"{FIRST}/frames/1/thumbnail",
    f"{FIRST}/thumbnail",
    f"{SERIES}/thumbnail",
    f"{AT}/thumbnail",
    f"/dicom-web/wado?requestType=WADO&studyUID={UID}&seriesUID={UID}.1&objectUID={UID}.1.1",
)


@pytest.fixture
def darkroom() -> Iterator[Darkroom]:
    made = Darkroom(children=1)
    yield made
    made.close()


def film(site: Site, uid: str = ULTRASOUND) -> list[Any]:
    """Send a film of ten grey frames, each as light as its number says."""
    frames = [np.full((16, 24), 20 * number, np.uint8) for number in range(1, 11)]
    pixels = b"".join(frame.tobytes() for frame in frames)
    more = {
        "Rows": 16,
        "Columns": 24,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "NumberOfFrames": 10,
    }
    sent = ct(
        uid,
        1,
        pixels=pixels,
        WindowCenter=128,
        WindowWidth=256,
        **more,
        **LIN,
    )
    site.images.send("A", sent)
    return frames


def test_pictures_are_for_whom_the_patient_is_open_and_for_nobody_else(site: Site) -> None:
    for path in ROUTES:
        assert site.get(path).status_code == 404, path
    site.open()
    for path in ROUTES:
        answer = site.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["cache-control"] == "no-store"
    assert site.service.call("GET", ROUTES[0], hospital="A").status_code == 404


def test_a_rendered_frame_shows_the_stored_pixels_through_the_window_asked_for(site: Site) -> None:
    frames = film(site)
    site.open()
    at = f"/dicom-web/studies/{ULTRASOUND}/series/{ULTRASOUND}.1/instances/{ULTRASOUND}.1.1"
    png = {"Accept": "image/png"}
    for number in (1, 5, 10):
        made = seen(
            site.get(f"{at}/frames/{number}/rendered?window=128,256,linear-exact", headers=png).content
        )
        expected = np.rint(((frames[number - 1].astype(float) - 128) / 256 + 0.5) * 255)
        assert (made[:, :, 0] == expected).all()
    assert (seen(site.get(f"{at}/frames/3/rendered?window=60,2", headers=png).content) >= 250).all()
    assert seen(site.get(f"{at}/frames/3/rendered?viewport=12,100", headers=png).content).shape == (8, 12, 3)
    small = site.get(f"{at}/rendered?quality=1")
    assert len(small.content) <= len(site.get(f"{at}/rendered?quality=100").content)
    assert (
        seen(site.get(f"{at}/thumbnail", headers=png).content)
        == seen(site.get(f"{at}/frames/5/rendered?viewport=128,128", headers=png).content)
    ).all()
    assert site.get(f"{at}/frames/11/rendered").json()["code"] == "unknown_frame"


def test_a_series_comes_as_pictures_in_order_without_what_cannot_be_shown(site: Site) -> None:
    frames = film(site)
    site.open()
    at = f"/dicom-web/studies/{ULTRASOUND}"
    related = {"Accept": 'multipart/related; type="image/png"'}
    for path in (f"{at}/rendered", f"{at}/series/{ULTRASOUND}.1/rendered"):
        answer = site.get(f"{path}?window=128,256,linear-exact", headers=related)
        assert answer.status_code == 200
        boundary = answer.headers["content-type"].rpartition("=")[2].encode()
        parts = answer.content.split(b"\r\n--" + boundary)[1:-1]
        assert [int(seen(part.partition(b"\r\n\r\n")[2])[0, 0, 0]) for part in parts] == [
            round(float(frame[0, 0]) / 256 * 255) for frame in frames
        ]
        assert [f"/frames/{n}/rendered".encode() in part for n, part in enumerate(parts, 1)] == [True] * 10
    assert (
        site.get(f"{at}/rendered").headers["content-type"].startswith('multipart/related; type="image/jpeg"')
    )
    assert site.get(f"{at}/rendered", headers={"Accept": "image/jpeg"}).status_code == 406


@pytest.mark.parametrize("query", WRONG)
def test_a_view_that_is_none_is_refused(site: Site, query: str) -> None:
    site.open()
    assert site.get(f"{FIRST}/rendered?{query}").status_code == 422


def test_a_picture_comes_in_the_form_asked_for_and_not_again_where_it_is_known(site: Site) -> None:
    site.open()
    for accept, got in (
        ("image/png", PNG),
        ("image/*", JPEG),
        ("text/html,image/png;q=0.9,*/*", PNG),
        ("*/*", JPEG),
    ):
        assert site.get(f"{FIRST}/rendered", headers={"Accept": accept}).headers["content-type"] == got
    assert site.get(f"{FIRST}/rendered", headers={"Accept": "image/gif"}).status_code == 406
    first = site.get(f"{FIRST}/rendered")
    again = site.get(f"{FIRST}/rendered", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = site.get(f"{FIRST}/rendered?window=1,2", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


@pytest.mark.parametrize("path", [f"{SERIES}/metadata", f"{FIRST}/metadata", f"{FIRST}/frames/1", FIRST])
def test_what_is_known_is_not_sent_again_to_who_may_still_see_it(site: Site, path: str) -> None:
    site.open()
    tag = site.get(path).headers["etag"]
    assert site.get(path, headers={"If-None-Match": f'"other", {tag}'}).status_code == 304
    assert site.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    site.images.city.now += timedelta(hours=25)
    site.service.client.app.state.images.forget()
    assert site.get(path, headers={"If-None-Match": tag}).status_code == 404


def test_json_is_compressed_for_who_takes_it(site: Site) -> None:
    site.open()
    plain = site.get(f"{SERIES}/metadata", headers={"Accept-Encoding": "identity"})
    small = site.get(f"{SERIES}/metadata", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert int(small.headers["content-length"]) < len(plain.content) / 2
    assert small.json() == plain.json()
    assert (
        "content-encoding"
        not in site.get(f"{SERIES}/metadata", headers={"Accept-Encoding": "gzip;q=0"}).headers
    )


def test_by_wado_uri_comes_the_stored_file_or_a_picture(site: Site) -> None:
    site.open()
    at = ROUTES[-1]
    whole = site.get(f"{at}&contentType=application/dicom")
    assert whole.headers["content-type"] == "application/dicom"
    assert whole.content == parts_of(site.get(FIRST))[0][1]
    shown = site.get(f"{at}&contentType=image/png&windowCenter=100&windowWidth=200&rows=4")
    assert (
        seen(shown.content)
        == seen(
            site.get(
                f"{FIRST}/rendered?window=100,200&viewport=8192,4", headers={"Accept": "image/png"}
            ).content
        )
    ).all()
    for wrong in ("&windowCenter=1", "&contentType=text/html", "&frameNumber=0", "&rows=0"):
        assert site.get(at + wrong).status_code == 422, wrong
    assert site.get("/dicom-web/wado?requestType=WADO").status_code == 422


def test_a_document_is_a_file_to_keep_and_never_a_page(site: Site) -> None:
    uid = "2.25.7005"
    pdf = ct(
        uid,
        2,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
        EncapsulatedDocument=PDF + b"\n" * (2000 - len(PDF) % 2),
        MIMETypeOfEncapsulatedDocument="application/pdf",
        **LIN,
    )
    site.images.send("A", ct(uid, 1, **LIN), pdf)
    site.open()
    answer = site.get(f"/dicom-web/studies/{uid}/series/{uid}.1/instances/{uid}.1.2/rendered")
    assert answer.status_code == 200
    assert answer.content.startswith(PDF)
    assert answer.headers["content-disposition"] == 'attachment; filename="document.pdf"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_frame_that_cannot_be_shown_is_refused_and_can_still_be_fetched(site: Site) -> None:
    uid = "2.25.7006"
    broken = compressed(ct(uid, 1, **LIN), "1.2.840.10008.1.2.4.50", [b"\xff\xd8\xff\xe0 no JPEG at all "])
    site.images.send("A", broken)
    site.open()
    at = f"/dicom-web/studies/{uid}/series/{uid}.1/instances/{uid}.1.1"
    answer = site.get(f"{at}/rendered")
    assert (answer.status_code, answer.json()["code"]) == (406, "no_picture_undecodable")
    assert site.get(f"{at}/frames/1").status_code == 200
    assert site.get(f"{FIRST}/rendered").status_code == 200


def _grey(size: int = 8) -> Negative:
    stored = Stored("1.2.840.10008.1.2.1", size, size, bits_allocated=8, bits_stored=8, high_bit=7)
    return Negative(bytes(size * size), stored, Shades(), {})


def test_a_child_that_ends_costs_one_picture(darkroom: Darkroom) -> None:
    assert darkroom.make(_grey(), View()).startswith(b"\xff\xd8")
    child: Any = darkroom._idle.get()
    darkroom._idle.put(child)
    os.kill(child._process.pid, signal.SIGKILL)
    child._process.wait()
    with pytest.raises(NoPicture):
        darkroom.make(_grey(), View())
    assert darkroom.make(_grey(), View()).startswith(b"\xff\xd8")
    assert darkroom.children_started == 2


def test_children_with_nothing_to_do_end_and_come_back_when_wanted() -> None:
    darkroom = Darkroom(children=2, idle_seconds=0.05)
    darkroom.make(_grey(), View())
    wait_until(lambda: not darkroom._children)
    assert darkroom.make(_grey(), View()).startswith(b"\xff\xd8")
    assert darkroom.children_started == 2
    darkroom.close()


def test_a_child_that_does_not_answer_in_time_is_ended(darkroom: Darkroom) -> None:
    darkroom.make(_grey(), View())
    child: Any = darkroom._idle.get()
    darkroom._idle.put(child)
    os.kill(child._process.pid, signal.SIGSTOP)
    darkroom._wall_seconds = 0.2
    with pytest.raises(NoPicture):
        darkroom.make(_grey(), View())
    wait_until(lambda: child._process.poll() is not None)
    darkroom._wall_seconds = 10.0
    assert darkroom.make(_grey(), View()).startswith(b"\xff\xd8")


def bomb() -> bytes:
    """A PNG-like trap in JPEG 2000: a head that promises 2 GiB of pixels."""
    whole = bytearray(imagecodecs.jpeg2k_encode(np.zeros((8, 8), np.uint16), codecformat="j2k"))
    at = whole.index(b"\xff\x51") + 6
    struct.pack_into(">II", whole, at, 32_000, 32_000)
    struct.pack_into(">II", whole, at + 16, 32_000, 32_000)
    return bytes(whole)


def test_a_frame_that_promises_more_than_there_is_memory_for_is_refused(darkroom: Darkroom) -> None:
    stored = Stored("1.2.840.10008.1.2.4.90", 32_000, 32_000)
    with pytest.raises(NoPicture):
        darkroom.make(Negative(bomb(), stored, Shades(), {}), View())
    huge = Stored("1.2.840.10008.1.2.1", 60_000, 60_000)
    with pytest.raises(NoPicture):
        darkroom.make(Negative(b"\0", huge, Shades(), {}), View())
    assert darkroom.make(_grey(), View()).startswith(b"\xff\xd8")


def test_a_child_writes_no_file_and_knows_no_secret(
    darkroom: Darkroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUREN_DATABASE_URL", "postgresql://secret")
    darkroom.make(_grey(), View())
    child: Any = darkroom._idle.get()
    darkroom._idle.put(child)
    proc = f"/proc/{child._process.pid}"
    assert b"secret" not in Path(f"{proc}/environ").read_bytes()
    lines = Path(f"{proc}/limits").read_text().splitlines()
    limits = {line[:26].strip(): line[26:].split()[0] for line in lines}
    assert limits["Max file size"] == "0"
    assert limits["Max address space"] == str(1 << 30)


def test_more_pictures_than_can_wait_are_refused(darkroom: Darkroom) -> None:
    async def ask() -> None:
        while darkroom._room.acquire(blocking=False):
            pass
        with pytest.raises(Unavailable):
            await darkroom.develop(_grey(), View())

    asyncio.run(ask())
