"""Stand-ins for time, chance and the message fabric, which a test scripts and then asks what happened."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from archipelag_contracts import ids
from archipelag_contracts.ids import (
    ApiKeyId,
    BatchId,
    Epoch,
    FileId,
    IslandId,
    JobId,
    RelayId,
    UserId,
)

from archipelag_coordinator.domain.answer import Answer, Ending
from archipelag_coordinator.domain.catalogue import Listing
from archipelag_coordinator.domain.conversation import ConversationId
from archipelag_coordinator.domain.file import BlobId
from archipelag_coordinator.domain.link import Link
from archipelag_coordinator.services.ports import Accepted, Assignment, Refused, Unreachable

START: Final = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
PAIRING_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


class FakeClock:
    """Stands still until it is advanced."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._passed_s = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._passed_s)

    def monotonic(self) -> float:
        return self._passed_s

    def advance(self, seconds: float) -> None:
        assert seconds >= 0
        self._passed_s += seconds


class SequenceIds:
    """Ids of the right shape that count up; the same in every run. `chances` and `seeds` are given out in turn."""

    def __init__(self, *, chances: Sequence[float] = (0.0,), seeds: Sequence[int] = (7,)) -> None:
        assert chances and seeds
        self._count = 0
        self._chances = tuple(chances)
        self._seeds = tuple(seeds)
        self._chances_given = 0
        self._seeds_given = 0

    def job(self, now: datetime) -> JobId:
        return JobId(f"job_{self._body(now)}")

    def batch(self, now: datetime) -> BatchId:
        return BatchId(f"bat_{self._body(now)}")

    def island(self, now: datetime) -> IslandId:
        return IslandId(f"isl_{self._body(now)}")

    def user(self, now: datetime) -> UserId:
        return UserId(f"usr_{self._body(now)}")

    def api_key(self, now: datetime) -> ApiKeyId:
        return ApiKeyId(f"key_{self._body(now)}")

    def relay(self, now: datetime) -> RelayId:
        return RelayId(f"rly_{self._body(now)}")

    def conversation(self, now: datetime) -> ConversationId:
        return ConversationId(f"cnv_{self._body(now)}")

    def file(self) -> FileId:
        return FileId(f"file_{self._next():032x}")

    def blob(self, now: datetime) -> BlobId:
        return BlobId(f"blob_{self._body(now)}")

    def secret(self) -> str:
        return f"ak_{self._next():043d}"

    def session_secret(self) -> str:
        return f"as_{self._next():043d}"

    def link_secret(self) -> str:
        return f"al_{self._next():043d}"

    def pairing_code(self) -> str:
        number, letters = self._next(), []
        for _ in range(6):
            number, digit = divmod(number, len(PAIRING_ALPHABET))
            letters.append(PAIRING_ALPHABET[digit])
        return "".join(reversed(letters))

    def seed(self) -> int:
        self._seeds_given += 1
        return self._seeds[(self._seeds_given - 1) % len(self._seeds)]

    def chance(self) -> float:
        self._chances_given += 1
        return self._chances[(self._chances_given - 1) % len(self._chances)]

    def _body(self, now: datetime) -> str:
        return ids.encode(int(now.timestamp() * 1000), self._next().to_bytes(10, "big"))

    def _next(self) -> int:
        self._count += 1
        return self._count


Verdict = Accepted | Refused | Unreachable


class FakeIslandBus:
    """Every Island accepts, but those scripted otherwise. What was said is kept in lists."""

    def __init__(self) -> None:
        self.assigned: list[Assignment] = []
        self.cancelled: list[tuple[IslandId, JobId, Epoch, str]] = []
        self.told_ended: list[tuple[RelayId, JobId]] = []
        self.told_left: list[tuple[RelayId, int | None]] = []
        self.keys_changes = 0
        self.catalogue_changes: list[int] = []
        self.homes: dict[RelayId, Callable[[IslandId, bytes], Awaitable[bool]]] = {}
        """Other Coordinators, by what takes reports there."""
        self.cancels: dict[RelayId, Callable[[JobId, str], Awaitable[bool]]] = {}
        """The same for cancels."""
        self.away: set[RelayId] = set()
        """Coordinators that are gone."""
        self.connected = True
        self._next: dict[IslandId, list[Verdict]] = {}
        self._always: dict[IslandId, Verdict] = {}

    def answer(self, island: IslandId, *verdicts: Verdict) -> None:
        """This Island's next answers, in turn; afterwards as usual."""
        self._next.setdefault(island, []).extend(verdicts)

    def always(self, island: IslandId, verdict: Verdict) -> None:
        self._always[island] = verdict

    def refuse(self, island: IslandId, reason: str = "no free slot") -> None:
        """Refuses everything from now on."""
        self.always(island, Refused(reason))

    def lose(self, island: IslandId, reason: str = "the Island is not connected") -> None:
        """Cannot be reached from now on."""
        self.always(island, Unreachable(reason))

    def accept(self, island: IslandId) -> None:
        self._always.pop(island, None)

    async def assign(
        self,
        assignment: Assignment,
        issued_at: datetime,  # noqa: ARG002 - part of the port
        timeout_s: float,  # noqa: ARG002 - part of the port
    ) -> Verdict:
        self.assigned.append(assignment)
        island = assignment.island_id
        if self._next.get(island):
            return self._next[island].pop(0)
        return self._always.get(island, Accepted())

    async def cancel(
        self,
        island: IslandId,
        job: JobId,
        epoch: Epoch,
        reason: str,
        issued_at: datetime,  # noqa: ARG002 - part of the port
    ) -> None:
        self.cancelled.append((island, job, epoch, reason))

    async def hand_report(self, relay: RelayId, island: IslandId, report: bytes) -> bool | None:
        take = self.homes.get(relay)
        return None if take is None else await take(island, report)

    async def hand_cancel(self, relay: RelayId, job: JobId, reason: str) -> bool | None:
        take = self.cancels.get(relay)
        return None if take is None else await take(job, reason)

    async def is_there(self, relay: RelayId) -> bool | None:
        return relay not in self.away if self.connected else None

    async def ended(self, relay: RelayId, job: JobId) -> None:
        self.told_ended.append((relay, job))

    async def left(self, relay: RelayId, place: int | None) -> None:
        self.told_left.append((relay, place))

    async def keys_changed(self) -> None:
        self.keys_changes += 1

    async def catalogue_changed(self, version: int) -> None:
        self.catalogue_changes.append(version)


@dataclass(frozen=True)
class Sent:
    """A message that was handed over."""

    to: str
    subject: str
    text: str
    html: str


class FakeMail:
    """Takes every message and keeps it for the test to read."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    async def send(self, to: str, subject: str, text: str, html: str) -> None:
        self.sent.append(Sent(to, subject, text, html))

    @property
    def link(self) -> str:
        """The secret in the newest message's link."""
        return self.sent[-1].text.split("/sign-in/")[1].split()[0]


class FakeSigner:
    """Signs nothing: says what it was given, for a test to read."""

    def __init__(self, public: bytes = b"catalogue key") -> None:
        self.public = public
        self.sealed: list[Listing] = []

    def seal(self, listing: Listing) -> bytes:
        self.sealed.append(listing)
        return b"catalogue %d" % listing.version


class FakeChunkRelay:
    """Hands what a test delivers to the open Answer of exactly that Island, job and epoch; refuses the rest."""

    def __init__(self) -> None:
        self.open_for: dict[tuple[IslandId, JobId, Epoch], Answer] = {}
        self.closed: list[tuple[IslandId, JobId, Epoch]] = []
        self.opened_for: list[RelayId | None] = []
        """Whom the Islands send to, of every attempt that was opened."""
        self.opened_since: list[int | None] = []
        """And what was known to have been taken before."""
        self.at: int | None = None
        self.refused = 0
        self.deaf = False

    def open(
        self,
        answer: Answer,
        island: IslandId,
        epoch: Epoch,
        relay: RelayId | None = None,
        since: int | None = None,
    ) -> None:
        self.open_for[(island, answer.job_id, epoch)] = answer
        self.opened_for.append(relay)
        self.opened_since.append(since)

    def place(self) -> int | None:
        return self.at

    def is_open(self, island: IslandId, job: JobId, epoch: Epoch) -> bool:
        return (island, job, epoch) in self.open_for

    async def keep_place(self) -> None:
        """Everything is found anyway."""

    async def hears(self) -> bool:
        return not self.deaf

    def close(self, island: IslandId, job: JobId, epoch: Epoch) -> None:
        if self.open_for.pop((island, job, epoch), None) is not None:
            self.closed.append((island, job, epoch))

    def deliver(
        self,
        job: JobId,
        epoch: int,
        first: int,
        texts: Sequence[str],
        *,
        tokens: Sequence[int] = (),
        prompt_tokens: int = 0,
        cached_tokens: int = 0,
        island: IslandId | None = None,
        now: float = 0.0,
    ) -> str | None:
        """A chunk arrives. None, or what is wrong with it. Without `island`: from whoever holds that epoch."""
        answer = self._find(job, epoch, island)
        if answer is None:
            self.refused += 1
            return "not open"
        answer.read(prompt_tokens, cached_tokens)
        return answer.accept(first, texts, tokens, now)

    def end(
        self, job: JobId, epoch: int, ending: Ending, *, island: IslandId | None = None
    ) -> bool:
        """The last chunk arrives: what the attempt says of its end."""
        answer = self._find(job, epoch, island)
        if answer is None:
            self.refused += 1
            return False
        answer.end_attempt(ending)
        return True

    def _find(self, job: JobId, epoch: int, island: IslandId | None) -> Answer | None:
        for (one, of_job, of_epoch), answer in self.open_for.items():
            if (of_job, of_epoch) == (job, epoch) and island in (None, one):
                return answer
        return None


@dataclass
class FakeBroker:
    """Gives out readable credentials and remembers who may not connect."""

    given: list[tuple[bytes, IslandId, str, datetime]] = field(default_factory=list)
    cut_off: dict[bytes, datetime] = field(default_factory=dict)
    unlinked: set[Link] = field(default_factory=set)

    def credentials(
        self, public_key: bytes, island: IslandId, name: str, expires_at: datetime
    ) -> str:
        self.given.append((public_key, island, name, expires_at))
        return f"jwt.{island}.{base64.urlsafe_b64encode(public_key).decode().rstrip('=')}"

    async def enforce(
        self, cut_off: Mapping[bytes, datetime], unlinked: Collection[Link] = ()
    ) -> None:
        self.cut_off = dict(cut_off)
        self.unlinked = set(unlinked)
