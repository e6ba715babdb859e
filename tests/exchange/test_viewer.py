"""The viewer's files on the wire: types, caches, compression, policies, and what there is not."""

import base64
import gzip
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from exchange import problems, viewer_installation
from exchange.security_headers import SecurityHeaders
from exchange.viewer import Viewer
from tests.exchange.viewer_parcels import ROOTED, files, locked, tar_of

APP = "/viewer/app.bundle.0f6159c501addfe9.js"
WORKER = "/viewer/3.bundle.0000000000000003.js"
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[TestClient]:
    """A service where no viewer is installed."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/viewer", Viewer(tmp_path / "viewer"))
    problems.install(app)
    app.add_middleware(SecurityHeaders)
    with TestClient(app) as client:
        yield client


@pytest.fixture
def client(empty: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The viewer is installed while the service runs, after somebody has asked for it."""
    assert empty.get("/viewer/").status_code == 404
    archive = locked(monkeypatch, tmp_path, tar_of(files()))
    viewer_installation.install(tmp_path / "viewer", archive, lambda *_: None)
    return empty


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/viewer/", "text/html; charset=utf-8"),
        (APP, "text/javascript; charset=utf-8"),
        ("/viewer/app-config.js", "text/javascript; charset=utf-8"),
        ("/viewer/app.bundle.css", "text/css; charset=utf-8"),
        ("/viewer/0ddf166f7a343eda.wasm", "application/wasm"),
        ("/viewer/a34f9d1faa5f3315.woff2", "font/woff2"),
        ("/viewer/assets/images/CT-Bone.png", "image/png"),
        ("/viewer/assets/favicon.ico", "image/x-icon"),
        ("/viewer/notices", "text/plain; charset=utf-8"),
    ],
)
def test_every_file_has_its_type_and_the_headers_of_everything(
    client: TestClient, path: str, kind: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"  # the address holds the link's secret
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    head = client.head(path)
    assert (head.content, head.headers["etag"]) == (b"", answer.headers["etag"])


def test_what_is_named_by_its_content_is_kept_and_all_else_asked_for_again(client: TestClient) -> None:
    for path in (APP, WORKER, "/viewer/0ddf166f7a343eda.wasm", "/viewer/a34f9d1faa5f3315.woff2"):
        assert client.get(path).headers["cache-control"] == "public, max-age=31536000, immutable", path
    for path in ("/viewer/", "/viewer/app-config.js", "/viewer/app.bundle.css", "/viewer/1602.css"):
        assert client.get(path).headers["cache-control"] == "no-cache", path


@pytest.mark.parametrize("path", ["/viewer/basic", APP, "/viewer/app-config.js"])
def test_what_a_browser_has_is_not_sent_again(client: TestClient, path: str) -> None:
    tag = client.get(path).headers["etag"]
    for sent in (tag, f'"other", W/{tag}', "*"):
        again = client.get(path, headers={"If-None-Match": sent})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_files_go_compressed_to_who_takes_it_and_plain_to_who_does_not(client: TestClient) -> None:
    content = ROOTED.replace(b'"/"', b'"/viewer/"')
    for sent in ("gzip, deflate, br", "GZIP;q=0.5", "br, gzip ; q=1"):
        packed = client.get(WORKER, headers={"Accept-Encoding": sent})
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == content
        assert int(packed.headers["content-length"]) == len(gzip.compress(content, 9, mtime=0)) < 100
    for sent in ("identity", "gzip;q=0", "br, gzip;q=0.0", ""):
        plain = client.get(WORKER, headers={"Accept-Encoding": sent})
        assert "content-encoding" not in plain.headers, sent
        assert plain.content == content
        assert plain.headers["etag"] != packed.headers["etag"]


def test_the_page_allows_its_own_scripts_alone_and_only_scripts_may_make_functions(
    client: TestClient,
) -> None:
    page = client.get("/viewer/")
    policy = page.headers["content-security-policy"]
    assert "'unsafe-eval'" not in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    scripts = re.findall(r"<script>(.*?)</script>", page.text)
    assert len(scripts) == 2
    for script in scripts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    for part in ("default-src 'self'", "connect-src 'self'", "object-src 'none'", "base-uri 'none'"):
        assert part in policy
    for path in (APP, WORKER, "/viewer/app-config.js"):
        assert "'unsafe-eval'" in client.get(path).headers["content-security-policy"]
    for path in ("/viewer/app.bundle.css", "/viewer/0ddf166f7a343eda.wasm", "/viewer/notices"):
        assert "'unsafe-eval'" not in client.get(path).headers["content-security-policy"]


def test_any_address_without_a_file_is_the_page_and_a_file_that_is_missing_is_missing(
    client: TestClient,
) -> None:
    page = client.get("/viewer/").content
    for path in (
        "/viewer",
        "/viewer/basic",
        "/viewer/basic?StudyInstanceUIDs=2.25.1",
        "/viewer/notfoundstudy",
    ):
        assert client.get(path).content == page
    for path in ("/viewer/sw.js", "/viewer/x.bundle.0000000000000000.js", "/viewer/assets/x.png"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "path",
    [
        "/viewer/installed.json",
        "/viewer/notices.txt.gz",
        "/viewer/../viewer.py",
        "/viewer/..%2f..%2fetc%2fpasswd.x",
        "/viewer/%2e%2e/%2e%2e/huren.py",
        "/viewer//etc/host.conf",
        "/viewer/assets/../index.html.gz",
        "/viewer/a%00.js",
    ],
)
def test_nothing_but_the_files_of_the_list_can_be_had(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_it_is_only_read(client: TestClient) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        assert client.request(method, "/viewer/").status_code == 405


def test_where_it_is_not_installed_it_is_said_how_it_is(empty: TestClient) -> None:
    page = empty.get("/viewer/basic", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert page.text.count("huren viewer install") >= 2
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    told = empty.get(APP)
    assert (told.status_code, told.json()["code"]) == (404, "viewer_not_installed")
    assert "huren viewer install" in told.json()["title_en"]
