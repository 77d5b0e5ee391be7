"""A folder that is written to without ever following a link: each step by the file descriptor of the one before."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from archipelag_oci.errors import UnsafeLayer
from archipelag_oci.names import shown

Parts = tuple[str, ...]

FOLDER_MODE: Final = 0o755
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Root:
    """Knows paths by their parts. `owner` is who all of it belongs to; None: whoever we are."""

    def __init__(self, folder: Path, owner: tuple[int, int] | None) -> None:
        self._owner = owner
        self._fd = os.open(folder, _OPEN_FOLDER)
        self._own(self._fd)
        os.fchmod(self._fd, FOLDER_MODE)

    def close(self) -> None:
        os.close(self._fd)

    def make_folder(self, parts: Parts, mode: int, mtime_s: int | None = None) -> None:
        """Makes it, or gives the one that is there this mode."""
        with self._parent(parts) as parent:
            name = parts[-1]
            if _kind(parent, name) not in (None, stat.S_IFDIR):
                self._remove(parent, name)
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
            fd = os.open(name, _OPEN_FOLDER, dir_fd=parent)
            try:
                self._own(fd)
                os.fchmod(fd, mode)
                if mtime_s is not None:
                    os.utime(fd, (mtime_s, mtime_s))
            finally:
                os.close(fd)

    @contextmanager
    def new_file(self, parts: Parts, mode: int, mtime_s: int) -> Iterator[int]:
        """A descriptor to write to; what was there is gone."""
        with self._parent(parts) as parent:
            self._remove(parent, parts[-1])
            fd = os.open(parts[-1], _NEW_FILE, 0o600, dir_fd=parent)
        try:
            yield fd
            self._own(fd)
            os.fchmod(fd, mode)
            os.utime(fd, (mtime_s, mtime_s))
        finally:
            os.close(fd)

    def symlink(self, parts: Parts, target: str) -> None:
        with self._parent(parts) as parent:
            self._remove(parent, parts[-1])
            os.symlink(target, parts[-1], dir_fd=parent)
            if self._owner is not None:
                os.chown(parts[-1], *self._owner, dir_fd=parent, follow_symlinks=False)

    def hard_link(self, parts: Parts, target: Parts) -> None:
        """To a file that stands in this root already, and to nothing else."""
        if not target or self.kind(target) != stat.S_IFREG:
            raise UnsafeLayer(
                f"{shown('/'.join(parts))} is a hard link to {shown('/'.join(target))}, which is no file of this image"
            )
        if target[: len(parts)] == parts:
            raise UnsafeLayer(f"{shown('/'.join(parts))} is a hard link into itself")
        with self._parent(target) as source, self._parent(parts) as parent:
            self._remove(parent, parts[-1])
            os.link(
                target[-1], parts[-1], src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False
            )

    def kind(self, parts: Parts) -> int | None:
        """The file type at a path, a link's own; None where nothing is."""
        try:
            with self._parent(parts, make=False) as parent:
                return _kind(parent, parts[-1])
        except FileNotFoundError:
            return None

    def remove(self, parts: Parts) -> None:
        """With all that is below; nothing happens where nothing is."""
        with suppress(FileNotFoundError), self._parent(parts, make=False) as parent:
            self._remove(parent, parts[-1])

    def children(self, parts: Parts) -> list[str]:
        """Names in a folder; none where no folder is."""
        if parts and self.kind(parts) != stat.S_IFDIR:
            return []
        with self._folder(parts, make=False) as fd:
            return os.listdir(fd)  # noqa: PTH208 - a path knows no descriptor

    @contextmanager
    def _parent(self, parts: Parts, *, make: bool = True) -> Iterator[int]:
        assert parts
        with self._folder(parts[:-1], make=make) as fd:
            yield fd

    @contextmanager
    def _folder(self, parts: Parts, *, make: bool) -> Iterator[int]:
        """Raises UnsafeLayer where a part is no folder, and so for every link."""
        fd = os.dup(self._fd)
        try:
            for part in parts:
                following = self._step(fd, part, parts, make)
                os.close(fd)
                fd = following
            yield fd
        finally:
            os.close(fd)

    def _step(self, fd: int, part: str, parts: Parts, make: bool) -> int:
        try:
            return os.open(part, _OPEN_FOLDER, dir_fd=fd)
        except FileNotFoundError:
            if not make:
                raise
        except OSError as error:
            # ELOOP or ENOTDIR, by system.
            raise UnsafeLayer(f"{shown('/'.join(parts))} leads through a link or a file") from error
        os.mkdir(part, 0o700, dir_fd=fd)
        made = os.open(part, _OPEN_FOLDER, dir_fd=fd)
        self._own(made)
        os.fchmod(made, FOLDER_MODE)
        return made

    def _remove(self, parent: int, name: str) -> None:
        kind = _kind(parent, name)
        if kind is None:
            return
        if kind == stat.S_IFDIR:
            shutil.rmtree(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)

    def _own(self, fd: int) -> None:
        if self._owner is not None:
            os.fchown(fd, *self._owner)


def _kind(parent: int, name: str) -> int | None:
    try:
        return stat.S_IFMT(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return None
