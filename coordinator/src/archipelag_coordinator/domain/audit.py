"""The audit log: who did what to what, each entry sealed to the one before it by a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

ACTOR_MAX: Final = 100
SUBJECT_MAX: Final = 200
DETAIL_MAX: Final = 1_000
START: Final = bytes(32)
"""What the first entry has for the hash of the one before."""


@dataclass(frozen=True)
class Entry:
    """`act` is `noun.verb`, `subject` what it was done to; `hash` is over all of it and `previous`.

    `actor` is a user's id, or who sat `at_command_line`.
    """

    number: int
    at: datetime
    actor: str
    act: str
    subject: str
    detail: str
    previous: bytes
    hash: bytes

    def canonical(self) -> bytes:
        """What is hashed: the same bytes on every machine."""
        at = self.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        told = [self.number, at, self.actor, self.act, self.subject, self.detail]
        return json.dumps(told, ensure_ascii=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Head:
    """Where the log ends: the newest entry's number and hash; 0 and `START` where there is none."""

    number: int = 0
    hash: bytes = START


BACKED_UP: Final = "database.backed_up"
"""What is noted of a backup that was made."""


def at_command_line(login: str) -> str:
    """Who acts with the database's password and as no user of the network: by the operating system's name for them."""
    return f"command line: {login}"


def follow(head: Head, at: datetime, actor: str, act: str, subject: str, detail: str = "") -> Entry:
    """The entry that comes after `head`."""
    entry = Entry(
        number=head.number + 1,
        at=at,
        actor=_kept(actor, ACTOR_MAX),
        act=act,
        subject=_kept(subject, SUBJECT_MAX),
        detail=_kept(detail, DETAIL_MAX),
        previous=head.hash,
        hash=b"",
    )
    return replace(entry, hash=_seal(entry))


def broken_at(head: Head, entries: Iterable[Entry]) -> int | None:
    """The number of the first entry that does not follow from those before it, by `head`; None where all do."""
    number, before = head.number, head.hash
    for entry in entries:
        number += 1
        if entry.number != number or entry.previous != before or entry.hash != _seal(entry):
            return number
        before = entry.hash
    return None


def _seal(entry: Entry) -> bytes:
    return hashlib.sha256(entry.previous + entry.canonical()).digest()


def _kept(text: str, most: int) -> str:
    """As every database can hold it, or what is hashed would not be what is read."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:most]
