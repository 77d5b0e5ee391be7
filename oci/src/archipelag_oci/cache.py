"""Blobs on this disk, by digest: bounded, the least recently used go first, and two processes may share it.

`blobs/HEX` is a whole blob, `seen/HEX` what it looked like when it was checked (its own time is that of last use),
`parts/HEX` one on its way, `pins/NAME` a list of digests that stay.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archipelag_contracts.durable import sync_folder, write_durably

from archipelag_oci.errors import CacheFull, disk_full_is_told
from archipelag_oci.reference import is_digest

LOCK_LOOK_S: Final = 0.1
PIN_BYTES_MAX: Final = 64 * 1024

_PIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class _Blob:
    hex: str
    size: int
    used_ns: int


class BlobCache:
    """All methods but `filling` are quick or meant for a thread; none trusts a file that it has not checked."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._blobs, self._seen = folder / "blobs", folder / "seen"
        self._parts, self._pins = folder / "parts", folder / "pins"
        for each in (self._blobs, self._seen, self._parts, self._pins):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)

    def get(self, digest: str) -> Path | None:
        """The whole blob, if it is here and is what it should be; its use is noted.

        A file that looks as it did when it was checked is taken as it is; any other is read again, and removed if it
        has been changed.
        """
        path = self._blobs / _hex(digest)
        try:
            found = _look(path)
            if found != self._record(digest):
                if _digest_of(path) != digest:
                    self.drop(digest)
                    return None
                self._remember(digest, found)
            os.utime(self._seen / _hex(digest))
        except FileNotFoundError:
            return None
        return path

    def put(self, digest: str, data: bytes) -> Path:
        """Small ones, such as configs. Raises CacheFull, DiskFull."""
        assert "sha256:" + hashlib.sha256(data).hexdigest() == digest
        if known := self.get(digest):
            return known
        self.make_room(len(data), keep=(digest,))
        part = self._parts / f"{_hex(digest)}.{os.getpid()}"
        try:
            with disk_full_is_told(self._folder):
                part.write_bytes(data)
                return self._admit(digest, part)
        finally:
            part.unlink(missing_ok=True)

    @asynccontextmanager
    async def filling(self, digest: str, size: int) -> AsyncIterator[Path | None]:
        """A place for a blob that is not here yet; None if another process brought it meanwhile.

        One fills it at a time. What is left there after a failure is gone on with by the next. Call `admit` when it is
        whole and checked. Raises CacheFull.
        """
        part = self._parts / _hex(digest)
        async with _alone(self._lock(_hex(digest))):
            if await asyncio.to_thread(self.get, digest) is not None:
                yield None
                return
            await asyncio.to_thread(self.make_room, size, keep=(digest,))
            yield part

    def admit(self, digest: str, part: Path) -> Path:
        """Takes a file that `filling` gave and that was checked while it was written."""
        with disk_full_is_told(self._folder):
            return self._admit(digest, part)

    def drop(self, digest: str) -> None:
        (self._blobs / _hex(digest)).unlink(missing_ok=True)
        (self._seen / _hex(digest)).unlink(missing_ok=True)

    def pin(self, name: str, digests: Iterable[str]) -> None:
        """Keeps these until `unpin(name)`, also over a restart; a name's earlier list is replaced."""
        assert _PIN.fullmatch(name)
        data = json.dumps(sorted(_hex(each) for each in digests)).encode()
        with disk_full_is_told(self._folder):
            temporary = self._parts / f"pin.{name}.{os.getpid()}"
            write_durably(temporary, data)
            temporary.replace(self._pins / name)

    def unpin(self, name: str) -> None:
        assert _PIN.fullmatch(name)
        (self._pins / name).unlink(missing_ok=True)

    def size_bytes(self) -> int:
        """Of whole blobs and parts."""
        return sum(blob.size for blob in self._whole()) + sum(size for _, size in self._begun())

    def make_room(self, size: int, keep: Iterable[str] = ()) -> None:
        """Removes what was used longest ago until `size` bytes more fit. Raises CacheFull."""
        kept = self._pinned() | {_hex(each) for each in keep}
        with _locked(self._folder / "lock"):
            blobs = sorted(self._whole(), key=lambda blob: blob.used_ns)
            begun = {hexed: held for hexed, held in self._begun() if hexed not in kept}
            held = sum(blob.size for blob in blobs) + sum(begun.values())
            for hexed, part_size in begun.items():
                if held + size > self._bytes_max and _nobody_fills(self._lock(hexed)):
                    (self._parts / hexed).unlink(missing_ok=True)
                    held -= part_size
            for blob in blobs:
                if held + size <= self._bytes_max:
                    return
                if blob.hex not in kept:
                    self.drop("sha256:" + blob.hex)
                    held -= blob.size
        if held + size > self._bytes_max:
            raise CacheFull(
                f"{size} bytes do not fit beside {held} that stay: the cache in {self._folder} holds "
                f"{self._bytes_max}; allow it more"
            )

    def _admit(self, digest: str, part: Path) -> Path:
        """Durable before it is visible: after a crash a blob is whole or not there."""
        path = self._blobs / _hex(digest)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(self._blobs)
        self._remember(digest, _look(path))
        return path

    def _lock(self, hexed: str) -> Path:
        """One for many blobs, so that locks need no clearing away; two that share one wait for each other."""
        return self._parts / f"{hexed[:3]}.lock"

    def _record(self, digest: str) -> list[int] | None:
        try:
            found = json.loads((self._seen / _hex(digest)).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, list) else None

    def _remember(self, digest: str, look: list[int]) -> None:
        temporary = self._parts / f"seen.{_hex(digest)}.{os.getpid()}"
        temporary.write_bytes(json.dumps(look).encode())
        temporary.replace(self._seen / _hex(digest))

    def _whole(self) -> Iterator[_Blob]:
        for entry in os.scandir(self._blobs):
            with suppress(FileNotFoundError):
                size = entry.stat(follow_symlinks=False).st_size
                yield _Blob(entry.name, size, self._used_ns(entry.name))

    def _used_ns(self, hexed: str) -> int:
        try:
            return (self._seen / hexed).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _begun(self) -> Iterator[tuple[str, int]]:
        for entry in os.scandir(self._parts):
            if is_digest("sha256:" + entry.name):
                with suppress(FileNotFoundError):
                    yield entry.name, entry.stat(follow_symlinks=False).st_size

    def _pinned(self) -> set[str]:
        found: set[str] = set()
        for path in self._pins.iterdir():
            with suppress(FileNotFoundError, ValueError):
                found.update(json.loads(path.read_bytes()[:PIN_BYTES_MAX]))
        return found


def _hex(digest: str) -> str:
    assert is_digest(digest)
    return digest.removeprefix("sha256:")


def _look(path: Path) -> list[int]:
    """What changes when somebody writes to a file."""
    found = path.stat(follow_symlinks=False)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@asynccontextmanager
async def _alone(path: Path) -> AsyncIterator[None]:
    """Waits without blocking: another process may be in the middle of a long download."""
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(LOCK_LOOK_S)
        yield


def _nobody_fills(path: Path) -> bool:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
