"""Layers to a root folder that any uid may read and nobody but its owner write: hostile layers are the usual case.

Setuid and setgid bits are dropped, not refused: real base images hold them, and without new privileges they are dead.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archipelag_oci import names, tar
from archipelag_oci.errors import (
    BadDocument,
    TooLarge,
    UnsafeLayer,
    disk_full_is_told,
    is_full,
)
from archipelag_oci.packed import Bounds, Packed
from archipelag_oci.pull import Layer
from archipelag_oci.root import FOLDER_MODE, Parts, Root

COPY_BYTES: Final = 1 << 20
MTIME_S_MAX: Final = 1 << 33

MOUNT_POINTS: Final[tuple[Parts, ...]] = (
    ("proc",),
    ("sys",),
    ("dev",),
    ("tmp",),
    ("run",),
    ("run", "archipelag"),
)
"""Folders that a sandbox mounts on: real ones, made where an image lacks them, since the root is read-only later."""


@dataclass(frozen=True)
class UnpackLimits:
    """Of the whole image, unpacked."""

    bytes_max: int = 32 << 30
    files_max: int = 400_000
    """Entries of all kinds, and folders that are made because a name needs them."""
    layer_overhead_bytes_max: int = 1 << 30
    """What headers and padding may add to the files of a layer."""


@dataclass(frozen=True)
class Unpacked:
    folder: Path
    bytes: int
    files: int


def unpack(
    layers: Sequence[Layer],
    folder: Path,
    *,
    limits: UnpackLimits = UnpackLimits(),
    owner: tuple[int, int] | None = None,
) -> Unpacked:
    """Makes `folder` from layers, the lowest first; all of it or nothing. Blocks: call it in a thread.

    `owner` is the uid and gid that all of it gets, which needs root. Raises UnsafeLayer, TooLarge, BadDocument,
    DiskFull. Where `folder` stands already, FileExistsError.
    """
    if folder.exists():
        raise FileExistsError(folder)
    with disk_full_is_told(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder.parent))
        try:
            done = _unpack(layers, unfinished, limits, owner)
            _sync(unfinished)
            _publish(unfinished, folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return Unpacked(folder, done.bytes, done.files)


def _publish(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError as error:
        if folder.exists():  # Another process was first.
            raise FileExistsError(folder) from error
        raise


def _sync(folder: Path) -> None:
    """To the disk before it has its name: after a power cut, a root that stands is whole. One call, not one a file."""
    sync = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if sync is None:
        os.sync()
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if sync(fd) != 0:
            raise OSError(ctypes.get_errno(), "the file system cannot be synchronised")
    finally:
        os.close(fd)


def _unpack(
    layers: Sequence[Layer], folder: Path, limits: UnpackLimits, owner: tuple[int, int] | None
) -> _Tally:
    root = Root(folder, owner)
    tally = _Tally(limits)
    try:
        for number, layer in enumerate(layers):
            try:
                _apply(layer, root, tally)
            except (UnsafeLayer, TooLarge) as error:
                raise type(error)(f"layer {number}: {error}") from error
            except OSError as error:
                if is_full(error):
                    raise
                # A layer that this file system cannot hold: too many links to a file, names that it folds together.
                raise UnsafeLayer(f"layer {number} cannot be unpacked here: {error}") from error
        for parts in MOUNT_POINTS:
            if root.kind(parts) not in (None, stat.S_IFDIR):
                raise UnsafeLayer(f"/{'/'.join(parts)} is no folder, and is mounted on")
            root.make_folder(parts, 0o1777 if parts == ("tmp",) else FOLDER_MODE)
    finally:
        root.close()
    return tally


class _Tally:
    """What is unpacked so far, against what may be."""

    def __init__(self, limits: UnpackLimits) -> None:
        self.limits = limits
        self.bytes = 0
        self.files = 0

    def add_file(self, size: int) -> None:
        """Before it is written: an announced size is refused as soon as it is too large."""
        self.bytes += size
        if self.bytes > self.limits.bytes_max:
            raise TooLarge(f"the image unpacks to more than {self.limits.bytes_max} bytes")
        self.add_entry()

    def add_entry(self) -> None:
        self.files += 1
        if self.files > self.limits.files_max:
            raise TooLarge(f"the image has more than {self.limits.files_max} files")


def _apply(layer: Layer, root: Root, tally: _Tally) -> None:
    left = tally.limits.bytes_max - tally.bytes
    bounds = Bounds(bytes_max=left + tally.limits.layer_overhead_bytes_max)
    with layer.path.open("rb") as file:
        stream = Packed(file, layer.compression, bounds)
        changes = _Changes(root, tally)
        for entry in tar.entries(stream):
            changes.apply(entry, stream)
        if stream.digest != layer.diff_id:
            raise BadDocument(f"a layer unpacks to {stream.digest} and not to {layer.diff_id}")


class _Changes:
    """One layer's: what it has made itself is neither made twice nor whited out by it."""

    def __init__(self, root: Root, tally: _Tally) -> None:
        self._root = root
        self._tally = tally
        self._named: set[Parts] = set()
        self._folders: set[Parts] = {()}
        """Of this layer: named, or because a name lies in them."""

    def apply(self, entry: tar.Entry, stream: Packed) -> None:
        parts = names.split(entry.name)
        if not parts:
            if entry.kind != tar.FOLDER:
                raise UnsafeLayer("the root itself is no folder")
            return
        if parts in self._named:
            raise UnsafeLayer(f"{names.shown(entry.name)} stands twice in one layer")
        if any(part.startswith(names.WHITEOUT) for part in parts[:-1]):
            raise UnsafeLayer(f"{names.shown(entry.name)} lies below a whiteout")
        self._named.add(parts)
        self._note_parents(parts)
        if parts[-1].startswith(names.WHITEOUT):
            self._white_out(parts, entry)
        else:
            self._make(parts, entry, stream)

    def _note_parents(self, parts: Parts) -> None:
        for depth in range(1, len(parts)):
            parent = parts[:depth]
            if parent not in self._folders:
                self._folders.add(parent)
                self._tally.add_entry()

    def _make(self, parts: Parts, entry: tar.Entry, stream: Packed) -> None:
        if entry.kind != tar.FOLDER and parts in self._folders:
            raise UnsafeLayer(f"{names.shown(entry.name)} is a folder and a file in one layer")
        mtime_s = min(entry.mtime_s, MTIME_S_MAX)
        match entry.kind:
            case tar.FOLDER:
                if parts not in self._folders:
                    self._folders.add(parts)
                    self._tally.add_entry()
                self._root.make_folder(parts, _folder_mode(entry.mode), mtime_s)
            case tar.SYMLINK:
                self._tally.add_entry()
                names.check_symlink(parts, entry.target)
                self._root.symlink(parts, entry.target)
            case tar.HARD_LINK:
                self._tally.add_entry()
                self._root.hard_link(parts, names.split(entry.target))
            case _:
                self._tally.add_file(entry.size)
                with self._root.new_file(parts, _file_mode(entry.mode), mtime_s) as fd:
                    _copy(stream, fd, entry.size)
                tar.skip_padding(stream, entry.size)

    def _white_out(self, parts: Parts, entry: tar.Entry) -> None:
        """Removes what lower layers have brought."""
        if entry.kind != tar.FILE or entry.size:
            raise UnsafeLayer(f"{names.shown(entry.name)} is a whiteout with content")
        self._tally.add_entry()
        folder, name = parts[:-1], parts[-1]
        if name == names.OPAQUE:
            for child in self._root.children(folder):
                self._clear((*folder, child))
            return
        hidden = name.removeprefix(names.WHITEOUT)
        if hidden in ("", ".", "..") or hidden.startswith(names.WHITEOUT):
            raise UnsafeLayer(f"{names.shown(entry.name)} hides nothing")
        self._clear((*folder, hidden))

    def _clear(self, parts: Parts) -> None:
        if parts in self._folders:
            for child in self._root.children(parts):
                self._clear((*parts, child))
        elif parts not in self._named:
            self._root.remove(parts)


def _copy(stream: Packed, fd: int, size: int) -> None:
    while size:
        view = memoryview(stream.exactly(min(size, COPY_BYTES)))
        size -= len(view)
        while view:
            view = view[os.write(fd, view) :]


def _file_mode(mode: int) -> int:
    """Anybody may read it and, if anybody may, run it; nobody else writes."""
    return 0o755 if mode & 0o111 else 0o644


def _folder_mode(mode: int) -> int:
    """A folder that anybody may write to, such as /tmp, stays so only with the sticky bit."""
    return 0o1777 if mode & 0o1002 == 0o1002 else FOLDER_MODE
