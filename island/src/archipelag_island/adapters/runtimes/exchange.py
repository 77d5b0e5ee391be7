"""The folder by which Island and Cargo meet: the socket, the manifest and the input files of runs; no outputs.

On the host it is private to the Island and the Cargo; what a Cargo may write is the socket's folder alone, and the
Island follows no link in it.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

from archipelag_contracts.manifest import Manifest

from archipelag_island.domain.outputs import is_plain
from archipelag_island.errors import BadInput, StartFailed
from archipelag_island.runtime import CargoSpec, InputFile

INSIDE: Final = PurePosixPath("/run/archipelag")
"""Where a sandbox shows it."""
SOCKET: Final = "sock/cargo.sock"
MANIFEST: Final = "manifest.json"
INPUTS: Final = "in"
RUN_NAME_MAX: Final = 128


def standard_arguments(spec: CargoSpec, folder: str, model: str) -> tuple[str, ...]:
    """What every Cargo is told, after its own command: `folder` and `model` as it sees them; empty: it has no model."""
    return (
        *("--socket", f"{folder}/{SOCKET}", "--manifest", f"{folder}/{MANIFEST}"),
        *(("--model", model) if model else ()),
        *("--slots", str(spec.slots), "--threads", str(spec.threads)),
    )


class Exchange:
    """One started Cargo's. `remove` it in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / SOCKET
        self.manifest = folder / MANIFEST
        self.inputs = folder / INPUTS

    @classmethod
    def make(cls, scratch: Path, prefix: str, manifest: Manifest, *, uid: int = -1) -> Exchange:
        """Readable by the Cargo's user, who may write into `sock` only. Raises OSError."""
        made = cls(Path(tempfile.mkdtemp(prefix=prefix, dir=scratch)))
        try:
            made.folder.chmod(0o755 if uid >= 0 else 0o700)
            made.socket.parent.mkdir(mode=0o700)
            made.inputs.mkdir(mode=0o755)
            made.manifest.write_bytes(manifest.canonical())
            made.manifest.chmod(0o644)
            if uid >= 0:
                os.chown(made.socket.parent, uid, uid)
        except BaseException:
            made.remove()
            raise
        return made

    def socket_stands(self) -> bool:
        """Whether the Cargo has opened its socket. Raises StartFailed when something else lies there."""
        try:
            mode = os.lstat(self.socket).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not stat.S_ISSOCK(mode):
            raise StartFailed("the Cargo put something else where its socket belongs")
        return True

    @contextmanager
    def with_inputs(
        self, run_id: str, files: Iterable[InputFile], inside: PurePosixPath | None = None
    ) -> Iterator[str]:
        """Shows the files to one run, read-only; yields their folder as the Cargo sees it, empty without files.

        `inside`: where the sandbox shows the exchange folder; None: at the same place. Raises BadInput, OSError.
        """
        given = tuple(files)
        if not given:
            yield ""
            return
        name = "".join(c if c.isalnum() else "-" for c in run_id)[:RUN_NAME_MAX]
        folder = self.inputs / name
        folder.mkdir(mode=0o755)
        try:
            for one in given:
                _show(one, folder)
            shown = folder if inside is None else inside / INPUTS / name
            yield str(shown)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _show(one: InputFile, folder: Path) -> None:
    if not is_plain(one.name):
        raise BadInput(f"{one.name[:64]!r} cannot be the name of an input file")
    target = folder / one.name
    # A link saves the copy, but its mode is also the original's: only where that is already as a Cargo needs it.
    if one.path.stat().st_mode & stat.S_IROTH:
        with suppress(OSError):
            target.hardlink_to(one.path)
            return
    shutil.copyfile(one.path, target)
    target.chmod(0o444)
