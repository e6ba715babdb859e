"""A shipper as a process of its own, to be killed: SPOOL DATABASE_URL KEYS ENDPOINT ACCESS SECRET BUCKET."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from catalog.context import Catalogue
from catalog.db import open_engine
from catalog.items import load_item_list
from catalog.objects import ObjectStore
from catalog.reasons import load_reasons
from catalog.settings import S3Access
from catalog.vault import open_vault
from dicom_node.ship import Shipper
from dicom_node.spool import Spool


def main() -> None:
    """Ship what is sealed, once."""
    root, database_url, keys, endpoint, access_key, secret_key, bucket = sys.argv[1:]
    catalogue = Catalogue(
        engine=open_engine(database_url),
        vault=open_vault(Path(keys) / "identity.json"),
        items=load_item_list(),
        override_reasons=load_reasons(),
        clock=lambda: datetime.now(UTC),
    )
    store = ObjectStore(S3Access(endpoint, access_key, secret_key, bucket))
    Shipper(Spool(Path(root), low_water_bytes=0), store, catalogue).ship_once()


if __name__ == "__main__":
    main()
