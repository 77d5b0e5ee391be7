"""Output files of a run as they come in parts: names, order, bounds and hashes checked before anything is sent on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from archipelag_island.runtime import FilePart

FILES_MAX: Final = 64
FILE_BYTES_MAX: Final = 2 << 30
NAME_MAX: Final = 128


@dataclass
class _Open:
    media_type: str
    size_bytes: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)


class Outputs:
    """Guards the files of one run: each part in order, each file once."""

    def __init__(self, bytes_max: int = FILE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._total = 0
        self._open: dict[str, _Open] = {}
        self._done: set[str] = set()

    def take(self, part: FilePart) -> int | str:
        """Where the part begins in its file, or what is wrong with it."""
        if not is_plain(part.name):
            return f"a file may not be called {part.name[:64]!r}"
        if part.name in self._done:
            return f"the file {part.name} had ended already"
        if part.name not in self._open and len(self._open) + len(self._done) >= FILES_MAX:
            return f"more than {FILES_MAX} files"
        one = self._open.setdefault(part.name, _Open(part.media_type))
        self._total += len(part.data)
        if self._total > self._bytes_max:
            return f"more than {self._bytes_max} bytes of files"
        offset = one.size_bytes
        one.size_bytes += len(part.data)
        one.sha256.update(part.data)
        if part.last:
            if part.sha256 != one.sha256.digest():
                return f"the file {part.name} is not what its hash says"
            del self._open[part.name]
            self._done.add(part.name)
        return offset

    @property
    def unfinished(self) -> str:
        """Name of a file that was begun and not ended; empty: none."""
        return next(iter(self._open), "")


def is_plain(name: str) -> bool:
    """Whether this can be the name of a file and nothing else."""
    return (
        0 < len(name) <= NAME_MAX
        and name.isprintable()
        and not name.startswith(".")
        and not any(c in "/\\:" for c in name)
    )
