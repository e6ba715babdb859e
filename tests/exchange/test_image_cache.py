"""The cache of packs: what is read is what is stored, each block once, within its bounds, and never after its time."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import IntegrityFault, ObjectStoreDown
from exchange.image_cache import BLOCK_BYTES, KEPT_SECONDS, ImageCache

PACK = bytes(range(251)) * (3 * BLOCK_BYTES // 251 + 1000)


class Shelf:
    """Two packs behind a counter; reads wait for `gate`."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.down = False

    @contextmanager
    def open_up_to(self, key: str, start: int, size: int) -> Iterator[Iterator[bytes]]:
        self.asked[key, start // BLOCK_BYTES] += 1
        assert self.gate.wait(20)
        if self.down:
            raise ObjectStoreDown("坏", "down")
        content = content_of(key)[start : start + size]
        yield (content[at : at + 700_000] for at in range(0, len(content), 700_000))

    def read_range(self, key: str, start: int, size: int) -> bytes:
        self.asked[key, -1] += 1
        return content_of(key)[start : start + size]


def content_of(key: str) -> bytes:
    return PACK if key == "a" else PACK[::-1]


def cache_of(shelf: Shelf, blocks: int, **more: Any) -> ImageCache:
    store: Any = shelf
    return ImageCache(store, blocks * BLOCK_BYTES, **more)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, len(PACK) - 1), st.integers(0, 5 << 20)), max_size=12
    ),
    st.integers(0, 4),
)
def test_whatever_is_read_in_whatever_order_is_what_is_stored(
    reads: list[tuple[str, int, int]], blocks: int
) -> None:
    cache = cache_of(Shelf(), blocks)
    for key, start, wanted in reads:
        size = min(wanted, len(PACK) - start)
        assert cache.read_range(key, start, size) == content_of(key)[start : start + size]
    cache.close()


def test_a_block_is_fetched_once_for_all_that_is_read_of_it() -> None:
    shelf = Shelf()
    cache = cache_of(shelf, 4)
    for start in range(0, BLOCK_BYTES, 64 << 10):
        cache.read_range("a", start, 64 << 10)
    assert shelf.asked == {("a", 0): 1}
    assert (cache.misses, cache.hits) == (1, BLOCK_BYTES // (64 << 10) - 1)
    cache.close()


def test_many_who_ask_at_once_wait_for_one_fetch() -> None:
    shelf = Shelf()
    cache = cache_of(shelf, 4)
    shelf.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(cache.read_range, "a", n * 1000, 1000) for n in range(8)]
        shelf.gate.set()
        assert [each.result(20) for each in asked] == [PACK[n * 1000 : n * 1000 + 1000] for n in range(8)]
    assert shelf.asked == {("a", 0): 1}
    cache.close()


def test_many_readers_at_once_in_little_room_read_nothing_of_each_other() -> None:
    cache = cache_of(Shelf(), 2)

    def read(seed: int) -> bool:
        key, start = "ab"[seed % 2], (seed * 7_919_993) % (len(PACK) - 100_000)
        return cache.read_range(key, start, 100_000) == content_of(key)[start : start + 100_000]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(read, range(2_000)))
    cache.close()


def test_what_is_longest_unused_makes_room() -> None:
    shelf = Shelf()
    cache = cache_of(shelf, 2)
    for block in (0, 1, 0, 2, 0, 1):
        cache.read_range("a", block * BLOCK_BYTES, 10)
    assert shelf.asked == {("a", 0): 1, ("a", 1): 2, ("a", 2): 1}
    cache.close()


def test_after_its_time_a_block_is_fetched_again() -> None:
    shelf, now = Shelf(), [0.0]
    cache = cache_of(shelf, 2, clock=lambda: now[0])
    cache.read_range("a", 0, 10)
    now[0] = KEPT_SECONDS - 1
    cache.read_range("a", 0, 10)
    assert shelf.asked["a", 0] == 1
    now[0] = KEPT_SECONDS
    cache.read_range("a", 0, 10)
    assert shelf.asked["a", 0] == 2
    cache.close()


def test_a_fetch_that_fails_is_told_and_not_kept() -> None:
    shelf = Shelf()
    cache = cache_of(shelf, 1)
    shelf.down = True
    for _ in range(2):
        with pytest.raises(ObjectStoreDown):
            cache.read_range("a", 0, 10)
    shelf.down = False
    assert cache.read_range("a", 0, 10) == PACK[:10]
    cache.close()


def test_a_disk_that_is_full_costs_the_cache_and_not_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    cache = cache_of(shelf, 2)
    with monkeypatch.context() as full:
        full.setattr("os.pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "no room")))
        assert cache.read_range("a", 5, 10) == PACK[5:15]
    assert cache.read_range("a", 5, 10) == PACK[5:15]
    assert shelf.asked == {("a", 0): 2, ("a", -1): 1}
    cache.close()


def test_a_pack_that_ends_before_what_is_read_of_it_is_damaged() -> None:
    cache = cache_of(Shelf(), 4)
    for _ in range(2):
        with pytest.raises(IntegrityFault):
            cache.read_range("a", len(PACK) - 5, 10)
    cache.close()


def test_the_file_has_no_name_and_no_room_means_no_file(tmp_path: Path) -> None:
    cache, none = cache_of(Shelf(), 4, folder=tmp_path), cache_of(Shelf(), 0, folder=tmp_path)
    cache.read_range("a", 0, 10)
    assert list(tmp_path.iterdir()) == []
    shelf = Shelf()
    none = cache_of(shelf, 0)
    assert none.read_range("a", 5, 10) == PACK[5:15]
    assert shelf.asked == {("a", -1): 1}
    cache.close()
