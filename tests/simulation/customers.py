"""Customers: they come, read at their pace, cancel, leave without a word, return with their position, and try again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from archipelag_coordinator.domain.job import Job, JobStatus

from simulation.cargo import RESUMABLE, Answer, answer_to, any_input
from simulation.coordinator import SimCoordinator
from simulation.door import ConnectionLost, Exchange, HttpClient
from simulation.network import Network
from simulation.party import Party

PATIENCE_S: Final = 150.0
READ_TIMEOUT_S: Final = 40.0


@dataclass
class Receipt:
    """What one customer asked for and got: what the checkers hold the network to."""

    name: str
    kind: str
    slug: str
    body: dict[str, Any]
    job_id: str = ""
    cargo_input: bytes = b""
    text: str = ""
    position: int = 0
    """As the ids of events said; 0 where they have none."""
    outcome: str = "waiting"
    """completed, failed, cancelled, left, gave up, refused"""
    finish_reason: str = ""
    code: str = ""
    connections: int = 0
    broken: list[str] = field(default_factory=list)
    """Promises that were broken before this reader's eyes."""
    charged: str = ""
    unread: bool = False
    """It asked that the job goes on without it."""
    anew: int = 0
    """So often it was told that its answer does not stand any more, and asked for a new one."""


@dataclass
class Habits:
    """How this customer behaves."""

    slow_s: float = 0.0
    leave_at: int | None = None
    cancel_at: int | None = None
    comes_back: bool = True
    unread: bool = False
    """Asks that the job goes on when it has left."""
    hang_up_at: int | None = None
    """Breaks its own connection there, and comes back with its position."""


class Customer:
    """One party with one wish."""

    def __init__(
        self,
        party: Party,
        network: Network,
        rng: Random,
        secret: str,
        coordinators: Callable[[], list[SimCoordinator]],
        slug: str,
        stored: Callable[[str], Job | None],
        may_be_forged: Callable[[str], bool],
        written: Callable[[str, int], None],
    ) -> None:
        self._may_be_forged = may_be_forged
        self.party = party
        self._stored = stored
        """The job as the database has it: what the Cargo was really given, and how many attempts there were."""
        self._rng = rng
        self._client = HttpClient(network, party, secret, written)
        self._coordinators = coordinators
        kind = rng.choices(("stream", "whole", "batch"), (6, 2, 3))[0]
        self.receipt = Receipt(party.name, kind, slug, any_input(rng, 80))
        self.habits = self._habits()
        self.receipt.unread = self.habits.unread and kind == "stream"
        self._key = f"wish-{party.name}"
        self._cut = False

    def _habits(self) -> Habits:
        rng = self._rng
        habits = Habits()
        if rng.random() < 0.2:
            habits.slow_s = rng.uniform(0.02, 0.4)
        roll = rng.random()
        where = rng.randint(0, 40)
        if roll < 0.08:
            habits.leave_at = where
            habits.unread = rng.random() < 0.5
        elif roll < 0.18:
            habits.cancel_at = where
        elif roll < 0.35:
            habits.hang_up_at = where
        habits.comes_back = rng.random() < 0.9
        return habits

    async def live(self) -> Receipt:
        receipt = self.receipt
        try:
            async with asyncio.timeout(PATIENCE_S):
                match receipt.kind:
                    case "stream":
                        await self._again_and_again(self._stream)
                    case "whole":
                        await self._again_and_again(self._whole)
                    case _:
                        await self._again_and_again(self._batch)
        except TimeoutError:
            receipt.outcome = "gave up"
        return receipt

    async def _again_and_again(self, attempt: Callable[[SimCoordinator], Any]) -> None:
        """Until there is an outcome. The same Idempotency-Key every time: it is one wish."""
        while self.receipt.outcome == "waiting":
            alive = self._coordinators()
            if not alive:
                await asyncio.sleep(0.5)
                continue
            try:
                await attempt(self._rng.choice(alive))
            except (ConnectionLost, TimeoutError):
                if not self.habits.comes_back and self.receipt.connections:
                    self.receipt.outcome = "left"
                    return
            if self.receipt.outcome == "waiting":
                await asyncio.sleep(self._rng.uniform(0.1, 2.0))

    # --- A chat, streamed ------------------------------------------------------------------------------------------

    async def _stream(self, server: SimCoordinator) -> None:
        receipt = self.receipt
        headers = {"idempotency-key": self._key}
        if self.habits.unread:
            headers["x-archipelag-on-disconnect"] = "continue"
        if receipt.position:
            headers["last-event-id"] = str(receipt.position)
        body = {"model": receipt.slug, "stream": True, **receipt.body}
        exchange = await self._client.ask(
            server, "POST", "/v1/chat/completions", body, headers, timeout_s=READ_TIMEOUT_S
        )
        try:
            if not await self._accepted(exchange):
                return
            receipt.connections += 1
            await self._read_events(exchange, self._chat_event)
        finally:
            exchange.close()

    async def _chat_event(self, at: int | None, data: str) -> None:
        receipt = self.receipt
        if data == "[DONE]":
            receipt.outcome = "completed"
            return
        said = json.loads(data)
        if "error" in said:
            self._failed(said["error"])
            return
        for choice in said.get("choices", ()):
            delta = choice.get("delta", {})
            if delta.get("role") and not delta.get("content"):
                # A stream that begins anew. Only who asked for no position may be given one.
                self._begin_anew()
            if delta.get("content"):
                self._got(delta["content"], at)
            if choice.get("finish_reason"):
                receipt.finish_reason = choice["finish_reason"]
        if said.get("usage"):
            receipt.charged = said["usage"].get("credits_used", "")

    def _begin_anew(self) -> None:
        receipt = self.receipt
        if receipt.position:
            receipt.broken.append(f"asked to go on at {receipt.position}, was told all again")
        receipt.text = ""
        receipt.position = 0

    def _got(self, text: str, at: int | None) -> None:
        receipt = self.receipt
        receipt.text += text
        if at is not None:
            if at <= receipt.position:
                receipt.broken.append(f"position {at} after {receipt.position}")
            receipt.position = at
        self._check_text()

    def _check_text(self) -> None:
        """What was read so far must be the beginning of the undisturbed answer."""
        receipt = self.receipt
        if receipt.broken or self._may_be_forged(receipt.job_id):
            return  # What comes after the first error says nothing.
        answers = self._possible_answers()
        if not any(a.text.startswith(receipt.text) for a in answers):
            receipt.broken.append(f"read {receipt.text[-60:]!r} up to {receipt.position}")
        elif receipt.position and not any(
            "".join(a.texts[: receipt.position]) == receipt.text for a in answers
        ):
            receipt.broken.append(f"the text does not end at position {receipt.position}")

    def _possible_answers(self) -> list[Answer]:
        """What an undisturbed run would have said; of a Cargo that cannot resume, in any of its attempts."""
        job = self._stored(self.receipt.job_id)
        if job is None:
            return []
        asked = json.loads(job.input)
        for name, value in self.receipt.body.items():
            assert asked[name] == value, f"{job.id} was made of another request"
        if job.cargo_slug == RESUMABLE.slug:
            return [answer_to(job.input)]
        return [answer_to(job.input, f"{job.id}.{n + 1}") for n in range(job.epoch)]

    # --- A chat, whole ---------------------------------------------------------------------------------------------

    async def _whole(self, server: SimCoordinator) -> None:
        receipt = self.receipt
        body = {"model": receipt.slug, **receipt.body}
        exchange = await self._client.ask(
            server,
            "POST",
            "/v1/chat/completions",
            body,
            {"idempotency-key": self._key},
            timeout_s=PATIENCE_S,
        )
        try:
            if not await self._accepted(exchange):
                return
            receipt.connections += 1
            said = json.loads(await exchange.whole(READ_TIMEOUT_S))
        finally:
            exchange.close()
        choice = said["choices"][0]
        receipt.text = choice["message"]["content"]
        receipt.finish_reason = choice["finish_reason"]
        receipt.outcome = "completed"
        self._check_text()

    # --- A job that nobody waits for -------------------------------------------------------------------------------

    async def _batch(self, server: SimCoordinator) -> None:
        receipt = self.receipt
        if not receipt.job_id:
            exchange = await self._client.ask(
                server,
                "POST",
                "/api/v1/jobs",
                {"workload": receipt.slug, "input": receipt.body},
                {"idempotency-key": self._key},
            )
            try:
                if not await self._accepted(exchange):
                    return
                receipt.job_id = json.loads(await exchange.whole(10.0))["data"]["id"]
            finally:
                exchange.close()
        if self._rng.random() < 0.5:
            await self._follow(server)
        else:
            await self._poll(server)

    async def _follow(self, server: SimCoordinator) -> None:
        receipt = self.receipt
        headers = {"last-event-id": str(receipt.position)} if receipt.position else {}
        exchange = await self._client.ask(
            server, "GET", f"/api/v1/jobs/{receipt.job_id}/stream", None, headers
        )
        try:
            if not await self._accepted(exchange):
                return
            receipt.connections += 1
            await self._read_events(exchange, self._job_event)
        finally:
            exchange.close()

    async def _job_event(self, at: int | None, data: str) -> None:
        said = json.loads(data)
        match said["type"]:
            case "token":
                self._got(said["content"], at)
            case "done":
                self.receipt.finish_reason = said["finish_reason"]
                self.receipt.outcome = "completed"
            case "error":
                self._failed({"code": said["code"], "message": said["error"]})

    async def _poll(self, server: SimCoordinator) -> None:
        receipt = self.receipt
        path = f"/api/v1/jobs/{receipt.job_id}"
        exchange = await self._client.ask(server, "GET", path)
        try:
            if exchange.status != 200:
                return
            shown = json.loads(await exchange.whole(10.0))["data"]
        finally:
            exchange.close()
        match shown["status"]:
            case "completed":
                receipt.text = shown["output"] or ""
                receipt.outcome = "completed"
                receipt.position = 0
                self._check_text()
            case "failed" | "timeout" | "cancelled":
                receipt.outcome = "failed"
                receipt.code = shown["cause"]
            case _:
                if self.habits.cancel_at is not None and self._rng.random() < 0.3:
                    await self._cancel(server)

    async def _cancel(self, server: SimCoordinator) -> None:
        exchange = await self._client.ask(server, "DELETE", f"/api/v1/jobs/{self.receipt.job_id}")
        try:
            if exchange.status == 200:
                status = json.loads(await exchange.whole(10.0))["data"]["status"]
                if (
                    status != "completed"
                ):  # Else it was too late, and the answer is read to its end.
                    self.receipt.outcome = "cancelled" if status == "cancelled" else "failed"
        finally:
            exchange.close()

    # --- What they have in common ----------------------------------------------------------------------------------

    async def _accepted(self, exchange: Exchange) -> bool:
        receipt = self.receipt
        if exchange.status in (200, 201):
            job_id = exchange.headers.get("x-archipelag-job", receipt.job_id)
            if receipt.position and job_id != receipt.job_id:
                receipt.broken.append(f"was to go on at {receipt.position}, and was given {job_id}")
                receipt.outcome = "refused"
                return False
            receipt.job_id = job_id
            return True
        body = json.loads(await exchange.whole(10.0) or b"{}")
        error = body.get("error", {})
        receipt.code = str(error.get("code", exchange.status))
        # What another try may mend is tried again, by the same key.
        if exchange.status in (429, 502, 503, 504):
            await asyncio.sleep(float(exchange.headers.get("retry-after", "1")))
        elif receipt.code == "nothing_to_continue":
            self._answer_is_gone()
        elif exchange.status == 500:
            receipt.broken.append(f"an internal error: {receipt.code}")
        else:
            receipt.outcome = "refused"
            if exchange.status in (409, 422, 400, 404) and receipt.code != "cancelled":
                receipt.broken.append(f"refused with {exchange.status} {receipt.code}")
        return False

    def _answer_is_gone(self) -> None:
        """What was read is of no use: the next try asks for a new answer, under the same key."""
        receipt = self.receipt
        job = self._stored(receipt.job_id)
        if job is None or job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            status = job.status.value if job else "unknown"
            receipt.broken.append(f"nothing to continue of {receipt.job_id}, which is {status}")
        receipt.anew += 1
        receipt.text, receipt.position, receipt.finish_reason = "", 0, ""

    def _failed(self, error: dict[str, Any]) -> None:
        self.receipt.outcome = "failed"
        self.receipt.code = str(error.get("code"))

    async def _read_events(self, exchange: Exchange, take: Any) -> None:
        habits, receipt = self.habits, self.receipt
        buffer = b""
        while receipt.outcome == "waiting":
            part = await exchange.part(READ_TIMEOUT_S)
            if part is None:
                if receipt.outcome == "waiting":
                    raise ConnectionLost("the stream ended without its end")
                return
            buffer += part
            *events, buffer = buffer.split(b"\n\n")
            for event in events:
                at, data = _event(event)
                if data and receipt.outcome == "waiting":
                    await take(at, data)
            if habits.slow_s:
                await asyncio.sleep(habits.slow_s)
            read = receipt.position or receipt.text.count(" ")
            if habits.leave_at is not None and read >= habits.leave_at:
                receipt.outcome = "left" if receipt.outcome == "waiting" else receipt.outcome
            elif habits.hang_up_at is not None and read >= habits.hang_up_at and not self._cut:
                self._cut = True
                raise ConnectionLost("hung up")
            elif habits.cancel_at is not None and read >= habits.cancel_at and self._may_cancel():
                habits.cancel_at = None
                await self._cancel(self._rng.choice(self._coordinators()))

    def _may_cancel(self) -> bool:
        receipt = self.receipt
        return receipt.outcome == "waiting" and bool(receipt.job_id and self._coordinators())


def _event(raw: bytes) -> tuple[int | None, str]:
    at, data = None, ""
    for line in raw.split(b"\n"):
        if line.startswith(b"id: "):
            at = int(line[4:])
        elif line.startswith(b"data: "):
            data += line[6:].decode()
    return at, data
