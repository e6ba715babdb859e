"""Storage commitment as a modality asks for it: answered from catalogue and store, never from hope (PS3.4 Annex J)."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, StorageCommitmentPushModel
from sqlalchemy import Engine, select, text, update

from catalog import registry
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.embedded import Embedded
from catalog.objects import ObjectStore
from catalog.tables import Commitment, Pack
from dicom_node.acceptor import serve
from dicom_node.commitment_answer import Examiner
from dicom_node.commitment_report import CommitmentSettings, Committer
from dicom_node.peers import Peer, PeerDirectory
from dicom_node.registry import look_up_peer
from dicom_node.settings import NodeSettings
from dicom_node.ship import Shipper, ShipSettings
from dicom_node.spool import Spool
from tests.city import City, open_catalogue
from tests.faults.s3_proxy import Fault, S3Proxy, open_proxy
from tests.flow.running import Running, huren, make_instance, until
from tests.packs import CT, Sent, ct, receive

pytestmark = pytest.mark.flow

INSTANCE = "1.2.840.10008.1.20.1.1"
NOW = datetime(2025, 1, 3, 4, 0, tzinfo=UTC)
FAST = CommitmentSettings(
    patience_seconds=600,
    head_start_seconds=1.5,
    poll_seconds=0.02,
    first_look_again_seconds=0.05,
    longest_look_again_seconds=0.2,
    first_report_again_seconds=0.05,
    longest_report_again_seconds=0.2,
    answer_seconds=5,
)
IMPATIENT = CommitmentSettings(patience_seconds=0, poll_seconds=0.02, first_report_again_seconds=0.05)


@dataclass
class Report:
    """An N-EVENT-REPORT as it arrived."""

    event_type: int
    TransactionUID: str
    committed: list[tuple[str, str]]
    failed: list[tuple[str, str, int]]


@dataclass
class Modality:
    """Hospital H-A's device: asks on associations of its own, and may listen for reports."""

    node_port: int
    ae_title: str = "H-A_PACS"
    reports: list[Report] = field(default_factory=list)
    on_listener: list[Report] = field(default_factory=list)
    answer: int = 0x0000

    def ask(
        self,
        references: Sequence[tuple[str, str]],
        transaction_uid: str = "",
        *,
        wait: bool = True,
        dataset: Dataset | None = None,
        syntax: str = ExplicitVRLittleEndian,
        store: Sequence[Dataset] = (),
        action_type: int = 1,
        instance: str = INSTANCE,
    ) -> int:
        """Send an N-ACTION, after any C-STOREs; stays on the association until a report comes. Gives the status."""
        ae = AE(ae_title=self.ae_title)
        ae.add_requested_context(StorageCommitmentPushModel, syntax)
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        known = len(self.reports + self.on_listener)
        association = ae.associate(
            "127.0.0.1",
            self.node_port,
            ae_title="HUREN",
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take, [self.reports])],
        )
        assert association.is_established
        try:
            for one in store:
                assert association.send_c_store(one).Status == 0x0000
            asked = dataset if dataset is not None else request(references, transaction_uid)
            status = association.send_n_action(asked, action_type, StorageCommitmentPushModel, instance)[0]
            if wait:
                until(lambda: len(self.reports + self.on_listener) > known, 20)
        finally:
            association.release()
        return int(status.Status)

    @contextmanager
    def listening(self, port: int = 0) -> Iterator[int]:
        """Take reports on a port; a free one unless told."""
        ae = AE(ae_title=self.ae_title)
        ae.add_supported_context(
            StorageCommitmentPushModel,
            [ExplicitVRLittleEndian, ImplicitVRLittleEndian],
            scu_role=False,
            scp_role=True,
        )
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take, [self.on_listener])]
        server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()

    def _take(self, event: Any, into: list[Report]) -> tuple[int, None]:
        told = event.event_information
        into.append(
            Report(
                event.event_type,
                told.TransactionUID,
                [pair(item) for item in told.get("ReferencedSOPSequence", [])],
                [(*pair(item), item.FailureReason) for item in told.get("FailedSOPSequence", [])],
            )
        )
        return self.answer, None


def pair(item: Dataset) -> tuple[str, str]:
    return item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID


def request(references: Sequence[tuple[str, str]], transaction_uid: str = "") -> Dataset:
    """The action information of a request."""
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid or generate_uid()
    dataset.ReferencedSOPSequence = []
    for SOPClassUID, SOPInstanceUID in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SOPClassUID, SOPInstanceUID
        dataset.ReferencedSOPSequence.append(item)
    return dataset


def references(sent: Sequence[Sent]) -> list[tuple[str, str]]:
    return [(CT, one.SOPInstanceUID) for one in sent]


@dataclass
class Site:
    """A node, a shipper and a committer in this process, each on the real stores."""

    node_port: int
    spool: Spool
    store: ObjectStore
    proxy: S3Proxy
    catalogue: Catalogue
    shipper: Shipper
    modality: Modality

    @property
    def engine(self) -> Engine:
        return self.catalogue.engine

    def committer(self, settings: CommitmentSettings = FAST) -> Committer:
        examiner = Examiner(self.engine, self.store)
        return Committer(self.engine, examiner, "HUREN", lambda: self.shipper.backlog()[2], settings)

    @contextmanager
    def committing(self, settings: CommitmentSettings = FAST) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self.committer(settings).run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(30)

    def keep(self, sent: Sequence[Sent]) -> list[Sent]:
        """Have instances received and archived."""
        receive(self.spool, sent, hospital="H-A", calling_ae="H-A_PACS")
        assert self.shipper.ship_once() == 1
        return list(sent)

    def listens_at(self, port: int) -> None:
        with transaction(self.engine) as session:
            hospital = registry.hospital_by_code(session, "H-A")
            registry.add_peer(session, hospital, "H-A_PACS", host="127.0.0.1", port=port)

    def rows(self) -> list[Commitment]:
        with transaction(self.engine) as session:
            return list(session.scalars(select(Commitment)))

    def states(self) -> list[str]:
        return [row.state for row in self.rows()]

    def change(self, **values: Any) -> None:
        with transaction(self.engine) as session:
            session.execute(update(Commitment).values(**values))


@pytest.fixture(scope="module")
def catalogue(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    catalogue = open_catalogue(database_url, tmp_path_factory.mktemp("keys"), lambda: NOW)
    city = City(catalogue)
    city.hospital("H-A")
    city.hospital("H-B")
    yield catalogue
    catalogue.engine.dispose()


@pytest.fixture
def site(
    embedded: Embedded, s3_store: ObjectStore, catalogue: Catalogue, database_url: str, tmp_path: Path
) -> Iterator[Site]:
    access = embedded.services.s3
    assert access is not None
    with transaction(catalogue.engine) as session:
        session.execute(text("set local session_replication_role = replica"))  # the append-only guards off
        session.execute(text("truncate study, pack, conflict, commitment cascade"))
        session.execute(text("update peer set host = null, port = null"))
    with open_proxy(access.address) as proxy, listening_node(tmp_path, database_url) as port:
        own = replace(access, endpoint=proxy.endpoint, bucket=f"commit-{uuid4().hex}")
        with ObjectStore(own, read_seconds=3) as store:
            store.ensure_bucket()
            spool = Spool(tmp_path / "spool", low_water_bytes=0)
            shipper = Shipper(spool, store, catalogue, ShipSettings(poll_seconds=0.02))
            yield Site(port, spool, store, proxy, catalogue, shipper, Modality(port))


@contextmanager
def listening_node(root: Path, database_url: str, directory: PeerDirectory | None = None) -> Iterator[int]:
    stop, ready, ports = threading.Event(), threading.Event(), list[int]()
    settings = NodeSettings(port=0, low_water_bytes=0, artim_seconds=1.0)
    known = directory or PeerDirectory(None, partial(look_up_peer, database_url))
    thread = threading.Thread(
        target=serve,
        args=(settings, known, root / "spool", root / "run", stop),
        kwargs={"on_ready": lambda port: (ports.append(port), ready.set()), "database_url": database_url},
    )
    thread.start()
    assert ready.wait(10)
    try:
        yield ports[0]
    finally:
        stop.set()
        thread.join(15)
        assert not thread.is_alive()


def series(study: str, count: int = 3) -> list[Sent]:
    return [ct(study, number) for number in range(1, count + 1)]


# --- on the association that asks ---------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_what_is_archived_is_committed_to_on_the_same_association(site: Site, syntax: str) -> None:
    sent = site.keep(series("2.25.100"))
    with site.committing():
        assert site.modality.ask(references(sent), "2.25.77", syntax=syntax) == 0x0000
        until(lambda: site.states() == ["reported"], 5)
    assert site.modality.reports == [Report(1, "2.25.77", references(sent), [])]
    assert site.modality.on_listener == []


def test_what_was_never_sent_fails_once_patience_is_over(site: Site) -> None:
    sent = site.keep(series("2.25.100", 1))
    with site.committing(IMPATIENT):
        assert site.modality.ask([*references(sent), (CT, "2.25.404")]) == 0x0000
    (report,) = site.modality.reports
    assert (report.event_type, report.committed) == (2, references(sent))
    assert report.failed == [(CT, "2.25.404", 0x0112)]


def test_another_hospitals_instance_is_not_committed_to(site: Site) -> None:
    receive(site.spool, series("2.25.100", 1), hospital="H-B", calling_ae="H-B_PACS")
    site.shipper.ship_once()
    with site.committing(IMPATIENT):
        site.modality.ask([(CT, "2.25.100.1.1")])
    assert site.modality.reports[0].failed == [(CT, "2.25.100.1.1", 0x0112)]


def test_an_instance_of_another_class_is_a_conflict(site: Site) -> None:
    sent = site.keep(series("2.25.100", 2))
    asked = [(MRImageStorage, sent[0].SOPInstanceUID), (CT, sent[1].SOPInstanceUID)]
    with site.committing():
        site.modality.ask(asked)
    (report,) = site.modality.reports
    assert report.failed == [(MRImageStorage, sent[0].SOPInstanceUID, 0x0119)]
    assert report.committed == asked[1:]


def test_an_instance_altered_in_the_store_fails_and_its_neighbours_do_not(site: Site) -> None:
    sent = site.keep(series("2.25.100", 5))
    key, size_bytes = the_pack(site)
    content = bytearray(site.store.read_range(key, 0, size_bytes))
    content[content.index(sent[2].data) + len(sent[2].data) - 1] ^= 1
    site.store.put_bytes(key, bytes(content))
    with site.committing():
        site.modality.ask(references(sent))
    (report,) = site.modality.reports
    assert report.failed == [(CT, sent[2].SOPInstanceUID, 0x0110)]
    assert report.committed == references([one for one in sent if one is not sent[2]])


def test_a_pack_cut_short_in_the_store_fails_with_all_it_holds(site: Site) -> None:
    sent = site.keep(series("2.25.100", 2))
    key, size_bytes = the_pack(site)
    site.store.put_bytes(key, site.store.read_range(key, 0, size_bytes - 512))
    with site.committing():
        site.modality.ask(references(sent))
    assert site.modality.reports[0].failed == [(*reference, 0x0110) for reference in references(sent)]


def test_a_pack_lost_in_the_store_fails_with_all_it_holds(site: Site) -> None:
    sent = site.keep(series("2.25.100", 2))
    site.store.delete(the_pack(site)[0])
    with site.committing():
        site.modality.ask(references(sent))
    assert site.modality.reports[0].failed == [(*reference, 0x0112) for reference in references(sent)]


def the_pack(site: Site) -> tuple[str, int]:
    with transaction(site.engine) as session:
        key, size_bytes = session.execute(select(Pack.key, Pack.size_bytes)).one()
        return key, size_bytes


def test_two_thousand_instances_in_many_packs_are_each_answered_rightly(site: Site) -> None:
    sent = [one for study in range(4) for one in series(f"2.25.10{study}", 500)]
    for start in range(0, 2000, 125):
        site.keep(sent[start : start + 125])
    asked = references(sent)
    strangers = [(CT, f"2.25.9.{number}") for number in range(0, 2000, 50)]
    with site.committing(IMPATIENT), site.modality.listening() as port:
        site.listens_at(port)
        assert site.modality.ask([*asked, *strangers], wait=False) == 0x0000
        until(lambda: site.modality.reports + site.modality.on_listener, 30)
    (report,) = site.modality.reports + site.modality.on_listener
    assert report.committed == asked
    assert report.failed == [(*stranger, 0x0112) for stranger in strangers]


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


# --- what cannot be asked ------------------------------------------------------------------------------


def without(keyword: str) -> Dataset:
    dataset = request([(CT, "2.25.1")])
    delattr(dataset, keyword)
    return dataset


def test_requests_that_say_too_little_are_refused_and_not_queued(site: Site) -> None:
    empty = request([])
    bare = request([(CT, "2.25.1")])
    del bare.ReferencedSOPSequence[0].ReferencedSOPClassUID
    for dataset in (without("TransactionUID"), without("ReferencedSOPSequence"), empty, bare):
        assert site.modality.ask([], dataset=dataset, wait=False) == 0x0115
    assert site.modality.ask([(CT, "2.25.1")], wait=False, action_type=2) == 0x0123
    assert site.modality.ask([(CT, "2.25.1")], wait=False, instance="1.2.3") == 0x0112
    assert site.rows() == []


def test_an_unregistered_device_cannot_ask(site: Site) -> None:
    ae = AE(ae_title="STRANGER")
    ae.add_requested_context(StorageCommitmentPushModel)
    association = ae.associate("127.0.0.1", site.node_port, ae_title="HUREN")
    assert association.is_rejected


def test_the_scu_role_is_accepted_as_proposed(site: Site) -> None:
    ae = AE(ae_title="H-A_PACS")
    ae.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scu_role=True, scp_role=False)
    association = ae.associate("127.0.0.1", site.node_port, ae_title="HUREN", ext_neg=[role])
    assert association.is_established
    assert [(cx.as_scu, cx.as_scp) for cx in association.accepted_contexts] == [(True, False)]
    association.release()


def test_with_the_database_down_nothing_is_promised(tmp_path: Path) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with listening_node(
        tmp_path, nowhere, PeerDirectory(None, {"H-A_PACS": Peer("H-A_PACS", "H-A")}.get)
    ) as port:
        assert Modality(port).ask([(CT, "2.25.1")], wait=False) == 0x0213


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


@pytest.mark.parametrize(
    "where", [("--port", "104"), ("--host", "pacs", "--port", "70000"), ("--host", "a b")]
)
def test_a_listening_address_that_is_none_is_refused(exchange: Running, where: tuple[str, ...]) -> None:
    done = huren("hospital", "ae", "A", "A_PACS", *where, "--data-dir", exchange.data_dir)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
