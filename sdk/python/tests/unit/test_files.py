"""Files through the client: sent whole, fetched whole and checked, taken up where a connection broke."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import archipelag
import httpx
import pytest
from archipelag import AsyncClient, Client, StreamBrokenError
from archipelag.cli import main
from stub import JOB, Network, Pieces

Out = pytest.CaptureFixture[str]
FILE = "file_" + "a" * 32
DATA = bytes(range(256)) * 40
SUM = hashlib.sha256(DATA).hexdigest()


def shown(**changes: Any) -> dict[str, Any]:
    return {
        "id": FILE,
        "object": "file",
        "bytes": len(DATA),
        "created_at": 1_700_000_000,
        "expires_at": 1_700_003_600,
        "filename": "data.bin",
        "purpose": "user_data",
        "media_type": "application/octet-stream",
        "sha256": SUM,
        "job_id": None,
    } | changes


class Keeper(Network):
    """Also keeps one file. `breaks`: after how many bytes each connection ends."""

    def __init__(self, *breaks: int, data: bytes = DATA, ranges: bool = True) -> None:
        super().__init__()
        self.breaks = list(breaks)
        self.data = data
        self.ranges = ranges

    def usual(self, request: httpx.Request) -> httpx.Response:
        match (request.method, request.url.path.removeprefix("/api/v1")):
            case ("POST", "/files"):
                return httpx.Response(200, json=shown())
            case ("GET", "/files"):
                return httpx.Response(200, json={"data": [shown()], "has_more": False})
            case ("GET", path) if path == f"/files/{FILE}":
                return httpx.Response(200, json=shown())
            case ("GET", path) if path == f"/files/{FILE}/content":
                return self._content(request)
            case ("DELETE", path) if path == f"/files/{FILE}":
                return httpx.Response(200, json={"id": FILE, "deleted": True})
            case ("GET", path) if path == f"/jobs/{JOB}/files":
                return httpx.Response(200, json={"data": [shown(job_id=JOB)]})
        return super().usual(request)

    def _content(self, request: httpx.Request) -> httpx.Response:
        wanted = request.headers.get("range", "bytes=0-")
        offset = int(wanted[6:-1]) if self.ranges else 0
        assert not offset or request.headers["if-range"] == f'"{SUM}"'
        data = self.data[offset:]
        parts: list[bytes | BaseException] = [data]
        if self.breaks:
            parts = [data[: self.breaks.pop(0)], httpx.ReadError("broke")]
        return httpx.Response(206 if offset else 200, stream=Pieces(*parts))


def client_of(keeper: Keeper, retries_max: int = 2) -> Client:
    transport = httpx.MockTransport(keeper)
    return Client(
        "http://x.test", "ak", retries_max=retries_max, transport_layer=transport, sleep=id
    )


def test_a_file_is_sent_by_path_bytes_or_open_file(tmp_path: Path) -> None:
    keeper = Keeper()
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    with client_of(keeper) as client:
        made = client.upload_file(path)
        client.upload_file(DATA, name="other.bin", purpose="vision")
        client.upload_file(io.BytesIO(DATA))

    assert (made.id, made.size_bytes, made.sha256) == (FILE, len(DATA), SUM)
    assert made.created_at is not None and made.created_at.year == 2023
    for request, name in zip(keeper.requests, ("data.bin", "other.bin", "file"), strict=True):
        assert request.headers["content-type"].startswith("multipart/form-data")
        assert DATA in request.content and f'filename="{name}"'.encode() in request.content
    assert b"vision" in keeper.requests[1].content


def test_a_try_again_sends_the_file_from_its_beginning(tmp_path: Path) -> None:
    keeper = Keeper()
    keeper.script = [httpx.ReadError("broke")]  # type: ignore[list-item]
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)

    with client_of(keeper) as client:
        client.upload_file(path)

    assert len(keeper.requests) == 2 and DATA in keeper.requests[1].content


def test_files_are_listed_read_and_deleted() -> None:
    with client_of(Keeper()) as client:
        assert [file.id for file in client.list_files(limit=1)] == [FILE]
        assert client.get_file(FILE).name == "data.bin"
        assert client.file_content(FILE) == DATA
        assert client.list_job_files(JOB)[0].job_id == JOB
        client.delete_file(FILE)


def test_what_is_in_a_file_is_asked_for_again_where_it_broke_and_then_said_so() -> None:
    def cut() -> httpx.Response:
        return httpx.Response(200, stream=Pieces(DATA[:9], httpx.ReadError("reset")))

    once = Network(cut(), httpx.Response(200, content=DATA))
    ever = Network(*(cut() for _ in range(9)))

    assert once.client().file_content(FILE) == DATA
    with pytest.raises(archipelag.ConnectionError):
        ever.client().file_content(FILE)
    assert once.requests[0].headers["accept"] == "*/*"


@pytest.mark.parametrize("breaks", [(), (100,), (100, 5000, 1), (0, 0), (10_000,)])
def test_a_download_goes_on_where_it_broke(tmp_path: Path, breaks: tuple[int, ...]) -> None:
    keeper = Keeper(*breaks)
    with client_of(keeper) as client:
        client.download_file(FILE, tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == DATA
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_a_server_without_ranges_begins_anew(tmp_path: Path) -> None:
    with client_of(Keeper(5000, 6000, ranges=False)) as client:
        client.download_file(FILE, tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == DATA


@pytest.mark.parametrize(
    "keeper",
    [Keeper(0, 0, 0, 0, 0), Keeper(data=DATA[:-1] + b"x"), Keeper(data=DATA + b"x")],
    ids=["never gets on", "another byte", "too long"],
)
def test_a_download_that_fails_leaves_what_was_there(tmp_path: Path, keeper: Keeper) -> None:
    (tmp_path / "out").write_bytes(b"before")

    with client_of(keeper) as client, pytest.raises(StreamBrokenError):
        client.download_file(FILE, tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


async def test_the_async_client_does_the_same(tmp_path: Path) -> None:
    keeper = Keeper(100, 200)
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    transport = httpx.MockTransport(keeper)
    async with AsyncClient("http://x.test", "ak", transport_layer=transport) as client:
        await client.upload_file(path)
        await client.download_file(FILE, tmp_path / "out")

        assert await client.file_content(FILE) == DATA
        assert [one async for one in client.list_files()] == [await client.get_file(FILE)]
        assert (await client.list_job_files(JOB))[0].job_id == JOB
        await client.delete_file(FILE)

    assert (tmp_path / "out").read_bytes() == DATA
    assert DATA in keeper.requests[0].content


def test_the_command_line_keeps_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "up.bin").write_bytes(DATA)
    keeper = Keeper()

    assert main(("files", "upload", "up.bin"), keeper.client) == 0
    assert main(("files", "list"), keeper.client) == 0
    assert main(("files", "get", FILE), keeper.client) == 0
    assert main(("files", "get", FILE), keeper.client) == 2, "it is here already"
    assert main(("files", "get", FILE, "-o", "again.bin"), keeper.client) == 0
    assert main(("files", "delete", FILE), keeper.client) == 0

    told = capsys.readouterr()
    assert told.out.count(FILE) == 3 and "data.bin" in told.out
    assert "here already" in told.err
    assert (tmp_path / "data.bin").read_bytes() == (tmp_path / "again.bin").read_bytes() == DATA


def test_a_name_chosen_elsewhere_leads_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    keeper = Keeper()
    for name in ("../up.bin", "/data.bin", "..", ""):
        keeper.script = [httpx.Response(200, json=shown(filename=name))]

        main(("files", "get", FILE), keeper.client)

    assert [one.name for one in tmp_path.iterdir()] == ["inner"]
    assert sorted(one.name for one in (tmp_path / "inner").iterdir()) == [
        "data.bin",
        "file",
        "up.bin",
    ]
