"""Compiled modules, kept in the Island's own folder: made here, never taken from anybody."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

MODULES_MAX: Final = 256


class CompiledModules:
    """By what went in and what it was made with and for: another version or processor compiles again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, source: bytes) -> Path | None:
        path = self._path(source)
        with suppress(OSError):
            os.utime(path)  # The least lately used go first.
            return path
        return None

    def add(self, source: bytes, compiled: bytes) -> Path:
        """Raises OSError."""
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(compiled)
            path = self._path(source)
            Path(name).chmod(0o444)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._trim()
        return path

    def forget(self, source: bytes) -> None:
        self._path(source).unlink(missing_ok=True)

    def _trim(self) -> None:
        there = sorted(self._folder.glob("*.compiled"), key=lambda p: p.stat().st_mtime)
        for old in there[:-MODULES_MAX]:
            old.unlink(missing_ok=True)

    def _path(self, source: bytes) -> Path:
        made = f"{version('wasmtime')}:{platform.machine()}:{_processor()}".encode()
        key = hashlib.sha256(hashlib.sha256(source).digest() + made).hexdigest()
        return self._folder / f"{key}.compiled"


def _processor() -> str:
    """What instructions there are: compiled code uses those that it found."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.processor()
