"""Two hospitals, a node that answers queries, and dcmtk asking it as a hospital's PACS does."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from catalog import registry
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.harvest import Harvest
from catalog.objects import ObjectStore
from dicom_node.archive_desk import ArchiveDesk
from dicom_node.counters import Counters
from dicom_node.peers import PeerDirectory
from dicom_node.registry import look_up_peer
from exchange.settings import ExchangeSettings
from tests.city import City
from tests.dicom_node.raw_peer import RunningNode
from tests.images import Images

PACS = "B_PACS"
SYSTEM = Caller("his.A", "hospital_system", "A")
ORDER = [{"order_number": "1", "item_code": "CT07"}]


@dataclass
class QuerySite:
    """Hospital A has done examinations, hospital B asks; nobody is open to anybody yet."""

    city: City
    images: Images
    node: RunningNode
    folder: Path
    counted: list[Counters]

    def open(self, person: int = 2) -> None:
        """Have B's doctor ask about a person: his hospital may see him from then on."""
        answer = self.city.check(self.city.doctors["B"], ORDER, person)
        assert answer["orders"][0]["candidates"]

    def listens_at(self, port: int, title: str = PACS, hospital: str = "B", *, tls: bool = False) -> None:
        """Register where a peer takes what is sent to it."""
        with transaction(self.city.catalogue.engine) as session:
            found = registry.hospital_by_code(session, hospital)
            registry.add_peer(session, found, title, host="127.0.0.1", port=port, tls=tls)

    def find(self, *keys: str | bytes, model: str = "-S", calling: str = PACS) -> list[Dataset]:
        """Ask by findscu; return what came, in the order it came."""
        into = self.folder / f"found-{len(list(self.folder.iterdir()))}"
        into.mkdir()
        done = self.run("findscu", model, "-X", "-od", str(into), *_keys(keys), calling=calling)
        assert "(Success)" in done.stdout, done.stdout
        return [dcmread(path, force=True) for path in sorted(into.iterdir())]

    def run(
        self, program: str, *arguments: str | bytes, calling: str = PACS
    ) -> subprocess.CompletedProcess[str]:
        """Run one of dcmtk's programs against the node to its end, whatever that is."""
        address = ["127.0.0.1", str(self.node.port)]
        return subprocess.run(
            [program, "-v", "-aec", "HUREN", "-aet", calling, *arguments, *address],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=60,
            env=os.environ | {"TCP_NODELAY": "1"},
            check=False,
        )

    def move(self, *keys: str, to: str = PACS, model: str = "-S", calling: str = PACS) -> str:
        """Ask by movescu; return what it says."""
        return self.run("movescu", "-d", model, "-aem", to, *_keys(keys), calling=calling).stdout

    def get(self, into: Path, *keys: str, options: Sequence[str] = (), model: str = "-S") -> str:
        """Ask by getscu, which keeps the bytes as they come; return what it says."""
        into.mkdir(exist_ok=True)
        return self.run("getscu", "-d", model, "-B", "-od", str(into), *options, *_keys(keys)).stdout


def _keys(keys: Sequence[str | bytes]) -> list[str | bytes]:
    return [part for key in keys for part in ("-k", key)]


@contextmanager
def query_site(
    catalogue: Catalogue,
    database_url: str,
    store: ObjectStore,
    folder: Path,
    city: City,
    asking: Catalogue | None = None,
    **settings: Any,
) -> Iterator[QuerySite]:
    """Run a node over the catalogue and the store of a city; `settings` are NodeSettings' own names.

    `asking` is the catalogue as the archive has it, where that is another.
    """
    made: list[Counters] = []

    def archive(counters: Counters) -> ArchiveDesk:
        made.append(counters)
        return ArchiveDesk(asking or catalogue, store, Harvest(ExchangeSettings()), counters)

    city.doctors |= {code: city.hospital(code) for code in ("A", "B")}
    city.link(SYSTEM, "A-2", 2)
    directory = PeerDirectory(None, partial(look_up_peer, database_url))
    where = folder / "node", directory
    with RunningNode(*where, database_url=database_url, archive=archive, **settings) as node:
        work = folder / "work"
        work.mkdir()
        yield QuerySite(city, Images(city, store, folder), node, work, made)
