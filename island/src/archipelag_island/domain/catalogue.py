"""The signed catalogue as this Island judges it: never an older one, never an expired one, and each Cargo by its own
publisher's signature. Whatever is wrong, the answer is no."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from archipelag_contracts import cosign, tiers
from archipelag_contracts.manifest import Manifest, parse_canonical
from archipelag_contracts.signing import MANIFEST_PREFIX, verify

from archipelag_island.domain.offer import Entry
from archipelag_island.errors import BadCatalogue, BadEntry

EARLY_MS_MAX: Final = 24 * 3600 * 1000
"""A catalogue may be from the future by so much: clocks of lent machines are not good ones."""


@dataclass(frozen=True)
class Document:
    """A catalogue whose signature has been verified. Times in Unix milliseconds."""

    version: int
    issued_at_ms: int
    expires_at_ms: int
    registry: str
    entries: tuple[Entry, ...]

    def expired(self, now_ms: int) -> bool:
        return now_ms >= self.expires_at_ms


def judge(document: Document, *, highest: int, now_ms: int) -> None:
    """Raises BadCatalogue unless this may replace what is held. `highest` is the highest version ever accepted."""
    if document.version < max(1, highest):
        raise BadCatalogue(f"version {document.version} is older than {highest}, which was seen")
    if document.expired(now_ms):
        raise BadCatalogue(
            f"version {document.version} expired at {_when(document.expires_at_ms)} by this machine's clock"
        )
    if document.issued_at_ms > now_ms + EARLY_MS_MAX:
        raise BadCatalogue(
            f"version {document.version} was issued at {_when(document.issued_at_ms)}, which lies ahead of this "
            "machine's clock: is that right?"
        )


def check_entry(
    entry: Entry, network_keys: Collection[bytes], publishers: frozenset[str] | None
) -> Manifest:
    """The manifest, once its publisher's signature over it holds and the owner allows that publisher.

    `publishers` are fingerprints of keys; None: all. Raises BadEntry or a ContractError.
    """
    if entry.payload:
        digest = cosign.artifact_digest(entry.manifest)
        cosign.verify(entry.public_key, entry.payload, entry.signature, digest)
    else:
        # From before there were publishers: nobody but the network itself signs like this.
        if entry.public_key not in network_keys:
            raise BadEntry("signed by a key that is not a trusted publisher's")
        verify(entry.public_key, MANIFEST_PREFIX, entry.manifest, entry.signature)
    manifest = parse_canonical(entry.manifest)
    if not tiers.permits(entry.trust, manifest.limits.tier):
        raise BadEntry(
            f"{manifest.slug}: trust {entry.trust} does not permit tier {manifest.limits.tier}"
        )
    fingerprint = cosign.fingerprint(entry.public_key)
    if publishers is not None and fingerprint not in publishers:
        raise BadEntry(f"{manifest.slug}: the owner does not allow its publisher, {fingerprint}")
    return manifest


def _when(at_ms: int) -> str:
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
