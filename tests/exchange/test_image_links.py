"""Links to images: what they open, in whose name, and everything that ends them."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from catalog import accounts, image_grants, revocations, sessions
from catalog.context import EVERY_SCOPE, Caller
from catalog.db import transaction
from catalog.errors import NotFound
from catalog.tables import AuditEvent
from catalog.tables_access import Account, AccountSession
from tests.exchange.image_site import FIRST, UID, Site, parts_of, site

SECOND = "2.25.7002"
FRAMES = {"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"}
PATHS = ("", "/series", "/metadata", f"/series/{UID}.1/metadata", f"/series/{UID}.1/instances/{UID}.1.1")

__all__ = ["site"]


def link(site: Site, *studies: str) -> dict[str, Any]:
    """Have B's doctor make a link."""
    body = {"StudyInstanceUIDs": list(studies) or [UID]}
    answer = site.service.call("POST", "/v1/image-grants", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def by_link(site: Site, secret: str, path: str, **headers: str) -> Any:
    """Fetch by a link, with no token."""
    site.service.client.app.state.image_links.forget()
    site.service.client.app.state.images.forget()
    return site.service.client.get(f"/dicom-web/g/{secret}{path}", headers=headers)


def test_a_link_opens_without_a_token_what_its_maker_may_see_and_addresses_lead_through_it(
    site: Site,
) -> None:
    site.open()
    made = link(site)
    secret = made["grant"]
    assert made["dicom_web"].endswith(f"/dicom-web/g/{secret}")
    assert made["quick_look"].endswith(f"/look/g/{secret}/studies/{UID}")
    assert made["viewer"].endswith(f"/viewer/basic?grant={secret}&StudyInstanceUIDs={UID}")
    for path in PATHS:
        assert by_link(site, secret, f"/studies/{UID}{path}").status_code == 200, path
    metadata = by_link(site, secret, f"/studies/{UID}/metadata")
    assert f"/dicom-web/g/{secret}/studies/{UID}" in metadata.text
    assert metadata.text.count("BulkDataURI") == metadata.text.count(f"/dicom-web/g/{secret}/")
    frames = by_link(site, secret, FIRST.removeprefix("/dicom-web") + "/frames/1", **FRAMES)
    assert parts_of(frames)[0][1] == parts_of(site.get(f"{FIRST}/frames/1", headers=FRAMES))[0][1]


def test_a_link_reaches_images_and_nothing_else(site: Site) -> None:
    site.open()
    secret = link(site)["grant"]
    for path in ("/v1/session", "/../v1/session", "/%2e%2e/v1/session", "/g/x/studies", ""):
        assert by_link(site, secret, path).status_code in (401, 404), path
    client = site.service.client
    assert client.get(f"/v1/g/{secret}/session").status_code == 404
    assert client.post(f"/dicom-web/g/{secret}/studies/{UID}").status_code == 403
    # what else a request brings does not count beside the link
    regulator = {"Authorization": f"Bearer {site.service.token('regulator')}"}
    assert by_link(site, secret, f"/studies/{UID}/series", **regulator).status_code == 200
    assert by_link(site, "x" * 43, f"/studies/{UID}/series", **regulator).status_code == 401


def test_a_link_is_for_one_patient_however_many_its_maker_may_see(site: Site) -> None:
    site.images.city.link(Caller("his.A", "hospital_system", "A"), "A-4", 4)
    site.images.chest("A", 4, SECOND, PatientName="Wang^Wu=王^五", PatientBirthDate="19800517")
    site.open(2)
    site.open(4)
    assert site.get(f"/dicom-web/studies/{SECOND}/series").status_code == 200
    secret = link(site)["grant"]
    assert by_link(site, secret, f"/studies/{SECOND}/series").status_code == 404
    assert by_link(site, secret, f"/studies?StudyInstanceUID={SECOND}").json() == []
    (found,) = by_link(site, secret, f"/studies?StudyInstanceUID={UID}").json()
    number = found["00100020"]["Value"][0]
    assert [
        row["0020000D"]["Value"][0] for row in by_link(site, secret, f"/studies?PatientID={number}").json()
    ] == [UID]
    body = {"StudyInstanceUIDs": [UID, SECOND]}
    assert site.service.call("POST", "/v1/image-grants", json=body).status_code == 404


def test_a_link_needs_a_check_to_be_made_and_at_each_use(site: Site) -> None:
    body = {"StudyInstanceUIDs": [UID]}
    assert site.service.call("POST", "/v1/image-grants", json=body).status_code == 404
    site.open()
    secret = link(site)["grant"]
    site.images.city.now += timedelta(hours=25)  # the check has expired, and the link with it
    assert by_link(site, secret, f"/studies/{UID}/series").status_code == 401


def test_a_link_ends_by_itself_when_told_to_and_for_nobody_else(site: Site) -> None:
    site.open()
    first, second = link(site), link(site)
    end = f"/v1/image-grants/{first['grant_id']}/end"
    assert site.service.call("POST", end, hospital="A").status_code == 404
    assert by_link(site, first["grant"], f"/studies/{UID}/series").status_code == 200
    told = site.service.call("POST", end).json()
    assert site.service.call("POST", end).json() == told
    assert by_link(site, first["grant"], f"/studies/{UID}/series").status_code == 401
    assert by_link(site, second["grant"], f"/studies/{UID}/series").status_code == 200
    site.images.city.now += timedelta(minutes=29, seconds=59)
    assert by_link(site, second["grant"], f"/studies/{UID}/series").status_code == 200
    site.images.city.now += timedelta(seconds=1)
    assert by_link(site, second["grant"], f"/studies/{UID}/series").status_code == 401


def test_a_link_ends_with_its_makers_session_account_or_admission(site: Site) -> None:
    city = site.images.city
    site.open()
    operator = Caller("op", "operator")
    accounts.add(city.catalogue, operator, "dr.chen", "doctor", "B")
    with transaction(city.catalogue.engine) as session:
        account_id = session.scalars(select(Account.id).where(Account.name == "dr.chen")).one()

    def sign_in(cookie: str) -> Caller:
        with transaction(city.catalogue.engine) as session:
            now = city.now
            session.add(
                AccountSession(
                    digest=sessions.digest_of(cookie),
                    account_id=account_id,
                    seen_at=now,
                    expires_at=now + timedelta(hours=1),
                )
            )
        return Caller("dr.chen", "doctor", "B", frozenset({EVERY_SCOPE}), account_id=account_id)

    def opened(cookie: str) -> str:
        caller = sign_in(cookie)
        return image_grants.open_link(
            city.catalogue, caller, [UID], timedelta(minutes=5), lambda *_: None, cookie=cookie
        ).secret

    def works(secret: str) -> bool:
        return by_link(site, secret, f"/studies/{UID}/series").status_code == 200

    first, second = opened("one"), opened("two")
    assert works(first)
    assert works(second)
    sessions.end(city.catalogue, sign_in("three"), "one")
    assert not works(first)
    assert works(second)
    for change, back in (({"role": "regulator"}, {"role": "doctor"}), ({"active": False}, {"active": True})):
        with transaction(city.catalogue.engine) as session:
            session.execute(update(Account).where(Account.id == account_id).values(change))
        assert not works(second), change
        with transaction(city.catalogue.engine) as session:
            session.execute(update(Account).where(Account.id == account_id).values(back))
        assert works(second), back
    revocations.block(city.catalogue, operator, "dr.chen", "已离职")
    site.service.client.app.state.gate._revocations.read()
    assert not works(second)


def test_making_a_link_is_audited_with_what_it_was_made_for_and_never_with_its_secret(site: Site) -> None:
    site.open()
    made = link(site)
    by_link(site, made["grant"], f"/studies/{UID}/series")
    by_link(site, made["grant"], f"/studies/{UID}/metadata")
    with transaction(site.images.city.catalogue.engine) as session:
        rows = session.scalars(select(AuditEvent).order_by(AuditEvent.id)).all()
        told = [(row.action, row.caller) for row in rows if row.action.startswith("im")]
        assert told == [("image_grant.add", "test doctor"), ("imaging_study.read", "test doctor")]
        assert not any(made["grant"] in str(row.detail) for row in rows)


def test_a_link_to_nothing_cannot_be_made(site: Site) -> None:
    site.open()
    for uids in ([], ["../x"], ["2.25.1"] * 9, ["1" * 65]):
        assert (
            site.service.call("POST", "/v1/image-grants", json={"StudyInstanceUIDs": uids}).status_code == 422
        )
    with pytest.raises(NotFound):
        image_grants.open_link(
            site.images.city.catalogue,
            Caller("dr.B", "doctor", "B"),
            ["2.25.404"],
            timedelta(minutes=1),
            lambda *_: None,
        )
