"""Reports of storage commitment that cannot be given at once: instances on their way, listeners that are down."""

import threading
from pathlib import Path

import psycopg
import pytest
from pynetdicom import AE
from sqlalchemy import select, text, update

from catalog.db import transaction
from catalog.tables import Pack
from dicom_node.commitment_report import CommitmentSettings
from tests.faults.s3_proxy import Fault
from tests.flow.commitment_site import (
    IMPATIENT,
    Modality,
    Report,
    Site,
    references,
    series,
)
from tests.flow.running import Running, huren, make_instance, until
from tests.packs import CT, receive

pytestmark = pytest.mark.flow

# --- what is on its way --------------------------------------------------------------------------------


def test_what_was_acknowledged_just_now_is_committed_to_once_it_is_archived(
    site: Site, tmp_path: Path
) -> None:
    one = make_instance(tmp_path / "one.dcm")
    with site.modality.listening() as port, site.committing():
        site.listens_at(port)
        site.modality.ask([(CT, one.SOPInstanceUID)], wait=False, store=[one])
        until(lambda: site.rows()[0].attempts >= 2, 10)
        assert site.states() == ["queued"]
        assert site.shipper.ship_once() == 1  # the open pack was sealed for it
        until(lambda: site.modality.on_listener, 10)
    assert site.modality.on_listener[0].committed == [(CT, one.SOPInstanceUID)]


def test_who_stores_and_asks_on_one_association_need_not_end_it_to_be_answered(
    site: Site, tmp_path: Path
) -> None:
    one = make_instance(tmp_path / "one.dcm")
    stop = threading.Event()
    shipping = threading.Thread(target=site.shipper.run, args=(stop,))
    shipping.start()
    try:
        with site.modality.listening() as port, site.committing():
            site.listens_at(port)
            site.modality.ask([(CT, one.SOPInstanceUID)], store=[one])
    finally:
        stop.set()
        shipping.join(30)
    (report,) = site.modality.reports + site.modality.on_listener
    assert report.committed == [(CT, one.SOPInstanceUID)]


def test_what_waits_for_the_store_is_not_failed_although_patience_is_over(site: Site) -> None:
    sent = series("2.25.100")
    receive(site.spool, sent, hospital="H-A", calling_ae="H-A_PACS")
    site.modality.ask(references(sent), wait=False)
    committer = site.committer(IMPATIENT)
    assert committer.decide_one()
    assert site.states() == ["queued"]
    site.shipper.ship_once()
    site.change(next_attempt_at=text("now()"))
    assert committer.decide_one()
    assert (site.states(), site.rows()[0].failed) == (["answered"], [])


def test_while_the_store_is_down_a_request_stays_queued(site: Site) -> None:
    sent = site.keep(series("2.25.100"))
    site.modality.ask(references(sent), wait=False)
    site.proxy.fault = Fault("refuse")
    committer = site.committer(IMPATIENT)
    assert committer.decide_one()
    assert site.states() == ["queued"]
    site.proxy.fault = None
    site.change(next_attempt_at=text("now()"))
    assert committer.decide_one()
    assert (site.states(), site.rows()[0].failed) == (["answered"], [])


def test_a_pack_from_before_the_index_is_found_and_indexed(site: Site) -> None:
    sent = site.keep(series("2.25.100"))
    with transaction(site.engine) as session:
        filled = session.scalars(select(Pack.instance_hashes)).one()
        session.execute(update(Pack).values(instance_hashes=None))
    with site.committing():
        site.modality.ask(references(sent))
    assert site.modality.reports[0].committed == references(sent)
    with transaction(site.engine) as session:
        assert session.scalars(select(Pack.instance_hashes)).one() == filled


# --- on an association of ours -------------------------------------------------------------------------


def test_a_listener_that_is_down_gets_the_report_when_it_is_up_again(site: Site) -> None:
    sent = site.keep(series("2.25.100"))
    with site.modality.listening() as port:
        site.listens_at(port)
    site.modality.ask(references(sent), "2.25.78", wait=False)
    with site.committing():
        until(lambda: site.states() == ["answered"] and site.rows()[0].attempts >= 2, 10)
        with site.modality.listening(port):
            until(lambda: site.modality.on_listener, 10)
            until(lambda: site.states() == ["reported"], 5)
    assert site.modality.on_listener == [Report(1, "2.25.78", references(sent), [])]


def test_a_listener_that_refuses_the_report_is_asked_again_and_then_no_more(site: Site) -> None:
    sent = site.keep(series("2.25.100"))
    site.modality.answer = 0x0110
    with site.modality.listening() as port:
        site.listens_at(port)
        site.modality.ask(references(sent), wait=False)
        committer = site.committer(CommitmentSettings(tries=2, head_start_seconds=0))
        assert committer.decide_one()
        assert committer.report_one()
        assert site.states() == ["answered"]
        site.change(next_attempt_at=text("now()"))
        assert committer.report_one()
    assert site.states() == ["given_up"]
    assert len(site.modality.on_listener) == 2


def test_the_same_transaction_twice_is_one_row_and_answered_again(site: Site) -> None:
    sent = site.keep(series("2.25.100"))
    with site.committing():
        for _ in range(2):
            assert site.modality.ask(references(sent), "2.25.79") == 0x0000
        until(lambda: site.states() == ["reported"], 5)
    assert site.modality.reports == [Report(1, "2.25.79", references(sent), [])] * 2


def test_a_transaction_uid_used_for_other_instances_is_refused(site: Site) -> None:
    assert site.modality.ask([(CT, "2.25.1")], "2.25.80", wait=False) == 0x0000
    assert site.modality.ask([(CT, "2.25.2")], "2.25.80", wait=False) == 0x0115
    assert [row.referenced for row in site.rows()] == [[[CT, "2.25.1"]]]


# --- the whole house -----------------------------------------------------------------------------------


def test_the_command_line_registers_a_listener_and_the_running_house_reports_to_it(
    exchange: Running, folder: Path
) -> None:
    one = make_instance(folder / "one.dcm")
    modality = Modality(exchange.dicom_port, "A_PACS")
    with modality.listening() as port:
        exchange.run("hospital", "ae", "A", "A_PACS", "--host", "127.0.0.1", "--port", str(port))
        exchange.run("send", folder, "--to", f"127.0.0.1:{exchange.dicom_port}", "--calling", "A_PACS")
        assert modality.ask([(CT, one.SOPInstanceUID)], "2.25.81") == 0x0000
    assert modality.reports + modality.on_listener == [Report(1, "2.25.81", [(CT, one.SOPInstanceUID)], [])]
    counted = ("asked", "answered", "reported")
    lines = [f'dicom_commitments_total{{label="{label}"}} 1' for label in counted]
    until(lambda: all(line in exchange.call("GET", "/metrics", "").text for line in lines), 10)


def test_who_is_refused_stands_in_the_audit_of_the_running_house(exchange: Running) -> None:
    for called in ("HUREN", "OTHER"):
        scu = AE("GUESSER")
        scu.add_requested_context(CT)
        association = scu.associate("127.0.0.1", exchange.dicom_port, ae_title=called)
        assert association.is_rejected
    url = exchange.run("env").stdout.split("HUREN_DATABASE_URL=")[1].splitlines()[0].strip("'")
    query = (
        "select role, detail->>'address', detail->>'reason', (detail->>'count')::int from audit_event"
        " where action = 'association_refused' and detail->>'calling_ae' = 'GUESSER'"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        until(lambda: sum(row[3] for row in connection.execute(query)) == 2, 15)
        assert {row[:3] for row in connection.execute(query)} == {
            ("system", "127.0.0.1", "calling_ae_unknown")
        }


@pytest.mark.parametrize(
    "where", [("--port", "104"), ("--host", "pacs", "--port", "70000"), ("--host", "a b")]
)
def test_a_listening_address_that_is_none_is_refused(exchange: Running, where: tuple[str, ...]) -> None:
    done = huren("hospital", "ae", "A", "A_PACS", *where, "--data-dir", exchange.data_dir)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
