"""The installer believes nothing that is not signed, and leaves the host as it was wherever it refuses."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from archipelag_contracts import releases
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.releases import File, Release

ISLAND = Path(__file__).parents[2] / "deploy" / "island"
SYSTEMD = ISLAND.parent / "systemd"
MACHINE = f"linux-{platform.machine()}"
NOBODY = 65534

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: installs there")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Shop:
    """Where releases are fetched from, and a host of its own below a folder."""

    folder: Path
    url: str
    host: Path
    tools: Path
    key: CosignKey
    ran: Path
    """There once a file that was fetched has been run."""

    def publish(self, number: int = 1, said: str = "one", **changes: object) -> Release:
        content = f"#!/bin/sh\necho {said} >>{self.ran}\n".encode()
        digest = hashlib.sha256(content).hexdigest()
        now = int(time.time())
        made = Release(
            number, f"0.{number}.0", now, now + 3600, ((100, 0),), {MACHINE: File(digest, len(content))}
        )  # fmt: skip
        made = replace(made, **changes)  # type: ignore[arg-type]
        document = releases.document(made)
        (self.folder / "release.json").write_bytes(document)
        (self.folder / "release.json.sig").write_bytes(releases.sign(self.key, document))
        (self.folder / f"sha256-{digest}").write_bytes(content)
        return made

    def install(self, key: Path | None = None) -> subprocess.CompletedProcess[str]:
        trusted = key or self.tools / "release.pub"
        return subprocess.run(
            ["sh", self.tools / "install.sh", "--url", self.url, "--root", self.host, "--key", trusted],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    @property
    def software(self) -> Path:
        return self.host / "var/lib/archipelag-island/software"

    def standing(self) -> dict[str, bytes | str]:
        """All that lies on the host."""
        return {
            str(path): str(path.readlink()) if path.is_symlink() else path.read_bytes()
            for path in sorted(self.host.rglob("*"))
            if path.is_symlink() or path.is_file()
        }


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    for program in ("curl", "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    folder, host, tools = (tmp_path / name for name in ("releases", "host", "tools"))
    for each in (folder, host, tools):
        each.mkdir()
    for path in (
        ISLAND / "install.sh",
        ISLAND / "launch.sh",
        SYSTEMD / "archipelag-island.service",
    ):
        shutil.copy(path, tools)
    key = CosignKey.generate()
    (tools / "release.pub").write_bytes(key.public_pem)
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield Shop(folder, url, host, tools, key, tmp_path / "ran")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_signed_release_is_installed_and_not_run(shop: Shop) -> None:
    made = shop.publish()

    done = shop.install()

    assert (done.returncode, done.stderr) == (0, "")
    assert (shop.software / "current").resolve().name == made.files[MACHINE].digest
    assert (shop.software / "highest").read_text() == "1\n"
    assert shop.url in (shop.host / "etc/archipelag/island.env").read_text()
    assert (shop.host / "etc/systemd/system/archipelag-island.service").is_file()
    assert (shop.host / "etc/archipelag/release.pub").read_bytes() == shop.key.public_pem
    assert not shop.ran.exists()


def unsigned(shop: Shop) -> None:
    (shop.folder / "release.json.sig").unlink()


def signed_by_another(shop: Shop) -> None:
    made = (shop.folder / "release.json").read_bytes()
    (shop.folder / "release.json.sig").write_bytes(releases.sign(CosignKey.generate(), made))


def changed_document(shop: Shop) -> None:
    path = shop.folder / "release.json"
    path.write_bytes(path.read_bytes().replace(b"0.3.0", b"0.9.0"))


def changed_file(shop: Shop) -> None:
    for path in shop.folder.glob("sha256-*"):
        path.write_bytes(path.read_bytes().replace(b"echo", b"rm  "))


def cut_file(shop: Shop) -> None:
    for path in shop.folder.glob("sha256-*"):
        path.write_bytes(path.read_bytes()[:-3])


def longer_file(shop: Shop) -> None:
    for path in shop.folder.glob("sha256-*"):
        path.write_bytes(path.read_bytes() * 1000)


def no_file(shop: Shop) -> None:
    for path in shop.folder.glob("sha256-*"):
        path.unlink()


def expired(shop: Shop) -> None:
    now = int(time.time())
    shop.publish(3, "three", issued_at=now - 7200, expires_at=now - 1)


def older(shop: Shop) -> None:
    shop.publish(1, "one")


def of_another_machine(shop: Shop) -> None:
    shop.publish(3, "three", files={"linux-pdp11": File("ab" * 32, 12)})


REFUSED = {
    "unsigned": (unsigned, "could not be fetched"),
    "signed by another": (signed_by_another, "not signed"),
    "changed document": (changed_document, "not signed"),
    "changed file": (changed_file, "not the one that was signed"),
    "cut file": (cut_file, "not the one that was signed"),
    "longer file": (longer_file, "could not be fetched"),
    "no file": (no_file, "could not be fetched"),
    "expired": (expired, "has expired"),
    "older": (older, "is older than 2"),
    "another machine": (of_another_machine, "has no file for"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_leaves_the_host_as_it_was(case: str, shop: Shop) -> None:
    spoil, why = REFUSED[case]
    shop.publish(2, "two")
    assert shop.install().returncode == 0
    before = shop.standing()
    shop.publish(3, "three")
    spoil(shop)

    done = shop.install()

    assert done.returncode == 1 and why in done.stderr
    assert shop.standing() == before and not shop.ran.exists()


def test_a_key_that_is_not_the_first_one_is_not_taken(shop: Shop) -> None:
    shop.publish(1)
    assert shop.install().returncode == 0
    before = shop.standing()
    shop.key = CosignKey.generate()
    other = shop.tools / "other.pub"
    other.write_bytes(shop.key.public_pem)
    shop.publish(2, "two")

    done = shop.install(other)

    assert done.returncode == 1 and "another key" in done.stderr
    assert shop.standing() == before


def test_owners_settings_and_an_update_under_way_survive_or_give_way(shop: Shop) -> None:
    shop.publish(1)
    shop.install()
    settings = shop.host / "etc/archipelag/island.env"
    settings.write_text("ARCHIPELAG_ISLAND_SLOTS=2\n")
    (shop.software / "trial").symlink_to("versions/other")
    shop.publish(2, "two")

    assert shop.install().returncode == 0

    assert settings.read_text() == "ARCHIPELAG_ISLAND_SLOTS=2\n"
    assert not (shop.software / "trial").is_symlink()
    assert (shop.software / "highest").read_text() == "2\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: installs for another user")
def test_links_that_the_islands_user_left_lead_the_installer_nowhere(shop: Shop) -> None:
    """An agent that was taken over owns its folder, and waits there for the next installer, which is root."""
    with tempfile.TemporaryDirectory(prefix="archipelag-test-") as folder:
        shop.host = Path(folder)
        shop.host.chmod(0o755)
        shop.publish(1)
        assert shop.install().returncode == 0
        hosts = [shop.host / name for name in ("passwd", "shadow", "cron")]
        for path in hosts[:2]:
            path.write_text("root's\n")
            path.chmod(0o600)
        hosts[2].mkdir()
        digest = shop.publish(2, "two").files[MACHINE].digest
        (shop.software / f"versions/{digest}.new").symlink_to(hosts[0])
        (shop.software / "highest.new").symlink_to(hosts[1])
        (shop.software / "current.new").symlink_to(hosts[2])
        state = shop.software.parent
        for path in [state, *state.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)

        done = shop.install()

        assert (done.returncode, done.stderr) == (0, "")
        assert [path.read_text() for path in hosts[:2]] == ["root's\n"] * 2
        assert [path.stat().st_mode & 0o777 for path in hosts[:2]] == [0o600] * 2
        assert list(hosts[2].iterdir()) == []
        laid = [shop.software / name for name in ("current", "highest", f"versions/{digest}")]
        assert {path.lstat().st_uid for path in laid} == {NOBODY}
        assert (shop.software / "current").resolve().name == digest
        assert (shop.software / "highest").read_text() == "2\n"


@pytest.mark.parametrize("arguments", [[], ["--url"], ["--url", "x"], ["--what"]])
def test_wrong_use_says_what_to_do(arguments: list[str]) -> None:
    done = subprocess.run(
        ["sh", ISLAND / "install.sh", *arguments],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip

    assert done.returncode == 1 and done.stderr.startswith("install.sh: ")
