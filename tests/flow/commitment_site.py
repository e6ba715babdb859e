"""A modality that asks for storage commitment, and the node, shipper and committer it asks."""

import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel
from sqlalchemy import Engine, select, update

from catalog import registry
from catalog.context import Catalogue
from catalog.db import transaction
from catalog.objects import ObjectStore
from catalog.tables import Pack
from catalog.tables_dicom import Commitment
from dicom_node.acceptor import serve
from dicom_node.commitment_answer import Examiner
from dicom_node.commitment_report import CommitmentSettings, Committer
from dicom_node.counters import Counters
from dicom_node.peers import PeerDirectory
from dicom_node.registry import look_up_peer
from dicom_node.settings import NodeSettings
from dicom_node.ship import Shipper
from dicom_node.spool import Spool
from dicom_node.tls import OutboundTls
from tests.faults.s3_proxy import S3Proxy
from tests.flow.running import until
from tests.packs import CT, Sent, ct, receive

INSTANCE = "1.2.840.10008.1.20.1.1"
FAST = CommitmentSettings(
    patience_seconds=600,
    head_start_seconds=5.0,
    poll_seconds=0.02,
    first_look_again_seconds=0.05,
    longest_look_again_seconds=0.2,
    first_report_again_seconds=0.05,
    longest_report_again_seconds=0.2,
    answer_seconds=5,
)
IMPATIENT = CommitmentSettings(
    patience_seconds=0, head_start_seconds=5.0, poll_seconds=0.02, first_report_again_seconds=0.05
)


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
        here, there, answered = len(self.reports), len(self.on_listener), threading.Event()

        def sent(_event: Any) -> None:
            if len(self.reports) > here:
                answered.set()

        association = ae.associate(
            "127.0.0.1",
            self.node_port,
            ae_title="HUREN",
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take, [self.reports]), (evt.EVT_PDU_SENT, sent)],
        )
        assert association.is_established
        try:
            for one in store:
                assert association.send_c_store(one).Status == 0x0000
            asked = dataset if dataset is not None else request(references, transaction_uid)
            status = association.send_n_action(asked, action_type, StorageCommitmentPushModel, instance)[0]
            if wait:
                # A report that came is still to be answered: who releases before that breaks off.
                until(lambda: answered.is_set() or len(self.on_listener) > there, 20)
        finally:
            association.release()
        return int(status.Status)

    @contextmanager
    def listening(self, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[int]:
        """Take reports on a port; a free one unless told."""
        ae = AE(ae_title=self.ae_title)
        ae.add_supported_context(
            StorageCommitmentPushModel,
            [ExplicitVRLittleEndian, ImplicitVRLittleEndian],
            scu_role=False,
            scp_role=True,
        )
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take, [self.on_listener])]
        server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=tls)
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
    tls: OutboundTls | None = None
    counters: Counters = field(default_factory=Counters)

    @property
    def engine(self) -> Engine:
        return self.catalogue.engine

    def committer(self, settings: CommitmentSettings = FAST) -> Committer:
        examiner = Examiner(self.engine, self.store)
        return Committer(
            self.engine,
            examiner,
            "HUREN",
            lambda: self.shipper.backlog()[2],
            settings,
            tls=self.tls,
            counters=self.counters,
        )

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

    def listens_at(self, port: int, *, tls: bool = False, host: str = "127.0.0.1") -> None:
        with transaction(self.engine) as session:
            hospital = registry.hospital_by_code(session, "H-A")
            registry.add_peer(session, hospital, "H-A_PACS", host=host, port=port, tls=tls)

    def rows(self) -> list[Commitment]:
        with transaction(self.engine) as session:
            return list(session.scalars(select(Commitment)))

    def states(self) -> list[str]:
        return [row.state for row in self.rows()]

    def change(self, **values: Any) -> None:
        with transaction(self.engine) as session:
            session.execute(update(Commitment).values(**values))


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


def the_pack(site: Site) -> tuple[str, int]:
    with transaction(site.engine) as session:
        key, size_bytes = session.execute(select(Pack.key, Pack.size_bytes)).one()
        return key, size_bytes
