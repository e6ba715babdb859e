"""The viewer is installed whole or not at all, and only as it is known."""

import os
import tarfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from catalog.errors import IntegrityFault
from exchange import viewer_installation, viewer_package
from exchange.viewer_installation import Installed, find
from exchange.viewer_notices import main_parts
from huren import app
from tests.exchange.viewer_parcels import PAGE, ROOTED, TOURS, files, locked, tar_of

APP = "app.bundle.0f6159c501addfe9.js"


def install(viewer_dir: Path, archive: Path) -> bool:
    """Install quietly."""
    return viewer_installation.install(viewer_dir, archive, lambda *_: None)


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package as it should be."""
    return locked(monkeypatch, tmp_path, tar_of(files()))


@pytest.fixture
def installed(archive: Path, tmp_path: Path) -> Installed:
    """It is installed."""
    assert install(tmp_path / "viewer", archive)
    found = find(tmp_path / "viewer")
    assert found is not None
    return found


def test_the_lock_names_one_version_and_its_digest() -> None:
    package = viewer_package.locked_package()
    assert package.spec == "@ohif/app@3.13.2"
    assert len(package.sha512) == 128


def test_only_what_is_used_is_installed_and_it_stands_below_viewer(installed: Installed) -> None:
    there = {
        str(path.relative_to(installed.folder)) for path in installed.folder.rglob("*") if path.is_file()
    }
    left_out = {"sw.js", "ort/ort.bundle.js", "oidc-client.min.js"}
    assert {name for name in there if not name.endswith(".gz")} == (
        set(files()) - left_out | {"installed.json", "notices.txt"}
    )
    assert b'__webpack_require__.p = "/viewer/";' in (installed.folder / APP).read_bytes()
    assert b"url(/viewer/a34f9d1faa5f3315.woff2)" in (installed.folder / "app.bundle.css").read_bytes()
    page = (installed.folder / "index.html").read_text()
    assert page.count('"/viewer/') == 8
    assert '="/' not in page.replace('="/viewer/', "")
    assert "service-worker" not in page
    assert "apple-touch" not in page
    assert '<html lang="zh-CN">' in page


def test_nothing_of_the_agpl_tours_is_installed_and_the_notices_say_so(installed: Installed) -> None:
    for name in installed.files:
        content = (installed.folder / name).read_bytes()
        assert name == "notices.txt" or b"shepherd.js" not in content, name
        assert b".shepherd" not in content, name
    assert b".kept{color:red}" in (installed.folder / "app.bundle.css").read_bytes()
    notices = (installed.folder / "notices.txt").read_text()
    assert "shepherd.js 15.2.2: AGPL-3.0 (left out" in notices
    assert "The MIT License (MIT)" in notices
    assert "\n@kitware/vtk.js\n" in notices
    assert len(main_parts()) > 20


def test_what_stands_whole_is_left_alone_and_what_is_damaged_is_mended(
    installed: Installed, archive: Path
) -> None:
    viewer_dir = installed.folder.parent
    assert not install(viewer_dir, archive)
    for name in (APP, f"{APP}.gz"):
        (installed.folder / name).write_bytes(b"x")
        assert installed.damaged() == [APP]
        assert install(viewer_dir, archive)
        assert installed.damaged() == []
    assert [path.name for path in viewer_dir.iterdir()] == ["3.13.2"]


def test_what_was_built_in_an_older_way_is_built_anew(
    installed: Installed, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer_installation, "_BUILT", 99)
    assert find(installed.folder.parent) is None
    assert install(installed.folder.parent, archive)
    assert find(installed.folder.parent) is not None


WRONG = {
    "one script less": {
        name: content for name, content in files().items() if not name.startswith("3.bundle")
    },
    "one script more": {**files(), "9.bundle.00000000000000aa.js": ROOTED},
    "a script twice": {**files(), "3.bundle.0000000000000003.js": ROOTED * 2},
    "another page": {**files(), "index.html": PAGE.replace(b"init-service-worker", b"other-worker")},
    "one address more": {**files(), "index.html": PAGE.replace(b"<body>", b'<body><script src="/x.js">')},
    "another title": {**files(), "index.html": PAGE.replace(b"<title>", b"<title lang='en'>")},
    "no root in the style": {**files(), "app.bundle.css": b".shepherd-x{color:red}"},
    "no page": {name: content for name, content in files().items() if name != "index.html"},
    "no tours": {**files(), APP: ROOTED},
    "other tours": {**files(), APP: ROOTED + TOURS.replace(b"const shepherd_fe", b"var fe")},
    "tours used elsewhere": {**files(), APP: ROOTED + TOURS + b"shepherd_i.call()"},
}


@pytest.mark.parametrize("case", WRONG)
def test_another_version_built_in_another_way_is_not_installed(
    case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive = locked(monkeypatch, tmp_path, tar_of(WRONG[case]))
    with pytest.raises(IntegrityFault) as refused:
        install(tmp_path / "viewer", archive)
    assert refused.value.code == "viewer_layout"
    assert list((tmp_path / "viewer").iterdir()) == []


def test_other_bytes_than_those_that_are_locked_are_not_even_unpacked(archive: Path, tmp_path: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[-9] ^= 1
    archive.write_bytes(content)
    with pytest.raises(IntegrityFault) as refused:
        install(tmp_path / "viewer", archive)
    assert refused.value.code == "viewer_digest"
    assert list((tmp_path / "viewer").iterdir()) == []


def member(name: str, **told: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in told.items():
        setattr(made, key, value)
    return made


HOSTILE = {
    "a link": member("package/dist/x.bundle.1.js", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": member("package/dist/x.bundle.1.js", type=tarfile.LNKTYPE, linkname="package/LICENSE"),
    "a device": member("package/dist/x.css", type=tarfile.CHRTYPE),
    "too large": member("package/dist/x.wasm", size=(32 << 20) + 1),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_members_are_refused(case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    archive = locked(monkeypatch, tmp_path, tar_of(files(), HOSTILE[case]))
    with pytest.raises(IntegrityFault) as refused:
        install(tmp_path / "viewer", archive)
    assert refused.value.code == "viewer_archive"


def test_members_that_point_elsewhere_are_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("/etc/x.css", "package/dist/../../x.css", "../x.css", "package/dist/a/b.css", "package/x.css")
    archive = locked(monkeypatch, tmp_path, tar_of(files(), *map(member, names)))
    assert install(tmp_path / "viewer", archive)
    assert not list(tmp_path.rglob("x.css"))
    assert not list(tmp_path.rglob("b.css"))


def test_more_members_than_any_such_package_has_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    many = [member(f"package/other/{number}") for number in range(2_001)]
    archive = locked(monkeypatch, tmp_path, tar_of(files(), *many))
    with pytest.raises(IntegrityFault, match="members"):
        install(tmp_path / "viewer", archive)


def test_the_command_installs_and_tells_whether_it_is_whole(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUREN_VIEWER_DIR", str(tmp_path / "viewer"))
    run = CliRunner().invoke
    assert run(app, ["viewer", "status"]).exit_code == 1
    assert "已安装 / installed" in run(app, ["viewer", "install", "--from", str(archive)]).stdout
    assert "已经装好 / already installed" in run(app, ["viewer", "install", "--from", str(archive)]).stdout
    told = run(app, ["viewer", "status", "--json"])
    assert told.exit_code == 0
    (row,) = orjson.loads(told.stdout)
    assert (row["state"], row["files"], row["damaged"]) == ("installed", 18, [])
    (tmp_path / "viewer" / "3.13.2" / APP).unlink()
    told = run(app, ["viewer", "status", "--json"])
    assert (told.exit_code, orjson.loads(told.stdout)[0]["damaged"]) == (1, [APP])


NPM = """#!/bin/sh
{line}
"""


@pytest.mark.parametrize(
    ("line", "code"),
    [(None, "npm_missing"), ("exit 1", "viewer_not_fetched"), ("exit 0", "viewer_not_fetched")],
    ids=["no npm", "no network", "nothing came"],
)
def test_what_cannot_be_fetched_is_one_clear_error_and_leaves_nothing(
    line: str | None, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    if line is not None:
        (programs / "npm").write_text(NPM.format(line=line))
        (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs) + (os.pathsep + "/bin" if line else ""))
    monkeypatch.setenv("HUREN_VIEWER_DIR", str(tmp_path / "viewer"))
    done = CliRunner().invoke(app, ["viewer", "install"])
    assert done.exit_code == 1
    assert getattr(done.exception, "code", "") == code
    assert list((tmp_path / "viewer").iterdir()) == []
