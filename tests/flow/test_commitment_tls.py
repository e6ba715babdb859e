"""Commitment reports over TLS where the peer listens so, what is counted of them, and what a plain one would not do."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from catalog import registry
from catalog.certificates import Certificate
from catalog.db import transaction
from dicom_node.commitment_report import CommitmentSettings
from dicom_node.settings import NodeSettings
from dicom_node.tls import OutboundTls
from tests.certificates import Authority, Credentials
from tests.flow.commitment_site import FAST, Report, Site, references, series
from tests.flow.running import until

pytestmark = pytest.mark.flow

ENDS = datetime(2040, 1, 1, tzinfo=UTC)
ONCE = CommitmentSettings(tries=1, head_start_seconds=0, answer_seconds=3)


@pytest.fixture
def authority(tmp_path: Path, site: Site) -> Authority:
    """Sign for both sides; the site has its own certificate from it."""
    authority = Authority(tmp_path / "ca")
    ours = authority.issue("ours")
    settings = {
        "tls_certificate": ours.certificate,
        "tls_key": ours.key,
        "tls_authorities": authority.certificate,
    }
    site.tls = OutboundTls(NodeSettings(**settings))
    return authority


def listener(authority: Authority, credentials: Credentials) -> ssl.SSLContext:
    """A listener's context: it shows these credentials and demands ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(credentials.certificate, credentials.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def bind(site: Site, *certificates: Credentials) -> None:
    with transaction(site.engine) as session:
        hospital = registry.hospital_by_code(session, "H-A")
        registry.set_certificates(
            session, hospital, "H-A_PACS", [Certificate(c.fingerprint, ENDS) for c in certificates]
        )


def told_once(
    site: Site, context: ssl.SSLContext, *bound: Credentials, host: str = "127.0.0.1"
) -> list[Report]:
    """Ask, decide and report once to a listener over TLS; gives what arrived."""
    sent = site.keep(series("2.25.100"))
    with site.modality.listening(tls=context) as port:
        site.listens_at(port, tls=True, host=host)
        assert site.modality.ask(references(sent), "2.25.77", wait=False) == 0x0000
        bind(site, *bound)
        committer = site.committer(ONCE)
        assert committer.decide_one()
        assert committer.report_one()
    return site.modality.on_listener


def test_a_listener_with_tls_is_told_over_tls(site: Site, authority: Authority) -> None:
    sent = site.keep(series("2.25.100"))
    with site.modality.listening(tls=listener(authority, authority.issue("device"))) as port:
        site.listens_at(port, tls=True)
        assert site.modality.ask(references(sent), "2.25.77", wait=False) == 0x0000
        with site.committing(FAST):
            until(lambda: site.states() == ["reported"], 20)
    assert site.modality.on_listener == [Report(1, "2.25.77", references(sent), [])]


def test_with_registered_certificates_only_one_of_them_is_told(site: Site, authority: Authority) -> None:
    device, other = authority.issue("device"), authority.issue("other")
    assert told_once(site, listener(authority, device), other) == []
    assert site.states() == ["given_up"]


def test_the_registered_certificate_is_proof_whatever_name_it_bears(site: Site, authority: Authority) -> None:
    device = authority.issue("device")
    assert len(told_once(site, listener(authority, device), device, host="localhost")) == 1


def test_without_registered_certificates_it_must_bear_the_listeners_name(
    site: Site, authority: Authority
) -> None:
    """Certificates of the tests bear the address 127.0.0.1 and no name."""
    assert told_once(site, listener(authority, authority.issue("device")), host="localhost") == []


def test_a_listener_of_another_authority_is_told_nothing(
    site: Site, authority: Authority, tmp_path: Path
) -> None:
    foreign = Authority(tmp_path / "foreign", "stranger").issue("device")
    assert told_once(site, listener(authority, foreign)) == []


def test_a_listener_with_tls_is_never_told_in_plain_text(site: Site) -> None:
    sent = site.keep(series("2.25.100"))
    with site.modality.listening() as port:
        site.listens_at(port, tls=True)
        site.modality.ask(references(sent), wait=False)
        committer = site.committer(ONCE)
        assert committer.decide_one()
        assert committer.report_one()
    assert site.modality.on_listener == []


def test_what_becomes_of_commitments_is_counted(site: Site, authority: Authority) -> None:
    told_once(site, listener(authority, authority.issue("device")))
    site.modality.ask([("1.2.840.10008.5.1.4.1.1.2", "2.25.404")], wait=False)
    committer = site.committer(CommitmentSettings(tries=2, head_start_seconds=0, patience_seconds=0))
    assert committer.decide_one()
    for _ in range(2):
        site.change(next_attempt_at=text("now()"))
        assert committer.report_one()
    assert site.counters.snapshot()["commitments"] == {
        "answered": 1,
        "answered_with_failures": 1,
        "reported": 1,
        "not_taken": 1,
        "given_up": 1,
    }
