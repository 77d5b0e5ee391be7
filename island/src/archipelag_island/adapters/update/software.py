"""The folder of the Island's own files, as the launcher reads it: each step is one rename, made durable."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from archipelag_contracts.durable import sync_folder, write_durably
from archipelag_contracts.releases import File

from archipelag_island.domain.update import Laid
from archipelag_island.errors import BadRelease, ReleaseUnavailable

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class SoftwareFolder:
    """See deploy/island/launch.sh, which is the other half of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._versions = folder / "versions"

    def laid(self) -> Laid:
        return Laid(
            current=self._link("current"),
            before=self._link("before"),
            trial=self._link("trial"),
            tries=len(self._lines("trying")),
            files=frozenset(p.name for p in self._versions.iterdir() if _DIGEST.fullmatch(p.name)),
            refused=frozenset(self._lines("refused")),
        )

    def highest(self) -> int:
        found = self._lines("highest")
        if not found:
            return 0
        if not found[0].isascii() or not found[0].isdigit():
            raise ReleaseUnavailable(
                f"{self._folder / 'highest'} is damaged: write the number of the newest release "
                "that was seen here into it"
            )
        return int(found[0])

    def note(self, number: int) -> None:
        if number > self.highest():
            self._write("highest", f"{number}\n")

    async def lay(self, file: File, chunks: AsyncIterator[bytes]) -> None:
        part = self._versions / f"{file.digest}.part"
        found, size = hashlib.sha256(), 0
        try:
            with part.open("wb") as out:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > file.size:
                        raise BadRelease("the file is longer than the one that was signed")
                    found.update(chunk)
                    await asyncio.to_thread(out.write, chunk)
                out.flush()
                await asyncio.to_thread(os.fsync, out.fileno())
            if size != file.size or found.hexdigest() != file.digest:
                raise BadRelease("the file is not the one that was signed")
            part.chmod(0o755)
            part.replace(self._versions / file.digest)
            sync_folder(self._versions)
        except OSError as error:
            raise _told(error) from error
        finally:
            part.unlink(missing_ok=True)

    def arm(self, digest: str) -> None:
        # First, or tries of an older trial would count as this one's.
        (self._folder / "trying").unlink(missing_ok=True)
        self._point("trial", digest)

    def confirm(self) -> None:
        # The one before stays, for an owner who wants it back.
        self._point("before", self._link("current"))
        (self._folder / "trial").replace(self._folder / "current")
        sync_folder(self._folder)
        (self._folder / "trying").unlink(missing_ok=True)
        kept = {self._link("before"), self._link("current")}
        for path in self._versions.iterdir():
            if path.name not in kept:
                path.unlink()

    def _point(self, name: str, digest: str) -> None:
        draft = self._folder / f"{name}.new"
        try:
            draft.unlink(missing_ok=True)
            draft.symlink_to(f"versions/{digest}")
            draft.replace(self._folder / name)
            sync_folder(self._folder)
        except OSError as error:
            raise _told(error) from error

    def _link(self, name: str) -> str:
        try:
            return (self._folder / name).readlink().name
        except OSError:
            return ""

    def _lines(self, name: str) -> list[str]:
        try:
            return (self._folder / name).read_text(errors="replace").split()
        except FileNotFoundError:
            return []

    def _write(self, name: str, text: str) -> None:
        draft = self._folder / f"{name}.new"
        try:
            write_durably(draft, text.encode())
            draft.replace(self._folder / name)
            sync_folder(self._folder)
        except OSError as error:
            raise _told(error) from error


def _told(error: OSError) -> ReleaseUnavailable:
    if error.errno == errno.ENOSPC:
        return ReleaseUnavailable("this disk is full: the update waits until there is room")
    return ReleaseUnavailable(f"the update cannot be kept here: {error}")
