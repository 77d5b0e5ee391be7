"""The images that are handed out, run as a cautious operator would: not root, nothing writable, no shell."""

from __future__ import annotations

import importlib.util
import json
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import httpx
import psutil
import pytest
from archipelag_embedded.fixtures import NatsFactory
from archipelag_embedded.postgres import Postgres
from archipelag_embedded.process import free_port
from archipelag_oci.image import ImageFile
from archipelag_oci.manifests import parse_config

from .container import Container, Running, image_in, runc, unpacked

ROOT = Path(__file__).parents[2]
NOBODY = 65534
PACKED_MB_MAX = {"coordinator": 90, "island": 75, "backup": 110}
READY_S = 60.0

pytestmark = [
    pytest.mark.timeout(400),  # packing an interpreter takes 20 s of a processor, which others want too
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: an image holds this machine's Python"),
]  # fmt: skip


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("images_build", ROOT / "deploy/images/build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command leaves behind."""
    folder = tmp_path_factory.mktemp("images")
    done = subprocess.run(
        [sys.executable, ROOT / "deploy/images/build.py", "--to", folder],
        capture_output=True, text=True, timeout=380, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(f"archipelag-{name}.tar" in done.stdout for name in PACKED_MB_MAX)
    return folder


@pytest.fixture(scope="module")
def roots(built: Path, embedded_directory: Path) -> dict[str, tuple[Path, ImageFile]]:
    """Each image, unpacked once where a user without rights can go, as they are read-only."""
    found = {}
    for name in PACKED_MB_MAX:
        image = image_in(built / f"archipelag-{name}.tar", built / f"layout-{name}")
        found[name] = unpacked(image, embedded_directory / f"root-{name}"), image
    return found


@pytest.fixture
def container(
    roots: dict[str, tuple[Path, ImageFile]], embedded_directory: Path
) -> Callable[..., Container]:
    runc()

    def make(name: str, **environment: str) -> Container:
        folder = Path(tempfile.mkdtemp(prefix="container-", dir=embedded_directory))
        volume = folder / "volume"
        volume.mkdir()
        volume.chmod(0o1777)
        state = {"/var/lib/archipelag": volume}
        return Container(*roots[name], folder, environment, state)

    return make


@pytest.mark.parametrize("name", PACKED_MB_MAX)
def test_image_holds_nothing_that_it_does_not_need(
    name: str, roots: dict[str, tuple[Path, ImageFile]]
) -> None:
    root, image = roots[name]
    config = json.loads(image.config)["config"]
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]

    assert config["User"] == f"{NOBODY}:{NOBODY}"
    assert image.size_bytes < PACKED_MB_MAX[name] * 1e6
    shells = {"sh", "bash", "dash", "busybox", "ash", "apt", "dpkg", "pip", "pip3"}
    assert not [path for path in files if path.name in shells]
    assert not [path for path in files if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)]
    assert not [path for path in files if path.stat().st_mode & stat.S_IWOTH]
    # Nothing of the machine that built it, and no test or fake is needed to run.
    packages = root / "usr/local/lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    ours = list(packages.glob("archipelag_*/**/*.py"))
    assert len(ours) > 30
    assert not [path for path in ours if str(ROOT).encode() in path.read_bytes()]


def test_same_sources_make_the_same_image(built: Path, tmp_path: Path) -> None:
    first = image_in(built / "archipelag-island.tar", tmp_path / "layout")

    again = builder().build("island", tmp_path / "elsewhere")

    assert again.digest == first.digest


def test_bill_of_materials_names_what_is_in_it(built: Path) -> None:
    told = json.loads((built / "archipelag-coordinator.spdx.json").read_text())

    names = {package["name"] for package in told["packages"]}
    assert {"archipelag-coordinator", "fastapi", "psycopg-binary", "cryptography"} <= names
    assert "archipelag-kit" not in names and "pytest" not in names


def test_coordinator_serves_as_nobody_on_a_root_that_is_read_only(
    container: Callable[..., Container], postgres_dsn: str, nats_server: NatsFactory
) -> None:
    port = free_port()
    one = container(
        "coordinator",
        ARCHIPELAG_DATABASE_URL=postgres_dsn,
        ARCHIPELAG_HTTP_HOST="127.0.0.1",
        ARCHIPELAG_GRPC_HOST="127.0.0.1",
        ARCHIPELAG_HTTP_PORT=str(port),
        ARCHIPELAG_GRPC_PORT=str(free_port()),
    )
    keys = parse_config(one.image.config).environment
    state = dict(keys)["ARCHIPELAG_STATE_DIR"]
    made = one.run(["keys", "init", "--state-dir", state])
    assert made[0] == 0, made
    code, trust = one.run(["broker-config", "--state-dir", state])
    assert code == 0
    resolver = one.folder / "accounts"
    trust = trust.replace(f"{state}/accounts", str(resolver))
    one.environment = {**one.environment, "ARCHIPELAG_NATS_URL": nats_server(config=trust).url}
    migrated = one.run(["migrate"])
    assert migrated[0] == 0, migrated

    running = one.start()
    try:
        ready(port, running)
        process = psutil.Process(running.pid())
        assert set(process.uids()) == set(process.gids()) == {NOBODY}
        assert running.inside("/usr/local/bin/python3", "/app/ready.py") == (0, "")
        code, said = running.inside("/usr/local/bin/python3", "-c", "open('/app/x', 'w')")
        assert code and "Read-only file system" in said
        code, said = running.inside("/bin/sh", "-c", "id")
        assert code and ("no such file" in said or "not found" in said)
    finally:
        assert running.stop() == 0, running.said()


def ready(port: int, running: Running) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        assert running.process.poll() is None, running.said()
        try:
            if httpx.get(f"http://127.0.0.1:{port}/api/v1/ready", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline, running.said()
        time.sleep(0.1)


def test_health_check_fails_where_nothing_serves(container: Callable[..., Container]) -> None:
    one = container("coordinator", ARCHIPELAG_HTTP_PORT=str(free_port()))

    code, said = one.run(entrypoint=["/usr/local/bin/python3", "/app/ready.py"])

    assert code == 1 and "not ready" in said


def test_island_starts_as_nobody_and_says_what_it_lacks(
    container: Callable[..., Container],
) -> None:
    one = container("island")

    code, said = one.run(["doctor"])

    assert code == 1, said
    assert "ok   wasm runtime" in said and "Traceback" not in said
    home = one.writable["/var/lib/archipelag"] / "island"
    assert not home.exists() or home.stat().st_uid == NOBODY


def test_backup_is_written_and_restored_from_its_image_alone(
    container: Callable[..., Container], postgres_dsn: str, postgres_server: Postgres
) -> None:
    there = {"ARCHIPELAG_NATS_URL": "nats://127.0.0.1:1"}
    one = container("backup", ARCHIPELAG_DATABASE_URL=postgres_dsn, **there)
    volume = one.folder / "volume"
    (volume / "passphrase").write_text("a passphrase that is long enough")
    assert one.run(["migrate"])[0] == 0

    sealed = ["--passphrase-file", "/var/lib/archipelag/passphrase"]
    code, told = one.run(["backup", "/var/lib/archipelag", *sealed])
    assert code == 0, told
    (written,) = volume.glob("network-*Z.backup")
    empty = postgres_server.create_database("brought_back")
    one.environment = there | {"ARCHIPELAG_DATABASE_URL": empty}
    back, said = one.run(["restore", f"/var/lib/archipelag/{written.name}", *sealed])
    postgres_server.drop_database("brought_back")

    assert back == 0, said
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_dockerfile_takes_only_what_stands_here_and_ends_as_nobody() -> None:
    text = (ROOT / "deploy/images/Dockerfile").read_text()
    lines = [line.split() for line in text.replace("\\\n", " ").splitlines() if line]
    copies = [line for line in lines if line[0] == "COPY" and "--from" not in line[1]]
    copied = [path for line in copies for path in line[1:-1]]

    assert copied and [path for path in copied if not (ROOT / path).exists()] == []
    users = [line[1] for line in lines if line[0] == "USER"]
    assert users and set(users) == {f"{NOBODY}:{NOBODY}"}
    assert not [line for line in lines if line[0] == "ADD"]


def test_packages_alone_are_left_for_an_image_with_another_base(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "deploy/images/build.py", "--packages", "--to", tmp_path]
    subprocess.run([*command, "island"], check=True, capture_output=True, timeout=100)

    code = "import archipelag_island.__main__ as m; m.main(['--version'])"
    done = subprocess.run(
        # Neither this environment's packages nor what its user set.
        [sys.executable, "-S", "-s", "-c", code],
        env={"PYTHONPATH": str(tmp_path / "island")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
