"""Where packs are shipped to, in a form that can be handed to another process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from catalog.context import Catalogue
from catalog.db import open_engine
from catalog.items import load_item_list
from catalog.objects import ObjectStore
from catalog.reasons import load_reasons
from catalog.settings import S3Access
from catalog.vault import open_vault


@dataclass(frozen=True, slots=True)
class FarSide:
    """A migrated database, the folder of its keys, and a bucket."""

    database_url: str
    keys: Path
    access: S3Access

    @contextmanager
    def opened(self) -> Iterator[tuple[ObjectStore, Catalogue]]:
        """Open clients of both in this process."""
        catalogue = Catalogue(
            engine=open_engine(self.database_url),
            vault=open_vault(self.keys / "identity.json"),
            items=load_item_list(),
            override_reasons=load_reasons(),
            clock=lambda: datetime.now(UTC),
        )
        with ObjectStore(self.access) as store:
            yield store, catalogue
        catalogue.engine.dispose()
