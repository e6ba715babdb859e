"""Opens what a command needs: settings, stores, keys, lists. The embedded stores where none are named."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Engine

from catalog import folders, row_security, schema, sealed_numbers
from catalog.clock import open_clock
from catalog.context import Catalogue, Limits
from catalog.db import open_engine, transaction
from catalog.embedded import Embedded, Services, open_services
from catalog.errors import HurenError
from catalog.items import load_item_list
from catalog.reasons import load_reasons
from catalog.reference import load_reference_data
from catalog.settings import Settings
from catalog.vault import open_vault

if TYPE_CHECKING:
    from catalog.objects import ObjectStore

Acting = Literal["worker", "api", "owner"]


@dataclass(frozen=True, slots=True)
class Workplace:
    """A data folder opened for work."""

    data_dir: Path
    settings: Settings
    services: Services
    embedded: Embedded | None
    catalogue: Catalogue

    @property
    def spool_dir(self) -> Path:
        """Return where received packs wait."""
        return folders.spool_dir(self.data_dir)

    @property
    def run_dir(self) -> Path:
        """Return where running processes leave what others read: peers, counters, ports."""
        return folders.run_dir(self.data_dir)

    def open_store(self, *, workers: int = 4) -> "ObjectStore":
        """Return a client of the object store; nothing is asked of it yet."""
        from catalog.objects import ObjectStore  # a command that asks no store is not to wait for its library

        if self.services.s3 is None:
            raise HurenError("未打开对象存储", "The object store was not opened")
        return ObjectStore(self.services.s3, workers=workers)

    def open_audit_store(self) -> "ObjectStore | None":
        """Return a client with the audit's own key, or None where none is named; nothing is asked of it yet."""
        from catalog.objects import ObjectStore

        access = self.services.audit_s3
        return None if access is None else ObjectStore(access, workers=1)

    def environment_of(self, service: str) -> dict[str, str]:
        """Return what the process of a service is to know: one role of the database, and the audit's key for one."""
        services = self.services
        found = self.environment() | {"HUREN_OWNER_DATABASE_URL": ""}
        if service == "api":
            return found | {"HUREN_DATABASE_URL": services.api_url}
        found |= {"HUREN_API_DATABASE_URL": ""}
        if service != "audit" or services.audit_s3 is None:
            return found
        return found | {
            "HUREN_AUDIT_S3_ENDPOINT": services.audit_s3.endpoint,
            "HUREN_AUDIT_S3_ACCESS_KEY": services.audit_s3.access_key,
            "HUREN_AUDIT_S3_SECRET_KEY": services.audit_s3.secret_key,
            "HUREN_AUDIT_S3_BUCKET": services.audit_s3.bucket,
        }

    def environment(self) -> dict[str, str]:
        """Return the settings in use as environment variables, for child processes and `huren env`."""
        found = {
            "HUREN_DATABASE_URL": self.services.database_url,
            "HUREN_API_DATABASE_URL": self.services.api_url,
        }
        s3 = self.services.s3
        if s3 is not None:
            found |= {
                "HUREN_S3_ENDPOINT": s3.endpoint,
                "HUREN_S3_ACCESS_KEY": s3.access_key,
                "HUREN_S3_SECRET_KEY": s3.secret_key,
                "HUREN_S3_BUCKET": s3.bucket,
            }
        return found


@contextmanager
def open_workplace(
    data_dir: Path,
    *,
    own: bool = False,
    s3: bool = False,
    migrate: bool = False,
    acting: Acting = "worker",
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[Workplace]:
    """Yield the workplace of a data folder; an embedded database is brought to the newest schema first.

    With `own` this process keeps the embedded stores for itself until the end; `acting` says as which of the
    database's roles it works (catalog.row_security). Raises HurenError where an outside database has another schema
    than this release, unless `migrate` is asked for, NotAllowed where the HTTP service has more rights than it may.
    """
    data_dir = data_dir.expanduser().resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    settings = Settings()
    with open_services(settings, data_dir, own=own, s3=s3, on_wait=on_wait) as (services, embedded):
        catalogue = open_catalogue(settings, open_engine(_address(services, acting)), keys_dir(data_dir))
        try:
            _prepare(catalogue, services, migrate=migrate or settings.database_url is None)
            if acting == "api":
                with catalogue.engine.connect() as connection:
                    row_security.refuse_privileged(connection)
            yield Workplace(data_dir, settings, services, embedded, catalogue)
        finally:
            catalogue.engine.dispose()


def _address(services: Services, acting: Acting) -> str:
    return {"worker": services.database_url, "api": services.api_url, "owner": services.owner_url}[acting]


def open_catalogue(settings: Settings, engine: Engine, keys: Path) -> Catalogue:
    """Return the catalogue of a database, with the keys of a folder."""
    return Catalogue(
        engine=engine,
        vault=open_vault(keys / "identity.json"),
        items=load_item_list(),
        override_reasons=load_reasons(),
        clock=open_clock(settings.env, settings.test_clock_file),
        limits=Limits(
            quiet=timedelta(minutes=settings.quiet_minutes),
            complete_within=timedelta(hours=settings.complete_within_hours),
            publication_least=settings.publication_least_count,
        ),
        thresholds=settings.question_thresholds,
    )


def keys_dir(data_dir: Path) -> Path:
    """Return the folder of the keys: HUREN_KEYS_DIR, or `keys` in the data folder."""
    named = os.environ.get("HUREN_KEYS_DIR")
    return Path(named) if named else data_dir / "keys"


def _prepare(catalogue: Catalogue, services: Services, *, migrate: bool) -> None:
    if schema.current(catalogue.engine) == schema.NEWEST:
        return
    if not migrate:
        raise HurenError(
            "数据库结构与本版本不符,请先运行 huren migrate",
            "The database schema is not this release's; run `huren migrate` first",
            code="schema_outdated",
        )
    owning = replace(catalogue, engine=open_engine(services.owner_url))
    try:
        schema.migrate(owning.engine)
        with transaction(owning.engine) as session:
            load_reference_data(session)
        sealed_numbers.seal_all(owning)
    finally:
        owning.engine.dispose()
