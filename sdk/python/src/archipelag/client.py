"""The client that waits: `Client` and its streams."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, TypeVar

import httpx

from archipelag import operations, transport, values
from archipelag.account import AccountCalls
from archipelag.batches import BatchCalls
from archipelag.errors import StreamBrokenError
from archipelag.files import FileCalls
from archipelag.jobs import JobCalls
from archipelag.network import NetworkCalls
from archipelag.operations import Messages, Operation
from archipelag.people import PeopleCalls
from archipelag.places import ChatPlace, chat_piece, events_of
from archipelag.publishing import Cargos

T = TypeVar("T")


class Client(JobCalls, BatchCalls, FileCalls, NetworkCalls, AccountCalls, PeopleCalls):
    """Talks to an Archipelag network. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 300.0,
        connect_timeout_s: float = 5.0,
        retries_max: int = 3,
        transport_layer: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.settings = transport.settings(
            base_url, api_key, timeout_s, connect_timeout_s, retries_max
        )
        self._sleep = sleep
        self._chance = chance
        self._http = httpx.Client(
            headers=self.settings.headers,
            timeout=self.settings.timeout,
            transport=transport_layer,
        )
        self._models: dict[str, str] = {}
        self._turn = 0
        """Which of the addresses is asked."""
        self.cargos: Final = Cargos(self)

    def chat(
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
        return self.call(
            operations.chat(
                messages,
                model or self.default_model(),
                system=system,
                stream=False,
                within_s=within_s,
                options=chosen,
            )
        )

    def chat_stream(
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
    ) -> ChatStream:
        """The answer piece by piece, as it is made."""
        chosen = options_of(max_tokens, temperature, top_p, seed, stop, options)
        operation = operations.chat(
            messages,
            model or self.default_model(),
            system=system,
            stream=True,
            within_s=within_s,
            options=chosen,
        )
        return ChatStream(self, operation)

    def default_model(self, kind: str = "chat") -> str:
        """The first model of this kind that the network offers, asked once. Raises NothingOfferedError."""
        if kind not in self._models:
            offered = self.call(operations.models())
            self._models[kind] = transport.first_model(kind, offered)
        return self._models[kind]

    def call(self, operation: Operation[T]) -> T:
        """One request with its retries. Raises ApiError, ConnectionError, TimeoutError or BadAnswerError."""
        response = self._send(operation, stream=False)
        return transport.answer(operation, response)

    def _send(
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
                response = self._http.send(request, stream=stream)
                if response.is_success or transport.done_before(operation, response, tries):
                    return response
                response.read()
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
                response.close()
                wait = (
                    transport.delay_s(tries, refusal.retry_after, self._chance)
                    if transport.may_retry(operation, response)
                    else None
                )
            if wait is None or tries > self.settings.retries(last_event_id):
                raise failure
            self._sleep(wait)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class ChatStream:
    """Pieces of one answer. A broken connection is taken up again where it broke, at another Coordinator if there
    is one. Leaving early closes the connection, which ends the job."""

    def __init__(self, client: Client, operation: Operation[Any]) -> None:
        self._client = client
        self._operation = operation
        self._key = secrets.token_hex(16)
        self._place = ChatPlace(client.settings.retries_max)
        self._response = client._send(operation, stream=True, key=self._key)
        self.job_id, self.island = operations.origin(self._response.headers)

    @property
    def usage(self) -> values.Usage | None:
        """What it used, once it has ended."""
        return self._place.usage

    @property
    def finish_reason(self) -> str | None:
        return self._place.finish_reason

    def __iter__(self) -> Iterator[values.ChatPiece]:
        """Raises StreamBrokenError when the answer stops before its end and cannot be taken up again."""
        with self:
            while True:
                try:
                    for event in events_of(self._response):
                        piece = chat_piece(event, self.job_id, self.island)
                        if piece is None:
                            return
                        if self._place.took(event, piece):
                            yield piece
                except StreamBrokenError:
                    pass
                self._go_on()

    def _go_on(self) -> None:
        self._response.close()
        wait_s = self._place.broke(self._client._chance)
        if wait_s is None:
            raise StreamBrokenError(
                f"the answer of job {self.job_id or '?'} stopped before its end"
            )
        self._client._sleep(wait_s)
        last = self._place.last_event_id
        self._response = self._client._send(
            self._operation, stream=True, key=self._key, last_event_id=last
        )
        self.job_id, self.island = operations.origin(self._response.headers)

    def close(self) -> None:
        self._response.close()

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


def options_of(
    max_tokens: int | None,
    temperature: float | None,
    top_p: float | None,
    seed: int | None,
    stop: str | list[str] | None,
    more: Mapping[str, Any] | None,
) -> dict[str, Any]:
    named = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
        "stop": stop,
    }
    return named | dict(more or {})
