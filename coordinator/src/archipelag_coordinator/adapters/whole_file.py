"""A file that stands under its name when it is whole and on the disk, and not before."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from archipelag_contracts.durable import sync_folder


@contextmanager
def made_whole(path: Path) -> Iterator[Path]:
    """Where to write: it becomes `path` when the block ends well, and is gone otherwise. Raises OSError."""
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield unfinished
        unfinished.rename(path)
        sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def private(path: Path) -> Iterator[BinaryIO]:
    """A new file that its owner alone may read; on the disk when the block ends well. Raises OSError."""
    made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(made, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
