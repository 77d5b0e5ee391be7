"""What Coordinators say to Islands and to each other: assignments, cancels, and word of things that changed."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import nats.errors
from archipelag_contracts import subjects
from archipelag_contracts.errors import ContractError
from archipelag_contracts.ids import (
    Epoch,
    IslandId,
    JobId,
    RelayId,
    island_id,
    job_id,
    relay_id,
)
from archipelag_contracts.pb.archipelag.v1 import common_pb2
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as pb
from archipelag_contracts.signing import SigningKey
from archipelag_contracts.traces import TRACEPARENT
from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from archipelag_coordinator.adapters.nats.connection import Connection
from archipelag_coordinator.adapters.nats.text import plain
from archipelag_coordinator.domain.berth import Room
from archipelag_coordinator.services.ports import Accepted, Assignment, Refused, Unreachable

log = logging.getLogger(__name__)

REPLY_BYTES_MAX: Final = 4096
REASON_MAX: Final = 200
HEARTBEAT_BYTES_MAX: Final = 256 << 10
HEARTBEATS_AT_ONCE_MAX: Final = 64
HEARTBEATS_WAITING_MAX: Final = 4096
HEARTBEAT_LATE_S: Final = 2.0
"""One that has waited for so long is dropped: before it was answered, its Island would have given up on it."""
PASSED_ON_S: Final = 1
HAND_TIMEOUT_S: Final = 10.0
HERE_TIMEOUT_S: Final = 1.0
TAKEN: Final = b"taken"
NOT_TAKEN: Final = b"not taken"
NOT_NOW: Final = b"not now"
HEARTBEAT_QUEUE: Final = "coordinators"
FILE_BYTES_MAX: Final = (512 << 10) + 4096
FILES_OF_ONE_MAX: Final = 8
"""Questions of one Island for files that are dealt with at once; beyond that, it is told to ask again."""
FILES_AT_ONCE_MAX: Final = 64

OnHeartbeat = Callable[[IslandId, bytes], Awaitable[bytes | None]]

OnHanded = Callable[[str, bytes], Awaitable[bool]]
"""(whom or what it is about, the rest) → whether it is dealt with."""


class NatsIslandBus:
    """Implements `IslandBus`; the listeners are called by what other processes say."""

    def __init__(self, connection: Connection, key: SigningKey) -> None:
        self._connection = connection
        self._key = key
        self._heartbeats = asyncio.Semaphore(HEARTBEATS_AT_ONCE_MAX)
        self._answering: set[asyncio.Task[None]] = set()
        self._asking: Counter[IslandId] = Counter()
        self._on_keys_changed: list[Callable[[], None]] = []
        self.overlooked = 0
        """Heartbeats that were dropped: too many at once, or addressed so that they may not be answered."""

    @property
    def connected(self) -> bool:
        return self._connection.connected

    async def assign(
        self, assignment: Assignment, issued_at: datetime, timeout_s: float
    ) -> Accepted | Refused | Unreachable:
        client = self._connection.client
        sealed = self._key.seal(_assignment(assignment, issued_at))
        if len(sealed) > client.max_payload:
            return Refused("the assignment is larger than the broker carries")
        if not self._connection.connected:
            return Unreachable("the message fabric cannot be reached")
        try:
            reply = await client.request(
                subjects.assign(assignment.island_id),
                sealed,
                timeout=timeout_s,
                headers=_headers(assignment),
            )
        except nats.errors.NoRespondersError:
            return Unreachable("the Island is not connected")
        except (nats.errors.TimeoutError, TimeoutError):
            return Unreachable(f"the Island did not answer within {timeout_s:g} s")
        except (nats.errors.Error, OSError) as error:
            return Unreachable(f"the message fabric cannot be reached: {error}")
        return _verdict(reply.data)

    async def cancel(
        self, island: IslandId, job: JobId, epoch: Epoch, reason: str, issued_at: datetime
    ) -> None:
        """Said once; an Island that misses it hears the same from its next heartbeat's answer."""
        message = pb.Cancel(
            job_id=job,
            epoch=epoch,
            island_id=island,
            reason=plain(reason, REASON_MAX),
            issued_at_ms=_milliseconds(issued_at),
        )
        await self._say(subjects.cancel(island), self._key.seal(message))

    async def ended(self, relay: RelayId, job: JobId) -> None:
        await self._say(subjects.ended(relay), job.encode())

    async def hand_report(self, relay: RelayId, island: IslandId, report: bytes) -> bool | None:
        return await self._hand(relay, subjects.report_at(relay), island.encode() + b"\n" + report)

    async def hand_cancel(self, relay: RelayId, job: JobId, reason: str) -> bool | None:
        payload = job.encode() + b"\n" + plain(reason, REASON_MAX).encode()
        return await self._hand(relay, subjects.cancel_at(relay), payload)

    async def _hand(self, relay: RelayId, subject: str, payload: bytes) -> bool | None:
        try:
            answer = await self._connection.request(subject, payload, HAND_TIMEOUT_S)
        except nats.errors.NoRespondersError:
            return None
        except nats.errors.Error as error:
            raise ConnectionError(f"{relay} did not take what is its own: {error!r}") from error
        if answer not in (TAKEN, NOT_TAKEN):
            raise ConnectionError(f"{relay} could not take what is its own now")
        return answer == TAKEN

    async def is_there(self, relay: RelayId) -> bool | None:
        if not self.connected:
            return None
        try:
            await self._connection.request(subjects.here(relay), b"", HERE_TIMEOUT_S)
        except nats.errors.NoRespondersError:
            return False
        except (nats.errors.Error, OSError, TimeoutError):
            return None
        return True

    async def listen_here(self, relay: RelayId) -> None:
        """Answers whoever asks whether this process is still there."""

        async def heard(message: Msg) -> None:
            if message.reply:
                await self._say(message.reply, b"")

        await self._connection.subscribe(subjects.here(relay), heard)

    async def listen_cancels(
        self, relay: RelayId, callback: Callable[[JobId, str], Awaitable[bool]]
    ) -> None:
        """Calls back with jobs that this process relays and that a customer cancelled elsewhere."""

        async def cancelled(first: str, rest: bytes) -> bool:
            return await callback(job_id(first), rest.decode())

        await self._take_handed(subjects.cancel_at(relay), cancelled)

    async def listen_reports(
        self, relay: RelayId, callback: Callable[[IslandId, bytes], Awaitable[bool]]
    ) -> None:
        """Calls back with reports that other processes got, of jobs that this one relays."""

        async def reported(first: str, rest: bytes) -> bool:
            return await callback(island_id(first), rest)

        await self._take_handed(subjects.report_at(relay), reported)

    async def _take_handed(self, subject: str, take: OnHanded) -> None:
        async def heard(message: Msg) -> None:
            if not message.reply or len(self._answering) >= HEARTBEATS_WAITING_MAX:
                return
            task = asyncio.create_task(self._take_one(message, take))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

        await self._connection.subscribe(subject, heard)

    async def _take_one(self, message: Msg, take: OnHanded) -> None:
        first, _, rest = message.data.partition(b"\n")
        try:
            taken = await take(first[:64].decode(), rest)
        except (ContractError, UnicodeDecodeError):
            return
        except Exception:
            log.exception("handed_over_failed subject=%s of=%r", message.subject, first[:64])
            await self._say(message.reply, NOT_NOW)
            return
        await self._say(message.reply, TAKEN if taken else NOT_TAKEN)

    async def left(self, relay: RelayId, place: int | None) -> None:
        """Not told to other regions: whoever stands beside it goes on with what it had."""
        await self._say(subjects.LEFT, f"{relay} {'' if place is None else place}".encode())

    async def listen_left(self, callback: Callable[[RelayId, int | None], None]) -> None:
        """Calls back with every Coordinator that said it stops, and its place. Whether it did is for the database to
        say: an Island can have the broker write under this subject, though not what it likes."""

        async def heard(message: Msg) -> None:
            try:
                relay, _, place = message.data[:64].decode().partition(" ")
                callback(relay_id(relay), int(place) if place else None)
            except (ContractError, ValueError):
                log.debug("left_unreadable data=%r", message.data[:64])

        await self._connection.subscribe(subjects.LEFT, heard)

    async def keys_changed(self) -> None:
        # Here at once: whoever revokes a key and then tries it is refused, broker or no broker.
        for callback in self._on_keys_changed:
            callback()
        await self._say(subjects.KEYS_CHANGED, b"", passed_on=True)

    async def catalogue_changed(self, version: int) -> None:
        """An Island that misses it learns the same from its next heartbeat's answer."""
        await self._say(subjects.CATALOGUE_CHANGED, b"%d" % version)

    async def listen_ended(
        self, relay: RelayId, callback: Callable[[JobId], Awaitable[None]]
    ) -> None:
        """Calls back with every job of this relay that some process has settled."""

        async def heard(message: Msg) -> None:
            try:
                await callback(job_id(message.data[:64].decode()))
            except (ContractError, UnicodeDecodeError):
                log.debug("ended_unreadable data=%r", message.data[:64])
            except Exception:
                log.exception("ended_failed")

        await self._connection.subscribe(subjects.ended(relay), heard)

    async def listen_keys_changed(self, callback: Callable[[], None]) -> None:
        """Calls back when any process changed an API key, this one included, or a person's standing."""
        self._on_keys_changed.append(callback)

        async def heard(message: Msg) -> None:
            # An Island can have the broker acknowledge a report under this subject; that is never empty.
            if not message.data:
                callback()

        await self._connection.subscribe(subjects.KEYS_CHANGED, heard)

    async def listen_heartbeats(self, callback: OnHeartbeat) -> None:
        """One Coordinator of all gets each heartbeat. What the callback returns goes to that Island's inbox alone."""

        async def heard(message: Msg) -> None:
            if len(self._answering) >= HEARTBEATS_WAITING_MAX:
                # The Island's next one comes soon; a queue without end would answer only late ones.
                self.overlooked += 1
                return
            late_at = asyncio.get_running_loop().time() + HEARTBEAT_LATE_S
            task = asyncio.create_task(self._answer(message, callback, late_at))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

        await self._connection.subscribe(subjects.ALL_HEARTBEATS, heard, queue=HEARTBEAT_QUEUE)

    async def listen_files(self, callback: OnHeartbeat, busy: bytes) -> None:
        """One Coordinator of all gets each question for a file. The answer goes to that Island's inbox alone; `busy`
        where there are too many at once, so that nobody waits for what will not come."""

        async def heard(message: Msg) -> None:
            island = self._asker(message, FILE_BYTES_MAX)
            if island is None:
                return
            if (
                self._asking[island] >= FILES_OF_ONE_MAX
                or self._asking.total() >= FILES_AT_ONCE_MAX
            ):
                self.overlooked += 1
                await self._say(message.reply, busy)
                return
            self._asking[island] += 1
            task = asyncio.create_task(self._answer_file(island, message, callback))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

        await self._connection.subscribe(subjects.ALL_FILES, heard, queue=HEARTBEAT_QUEUE)

    async def _answer_file(self, island: IslandId, message: Msg, callback: OnHeartbeat) -> None:
        try:
            answer = await callback(island, message.data)
            if answer is not None:
                await self._say(message.reply, answer)
        except Exception:
            log.exception("file_not_served island=%s", island)
        finally:
            self._asking[island] -= 1
            if not self._asking[island]:
                del self._asking[island]

    async def close(self) -> None:
        for task in tuple(self._answering):
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def _answer(self, message: Msg, callback: OnHeartbeat, late_at: float) -> None:
        island = self._asker(message, HEARTBEAT_BYTES_MAX)
        if island is None:
            return
        async with self._heartbeats:
            # A fleet that speaks at once holds up tokens by no more than it may be answered at once.
            await asyncio.sleep(0)
            if asyncio.get_running_loop().time() > late_at:
                self.overlooked += 1
                return
            try:
                answer = await callback(island, message.data)
            except Exception:
                log.exception("heartbeat_failed island=%s", island)
                return
        if answer is not None:
            await self._say(message.reply, answer)

    def _asker(self, message: Msg, bytes_max: int) -> IslandId | None:
        """Whose question it is; None where it may not be answered."""
        try:
            island = subjects.island_of(message.subject)
        except ContractError:
            self.overlooked += 1
            return None
        if not subjects.is_inbox_of(island, message.reply) or not _is_subject(message.reply):
            self.overlooked += 1
            log.warning("reply_refused island=%s reply=%r", island, message.reply[:100])
            return None
        if len(message.data) > bytes_max:
            self.overlooked += 1
            return None
        return island

    async def _say(self, subject: str, payload: bytes, *, passed_on: bool = False) -> None:
        """`passed_on`: returns once the broker has handed it on, so that nobody asks before it is heard."""
        try:
            await self._connection.client.publish(subject, payload)
            if passed_on:
                await self._connection.client.flush(PASSED_ON_S)
        except (nats.errors.Error, OSError) as error:
            log.warning("not_said subject=%s error=%r", subject, error)


def _headers(assignment: Assignment) -> dict[str, str] | None:
    """Beside the signed message, not in it: an Island may do without, and nothing is decided by it."""
    return {TRACEPARENT: assignment.traceparent} if assignment.traceparent else None


def _assignment(a: Assignment, issued_at: datetime) -> pb.Assignment:
    return pb.Assignment(
        job_id=a.job_id,
        epoch=a.epoch,
        island_id=a.island_id,
        cargo_slug=a.cargo_slug,
        cargo_digest=a.cargo_digest,
        input=a.input,
        issued_at_ms=_milliseconds(issued_at),
        lease_ms=a.lease_ms,
        deadline_ms=a.deadline_ms,
        relay=a.relay,
        first_position=a.first_position,
        resume_tokens=a.resume_tokens,
        resume_texts=a.resume_texts,
        output_items_max=a.output_items_max,
        output_bytes_max=a.output_bytes_max,
        files=[
            common_pb2.FileRef(
                file_id=file.file_id,
                sha256=bytes.fromhex(file.sha256),
                size_bytes=file.size_bytes,
                media_type=file.media_type,
            )
            for file in a.files
        ],
        cache_salt=a.cache_salt,
        prefixes=a.prefixes,
    )


def _verdict(data: bytes) -> Accepted | Refused | Unreachable:
    if len(data) > REPLY_BYTES_MAX:
        return Unreachable("the Island's answer is too large")
    try:
        reply = pb.AssignmentReply.FromString(data)
    except DecodeError:
        return Unreachable("the Island's answer cannot be read")
    room = _room(reply.room) if reply.HasField("room") else None
    if reply.accepted:
        return Accepted(room)
    if not reply.HasField("refusal"):
        return Unreachable("the Island's answer says neither yes nor no")
    try:
        code = pb.Refusal.Code.Name(reply.refusal.code)
    except ValueError:
        code = "CODE_UNSPECIFIED"
    word = code.removeprefix("CODE_").lower()
    reason = plain(reply.refusal.reason, REASON_MAX)
    return Refused(f"{word}: {reason}" if reason else word, room)


def _room(free: pb.Room) -> Room:
    return Room(free.slots_free, min(free.cargo_slots_free, free.slots_free))


def _is_subject(text: str) -> bool:
    return len(text) <= 256 and text.isascii() and text.isprintable() and " " not in text


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
