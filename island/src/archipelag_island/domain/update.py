"""An update of this Island's own software: which release it takes, and how far the change has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from archipelag_contracts.releases import File, Release

from archipelag_island.errors import BadRelease

EARLY_S_MAX: Final = 24 * 3600
"""A release may be from the future by so much: clocks of lent machines are not good ones."""


class Stage(StrEnum):
    SETTLED = "settled"
    """The current file runs, and nothing else is here that may."""
    FETCHED = "fetched"
    """The new file lies here, whole and as it was signed."""
    ARMED = "armed"
    """The next start tries it."""
    TRYING = "trying"
    """It was started and has not yet shown that it works."""


MOVES: Final[Mapping[Stage, frozenset[Stage]]] = {
    Stage.SETTLED: frozenset({Stage.FETCHED}),
    # Back where its owner switches updates off, or a newer release comes.
    Stage.FETCHED: frozenset({Stage.ARMED, Stage.SETTLED}),
    Stage.ARMED: frozenset({Stage.TRYING, Stage.SETTLED}),
    # Settled: with the new one once it works, with the old one where it does not. Armed: stopped before it could show.
    Stage.TRYING: frozenset({Stage.SETTLED, Stage.ARMED}),
}


@dataclass(frozen=True)
class Laid:
    """What lies on this disk. Files go by their digest."""

    current: str = ""
    before: str = ""
    """What was current before, kept for its owner."""
    trial: str = ""
    tries: int = 0
    files: frozenset[str] = field(default_factory=frozenset)
    refused: frozenset[str] = field(default_factory=frozenset)
    """Files that were tried and did not work here."""

    @property
    def stage(self) -> Stage:
        if self.trial:
            return Stage.TRYING if self.tries else Stage.ARMED
        return (
            Stage.FETCHED
            if self.files - self.refused - {self.current, self.before}
            else Stage.SETTLED
        )


@dataclass(frozen=True)
class Consent:
    """What the owner allows."""

    on: bool = True
    pin: str = ""
    """The only version that is taken; empty: each as it comes."""


def judge(release: Release, *, highest: int, now: int) -> None:
    """Raises BadRelease unless it may be believed. `highest` is the highest number ever seen; `now` in Unix seconds."""
    if release.number < highest:
        raise BadRelease(f"release {release.number} is older than {highest}, which was seen")
    if now >= release.expires_at:
        raise BadRelease(f"release {release.number} has expired by this machine's clock")
    if release.issued_at > now + EARLY_S_MAX:
        raise BadRelease(
            f"release {release.number} lies ahead of this machine's clock: is that right?"
        )


def choose(
    release: Release, laid: Laid, consent: Consent, *, island: str, platform: str, now: int
) -> File | None:
    """The file to change to; None where this Island stays as it is."""
    file = release.files.get(platform)
    if not consent.on or file is None or file.digest in {laid.current, *laid.refused}:
        return None
    if consent.pin:
        # Who names a version wants it now, whatever share of others has it yet.
        return file if release.version == consent.pin else None
    return file if release.reaches(island, now) else None
