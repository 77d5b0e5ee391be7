"""The control socket, with its owner, strangers, garbage, leftovers and very long folders."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters import control
from archipelag_island.adapters.control import FILE, LINE_BYTES_MAX, ControlServer, ask
from archipelag_island.errors import ControlFailed, NotRunning


def answer(wish: dict[str, Any]) -> dict[str, Any]:
    if wish.get("op") == "fail":
        raise ValueError("told to fail")
    return {"heard": wish}


@asynccontextmanager
async def listening(home: Path) -> AsyncIterator[ControlServer]:
    server = ControlServer(home, answer)
    assert await server.start() == ""
    try:
        yield server
    finally:
        await server.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir(mode=0o700)
    return made


async def asked(home: Path, wish: dict[str, Any]) -> dict[str, Any]:
    return await asyncio.to_thread(ask, home, wish)


async def raw(home: Path, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(home / FILE))
    writer.write(data)
    writer.write_eof()
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()
    finally:
        writer.close()


async def test_owner_is_heard(home: Path) -> None:
    async with listening(home):
        said = await asked(home, {"op": "progress"})
        mode = stat.S_IMODE((home / FILE).stat().st_mode)

    assert said == {"heard": {"op": "progress"}}
    assert mode == 0o600
    assert not os.access(home / FILE, os.F_OK)


@pytest.mark.parametrize("without_fd_names", [False, True])
async def test_folder_with_a_very_long_name_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_fd_names: bool
) -> None:
    if without_fd_names:
        monkeypatch.setattr(control, "_FD_FOLDER", tmp_path / "missing")
    home = tmp_path / ("x" * 100) / ("y" * 100)
    home.mkdir(parents=True)
    before = Path.cwd()

    async with listening(home):
        said = await asked(home, {"op": "progress"})
        there = os.access(home / FILE, os.F_OK)

    assert said == {"heard": {"op": "progress"}}
    assert there and Path.cwd() == before


async def test_nobody_runs_there(home: Path) -> None:
    with pytest.raises(NotRunning, match="no agent runs"):
        await asked(home, {"op": "drain"})


async def test_socket_that_a_killed_agent_left_is_no_agent_and_is_replaced(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(home / FILE))
    with pytest.raises(NotRunning):
        await asked(home, {"op": "drain"})

    async with listening(home):
        assert await asked(home, {}) == {"heard": {}}


async def test_link_in_the_sockets_place_is_replaced_and_its_target_is_left_alone(
    home: Path, tmp_path: Path
) -> None:
    target = tmp_path / "precious"
    target.write_text("still here")
    (home / FILE).symlink_to(target)
    with pytest.raises(ControlFailed, match="not a socket"):
        await asked(home, {"op": "drain"})

    async with listening(home):
        assert await asked(home, {}) == {"heard": {}}
        is_link = (home / FILE).is_symlink()

    assert not is_link
    assert target.read_text() == "still here"


async def test_folder_that_cannot_hold_a_socket_is_said_and_stops_nobody(home: Path) -> None:
    (home / FILE).mkdir()

    reason = await ControlServer(home, answer).start()

    assert FILE in reason


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\n",
        b"no json\n",
        b"[]\n",
        b'"drain"\n',
        b'{"op": "fail"}\n',
        b"\xff\xfe\n",
        b"[" * 3000 + b"\n",
        b"x" * (4 * LINE_BYTES_MAX),
        b"x" * (4 * LINE_BYTES_MAX) + b"\n",
        b'{"op": "drain"}',
    ],
)
async def test_garbage_is_refused_and_the_next_caller_is_heard(home: Path, garbage: bytes) -> None:
    async with listening(home):
        said = await raw(home, garbage)
        after = await asked(home, {"op": "progress"})

    assert said == b"" or "not understood" in json.loads(said)["error"]
    assert after == {"heard": {"op": "progress"}}


async def test_callers_who_say_nothing_keep_nobody_out_for_long(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ANSWER_S", 0.2)
    async with listening(home):
        mute = [await asyncio.open_unix_connection(str(home / FILE)) for _ in range(20)]
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    after = await asked(home, {"op": "progress"})
                    break
                except ControlFailed:
                    await asyncio.sleep(0.05)
        for _, writer in mute:
            writer.close()

    assert after == {"heard": {"op": "progress"}}


async def test_order_that_comes_while_the_agent_stops_is_too_late(home: Path) -> None:
    async with listening(home) as server:
        reader, writer = await asyncio.open_unix_connection(str(home / FILE))
        await asked(home, {})
        await server.close()
        writer.write(b'{"op": "resume"}\n')
        async with asyncio.timeout(PATIENCE_S):
            said = json.loads(await reader.readline())
        writer.close()

    assert said == {"error": "it is stopping"}


async def test_answer_that_never_comes_is_given_up(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ANSWER_S", 0.1)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(home / FILE))
        deaf.listen(1)
        with pytest.raises(ControlFailed, match="cannot be asked"):
            await asked(home, {"op": "drain"})


AS_NOBODY = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as caller:
    try:
        caller.connect(sys.argv[1])
        try:
            caller.sendall(b'{"op": "drain"}\\n')
        except BrokenPipeError:
            pass  # Refused before it was said.
        print(caller.recv(4096).decode())
    except OSError as error:
        print(type(error).__name__)
"""


def as_nobody(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", AS_NOBODY, str(path)],
        capture_output=True, text=True, timeout=30, check=True, cwd="/",
    )  # fmt: skip
    return done.stdout


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A folder that any user may enter, as no Island's is."""
    with tempfile.TemporaryDirectory(prefix="archipelag-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
async def test_another_user_is_kept_out_by_rights_and_by_the_kernels_word(open_home: Path) -> None:
    heard: list[dict[str, Any]] = []
    server = ControlServer(open_home, lambda wish: heard.append(wish) or {})
    assert await server.start() == ""
    try:
        by_rights = await asyncio.to_thread(as_nobody, open_home / FILE)
        (open_home / FILE).chmod(0o777)
        by_word = await asyncio.to_thread(as_nobody, open_home / FILE)
    finally:
        await server.close()

    assert "PermissionError" in by_rights
    # Where it was said before it was refused, the kernel may drop the reason with it.
    assert "another user" in by_word or "ConnectionResetError" in by_word
    assert heard == []
