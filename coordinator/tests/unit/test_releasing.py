"""Signing a release into a folder, and handing it out."""

from __future__ import annotations

import base64
import shutil
import stat
import subprocess
from pathlib import Path

import httpx
import pytest
from archipelag_contracts import releases
from archipelag_contracts.cosign import public_from_pem
from archipelag_coordinator.__main__ import main
from archipelag_coordinator.apps.api.app import ApiSettings, create_app
from archipelag_coordinator.testing.worlds import a_scene


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    assert main(["release", "key", "--to", str(tmp_path / "key")]) == 0
    (tmp_path / "island").write_bytes(b"an island")
    return tmp_path


def published(shelf: Path, number: int, *more: str, release: str = "0.2.0") -> int:
    return main(
        ["release", "publish", "--key", str(shelf / "key"), "--to", str(shelf / "out"),
         "--number", str(number), "--release", release,
         "--file", f"linux-x86_64={shelf / 'island'}", *more]
    )  # fmt: skip


def opened(shelf: Path) -> releases.Release:
    made, signature = ((shelf / "out" / n).read_bytes() for n in (releases.DOCUMENT, releases.SIGNATURE))  # fmt: skip
    return releases.opened(made, signature, public_from_pem((shelf / "key.pub").read_bytes()))


def test_a_release_is_signed_into_the_folder(shelf: Path) -> None:
    assert published(shelf, 1) == 0

    release = opened(shelf)
    file = release.files["linux-x86_64"]
    assert (release.number, release.version, release.waves) == (1, "0.2.0", releases.WAVES)
    assert (shelf / "out" / f"sha256-{file.digest}").read_bytes() == b"an island"
    assert stat.S_IMODE((shelf / "key").stat().st_mode) == 0o600


def test_a_key_is_never_written_over(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (shelf / "key").read_bytes()

    assert main(["release", "key", "--to", str(shelf / "key")]) == 1
    assert (shelf / "key").read_bytes() == before and "exists" in capsys.readouterr().err


def test_an_older_number_and_other_files_under_the_same_are_refused(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(shelf, 2)
    before = opened(shelf)

    assert published(shelf, 1) == 1
    assert published(shelf, 2, release="0.3.0") == 1
    (shelf / "island").write_bytes(b"another")
    assert published(shelf, 2) == 1

    assert opened(shelf) == before
    assert "take a new number" in capsys.readouterr().err


def test_signed_again_it_lives_longer_and_no_turn_is_lost(shelf: Path) -> None:
    published(shelf, 2)
    before = opened(shelf)

    assert published(shelf, 2, "--days", "90") == 0

    after = opened(shelf)
    assert after.issued_at == before.issued_at and after.expires_at > before.expires_at


def test_in_haste_every_island_is_reached_at_once(shelf: Path) -> None:
    published(shelf, 2, "--at-once")

    assert opened(shelf).percent(opened(shelf).issued_at) == 100


@pytest.mark.parametrize("wrong", ["", "../../etc", "v2"])
def test_what_can_be_no_release_is_refused(wrong: str, shelf: Path) -> None:
    assert published(shelf, 1, release=wrong) == 1
    assert not (shelf / "out" / releases.DOCUMENT).exists()


async def asked(folder: Path | None, name: str) -> httpx.Response:
    scene = await a_scene()
    app = create_app(scene.world, settings=ApiSettings(releases=folder))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://net") as http:
        return await http.get(f"/api/v1/releases/{name}")


async def test_releases_are_handed_out_to_anybody(shelf: Path) -> None:
    published(shelf, 1)
    digest = opened(shelf).files["linux-x86_64"].digest

    document = await asked(shelf / "out", "release.json")
    file = await asked(shelf / "out", f"sha256-{digest}")

    assert releases.parse(document.content).number == 1
    assert file.content == b"an island" and "immutable" in file.headers["cache-control"]
    assert document.headers["cache-control"] == "no-cache"


async def test_what_root_runs_comes_with_a_signature_that_openssl_verifies(shelf: Path) -> None:
    """No Coordinator has the key: one that is broken into must not become root wherever somebody installs."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    names = ("install.sh", "launch.sh", "archipelag-island.service")
    for name in names:
        (shelf / name).write_text(f"#!/bin/sh\n# {name}\n")

    assert published(shelf, 1, *(f"--script={shelf / name}" for name in names)) == 0

    for name in names:
        script, signature = (
            await asked(shelf / "out", name),
            await asked(shelf / "out", f"{name}.sig"),
        )
        assert script.content == (shelf / name).read_bytes()
        (shelf / "raw").write_bytes(base64.b64decode(signature.content))
        for content, status in ((script.content, 0), (script.content + b"rm -rf /", 1)):
            (shelf / "got").write_bytes(content)
            command = [openssl, "dgst", "-sha256", "-verify", "key.pub", "-signature", "raw", "got"]
            done = subprocess.run(command, cwd=shelf, capture_output=True, check=False)  # noqa: ASYNC221
            assert done.returncode == status


ELSEWHERE = [
    "key",
    "..%2Fkey",
    "%2e%2e%2fkey",
    "release.json%00",
    ".x.part",
    "sha256-x",
    "install.sh",
]


@pytest.mark.parametrize("name", ELSEWHERE)
async def test_nothing_else_of_the_disk_is_handed_out(name: str, shelf: Path) -> None:
    published(shelf, 1)
    (shelf / "out" / "key").write_bytes(b"secret")
    (shelf / "out" / "install.sh").symlink_to(shelf / "key")

    answer = await asked(shelf / "out", name)

    assert answer.status_code == 404 and b"secret" not in answer.content


async def test_without_a_folder_there_are_none() -> None:
    assert (await asked(None, "release.json")).status_code == 404
