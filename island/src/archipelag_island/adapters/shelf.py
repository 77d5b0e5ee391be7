"""The catalogue as it lies on this disk, so that Cargos start before a Coordinator has answered."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from archipelag_contracts.tiers import TRUST_MAX

from archipelag_island.adapters.identity import write_private
from archipelag_island.domain.offer import Entry
from archipelag_island.errors import BadSettings

log = logging.getLogger(__name__)


class FileShelf:
    """Entries are verified by whoever reads them, so this file needs no trust."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._document = path.with_name("catalogue.signed")
        # Apart from the document: whoever removes that does not make us believe an older one.
        self._highest = path.with_name("catalogue.highest")
        self._seen = 0

    def document(self) -> bytes:
        try:
            return self._document.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            log.warning("catalogue_not_readable error=%s", error)
            return b""

    def keep(self, document: bytes, version: int) -> None:
        self._seen = max(self._seen, version)
        try:
            if self.highest() != self._written():
                write_private(self._highest, b"%d\n" % self.highest())
            write_private(self._document, document)
        except OSError as error:
            # What it revokes counts all the same; it comes again with the first heartbeat after a restart.
            log.warning("catalogue_not_saved error=%s", error)

    def highest(self) -> int:
        return max(self._seen, self._written())

    def _written(self) -> int:
        try:
            text = self._highest.read_text().strip()
        except FileNotFoundError:
            return 0
        except (OSError, UnicodeDecodeError):
            text = ""
        if not text.isascii() or not text.isdigit():
            raise BadSettings(
                f"{self._highest} cannot be read: it says which catalogue was the newest, so that no older one is "
                "believed; restore it, or remove it if you know why it is damaged"
            )
        return int(text)

    def load(self) -> tuple[str, tuple[Entry, ...]]:
        try:
            raw = json.loads(self._path.read_bytes())
            entries = tuple(
                Entry(
                    _bytes(e["manifest"]),
                    _bytes(e["signature"]),
                    _bytes(e["public_key"]),
                    _bytes(e.get("payload", "")),
                    int(e.get("trust", TRUST_MAX)),
                )
                for e in raw["entries"]
            )
            return str(raw["version"]), entries
        except FileNotFoundError:
            return "", ()
        except (OSError, KeyError, TypeError, ValueError) as error:
            log.warning("catalogue_not_readable error=%s", error)
            return "", ()

    def save(self, version: str, entries: Sequence[Entry]) -> None:
        raw = {
            "version": version,
            "entries": [
                {
                    "manifest": _text(e.manifest),
                    "signature": _text(e.signature),
                    "public_key": _text(e.public_key),
                    "payload": _text(e.payload),
                    "trust": e.trust,
                }
                for e in entries
            ],
        }
        try:
            write_private(self._path, json.dumps(raw).encode())
        except OSError as error:
            # It comes again with the first heartbeat after a restart.
            log.warning("catalogue_not_saved error=%s", error)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
