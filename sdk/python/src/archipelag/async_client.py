"""The client for asyncio: `AsyncClient` and its streams; in step with `client.py`."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, TypeVar

import httpx

from archipelag import operations, transport, values
from archipelag.account import AsyncAccountCalls
from archipelag.batches import AsyncBatchCalls
from archipelag.client import options_of
from archipelag.errors import StreamBrokenError
from archipelag.files import AsyncFileCalls
from archipelag.jobs import AsyncJobCalls
from archipelag.network import AsyncNetworkCalls
from archipelag.operations import Messages, Operation
from archipelag.people import AsyncPeopleCalls
from archipelag.places import ChatPlace, async_events_of, chat_piece
from archipelag.publishing import AsyncCargos

T = TypeVar("T")


class AsyncClient(
    AsyncJobCalls,
    AsyncBatchCalls,
    AsyncFileCalls,
    AsyncNetworkCalls,
    AsyncAccountCalls,
    AsyncPeopleCalls,
):
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
        self._models: dict[str, str] = {}
        self._turn = 0
        """Which of the addresses is asked."""
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
        within_s: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> values.ChatAnswer:
        """The whole answer. `within_s`: it is not begun, and costs nothing, where it cannot be there by then. `options`
        are further fields of the OpenAI request."""
        chosen = options_of(max_tokens, temperature, top_p, seed, stop, options)
        return await self.call(
            operations.chat(
                messages,
                model or await self.default_model(),
                system=system,
                stream=False,
                within_s=within_s,
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
        within_s: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> AsyncChatStream:
        """The answer piece by piece, as it is made."""
        chosen = options_of(max_tokens, temperature, top_p, seed, stop, options)
        operation = operations.chat(
            messages,
            model or await self.default_model(),
            system=system,
            stream=True,
            within_s=within_s,
            options=chosen,
        )
        key = secrets.token_hex(16)
        first = await self._send(operation, stream=True, key=key)
        return AsyncChatStream(self, operation, key, first)

    async def default_model(self, kind: str = "chat") -> str:
        """The first model of this kind that the network offers, asked once. Raises NothingOfferedError."""
        if kind not in self._models:
            offered = await self.call(operations.models())
            self._models[kind] = transport.first_model(kind, offered)
        return self._models[kind]

    async def call(self, operation: Operation[T]) -> T:
        """One request with its retries. Raises ApiError, ConnectionError, TimeoutError or BadAnswerError."""
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
        place: str | None = None
        while True:
            tries += 1
            address = self.settings.addresses[self._turn % len(self.settings.addresses)]
            request = transport.request(
                self._http,
                operation,
                address,
                key,
                stream=stream,
                last_event_id=last_event_id,
                place=place,
            )
            try:
                response = await self._http.send(request, stream=stream)
                if response.is_success or transport.done_before(operation, response, tries):
                    return response
                await response.aread()
            except httpx.TransportError as error:
                failure: Exception = transport.unreachable(address, error)
                self._turn += 1
                wait = None
                if transport.may_send_again(operation, error):
                    wait = transport.delay_s(tries, None, self._chance)
            else:
                refusal = transport.refusal(response)
                place = response.headers.get(transport.PLACE, place)
                failure = refusal
                await response.aclose()
                wait = (
                    transport.delay_s(tries, refusal.retry_after, self._chance)
                    if transport.may_retry(operation, response)
                    else None
                )
            if wait is None or tries > self.settings.retries(last_event_id):
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
        self._place = ChatPlace(client.settings.retries_max)
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
        """Raises StreamBrokenError when the answer stops before its end and cannot be taken up again."""
        async with self:
            while True:
                try:
                    async for event in async_events_of(self._response):
                        piece = chat_piece(event, self.job_id, self.island)
                        if piece is None:
                            return
                        if self._place.took(event, piece):
                            yield piece
                except StreamBrokenError:
                    pass
                await self._go_on()

    async def _go_on(self) -> None:
        await self._response.aclose()
        wait_s = self._place.broke(self._client._chance)
        if wait_s is None:
            raise StreamBrokenError(
                f"the answer of job {self.job_id or '?'} stopped before its end"
            )
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
