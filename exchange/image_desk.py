"""Who looks at which study now: asked of the catalogue every other second, and the index of its images kept meanwhile."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from fastapi.concurrency import run_in_threadpool

from catalog import image_index, image_views
from catalog.context import Caller, Catalogue
from catalog.errors import NotFound, ObjectStoreDown
from catalog.image_index import IndexedInstance
from catalog.image_views import Counted, ViewedStudy
from catalog.objects import ObjectStore
from exchange.image_cache import ImageCache
from exchange.image_stream import Readers
from exchange.store_threads import StoreThreads

_Asking = tuple[str, str, str, str]  # role, hospital, subject, study
Index = Mapping[str, list[IndexedInstance]]  # by series
_ALLOWED_SECONDS: Final = 2.0  # what is revoked ends within 5
_KEPT_BYTES: Final = 64 << 20
_MOST_ALLOWED: Final = 4_096


@dataclass(frozen=True, slots=True)
class Looked:
    """A study that somebody looks at, and where its images are."""

    study: ViewedStudy
    index: Index

    def everything(self) -> list[IndexedInstance]:
        """Return its instances, series by series."""
        return [each for members in self.index.values() for each in members]

    def series(self, uid: str) -> list[IndexedInstance]:
        """Return the instances of a series. Raises NotFound."""
        found = self.index.get(uid)
        if not found:
            raise NotFound("没有该序列", "No such series", code="unknown_series")
        return found

    def instance(self, series: str, uid: str) -> IndexedInstance:
        """Return an instance of a series. Raises NotFound."""
        for each in self.series(series):
            if each.SOPInstanceUID == uid:
                return each
        raise NotFound("没有该图像", "No such instance", code="unknown_instance")


class ImageDesk:
    """What one event loop knows of studies that are being looked at."""

    def __init__(
        self,
        store: ObjectStore | None,
        threads: StoreThreads,
        cache_bytes: int = 0,
        cache_dir: Path | None = None,
    ) -> None:
        self._store = store
        self._cache = ImageCache(store, cache_bytes, cache_dir) if store else None
        self._threads = threads
        self.readers = Readers()
        self._allowed: OrderedDict[_Asking, tuple[float, ViewedStudy]] = OrderedDict()
        self._asked: dict[_Asking, asyncio.Future[ViewedStudy]] = {}
        self._kept: OrderedDict[ViewedStudy, Index] = OrderedDict()
        self._under_way: dict[ViewedStudy, asyncio.Future[Index]] = {}
        self._kept_bytes = 0

    @property
    def store(self) -> ObjectStore:
        """Return the object store. Raises ObjectStoreDown where the service was made without one."""
        if self._store is None:
            raise _no_store()
        return self._store

    @property
    def packs(self) -> ImageCache:
        """Return what reads packs. Raises ObjectStoreDown where the service was made without an object store."""
        if self._cache is None:
            raise _no_store()
        return self._cache

    def close(self) -> None:
        """Give back the file of the cache."""
        if self._cache is not None:
            self._cache.close()

    def forget(self) -> None:
        """Ask the catalogue anew who may look at what."""
        self._allowed.clear()

    async def allowed(
        self, catalogue: Catalogue, caller: Caller, StudyInstanceUID: str, counted: Counted
    ) -> ViewedStudy:
        """Return a study if the caller may look at it now. Raises NotFound otherwise."""
        asking = (caller.role, caller.hospital_code, caller.subject, StudyInstanceUID)
        since, study = self._allowed.get(asking, (0.0, None))
        if study is not None and monotonic() - since < _ALLOWED_SECONDS:
            return study
        self._allowed.pop(asking, None)
        under_way = self._asked.get(asking)
        if under_way is None:  # hundreds of streams of one study ask at once, and need one answer
            asked_at = monotonic()
            view = run_in_threadpool(image_views.view, catalogue, caller, StudyInstanceUID, counted)
            under_way = self._asked[asking] = asyncio.ensure_future(view)
            under_way.add_done_callback(lambda done: self._answered(asking, asked_at, done))
        return await asyncio.shield(under_way)

    def _answered(self, asking: _Asking, asked_at: float, done: "asyncio.Future[ViewedStudy]") -> None:
        self._asked.pop(asking, None)
        if done.cancelled() or done.exception() is not None:
            return
        self._allowed[asking] = asked_at, done.result()
        if len(self._allowed) > _MOST_ALLOWED:
            self._allowed.popitem(last=False)

    async def look(
        self, catalogue: Catalogue, caller: Caller, StudyInstanceUID: str, counted: Counted
    ) -> Looked:
        """Return a study with the index of its images. Raises as `allowed` does, and what the object store does."""
        study = await self.allowed(catalogue, caller, StudyInstanceUID, counted)
        if study in self._kept:
            self._kept.move_to_end(study)
            return Looked(study, self._kept[study])
        reading = self._under_way.get(study)
        if reading is None:
            reading = self._under_way[study] = asyncio.ensure_future(self._threads.run(self._reader(study)))
            reading.add_done_callback(lambda done: self._keep(study, done))
        return Looked(study, await asyncio.shield(reading))

    def _reader(self, study: ViewedStudy) -> Callable[[], Index]:
        store, shown = self.store, study.shown

        def read() -> Index:
            found: list[IndexedInstance] = []
            for key, sidecar_key in study.packs:
                size = store.stat(sidecar_key).size_bytes
                sidecar = store.read_range(sidecar_key, 0, size)
                found += image_index.read_instances(key, sidecar, shown.StudyInstanceUID, shown.patient)
            return image_index.by_series(found)

        return read

    def _keep(self, study: ViewedStudy, done: "asyncio.Future[Index]") -> None:
        self._under_way.pop(study, None)
        if done.cancelled() or done.exception() is not None:
            return
        self._kept[study] = done.result()
        self._kept_bytes += _held_bytes(done.result())
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            _, forgotten = self._kept.popitem(last=False)
            self._kept_bytes -= _held_bytes(forgotten)


def _no_store() -> ObjectStoreDown:
    return ObjectStoreDown("未配置影像存储", "There is no object store here", code="no_store")


def _held_bytes(index: Index) -> int:
    return sum(each.held_bytes for members in index.values() for each in members)
