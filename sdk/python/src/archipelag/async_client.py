"""The client for asyncio: `AsyncClient`, its streams, and its rooms for jobs and keys; in step with `client.py`."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, TypeVar

import httpx

from archipelag import operations, transport, values
from archipelag.client import POLL_S, options_of
from archipelag.errors import JobFailed, NothingOffered, StreamBroken
from archipelag.files import AsyncFileCalls
from archipelag.operations import Messages, Operation
from archipelag.publishing import AsyncCargos
from archipelag.sse import Event, Parser

T = TypeVar("T")


class AsyncClient(AsyncFileCalls):
    """Talks to an Archipelag network. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 300.0,
        connect_timeout_s: float = 5.0,
        retries_max: int = 3,
        transport_layer: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.settings = transport.settings(
            base_url, api_key, timeout_s, connect_timeout_s, retries_max
        )
        self._sleep = sleep
        self._chance = chance
        self._http = httpx.AsyncClient(
            headers=self.settings.headers,
            timeout=self.settings.timeout,
            transport=transport_layer,
        )
        self._model: str | None = None
        self._turn = 0
        """Which of the addresses is asked."""
        self.jobs: Final = AsyncJobs(self)
        self.keys: Final = AsyncKeys(self)
        self.cargos: Final = AsyncCargos(self)

    async def chat(
        self,
        messages: Messages,
        model: str | None = None,
        *,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: str | list[str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> values.ChatAnswer:
        """The whole answer. `options` are further fields of the OpenAI request."""
        chosen = options_of(max_tokens, temperature, top_p, seed, stop, options)
        return await self.call(
            operations.chat(
                messages,
                model or await self.default_model(),
                system=system,
                stream=False,
                options=chosen,
            )
        )

    async def chat_stream(
        self,
        messages: Messages,
        model: str | None = None,
        *,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: str | list[str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> AsyncChatStream:
        """The answer piece by piece, as it is made."""
        chosen = options_of(max_tokens, temperature, top_p, seed, stop, options)
        operation = operations.chat(
            messages,
            model or await self.default_model(),
            system=system,
            stream=True,
            options=chosen,
        )
        key = secrets.token_hex(16)
        first = await self._send(operation, stream=True, key=key)
        return AsyncChatStream(self, operation, key, first)

    async def default_model(self) -> str:
        """The first model to chat with that the network offers, asked once."""
        if self._model is None:
            offered = [one for one in await self.models() if one.kind == "chat"]
            if not offered:
                raise NothingOffered("the network offers no model yet: connect an Island")
            self._model = offered[0].id
        return self._model

    async def account(self) -> values.Account:
        return await self.call(operations.account())

    async def models(self) -> tuple[values.Model, ...]:
        return await self.call(operations.models())

    async def workloads(self) -> tuple[values.Workload, ...]:
        return await self.call(operations.workloads())

    async def workload(self, slug: str) -> values.Workload:
        return await self.call(operations.workload(slug))

    async def hosts(self) -> tuple[values.Host, ...]:
        return await self.call(operations.hosts())

    async def host(self, host_id: str) -> values.Host:
        return await self.call(operations.host(host_id))

    async def host_karma(self, host_id: str) -> values.Karma:
        return await self.call(operations.host_karma(host_id))

    async def host_usage(
        self, host_id: str, *, limit: int = 20, offset: int = 0
    ) -> tuple[values.UsageRow, ...]:
        """What one's own Island did and was paid, newest first."""
        return await self.call(operations.host_usage(host_id, limit, offset))

    async def stats(self) -> values.Stats:
        return await self.call(operations.stats())

    async def health(self) -> str:
        """The version of the Coordinator that answers."""
        return await self.call(operations.health())

    async def call(self, operation: Operation[T]) -> T:
        """One request with its retries. Raises ApiError, NotReachable or BadAnswer."""
        response = await self._send(operation, stream=False)
        return transport.answer(operation, response)

    async def _send(
        self,
        operation: Operation[Any],
        *,
        stream: bool,
        key: str | None = None,
        last_event_id: str = "",
    ) -> httpx.Response:
        key = key or secrets.token_hex(16)
        tries = 0
        while True:
            tries += 1
            address = self.settings.addresses[self._turn % len(self.settings.addresses)]
            request = transport.request(
                self._http, operation, address, key, stream=stream, last_event_id=last_event_id
            )
            try:
                response = await self._http.send(request, stream=stream)
                if response.is_success:
                    return response
                await response.aread()
            except httpx.TransportError as error:
                failure: Exception = transport.unreachable(address, error)
                self._turn += 1
                wait = transport.delay_s(tries, None, self._chance)
            else:
                refusal = transport.refusal(response)
                failure = refusal
                await response.aclose()
                wait = (
                    transport.delay_s(tries, refusal.retry_after_s, self._chance)
                    if response.status_code in transport.RETRY_STATUSES
                    else None
                )
            if wait is None or tries > self.settings.retries_max:
                raise failure
            await self._sleep(wait)

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncChatStream:
    """Pieces of one answer. A broken connection is taken up again where it broke, at another Coordinator if there
    is one. Leaving early closes the connection, which ends the job."""

    def __init__(
        self, client: AsyncClient, operation: Operation[Any], key: str, first: httpx.Response
    ) -> None:
        self._client = client
        self._operation = operation
        self._key = key
        self._place = transport.Place(client.settings.retries_max)
        self._response = first
        self.job_id, self.island = operations.origin(first.headers)

    @property
    def usage(self) -> values.Usage | None:
        """What it used, once it has ended."""
        return self._place.usage

    @property
    def finish_reason(self) -> str | None:
        return self._place.finish_reason

    async def __aiter__(self) -> AsyncIterator[values.ChatPiece]:
        """Raises StreamBroken when the answer stops before its end and cannot be taken up again."""
        async with self:
            while True:
                try:
                    async for event in _events(self._response):
                        piece = transport.chat_piece(event, self.job_id, self.island)
                        if piece is None:
                            return
                        if self._place.took(event, piece):
                            yield piece
                except StreamBroken:
                    pass
                await self._go_on()

    async def _go_on(self) -> None:
        await self._response.aclose()
        wait_s = self._place.broke(self._client._chance)
        if wait_s is None:
            raise StreamBroken(f"the answer of job {self.job_id or '?'} stopped before its end")
        await self._client._sleep(wait_s)
        last = self._place.last_event_id
        self._response = await self._client._send(
            self._operation, stream=True, key=self._key, last_event_id=last
        )
        self.job_id, self.island = operations.origin(self._response.headers)

    async def close(self) -> None:
        await self._response.aclose()

    async def __aenter__(self) -> AsyncChatStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncJobs:
    """`client.jobs`: work that is asked for now and read later."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def create(
        self,
        workload: str,
        input: Mapping[str, Any],  # noqa: A002  the API's own word
        *,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> values.Job:
        """Submits a job. The same `idempotency_key` gives the same job, however often it is sent."""
        return await self._client.call(
            operations.create_job(workload, input, priority, idempotency_key)
        )

    async def list(
        self, *, limit: int = 20, offset: int = 0, status: str | None = None
    ) -> values.JobPage:
        return await self._client.call(operations.list_jobs(limit, offset, status))

    async def get(self, job_id: str) -> values.Job:
        return await self._client.call(operations.get_job(job_id))

    async def output(self, job_id: str) -> str | None:
        """The whole output, or None while there is none."""
        return await self._client.call(operations.job_output(job_id))

    async def files(self, job_id: str) -> tuple[values.File, ...]:
        """What the job has made, once it has completed."""
        return await self._client.call(operations.job_files(job_id))

    async def cancel(self, job_id: str) -> values.Job:
        """Cancels the job; one that has ended already is given back as it is."""
        return await self._client.call(operations.cancel_job(job_id))

    async def stream(
        self, job_id: str, *, last_event_id: str = ""
    ) -> AsyncIterator[values.JobEvent]:
        """Events to the last one. A broken connection is taken up again where it broke."""
        breaks = 0
        while True:
            operation = operations.job_stream(job_id, last_event_id)
            response = await self._client._send(operation, stream=True)
            try:
                async for event in _events(response):
                    breaks, last_event_id = 0, event.id or last_event_id
                    told = transport.job_event(event)
                    yield told
                    if told.type in ("done", "error"):
                        return
            except StreamBroken:
                pass
            finally:
                await response.aclose()
            breaks += 1
            if breaks > self._client.settings.retries_max:
                raise StreamBroken(f"the stream of job {job_id} broke {breaks} times in a row")
            await self._client._sleep(transport.delay_s(breaks, None, self._client._chance) or 0)

    async def wait(self, job_id: str, *, timeout_s: float = 300.0) -> values.Job:
        """The job once it has completed. Raises JobFailed, or TimeoutError."""
        end = time.monotonic() + timeout_s
        while not (job := await self.get(job_id)).finished:
            if time.monotonic() >= end:
                raise TimeoutError(f"job {job_id} is still {job.status} after {timeout_s:g} s")
            await self._client._sleep(POLL_S)
        if job.status != "completed":
            raise JobFailed(job)
        return job


class AsyncKeys:
    """`client.keys`: the credentials of programs."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self) -> tuple[values.ApiKey, ...]:
        return await self._client.call(operations.list_keys())

    async def create(
        self,
        name: str,
        scopes: Iterable[str] = ("read", "write"),
        *,
        expires_at: datetime | None = None,
        budget: Decimal | str | None = None,
    ) -> values.ApiKey:
        """A new key; its secret stands in `key` and is never shown again."""
        return await self._client.call(operations.create_key(name, scopes, expires_at, budget))

    async def revoke(self, key_id: str) -> None:
        await self._client.call(operations.revoke_key(key_id))


async def _events(response: httpx.Response) -> AsyncIterator[Event]:
    """Raises StreamBroken when the connection fails."""
    parser = Parser()
    try:
        async for data in response.aiter_bytes():
            for event in parser.feed(data):
                yield event
    except httpx.TransportError as error:
        raise StreamBroken(f"the connection broke: {error or type(error).__name__}") from error
