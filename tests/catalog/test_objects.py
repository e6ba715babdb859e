"""The object store, against the real S3 server, and against servers that fail."""

import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from catalog.embedded import Services
from catalog.errors import IntegrityFault, InvalidInput, NotFound, ObjectStoreDown
from catalog.objects import ObjectStore
from catalog.settings import S3Access, Settings, with_scheme
from tests.faults.s3_proxy import Fault, open_proxy


@pytest.fixture
def key() -> str:
    return f"t/{uuid4().hex}"


@pytest.fixture
def access(services: Services, s3_store: ObjectStore) -> S3Access:
    assert services.s3 is not None
    return services.s3


def test_what_is_put_comes_back_with_its_digest_and_size(s3_store: ObjectStore, key: str) -> None:
    content = os.urandom(300_000)
    s3_store.put_bytes(key, content, "application/dicom+json")
    expected = hashlib.sha256(content).hexdigest()
    assert s3_store.digest(key) == (expected, len(content))
    assert s3_store.stat(key).sha256 == expected
    assert s3_store.stat(key).size_bytes == len(content)
    assert s3_store.read_range(key, 0, len(content)) == content


def test_a_file_above_64_mib_is_stored_in_parts_and_reads_back_equal(
    s3_store: ObjectStore, key: str, tmp_path: Path
) -> None:
    path = tmp_path / "pack.tar"
    piece = os.urandom(1 << 20)
    path.write_bytes(piece * 65)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    s3_store.put_file(key, path, sha256)
    assert s3_store.digest(key) == (sha256, 65 << 20)
    assert s3_store.stat(key).sha256 == sha256
    assert s3_store.read_range(key, (64 << 20) - 5, 10) == (piece + piece)[(1 << 20) - 5 : (1 << 20) + 5]


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (0, 10_000), (9_999, 1), (1_234, 5_678), (77, 0)])
def test_a_range_is_exactly_the_bytes_asked_for(
    s3_store: ObjectStore, key: str, offset: int, length: int
) -> None:
    content = os.urandom(10_000)
    s3_store.put_bytes(key, content)
    assert s3_store.read_range(key, offset, length) == content[offset : offset + length]


@pytest.mark.parametrize("offset", [9_990, 10_000, 20_000])
def test_a_range_beyond_the_end_is_an_integrity_fault(s3_store: ObjectStore, key: str, offset: int) -> None:
    s3_store.put_bytes(key, bytes(10_000))
    with pytest.raises(IntegrityFault):
        s3_store.read_range(key, offset, 11)


def test_an_empty_object_is_kept(s3_store: ObjectStore, key: str) -> None:
    s3_store.put_bytes(key, b"")
    assert s3_store.digest(key) == (hashlib.sha256().hexdigest(), 0)


def test_an_object_that_is_not_there_is_not_found(s3_store: ObjectStore, key: str) -> None:
    assert not s3_store.exists(key)
    for question in (s3_store.stat, s3_store.digest, lambda k: s3_store.read_range(k, 0, 1)):
        with pytest.raises(NotFound):
            question(key)


def test_a_missing_bucket_is_never_taken_for_a_missing_object(access: S3Access, key: str) -> None:
    with ObjectStore(replace(access, bucket="nobody-made-this")) as store:
        with pytest.raises(ObjectStoreDown):
            store.digest(key)
        with pytest.raises(ObjectStoreDown):
            list(store.list())


def test_a_deleted_object_is_gone_and_deleting_again_is_no_error(s3_store: ObjectStore, key: str) -> None:
    s3_store.put_bytes(key, b"x")
    assert s3_store.exists(key)
    s3_store.delete(key)
    s3_store.delete(key)
    assert not s3_store.exists(key)


def test_a_listing_has_every_key_of_the_prefix_in_order(s3_store: ObjectStore, key: str) -> None:
    names = [f"{key}/{name}" for name in ("b/2", "a/1", "a/10", "c")]
    for name in [*names, f"{key}-other"]:
        s3_store.put_bytes(name, b"xyz")
    found = list(s3_store.list(f"{key}/"))
    assert [each.key for each in found] == sorted(names)
    assert {each.size_bytes for each in found} == {3}


def test_making_the_bucket_again_is_no_error(s3_store: ObjectStore) -> None:
    s3_store.ensure_bucket()


def test_a_range_read_half_way_gives_its_connection_back(access: S3Access, key: str) -> None:
    with ObjectStore(access, workers=1) as store:
        store.put_bytes(key, bytes(4 << 20))
        before = _open_sockets()
        for _ in range(20):
            with store.open_range(key, 0, 4 << 20) as pieces:
                assert next(pieces)
        assert _open_sockets() <= before + 1


def _open_sockets() -> int:
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    found = 0
    for link in links:
        with suppress(OSError):
            found += str(link.readlink()).startswith("socket:")
    return found


def test_a_file_that_ends_early_is_an_integrity_fault_and_stores_nothing(
    s3_store: ObjectStore, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pack.tar"
    path.write_bytes(b"half")
    size = os.stat_result((0o100600, 0, 0, 1, 0, 0, 8, 0, 0, 0))
    monkeypatch.setattr("catalog.objects.os.fstat", lambda _fd: size)
    with pytest.raises(IntegrityFault):
        s3_store.put_file(key, path, "00")
    assert not s3_store.exists(key)


def test_a_wrong_key_is_refused_and_the_message_shows_no_secret(access: S3Access, key: str) -> None:
    wrong = replace(access, secret_key="not-the-secret")
    with ObjectStore(wrong) as store, pytest.raises(ObjectStoreDown) as caught:
        store.put_bytes(key, b"x")
    assert "not-the-secret" not in str(caught.value)
    assert "not-the-secret" not in repr(wrong)


def test_a_store_that_is_not_there_is_down(access: S3Access, key: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with _store_at(access, endpoint) as store:
            for act in (store.ping, lambda: store.put_bytes(key, b"x"), lambda: store.digest(key)):
                with pytest.raises(ObjectStoreDown):
                    act()


def test_a_store_that_accepts_and_says_nothing_is_down_after_the_read_time(access: S3Access) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with _store_at(access, endpoint, read_seconds=0.2) as store, pytest.raises(ObjectStoreDown):
            store.ping()


def test_a_put_whose_every_answer_was_lost_is_known_to_have_succeeded(access: S3Access, key: str) -> None:
    with (
        _proxy(access, lambda request: not request.startswith(b"PUT ")) as endpoint,
        _store_at(access, endpoint) as store,
    ):
        store.put_bytes(key, b"kept")
    with ObjectStore(access) as store:
        assert store.read_range(key, 0, 4) == b"kept"


def test_a_put_whose_success_cannot_be_learnt_is_an_error(access: S3Access, key: str) -> None:
    with (
        _proxy(access, lambda _request: False) as endpoint,
        _store_at(access, endpoint) as store,
        pytest.raises(ObjectStoreDown),
    ):
        store.put_bytes(key, b"kept")


def test_an_answer_cut_in_the_middle_is_no_short_success(access: S3Access, key: str) -> None:
    with ObjectStore(access) as store:
        store.put_bytes(key, bytes(2 << 20))
    with (
        _proxy(access, lambda _request: True, answer_bytes=1 << 20) as endpoint,
        _store_at(access, endpoint) as store,
        pytest.raises((ObjectStoreDown, IntegrityFault)),
    ):
        store.digest(key)


@pytest.mark.parametrize("question", ["range", "digest", "list"])
def test_an_answer_whose_xml_is_altered_is_an_outage_and_no_crash(
    access: S3Access, key: str, question: str
) -> None:
    with open_proxy(access.address) as proxy:
        proxy.fault = Fault("corrupt")
        with ObjectStore(replace(access, endpoint=proxy.endpoint)) as store:
            ask: dict[str, Callable[[], object]] = {
                "range": lambda: store.read_range(key, 0, 10),
                "digest": lambda: store.digest(key),
                "list": lambda: list(store.list()),
            }
            with pytest.raises(ObjectStoreDown):
                ask[question]()
        assert proxy.fault.hits > 0


def _store_at(access: S3Access, endpoint: str, *, read_seconds: float = 15) -> ObjectStore:
    return ObjectStore(replace(access, endpoint=endpoint), read_seconds=read_seconds)


@contextmanager
def _proxy(
    access: S3Access, answered: Callable[[bytes], bool], answer_bytes: int | None = None
) -> Iterator[str]:
    """Forward each request to the store; hold back its answer, or all but the first bytes of it."""
    host, _, port = access.address.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _address = listener.accept()
                    thread = threading.Thread(target=_forward, args=(client,))
                    thread.start()
                    threads.append(thread)

        def _forward(client: socket.socket) -> None:
            with client, socket.create_connection((host, int(port))) as store, suppress(OSError):
                client.settimeout(10)
                store.settimeout(10)
                while request := _read_request(client):
                    store.sendall(request)
                    answer = store.recv(1 << 16)
                    if not answered(request):
                        return
                    client.sendall(answer)
                    if answer_bytes is not None:
                        _pump(store, client, answer_bytes - len(answer))
                        return

        accepting = threading.Thread(target=serve)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def _pump(source: socket.socket, target: socket.socket, size_bytes: int) -> None:
    while size_bytes > 0 and (piece := source.recv(1 << 16)):
        target.sendall(piece)
        size_bytes -= len(piece)


def _read_request(client: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        if not (piece := client.recv(1 << 16)):
            return b""
        request += piece
    head, _, body = request.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    missing = (int(lengths[0].split(b":")[1]) if lengths else 0) - len(body)
    while missing > 0:
        piece = client.recv(missing)
        request, missing = request + piece, missing - len(piece)
    return request


@pytest.mark.parametrize(
    ("given", "endpoint", "secure"),
    [
        ("http://store.example:9000", "http://store.example:9000", False),
        ("https://store.example", "https://store.example", True),
        ("https://store.example/", "https://store.example", True),
        ("store.example:9000", "https://store.example:9000", True),
        ("10.0.0.7:9000", "https://10.0.0.7:9000", True),
        ("localhost:8333", "http://localhost:8333", False),
        ("127.0.0.1:8333", "http://127.0.0.1:8333", False),
        ("[::1]:8333", "http://[::1]:8333", False),
    ],
)
def test_an_endpoint_without_a_scheme_is_tls_unless_it_is_this_machine(
    given: str, endpoint: str, secure: bool
) -> None:
    assert with_scheme(given) == endpoint
    access = S3Access(endpoint, "a", "b")
    assert access.secure is secure
    assert f"://{access.address}" in endpoint


@pytest.mark.parametrize(
    "given", ["", "ftp://x", "http://", "https://x/bucket", "host:port", "https://u:p@x"]
)
def test_an_endpoint_that_is_no_http_address_is_refused(given: str) -> None:
    with pytest.raises(InvalidInput):
        with_scheme(given)


def test_a_named_store_needs_both_of_its_keys() -> None:
    with pytest.raises(InvalidInput):
        Settings(s3_endpoint="store.example", s3_access_key="a").s3_access()
    access = Settings(
        s3_endpoint="store.example", s3_access_key="a", s3_secret_key=SecretStr("b"), s3_bucket="x"
    ).s3_access()
    assert access == S3Access("https://store.example", "a", "b", "x", "us-east-1")
