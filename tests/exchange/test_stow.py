"""STOW-RS: what is told as stored is in the spool byte by byte, and whatever is not whole, or not right, is not."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from sqlalchemy import select

from catalog.tables import AuditEvent
from dicom_node.pack import read_pack
from dicom_node.spool import Spool
from exchange.tokens import ROLES
from tests.exchange.conftest import Service
from tests.packs import CT, EXPLICIT, IMPLICIT, Sent, ct, element, encode
from tests.stowing import BOUNDARY, CLOSING, HEADERS, STUDIES, body_of, failed, part, part10, stored

STUDY = "2.25.9001"
DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """The spool of the `service` fixture."""
    return Spool(tmp_path / "spool", low_water_bytes=0)


def send(
    service: Service,
    body: bytes,
    path: str = STUDIES,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> httpx2.Response:
    return service.call(
        "POST",
        path,
        content=body,
        headers=HEADERS | (headers or {}),
        **{"role": "hospital_system", "hospital": "A"} | more,
    )


def kept(spool: Spool) -> dict[str, bytes]:
    """Every data set in the spool, by its UID; nothing may be open any more."""
    assert list((spool.root / "open").iterdir()) == []
    found = {}
    for pack in spool.sealed():
        content = pack.path.read_bytes()
        for member in read_pack(pack.path).members:
            at = member.dataset_offset
            assert content[member.offset : member.offset + 132] == bytes(128) + b"DICM"
            found[member.SOPInstanceUID] = content[at : at + member.dataset_size_bytes]
    return found


def test_what_is_told_as_stored_is_in_the_spool_byte_by_byte_as_by_c_store(
    service: Service, spool: Spool
) -> None:
    sent = [ct(STUDY, number, pixels=bytes([number]) * 600_001) for number in range(1, 4)]
    answer = send(service, body_of(map(part10, sent)))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert stored(answer) == [each.SOPInstanceUID for each in sent]
    assert failed(answer) == {}
    told = answer.json()
    root = f"{service.client.app.state.settings.public_url}{STUDIES}/{STUDY}"  # type: ignore[attr-defined]
    assert told["00081190"]["Value"] == [root]
    first = told["00081199"]["Value"][0]
    assert first["00081150"]["Value"] == [CT]
    assert first["00081190"]["Value"] == [f"{root}/series/{STUDY}.1/instances/{STUDY}.1.1"]
    assert kept(spool) == {each.SOPInstanceUID: each.data for each in sent}
    (pack,) = spool.sealed()
    index = read_pack(pack.path)
    assert (index.hospital, index.calling_ae, index.called_ae, index.ended) == (
        "A",
        "test hospital_system",
        "STOW",
        "released",
    )


def test_sending_again_is_stored_again_without_harm(service: Service, spool: Spool) -> None:
    body = body_of([part10(ct(STUDY, 1))])
    answers = [send(service, body, told=told) for told in (True, False)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert len(spool.sealed()) == 2


def test_storing_is_audited_once_an_hour_for_each_study_and_what_is_refused_is_not(service: Service) -> None:
    def records() -> list[tuple[str, Any]]:
        with service.city.catalogue.engine.connect() as connection:
            query = select(AuditEvent.caller, AuditEvent.detail).where(
                AuditEvent.action == "imaging_study.store"
            )
            return [(caller, detail) for caller, detail in connection.execute(query)]

    for number in range(1, 4):
        send(service, body_of([part10(ct(STUDY, number))]), told=number == 1)
    ((caller, detail),) = records()
    assert caller == "test hospital_system"
    assert detail == {"address": "testclient", "StudyInstanceUID": [STUDY]}
    send(service, body_of([part10(ct("2.25.9003", 1))]))
    send(service, body_of([part10(replace(ct("2.25.9004", 1), SOPClassUID="1.2"))]), told=False)
    assert len(records()) == 2


def test_a_study_in_the_address_takes_its_own_instances_and_no_others(service: Service, spool: Spool) -> None:
    own, other = ct(STUDY, 1), ct("2.25.9002", 1)
    answer = send(service, body_of([part10(own), part10(other)]), f"{STUDIES}/{STUDY}")
    assert answer.status_code == 202
    assert stored(answer) == [own.SOPInstanceUID]
    assert failed(answer) == {other.SOPInstanceUID: 0xA900}
    assert kept(spool) == {own.SOPInstanceUID: own.data}
    answer = send(service, body_of([part10(other)]), f"{STUDIES}/{STUDY}")
    assert (answer.status_code, failed(answer)) == (409, {other.SOPInstanceUID: 0xA900})
    assert "Value" not in answer.json()["00081190"]


def test_a_study_that_another_hospital_has_is_answered_as_one_that_nobody_has(service: Service) -> None:
    uid = service.city.study("B", 4)
    answers = [send(service, body_of([part10(ct(each, 1))])) for each in (uid, STUDY)]
    shown = [answer.text.replace(each, "") for answer, each in zip(answers, (uid, STUDY), strict=True)]
    assert shown[0] == shown[1]


def test_a_body_that_breaks_off_before_anything_was_whole_is_a_problem(
    service: Service, spool: Spool
) -> None:
    answer = send(service, body_of([part10(ct(STUDY, 1))])[:-200])
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_multipart")
    assert kept(spool) == {}


def refused_files() -> dict[str, tuple[bytes, str, int]]:
    """Files that are not stored: each with the UID it is known by, and why."""
    good = ct(STUDY, 2)
    uid = good.SOPInstanceUID

    def of(**changes: Any) -> bytes:
        return part10(replace(good, **changes))

    def without(*keywords: str) -> bytes:
        return part10(replace(good, data=ct(STUDY, 2, **dict.fromkeys(keywords, "")).data))

    return {
        "a class nobody stores": (of(SOPClassUID="1.2.840.10008.1.1"), uid, 0x0122),
        "an unknown transfer syntax": (of(TransferSyntaxUID="1.2.3.4"), uid, 0xC122),
        "MIME inside DICOM": (of(TransferSyntaxUID="1.2.840.10008.1.2.6.1"), uid, 0xC122),
        "no data set": (of(data=b""), uid, 0xC000),
        "noise": (of(data=bytes(range(256)) * 40), uid, 0xC000),
        "another instance inside": (of(SOPInstanceUID="2.25.5"), "2.25.5", 0xA900),
        "no study": (without("StudyInstanceUID"), uid, 0xC000),
        "no series": (without("SeriesInstanceUID"), uid, 0xC000),
        "a path for a study": (part10(replace(good, data=of_uids(study=b"../../etc"))), uid, 0xC000),
        "digits of another script": (
            part10(replace(good, data=of_uids(study="１２.３".encode()))),
            uid,
            0xC000,
        ),
        "a NUL in a study": (part10(replace(good, data=of_uids(study=b"1.2\x003.4"))), uid, 0xC000),
        "a path for an instance": (named_by(good, b"../../x."), "", 0x0117),
        "a NUL in an instance": (named_by(good, b"1.2\x00.3.4 "), "", 0x0117),
        "another script in an instance": (named_by(good, "１.２.".encode()), "", 0xC000),
        "an endless instance": (named_by(good, b"1" * 66), "", 0x0117),
        "a path for a class": (
            part10(good).replace(CT.encode() + b"\0", b"../../../../etc/passwd".ljust(26)),
            "",
            0x0122,
        ),
        "no file": (b"GIF89a" + bytes(3000), "", 0xC000),
        "an empty file": (b"", "", 0xC000),
        "half a meta group": (part10(good)[:170], "", 0xC000),
        "an endless meta group": (
            part10(good)[:144] + b"\2\0\2\1OB\0\0\xff\xff\xff\x7f" + bytes(200_000),
            "",
            0xC000,
        ),
    }


def of_uids(study: bytes) -> bytes:
    """A data set with a study of any bytes."""
    uids = (
        (0x00080016, CT.encode()),
        (0x00080018, f"{STUDY}.1.2".encode()),
        (0x0020000D, study),
        (0x0020000E, b"1.2"),
    )
    return b"".join(element(tag, b"UI", uid + b"\0" * (len(uid) % 2)) for tag, uid in uids)


def named_by(sent: Sent, uid: bytes) -> bytes:
    """A file whose meta group names the instance by any bytes."""
    whole = part10(sent)
    old = element(0x00020003, b"UI", sent.SOPInstanceUID.encode() + b"\0" * (len(sent.SOPInstanceUID) % 2))
    assert whole.count(old) == 1
    return whole.replace(old, element(0x00020003, b"UI", uid))


@pytest.mark.parametrize("what", refused_files())
def test_a_file_that_is_not_right_is_refused_by_its_reason_and_the_others_are_stored(
    what: str, service: Service, spool: Spool
) -> None:
    content, uid, reason = refused_files()[what]
    good = [ct(STUDY, 1), ct(STUDY, 3)]
    answer = send(service, body_of([part10(good[0]), content, part10(good[1])]))
    assert answer.status_code == 202
    assert stored(answer) == [each.SOPInstanceUID for each in good]
    assert failed(answer) == {uid: reason}
    assert kept(spool) == {each.SOPInstanceUID: each.data for each in good}
    assert "../" not in answer.text
    alone = send(service, body_of([content]))
    assert (alone.status_code, failed(alone)) == (409, {uid: reason})


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: application/dicom+json\r\n",
        b"Content-Type: multipart/mixed; boundary=inner\r\n",
        b"Content-Type: application/dicom\r\nContent-Transfer-Encoding: base64\r\n",
        b"Content-Type: application/dicom\r\nContent-Encoding: gzip\r\n",
    ],
)
def test_a_part_that_is_no_plain_file_is_refused_whatever_is_in_it(
    head: bytes, service: Service, spool: Spool
) -> None:
    good, other = ct(STUDY, 1), ct(STUDY, 2)
    answer = send(service, part(part10(good)) + part(part10(other), head) + CLOSING)
    assert (answer.status_code, stored(answer), failed(answer)) == (202, [good.SOPInstanceUID], {"": 0xC000})
    assert list(kept(spool)) == [good.SOPInstanceUID]


def deflated(sent: Sent, wbits: int = -15) -> Sent:
    packer = zlib.compressobj(wbits=wbits)
    return replace(sent, TransferSyntaxUID=DEFLATED, data=packer.compress(sent.data) + packer.flush())


def nested() -> bytes:
    """Sequences of every kind before the study: with and without lengths, unknown ones, one within another."""
    uid = element(0x0020000D, b"UI", b"9.9.9\0")
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(uid)) + uid
    end_item, end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    open_item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)

    def undefined(tag: int, vr: bytes, inside: bytes) -> bytes:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, 0xFFFFFFFF) + inside + end

    implicit = struct.pack("<HHI", 0x0020, 0x000D, 6) + b"8.8.8\0"
    twice = undefined(0x00081115, b"SQ", open_item + undefined(0x00081199, b"SQ", item) + end_item)
    return (
        element(0x00081140, b"SQ", item)
        + twice
        + undefined(0x00091010, b"UN", open_item + implicit + end_item)
        + element(0x00091011, b"UN", bytes(300_000))
    )


def with_nested(sent: Sent) -> Sent:
    at = sent.data.index(struct.pack("<HH", 0x0010, 0x0010))
    return replace(sent, data=sent.data[:at] + nested() + sent.data[at:])


def implicit(sent: Sent) -> Sent:
    dataset = read_dataset(DicomBytesIO(sent.data), is_implicit_VR=False, is_little_endian=True)
    return replace(sent, TransferSyntaxUID=IMPLICIT, data=encode(dataset, IMPLICIT))


@pytest.mark.parametrize(
    "sent",
    [
        implicit(ct(STUDY, 1)),
        replace(implicit(ct(STUDY, 1)), TransferSyntaxUID=EXPLICIT),  # some write the other one than they say
        replace(ct(STUDY, 1), TransferSyntaxUID=IMPLICIT),
        deflated(ct(STUDY, 1)),
        deflated(ct(STUDY, 1), 15),
        with_nested(ct(STUDY, 1)),
        deflated(with_nested(ct(STUDY, 1))),
        replace(ct(STUDY, 1), data=ct(STUDY, 1).data + b"\1"),  # of odd length: nothing is added
    ],
    ids=[
        "implicit",
        "implicit as explicit",
        "explicit as implicit",
        "deflated",
        "zlib",
        "nested",
        "both",
        "odd",
    ],
)
def test_the_study_is_found_however_the_data_set_is_written(
    sent: Sent, service: Service, spool: Spool
) -> None:
    answer = send(service, body_of([part10(sent)]), f"{STUDIES}/{STUDY}")
    assert (answer.status_code, stored(answer)) == (200, [sent.SOPInstanceUID])
    assert kept(spool) == {sent.SOPInstanceUID: sent.data}
    answer = send(service, body_of([part10(sent)]), f"{STUDIES}/9.9.9")
    assert failed(answer) == {sent.SOPInstanceUID: 0xA900}


@pytest.mark.parametrize("cut", [1, 20, len(CLOSING), len(CLOSING) + 50])
def test_without_the_closing_boundary_what_was_whole_before_stays_and_is_told(
    cut: int, service: Service, spool: Spool
) -> None:
    sent = [ct(STUDY, number) for number in (1, 2)]
    whole = body_of(map(part10, sent)).rstrip()
    answer = send(service, whole[: -min(cut, len(whole))] if cut > 1 else whole[:-1])
    is_second_whole = cut <= 2
    assert answer.status_code == 202
    assert stored(answer) == [each.SOPInstanceUID for each in sent[: 2 if is_second_whole else 1]]
    assert failed(answer)[""] == 0xC000
    assert kept(spool) == {uid: each.data for each in sent if (uid := each.SOPInstanceUID) in stored(answer)}
    assert {read_pack(pack.path).ended for pack in spool.sealed()} == {"broken"}


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"", 400),
        ({}, CLOSING, 400),
        ({}, b"nothing like it", 400),
        ({}, part(b"x").replace(BOUNDARY.encode(), b"4712"), 400),
        ({}, b"x" * 70_000, 400),
        ({"Content-Type": "multipart/related; type=application/dicom"}, b"x", 400),
        ({"Content-Type": f"multipart/related; type=application/dicom; boundary={'a' * 71}"}, b"x", 400),
        ({"Content-Type": "application/dicom"}, b"x", 415),
        ({"Content-Type": "application/json"}, b"{}", 415),
        ({"Content-Type": 'multipart/related; type="application/dicom+json"; boundary=x'}, b"x", 415),
        ({"Content-Encoding": "gzip"}, b"x", 415),
        ({"Accept": "application/dicom+xml"}, b"x", 406),
        ({"Accept": "text/html"}, b"x", 406),
    ],
)
def test_what_cannot_be_read_is_a_problem_of_its_kind(
    headers: dict[str, str], body: bytes, status: int, service: Service, spool: Spool
) -> None:
    answer = send(service, body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert kept(spool) == {}


@pytest.mark.parametrize("study", ["..%2F..%2Fetc", "1.2%00", "１.２", "1" * 65, "1.2/series"])
def test_an_address_that_names_no_study_is_refused(study: str, service: Service, spool: Spool) -> None:
    answer = send(service, body_of([part10(ct(STUDY, 1))]), f"{STUDIES}/{study}")
    assert answer.status_code in (404, 405, 422)
    assert kept(spool) == {}


def test_only_a_hospitals_system_with_the_scope_stores(service: Service, spool: Spool) -> None:
    body = body_of([part10(ct(STUDY, 1))])
    assert send(service, body, role="").status_code == 401
    for role in set(ROLES) - {"hospital_system"}:
        assert send(service, body, role=role).status_code == 403
    for scopes, status in ((("images.read", "reports.write"), 403), (("images.write",), 200)):
        token = service.key.issue(
            subject="pacs", role="hospital_system", hospital="A", lifetime=service.hour, scopes=scopes
        )
        answer = service.client.post(
            STUDIES, content=body, headers=HEADERS | {"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == status, answer.text
    assert send(service, body, hospital="nowhere").status_code == 404
    assert len(spool.sealed()) == 1


@given(
    at=st.integers(0, 10**6),
    size=st.integers(0, 900),
    instead=st.binary(max_size=40)
    | st.sampled_from([CLOSING, CLOSING[:-4] + b"\r\n\r\n", b"\r\n\r\n", b"DICM"]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_whatever_happens_to_a_body_what_is_told_as_stored_is_kept_and_is_a_whole_part(
    at: int, size: int, instead: bytes, service: Service, spool: Spool
) -> None:
    for pack in spool.sealed():
        pack.path.unlink()
    body = body_of(part10(ct(STUDY, number)) for number in (1, 2, 3))
    at %= len(body)
    spoiled = body[:at] + instead + body[at + size :]
    answer = send(service, spoiled, told=False)
    assert answer.status_code in (200, 202, 400, 409)
    told = stored(answer) if answer.status_code < 300 else []
    found = [
        (member.SOPInstanceUID, pack.path.read_bytes()[member.dataset_offset :][: member.dataset_size_bytes])
        for pack in spool.sealed()
        for member in read_pack(pack.path).members
    ]
    assert [uid for uid, _ in found] == told
    for _, dataset in found:  # from its file meta information to the next boundary
        assert dataset + f"\r\n--{BOUNDARY}".encode() in spoiled
    assert list((spool.root / "open").iterdir()) == []
