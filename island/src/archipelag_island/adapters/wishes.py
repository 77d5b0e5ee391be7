"""The owner's wishes from afar as they lie on this disk; whoever reads them checks the signature."""

from __future__ import annotations

import logging
from pathlib import Path

from archipelag_island.adapters.identity import write_private

log = logging.getLogger(__name__)


class FileWishes:
    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            # They come again with the first heartbeat, and until then the Coordinator places by them.
            log.warning("wishes_not_readable error=%s", error)
            return b""

    def save(self, sealed: bytes) -> None:
        try:
            write_private(self._path, sealed)
        except OSError as error:
            log.warning("wishes_not_saved error=%s", error)
