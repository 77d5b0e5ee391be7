"""The control socket: how the owner's commands reach the running agent. One JSON line in, one out.

Only the owner's own user (and root) gets through: the folder is closed to others, the socket too, and the kernel
says who is at the other end. The agent holds its folder's lock while it listens, so whatever lies in the socket's
place when it starts was left behind and is removed, a link without following it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from archipelag_island.errors import ControlFailed, NotRunning

log = logging.getLogger(__name__)

FILE: Final = "control.sock"
LINE_BYTES_MAX: Final = 4096
ANSWER_S: Final = 5.0
CALLERS_MAX: Final = 8
# sun_path holds 108 bytes on Linux and 104 elsewhere, the last of them zero.
PATH_BYTES_MAX: Final = 103
_FD_FOLDER: Final = Path("/proc/self/fd")

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class ControlServer:
    """Answers one caller after the other with `answer`, which must not wait and raises ValueError for nonsense."""

    def __init__(self, home: Path, answer: Answer) -> None:
        self._home = home
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._callers = 0
        self._closed = False

    async def start(self) -> str:
        """Empty, or why nobody can reach us; the agent works without it."""
        try:
            listening = _listen(self._home)
        except OSError as error:
            reason = f"{self._home / FILE} cannot be opened: {error.strerror or error}"
            log.warning("control_not_open reason=%s", reason)
            return reason
        options: dict[str, Any] = {}
        if sys.version_info >= (3, 13):
            # It would look for the socket under a name that was good for the moment of binding only.
            options["cleanup_socket"] = False
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listening, limit=LINE_BYTES_MAX, **options
        )
        return ""

    async def close(self) -> None:
        """Who is connected already hears that it is too late."""
        self._closed = True
        if self._server is not None:
            self._server.close()
            self._server = None
            with suppress(OSError):
                (self._home / FILE).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._callers += 1
        try:
            async with asyncio.timeout(ANSWER_S):
                said = self._said(writer.get_extra_info("socket")) or await self._ask(reader)
                writer.write(json.dumps(said).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            log.debug("control_caller_gone error=%s", error)
        finally:
            self._callers -= 1
            writer.close()

    def _said(self, caller: socket.socket) -> dict[str, Any] | None:
        """What a caller hears who may not ask."""
        if self._callers > CALLERS_MAX:
            return {"error": "too many at once; try again"}
        uid = _uid_of(caller)
        if uid is not None and uid not in (0, os.geteuid()):
            log.warning("control_refused uid=%d", uid)
            return {"error": "this is another user's Island"}
        return None

    async def _ask(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        try:
            wish = json.loads(await reader.readuntil(b"\n"))
            if not isinstance(wish, dict):
                raise ValueError("not an object")
            if self._closed:
                return {"error": "it is stopping"}
            return self._answer(wish)
        except (asyncio.LimitOverrunError, ValueError, RecursionError) as error:
            return {"error": f"not understood: {error}"[:200]}


def ask(home: Path, wish: dict[str, Any]) -> dict[str, Any]:
    """What the running agent answers. Blocks at most ANSWER_S. Raises NotRunning or ControlFailed."""
    try:
        with _connect(home) as caller:
            # Who is refused may find the line closed already; the reason waits to be read.
            with suppress(BrokenPipeError):
                caller.sendall(json.dumps(wish).encode() + b"\n")
            said = _read_line(caller)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(
            f"no agent runs with {home}; start it with `archipelag-island run`"
        ) from None
    except (OSError, ValueError) as error:
        raise ControlFailed(f"the agent of {home} cannot be asked: {error}") from error
    if "error" in said:
        raise ControlFailed(f"the agent of {home} refused: {said['error']}")
    return said


def _read_line(caller: socket.socket) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        more = caller.recv(LINE_BYTES_MAX)
        if not more or len(data) > LINE_BYTES_MAX:
            raise ValueError("its answer broke off")
        data += more
    said = json.loads(data)
    if not isinstance(said, dict):
        raise ValueError("its answer is no object")
    return said


def _listen(home: Path) -> socket.socket:
    with suppress(FileNotFoundError):
        (home / FILE).unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mask = os.umask(0o177)
        try:
            with _short_path(home) as path:
                listening.bind(path)
        finally:
            os.umask(mask)
        listening.listen(CALLERS_MAX)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


@contextmanager
def _connect(home: Path) -> Iterator[socket.socket]:
    there = (home / FILE).lstat()
    if not stat.S_ISSOCK(there.st_mode):
        raise ValueError(f"{FILE} is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(ANSWER_S)
        with _short_path(home) as path:
            caller.connect(path)
        if (uid := _uid_of(caller)) is not None and uid not in (os.geteuid(), there.st_uid):
            raise ValueError("somebody else listens there")
        yield caller


@contextmanager
def _short_path(home: Path) -> Iterator[str]:
    """The socket's path, or another that means the same and fits where sockets' names go."""
    path = str(home / FILE)
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield path
        return
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _FD_FOLDER.exists():
            yield f"{_FD_FOLDER}/{folder}/{FILE}"
            return
        # Without such names only a folder to stand in helps; nothing else runs between here and back.
        before = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fchdir(folder)
            yield FILE
        finally:
            os.fchdir(before)
            os.close(before)
    finally:
        os.close(folder)


def _uid_of(other: socket.socket) -> int | None:
    """Who is at the other end, by the kernel's word; None where it gives none: then the folder's rights must do."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _, uid, _ = struct.unpack("3i", other.getsockopt(socket.SOL_SOCKET, option, 12))
    return int(uid)
