"""D19: storage commitment as a modality asks for it: answered from catalogue and store, never from hope (PS3.4 Annex J)."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role
from pynetdicom.sop_class import MRImageStorage, StorageCommitmentPushModel

from dicom_node.peers import Peer, PeerDirectory
from tests.flow.commitment_site import (
    IMPATIENT,
    Modality,
    Report,
    Site,
    listening_node,
    references,
    request,
    series,
    the_pack,
)
from tests.flow.running import until
from tests.packs import CT, receive

pytestmark = pytest.mark.flow

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
