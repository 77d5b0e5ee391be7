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

log = logging.getLogger(__name__)


class FileShelf:
    """Entries are verified by whoever reads them, so this file needs no trust."""

    def __init__(self, path: Path) -> None:
        self._path = path

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
