"""A link without a network: what was sent is kept, answers are whatever the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from archipelag_contracts.ids import Epoch, JobId, RelayId

from archipelag_island.domain.attempt import Chunk, Report
from archipelag_island.domain.beat import Beat, BeatReply
from archipelag_island.errors import BrokerUnreachable


def _accepts(beat: Beat) -> BeatReply:
    return BeatReply(
        beat.island_id, beat.sequence, 1000, (), (), (), True, "", beat.catalogue_version, ()
    )


@dataclass
class FakeLink:
    down: bool = False
    answer: Callable[[Beat], BeatReply] = _accepts
    beats: list[Beat] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    keep_alives: int = 0
    reports: list[Report] = field(default_factory=list)
    """Everything that was sealed, in order, the ones for a crash included."""
    delivered: list[bytes] = field(default_factory=list)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at each message."""

    async def heartbeat(self, beat: Beat) -> BeatReply:
        self._check()
        self.beats.append(beat)
        self.moved.set()
        return self.answer(beat)

    async def send(self, relay: RelayId, job: JobId, epoch: Epoch, chunk: Chunk) -> None:
        del relay, job, epoch
        self._check()
        if chunk == Chunk():
            self.keep_alives += 1
        else:
            self.chunks.append(chunk)
        self.moved.set()

    def seal(self, report: Report) -> bytes:
        self.reports.append(report)
        return str(len(self.reports) - 1).encode()

    async def deliver(self, sealed: bytes) -> None:
        self._check()
        self.delivered.append(sealed)
        self.moved.set()

    def rtt_us(self) -> int:
        return 100

    def delivered_reports(self) -> list[Report]:
        return [self.reports[int(sealed)] for sealed in self.delivered]

    def texts(self) -> list[str]:
        return [text for chunk in self.chunks for text in chunk.texts]

    def _check(self) -> None:
        if self.down:
            raise BrokerUnreachable("told to be down")
