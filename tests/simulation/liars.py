"""Hosts that do not say the truth: each wraps the real link, and signs its lies properly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, Final

from archipelag_contracts.ids import Epoch
from archipelag_island.adapters.link import NatsLink
from archipelag_island.domain.attempt import AttemptKey, Cause, Ending
from archipelag_island.domain.beat import Held

OFTEN: Final = 0.3
FORGED: Final = 3


class Liar:
    """Says the truth; the kinds below each change one thing."""

    def __init__(
        self, link: NatsLink, rng: Random, attempts: Callable[[], list[AttemptKey]]
    ) -> None:
        self._link = link
        self._rng = rng
        self._attempts = attempts
        """Everybody else's attempts: liars know what they should not."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def seal(self, report: Any) -> bytes:
        return self._link.seal(report)

    def _stranger(self) -> AttemptKey | None:
        """Somebody's attempt, one of the newest more often."""
        known = self._attempts()
        return self._rng.choice(known[-8:]) if known else None

    def _lies_now(self) -> bool:
        return self._rng.random() < OFTEN


class ClaimsMorePositions(Liar):
    """Reports items that were never streamed."""

    def seal(self, report: Any) -> bytes:
        if self._lies_now():
            report = replace(report, next_position=report.next_position + self._rng.randint(1, 5))
        return super().seal(report)


class ReportsOtherTexts(Liar):
    """Streams one answer and reports another, its hash chain included."""

    def seal(self, report: Any) -> bytes:
        from archipelag_contracts.signing import chain

        if report.texts and self._lies_now():
            texts = (report.texts[0] + "!", *report.texts[1:])
            tokens = report.tokens or (0,) * len(texts)
            forged = chain(zip(texts, tokens, strict=True))
            report = replace(report, texts=texts, output_chain=forged)
        return super().seal(report)


class CallsItCompleted(Liar):
    """Reports what broke off as if it had been done."""

    def seal(self, report: Any) -> bytes:
        if report.ending.cause is not Cause.COMPLETED and self._lies_now():
            report = replace(report, ending=Ending(Cause.COMPLETED, finish_reason="stop"))
        return super().seal(report)


class ReportsOthersJobs(Liar):
    """Tells the truth of its own attempts, and the same of others' as well."""

    _last: Any = None

    def seal(self, report: Any) -> bytes:
        self._last = report
        return super().seal(report)

    async def deliver(self, sealed: bytes) -> None:
        await self._link.deliver(sealed)
        for _ in range(FORGED):
            stranger = self._stranger()
            if stranger is not None and self._last is not None:
                forged = replace(self._last, key=stranger)
                await self._link.deliver(self._link.seal(forged))


class StreamsElsewhere(Liar):
    """Sends its chunks a second time under other epochs and jobs."""

    async def send(self, relay: Any, job: Any, epoch: Any, chunk: Any) -> None:
        await self._link.send(relay, job, epoch, chunk)
        stranger = self._stranger()
        if stranger is not None and self._lies_now():
            await self._link.send(relay, stranger.job_id, stranger.epoch, chunk)
            await self._link.send(relay, job, Epoch(epoch + 1), chunk)


class Stutters(Liar):
    """Repeats chunks: every position twice."""

    async def send(self, relay: Any, job: Any, epoch: Any, chunk: Any) -> None:
        await self._link.send(relay, job, epoch, chunk)
        if chunk.texts and self._lies_now():
            await self._link.send(relay, job, epoch, replace(chunk, end=None))


class Skips(Liar):
    """Leaves chunks out, as if the network had lost them, and its stream has nothing to fill the gap with."""

    async def send(self, relay: Any, job: Any, epoch: Any, chunk: Any) -> None:
        if not (chunk.texts and chunk.end is None and self._rng.random() < 0.03):
            await self._link.send(relay, job, epoch, chunk)


class HoldsEverything(Liar):
    """Its heartbeats claim attempts of others, and that all of them still run."""

    async def heartbeat(self, beat: Any) -> Any:
        strangers = [Held(key, False, 0) for key in self._attempts()[-8:]]
        return await self._link.heartbeat(replace(beat, held=(*beat.held, *strangers)))


class ClaimsMoreUsage(Liar):
    """Meters more than it did."""

    def seal(self, report: Any) -> bytes:
        if self._lies_now():
            usage = replace(report.usage, prompt_tokens=report.usage.prompt_tokens + 10_000)
            report = replace(report, usage=usage)
        return super().seal(report)


FORGERS: Final = ("reports other texts", "calls it completed")
"""Where chunks were lost, what these report is all there is: nobody can tell that it is not true."""

LIES: Final[dict[str, Callable[[NatsLink, Random, Callable[[], list[AttemptKey]]], Liar]]] = {
    "claims more positions": ClaimsMorePositions,
    "reports other texts": ReportsOtherTexts,
    "calls it completed": CallsItCompleted,
    "reports others' jobs": ReportsOthersJobs,
    "streams elsewhere": StreamsElsewhere,
    "stutters": Stutters,
    "skips": Skips,
    "holds everything": HoldsEverything,
    "claims more usage": ClaimsMoreUsage,
}
