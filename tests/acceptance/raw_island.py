"""An Island that keeps no rules: it has real credentials, and says to the broker whatever a test wants it to say."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import nats
from archipelag_contracts import ids, subjects
from archipelag_contracts.ids import Epoch, IslandId
from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_contracts.pb.archipelag.v1 import enrolment_pb2 as enrolment
from archipelag_contracts.pb.archipelag.v1 import island_pb2 as island_pb
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as pb
from archipelag_contracts.pb.archipelag.v1.enrolment_pb2_grpc import EnrolmentStub
from archipelag_contracts.signing import SigningKey, chain, open_sealed
from archipelag_coordinator.adapters.nats.connection import Identity
from archipelag_coordinator.adapters.nats.wire import Wire
from archipelag_embedded.fixtures import PATIENCE_S
from nats.aio.client import Client
from nats.aio.msg import Msg

BEAT_S = 0.5


class RawIsland:
    """Connects with an Island's own credentials. `errors` holds what the broker refused."""

    def __init__(self, island: IslandId, key: SigningKey, token: str, url: str) -> None:
        self.id = island
        self.key = key
        self.token = token
        self.url = url
        self.nc = Client()
        self.errors: list[str] = []
        self.closed = asyncio.Event()
        self.assignments: asyncio.Queue[pb.Assignment] = asyncio.Queue()
        self.cancelled: list[tuple[str, int]] = []
        self.held: dict[tuple[str, int], bool] = {}
        self.prefixes: list[int] = []
        """What it says that it could begin from."""
        self._offers: list[tuple[str, str]] = []
        self._beating: asyncio.Task[None] | None = None
        self._sequence = 0

    @classmethod
    def of_home(cls, home: Path) -> RawIsland:
        """With the key and the token of an Island whose folder this is."""
        raw = json.loads((home / "identity.json").read_text())
        key = SigningKey.from_seed(bytes.fromhex((home / "key").read_text().strip()))
        return cls(ids.island_id(raw["island_id"]), key, raw["broker_jwt"], raw["broker_urls"][0])

    @classmethod
    async def enrol(cls, address: str, pairing_code: str, name: str) -> RawIsland:
        """A new one with a key of its own. Raises grpc.aio.AioRpcError."""
        key = SigningKey.generate()
        async with grpc.aio.insecure_channel(
            address, options=[("grpc.enable_http_proxy", 0)]
        ) as channel:
            stub = EnrolmentStub(channel)
            nonce = (await stub.Challenge(enrolment.ChallengeRequest(), timeout=PATIENCE_S)).nonce
            reply = await stub.Enrol(
                enrolment.EnrolRequest(
                    pairing_code=pairing_code,
                    public_key=key.public,
                    name=name,
                    nonce=nonce,
                    signature=key.sign(
                        b"archipelag.v1.enrol\n", nonce + b"\n" + pairing_code.encode()
                    ),
                ),
                timeout=PATIENCE_S,
            )
        return cls(ids.island_id(reply.island_id), key, reply.broker_jwt, reply.broker_urls[0])

    async def renew(self, address: str) -> None:
        """Fresh credentials. Raises grpc.aio.AioRpcError when they are refused."""
        async with grpc.aio.insecure_channel(
            address, options=[("grpc.enable_http_proxy", 0)]
        ) as channel:
            stub = EnrolmentStub(channel)
            nonce = (await stub.Challenge(enrolment.ChallengeRequest(), timeout=PATIENCE_S)).nonce
            signature = self.key.sign(b"archipelag.v1.renew\n", nonce + b"\n" + self.id.encode())
            request = enrolment.RenewRequest(island_id=self.id, nonce=nonce, signature=signature)
            self.token = (await stub.Renew(request, timeout=PATIENCE_S)).broker_jwt

    async def connect(self) -> RawIsland:
        async def failed(error: Exception) -> None:
            self.errors.append(str(error))

        async def closed() -> None:
            self.closed.set()

        self.closed.clear()
        self.nc = await nats.connect(
            self.url,
            user_jwt_cb=lambda: bytearray(self.token.encode()),
            signature_cb=lambda nonce: base64.b64encode(self.key.sign(b"", nonce.encode())),
            inbox_prefix=subjects.inbox_prefix(self.id),
            error_cb=failed,
            closed_cb=closed,
            connect_timeout=PATIENCE_S,
            allow_reconnect=False,
        )
        return self

    async def turned_away(self) -> bool:
        """Whether the broker refuses a new connection. By our own wire: nats-py leaks a socket when it is refused."""
        who = Identity(self.key, lambda: self.token, subjects.inbox_prefix(self.id), "raw")
        wire = Wire([self.url], who)
        try:
            await wire.open()
        except OSError as error:
            return "authorization" in str(error).lower()
        await wire.close()
        return False

    async def close(self) -> None:
        if self._beating is not None:
            # Again and again: `wait_for` of Python 3.11, by which nats-py asks, forgets it if an answer comes then.
            while not self._beating.done():
                self._beating.cancel()
                await asyncio.wait([self._beating], timeout=0.1)
        await self.nc.close()

    async def refused(self, *, publish: str = "", subscribe: str = "") -> bool:
        """Whether the broker answers with a permissions violation."""
        before = len(self.errors)
        if publish:
            await self.nc.publish(publish, b"x")
        if subscribe:
            await self.nc.subscribe(subscribe)
        await self.settle()
        return any("permissions violation" in e.lower() for e in self.errors[before:])

    async def settle(self) -> None:
        # Twice: the first ping may overtake what has not been written yet.
        await self.nc.flush(PATIENCE_S)
        await self.nc.flush(PATIENCE_S)

    # --- Work, honest or not ---------------------------------------------------------------------------------------

    async def offer(self, catalogue_key: bytes, slug: str, digest: str, slots: int = 4) -> None:
        """Takes assignments and beats as if this Cargo were warm here."""
        self._offers = [(slug, digest)]

        async def assigned(message: Msg) -> None:
            assignment = open_sealed(message.data, pb.Assignment, {catalogue_key})
            self.held[(assignment.job_id, assignment.epoch)] = False
            await message.respond(pb.AssignmentReply(accepted=True).SerializeToString())
            self.assignments.put_nowait(assignment)

        async def cancelled(message: Msg) -> None:
            stop = open_sealed(message.data, pb.Cancel, {catalogue_key})
            self.held.pop((stop.job_id, stop.epoch), None)
            self.cancelled.append((stop.job_id, stop.epoch))

        await self.nc.subscribe(subjects.assign(self.id), cb=assigned)
        await self.nc.subscribe(subjects.cancel(self.id), cb=cancelled)
        await self.settle()
        self._beating = asyncio.create_task(self._beat_for_ever(slots))

    async def _beat_for_ever(self, slots: int) -> None:
        while True:
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                await self.beat(slots)
            await asyncio.sleep(BEAT_S)

    async def beat(self, slots: int = 4) -> island_pb.HeartbeatReply:
        self._sequence += 1
        message = island_pb.Heartbeat(
            island_id=self.id,
            sequence=self._sequence,
            boot_id="raw",
            slots=slots,
            slots_free=slots,
            cargos=[
                island_pb.CargoState(
                    slug=slug,
                    digest=digest,
                    state=island_pb.CargoState.STATE_WARM,
                    items_per_s=50,
                    first_item_ms=10,
                    slots=slots,
                    prompt_tokens_per_s=1000,
                    prefixes=self.prefixes,
                )
                for slug, digest in self._offers
            ],
            held=[
                island_pb.HeldAttempt(
                    job_id=job,
                    epoch=epoch,
                    state=island_pb.HeldAttempt.STATE_REPORTED
                    if reported
                    else island_pb.HeldAttempt.STATE_RUNNING,
                )
                for (job, epoch), reported in self.held.items()
            ],
        )
        answer = await self.nc.request(
            subjects.heartbeat(self.id), self.key.seal(message), timeout=PATIENCE_S
        )
        sealed = common.Signed.FromString(answer.data)
        reply = island_pb.HeartbeatReply.FromString(sealed.payload)
        for ref in (*reply.stop, *reply.forget):
            self.held.pop((ref.job_id, ref.epoch), None)
        return reply

    async def say(self, assignment: pb.Assignment, chunk: pb.Chunk | bytes) -> None:
        data = chunk if isinstance(chunk, bytes) else chunk.SerializeToString()
        await self.nc.publish(self.out(assignment), data)

    def out(self, assignment: pb.Assignment) -> str:
        relay, job = ids.relay_id(assignment.relay), ids.job_id(assignment.job_id)
        return subjects.out(self.id, relay, job, Epoch(assignment.epoch))

    def report_on(
        self, assignment: pb.Assignment, texts: Iterable[str], prompt_tokens: int = 1, **other: Any
    ) -> pb.Report:
        """An honest report of these items, or with what `other` puts in its place."""
        said = list(texts)
        fields: dict[str, Any] = {
            "job_id": assignment.job_id,
            "epoch": assignment.epoch,
            "island_id": self.id,
            "cargo_digest": assignment.cargo_digest,
            "cause": common.CAUSE_COMPLETED,
            "finish_reason": "stop",
            "next_position": len(said),
            "usage": common.Usage(prompt_tokens=prompt_tokens, output_items=len(said)),
            "input_sha256": bytes(32),
            "output_chain": chain((text, 0) for text in said),
            "texts": said,
        }
        return pb.Report(**fields | other)

    async def report(self, report: pb.Report, key: SigningKey | None = None) -> None:
        """Until the stream has it."""
        sealed = (key or self.key).seal(report)
        await self.nc.jetstream(timeout=PATIENCE_S).publish(subjects.report(self.id), sealed)
        if (report.job_id, report.epoch) in self.held:
            self.held[(report.job_id, report.epoch)] = True


async def until(holds: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """What `holds` returns, as soon as it is true, without standing in anybody's way meanwhile."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while asyncio.get_running_loop().time() < deadline:
        if value := await asyncio.to_thread(holds):
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s: {what}")
