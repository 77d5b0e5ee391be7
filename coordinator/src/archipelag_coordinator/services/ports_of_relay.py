"""What the verbs need to have what Islands say handed to answers."""

from __future__ import annotations

from typing import Protocol

from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId

from archipelag_coordinator.domain.answer import Answer


class ChunkRelay(Protocol):
    """Hands the chunks of exactly one (Island, job, epoch) to an Answer; everything else is refused and counted."""

    def open(
        self,
        answer: Answer,
        island: IslandId,
        epoch: Epoch,
        relay: RelayId | None = None,
        since: int | None = None,
    ) -> None:
        """`relay`: the process that the Island sends to, where it is another one. What was said before is then looked
        up first, from the answer's next position on; `since`: the place up to which the answer is known to have all."""
        ...

    def is_open(self, island: IslandId, job: JobId, epoch: Epoch) -> bool: ...
    def close(self, island: IslandId, job: JobId, epoch: Epoch) -> None: ...
    async def keep_place(self) -> None:
        """To be called every few seconds: then what was said of late can be found by itself, when an attempt of another
        process has to be listened to. Raises what the message fabric raises when it is away."""
        ...

    def place(self) -> int | None:
        """Where in the stream of all output a moment was up to which this process has taken all that was said to it:
        a second or three ago. None: not known."""
        ...

    async def hears(self) -> bool:
        """Whether the broker answers: silence of Islands means nothing while we are deaf ourselves."""
        ...
