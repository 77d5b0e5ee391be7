"""Helper of the benchmarks: an Island without a model, which answers at once and says the tokens ~0~1~2… in time.

    python benchmarks/synthetic_island.py --coordinator HOST:PORT --code PAIRING_CODE [--rate 200]

It enrols, beats, proves and reports as a real one does, and spends as little as it can on each token.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import os
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import nats
import nats.errors
import uvloop
from archipelag_contracts import ids, manifest, subjects
from archipelag_contracts.ids import Epoch
from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_contracts.pb.archipelag.v1 import island_pb2 as island
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as job
from archipelag_contracts.signing import CHAIN_START, SigningKey, digest
from archipelag_coordinator.adapters.nats.connection import Identity
from archipelag_coordinator.adapters.nats.jwt import base64url
from archipelag_coordinator.adapters.nats.wire import Wire
from archipelag_island.adapters.enrolment import GrpcEnrolment
from archipelag_island.domain.capability import Capabilities
from archipelag_island.services.ports import Standing

MANIFEST = Path(__file__).parent.parent / "cargos/llm-chat/manifest.toml"
ITEMS_MAX = 2_048
BEAT_S = 1.0
TURN_S = 0.001
RETRY_S = 0.05
GOLDEN = 0.6180339887
ACCEPTED = job.AssignmentReply(accepted=True).SerializeToString()


class Tokens:
    """Everything that is the same for every answer, prepared once."""

    def __init__(self) -> None:
        self.texts = [f"~{number}" for number in range(ITEMS_MAX)]
        self.chunks = [
            job.Chunk(first=n, texts=[text], tokens=[n]).SerializeToString()
            for n, text in enumerate(self.texts)
        ]
        self.chains = [CHAIN_START]
        for number, text in enumerate(self.texts):
            data = text.encode()
            whole = self.chains[-1] + len(data).to_bytes(4, "little") + data
            self.chains.append(sha256(whole + number.to_bytes(4, "little")).digest())


@dataclass
class Answer:
    """One attempt that is being said."""

    job_id: str
    epoch: int
    subject: bytes
    digest: str
    input: bytes
    items: int
    began: float
    """When its first token is due."""
    phase: float
    first: int = 0
    """Where it goes on with the job's answer."""
    next: int = 0
    reported: bytes = b""


@dataclass
class SyntheticIsland:
    key: SigningKey
    standing: Standing
    rate: float
    slots: int
    cargo: Path = MANIFEST
    """What it says that it has, by its manifest."""
    tokens: Tokens = field(default_factory=Tokens)
    saying: dict[tuple[str, int], Answer] = field(default_factory=dict)
    ended: dict[tuple[str, int], Answer] = field(default_factory=dict)
    due: list[tuple[float, int, Answer]] = field(default_factory=list)
    """When which stream says its next token, soonest first."""
    turns: int = 0
    sequence: int = 0
    begun: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    first_item_s: float = 0.0
    """How long it thinks before the first token; with a rate only."""
    boast: float = 1.0
    """By how much faster than that it says that it is."""
    rtt_us: int = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        name = str(self.standing.island_id)
        inbox = subjects.inbox_prefix(self.standing.island_id)
        urls = list(self.standing.broker_urls)
        self.nats = await nats.connect(
            urls,
            name=name,
            user_jwt_cb=lambda: bytearray(self.standing.broker_jwt.encode()),
            signature_cb=lambda nonce: base64url(self.key.sign(b"", nonce.encode())).encode(),
            inbox_prefix=inbox,
        )
        self.wire = Wire(urls, Identity(self.key, lambda: self.standing.broker_jwt, inbox, name))
        try:
            await self.wire.open()
            await self._serve()
        finally:
            await self.wire.close()
            await self.nats.close()

    async def _serve(self) -> None:
        await self.nats.subscribe(subjects.assign(self.standing.island_id), cb=self._assigned)
        await self.nats.subscribe(subjects.cancel(self.standing.island_id), cb=self._cancelled)
        await self.nats.flush()
        began = time.perf_counter()
        await self.nats.flush()
        self.rtt_us = int(1e6 * (time.perf_counter() - began))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat())
            if self.rate:
                group.create_task(self._speak())

    async def _assigned(self, message: Any) -> None:
        # Not checked: what an honest Island spends on that is not the Coordinator's cost.
        asked = job.Assignment.FromString(common.Signed.FromString(message.data).payload)
        answer = self._answer(asked)
        await message.respond(ACCEPTED)
        if self.rate:
            self.saying[asked.job_id, asked.epoch] = answer
            if self.first_item_s:
                self._wait_until(answer.began, answer)
                return
            self._say_next(answer)
            self._wait_turn(answer)
        else:
            self._say_all(answer)

    def _answer(self, asked: job.Assignment) -> Answer:
        return Answer(
            asked.job_id,
            asked.epoch,
            subjects.out(
                self.standing.island_id,
                ids.relay_id(asked.relay),
                ids.job_id(asked.job_id),
                Epoch(asked.epoch),
            ).encode(),
            asked.cargo_digest,
            asked.input,
            min(asked.output_items_max, ITEMS_MAX),
            time.perf_counter() + self.first_item_s,
            self._phase(),
        )

    def _phase(self) -> float:
        """Streams are spread over the time between two tokens, as those of many Islands would be."""
        self.begun += 1
        return (self.begun * GOLDEN) % 1.0

    async def _cancelled(self, message: Any) -> None:
        told = job.Cancel.FromString(common.Signed.FromString(message.data).payload)
        self.saying.pop((told.job_id, told.epoch), None)

    def _say_next(self, answer: Answer) -> None:
        self.wire.publish(answer.subject, self._chunk(answer))
        answer.next += 1
        if answer.next == answer.items:
            self.saying.pop((answer.job_id, answer.epoch), None)
            self._end(answer)

    def _chunk(self, answer: Answer) -> bytes:
        """Its next token."""
        return self.tokens.chunks[answer.next]

    def _wait_turn(self, answer: Answer) -> None:
        if answer.next < answer.items:
            due = answer.began + (answer.next - answer.first - answer.phase) / self.rate
            self._wait_until(due, answer)

    def _wait_until(self, due: float, answer: Answer) -> None:
        self.turns += 1
        heapq.heappush(self.due, (due, self.turns, answer))

    def _say_all(self, answer: Answer) -> None:
        count = answer.next = answer.items
        chunk = job.Chunk(first=0, texts=self.tokens.texts[:count], tokens=range(count))
        self.wire.publish(answer.subject, chunk.SerializeToString())
        self._end(answer)

    def _end(self, answer: Answer) -> None:
        report = self._said(answer)
        end = job.End(
            cause=report.cause,
            finish_reason=report.finish_reason,
            next=report.next_position,
            usage=report.usage,
        )
        self.wire.publish(answer.subject, job.Chunk(end=end).SerializeToString())
        task = asyncio.create_task(self._report(answer, report))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _said(self, answer: Answer) -> job.Report:
        """All of it, once it is whole."""
        return job.Report(
            job_id=answer.job_id,
            epoch=answer.epoch,
            island_id=self.standing.island_id,
            cargo_digest=answer.digest,
            cause=common.CAUSE_COMPLETED,
            finish_reason="length",
            next_position=answer.items,
            usage=common.Usage(prompt_tokens=1, output_items=answer.items),
            input_sha256=sha256(answer.input).digest(),
            output_chain=self.tokens.chains[answer.items],
            texts=self.tokens.texts[: answer.items],
            tokens=range(answer.items),
        )

    async def _report(self, answer: Answer, report: job.Report) -> None:
        """Until the work queue has it: a full queue refuses."""
        answer.reported = answer.reported or self.key.seal(report)
        self.ended[answer.job_id, answer.epoch] = answer
        subject = subjects.report(self.standing.island_id)
        while True:
            try:
                said = await self.nats.request(subject, answer.reported, timeout=5)
                if "error" not in json.loads(said.data):
                    return
            except (nats.errors.Error, TimeoutError):
                pass
            await asyncio.sleep(RETRY_S)

    async def _speak(self) -> None:
        """Every stream says its next token when that is due; late ones catch up."""
        begun = time.perf_counter()
        turn = 0
        while True:
            turn += 1
            await asyncio.sleep(max(0.0, begun + turn * TURN_S - time.perf_counter()))
            now = time.perf_counter()
            turn = max(turn, int((now - begun) / TURN_S))
            while self.due and self.due[0][0] <= now:
                answer = heapq.heappop(self.due)[2]
                if (answer.job_id, answer.epoch) in self.saying:
                    self._say_next(answer)
                    self._wait_turn(answer)

    async def _beat(self) -> None:
        cargo = manifest.parse_toml(self.cargo.read_text())
        state = island.CargoState(
            slug=cargo.slug,
            digest=digest(cargo.canonical()),
            state=island.CargoState.STATE_WARM,
            items_per_s=self.rate or 1000.0,
            first_item_ms=max(1.0, 1000 * self.first_item_s / self.boast),
            slots=self.slots,
            prompt_tokens_per_s=10_000.0,
        )
        subject = subjects.heartbeat(self.standing.island_id)
        boot = os.urandom(8).hex()
        while True:
            self.sequence += 1
            beat = island.Heartbeat(
                island_id=self.standing.island_id,
                sequence=self.sequence,
                boot_id=boot,
                cargos=[state],
                slots=self.slots,
                slots_free=max(0, self.slots - len(self.saying)),
                broker_rtt_us=self.rtt_us,
            )
            self._name_held(beat)
            try:
                said = await self.nats.request(subject, self.key.seal(beat), timeout=2)
                self._obey(said.data)
            except (nats.errors.Error, TimeoutError):
                pass
            await asyncio.sleep(BEAT_S)

    def _name_held(self, beat: island.Heartbeat) -> None:
        for state, held in (
            (island.HeldAttempt.STATE_RUNNING, self.saying),
            (island.HeldAttempt.STATE_REPORTED, self.ended),
        ):
            for (job_id, epoch), answer in list(held.items())[:1000]:
                beat.held.add(job_id=job_id, epoch=epoch, state=state, next_position=answer.next)

    def _obey(self, data: bytes) -> None:
        told = island.HeartbeatReply.FromString(common.Signed.FromString(data).payload)
        for ref in told.stop:
            self.saying.pop((ref.job_id, ref.epoch), None)
        for ref in told.forget:
            self.ended.pop((ref.job_id, ref.epoch), None)


async def run(options: argparse.Namespace) -> None:
    key = SigningKey.generate()
    capabilities = Capabilities("bench", "linux", "x86_64", 1, (), 1 << 30, 1 << 30, (), (), ())
    enrolment = GrpcEnrolment(options.coordinator, key)
    standing = await enrolment.enrol(options.code, "synthetic", capabilities)
    await SyntheticIsland(key, standing, options.rate, options.slots).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--coordinator", required=True, help="host:port of enrolment")
    parser.add_argument("--code", required=True, help="pairing code")
    parser.add_argument("--rate", type=float, default=200.0, help="tokens a second; 0: all at once")
    parser.add_argument("--slots", type=int, default=1024)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
