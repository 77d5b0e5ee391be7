"""The very socket that a Cargo opened, once somebody listens to it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from archipelag_island.errors import StartFailed


class Pinned:
    """The very socket that a Cargo opened, held by a handle: what it puts in its place later is never connected to."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @classmethod
    def at(cls, path: Path) -> Pinned | None:
        """None: nothing is there yet. Raises StartFailed when something else is: a link would lead to the host's."""
        try:
            handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
            return None
        if not stat.S_ISSOCK(os.fstat(handle).st_mode):
            os.close(handle)
            raise StartFailed("the Cargo put something else where its socket belongs")
        return cls(handle)

    @classmethod
    def listening_at(cls, path: Path) -> Pinned | None:
        """None: nobody listens there yet. Raises StartFailed, PermissionError."""
        found = cls.at(path)
        if found is None:
            return None
        try:
            if found.listens():
                return found
        except BaseException:
            found.close()
            raise
        found.close()
        return None

    @property
    def path(self) -> str:
        return f"/proc/self/fd/{self._handle}"

    def listens(self) -> bool:
        """A socket is there a moment before anybody listens to it; gRPC would take that for an end."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(self.path)
            except ConnectionRefusedError:
                return False
            except BlockingIOError:
                return True  # So many wait already.
        return True

    def close(self) -> None:
        os.close(self._handle)
