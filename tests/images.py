"""Real images of the invented city: received, shipped and catalogued as a hospital's are."""

import gzip
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import select

from catalog.db import transaction
from catalog.objects import ObjectStore
from catalog.tables import Pack, Study
from dicom_node.ship import Shipper, ShipSettings
from dicom_node.spool import Spool
from tests.city import City
from tests.packs import Sent, ct, receive

_AT_ONCE = ShipSettings(first_delay_seconds=0.02, longest_delay_seconds=0.2, poll_seconds=0.02, tries=3)


@dataclass
class Images:
    """Sends images of the city's people to its archive."""

    city: City
    store: ObjectStore
    folder: Path

    def send(self, hospital: str, *sent: Sent) -> None:
        """Receive instances in one association and ship them."""
        spool = Spool(self.folder / "spool", low_water_bytes=0)
        receive(spool, sent, hospital=hospital, calling_ae=f"{hospital}_PACS")
        shipper = Shipper(spool, self.store, self.city.catalogue, _AT_ONCE)
        assert shipper.ship_once() >= 1

    def chest(
        self, hospital: str, person: int, uid: str, *, slices: int = 3, **attributes: Any
    ) -> list[Sent]:
        """Send a chest CT that a registered person had a week ago; his PatientID there is like `A-2`."""
        exam = self.city.now - timedelta(days=7)
        given = {
            "PatientID": f"{hospital}-{person}",
            "PatientName": "Lin^Xiaoyu=林^晓渝",
            "PatientBirthDate": "19800517",
            "PatientSex": "M" if person % 2 else "F",
            "StudyDate": f"{exam:%Y%m%d}",
            "AccessionNumber": "ACC-7",
        } | attributes
        sent = [
            ct(uid, number, **{"InstanceNumber": str(number), "SeriesNumber": "1", **given})
            for number in range(1, slices + 1)
        ]
        self.send(hospital, *sent)
        return sent


def keep_objects(city: City, store: ObjectStore, uid: str) -> dict[str, str]:
    """Give the pack of a study that City.study registered its objects; returns what its only instance is named by."""
    with transaction(city.catalogue.engine) as session:
        query = (
            select(Pack.key, Pack.sidecar_key).join(Study, Study.id == Pack.study_id).where(Study.uid == uid)
        )
        key, sidecar_key = session.execute(query.order_by(Pack.id)).tuples().first() or ("", "")
    instance = {
        "SOPInstanceUID": f"{uid}.1",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "SeriesInstanceUID": f"{uid}.0",
        "TransferSyntaxUID": "1.2.840.10008.1.2.1",
        "offset": 512,
        "size_bytes": 256,
        "sha256": "",
        "frames": [[640, 128]],
        "bulk": {"00281201": [520, 16]},
        "metadata": {
            "00280010": {"vr": "US", "Value": [8]},
            "00280011": {"vr": "US", "Value": [8]},
            "00281201": {"vr": "OW"},
        },
    }
    store.put_bytes(key, bytes(1024))
    store.put_bytes(sidecar_key, gzip.compress(orjson.dumps({"format": 1, "instances": [instance]})))
    return named(uid)


def named(uid: str) -> dict[str, str]:
    """Return what the addresses of a study's only instance are made of."""
    place = {"study": uid, "series": f"{uid}.0", "instance": f"{uid}.1"}
    return {**place, "frames": "1", "frame": "1", "path": "00281201"}
