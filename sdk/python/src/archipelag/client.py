"""The client that waits: `Client`, its streams, and its rooms for jobs and keys."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, TypeVar

import httpx

from archipelag import operations, transport, values
from archipelag.errors import JobFailed, NothingOffered, StreamBroken
from archipelag.files import FileCalls
from archipelag.operations import Messages, Operation
from archipelag.publishing import Cargos
from archipelag.sse import Event, Parser

T = TypeVar("T")
POLL_S: Final = 0.5


class Client(FileCalls):
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
        self._model: str | None = None
        self._turn = 0
        """Which of the addresses is asked."""
        self.jobs: Final = Jobs(self)
        self.keys: Final = Keys(self)
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
        options: Mapping[str, Any] | None = None,
    ) -> values.ChatAnswer:
        """The whole answer. `options` are further fields of the OpenAI request."""
        chosen = options_of(max_tokens, temperature, top_p, seed, stop, options)
        return self.call(
            operations.chat(
                messages, model or self.default_model(), system=system, stream=False, options=chosen
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
        options: Mapping[str, Any] | None = None,
    ) -> ChatStream:
        """The answer piece by piece, as it is made."""
        chosen = options_of(max_tokens, temperature, top_p, seed, stop, options)
        operation = operations.chat(
            messages, model or self.default_model(), system=system, stream=True, options=chosen
        )
        return ChatStream(self, operation)

    def default_model(self) -> str:
        """The first model to chat with that the network offers, asked once."""
        if self._model is None:
            offered = [one for one in self.models() if one.kind == "chat"]
            if not offered:
                raise NothingOffered("the network offers no model yet: connect an Island")
            self._model = offered[0].id
        return self._model

    def account(self) -> values.Account:
        return self.call(operations.account())

    def models(self) -> tuple[values.Model, ...]:
        return self.call(operations.models())

    def workloads(self) -> tuple[values.Workload, ...]:
        return self.call(operations.workloads())

    def workload(self, slug: str) -> values.Workload:
        return self.call(operations.workload(slug))

    def hosts(self) -> tuple[values.Host, ...]:
        return self.call(operations.hosts())

    def host(self, host_id: str) -> values.Host:
        return self.call(operations.host(host_id))

    def host_karma(self, host_id: str) -> values.Karma:
        return self.call(operations.host_karma(host_id))

    def host_usage(
        self, host_id: str, *, limit: int = 20, offset: int = 0
    ) -> tuple[values.UsageRow, ...]:
        """What one's own Island did and was paid, newest first."""
        return self.call(operations.host_usage(host_id, limit, offset))

    def stats(self) -> values.Stats:
        return self.call(operations.stats())

    def health(self) -> str:
        """The version of the Coordinator that answers."""
        return self.call(operations.health())

    def call(self, operation: Operation[T]) -> T:
        """One request with its retries. Raises ApiError, NotReachable or BadAnswer."""
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
        while True:
            tries += 1
            address = self.settings.addresses[self._turn % len(self.settings.addresses)]
            request = transport.request(
                self._http, operation, address, key, stream=stream, last_event_id=last_event_id
            )
            try:
                response = self._http.send(request, stream=stream)
                if response.is_success:
                    return response
                response.read()
            except httpx.TransportError as error:
                failure: Exception = transport.unreachable(address, error)
                self._turn += 1
                wait = transport.delay_s(tries, None, self._chance)
            else:
                refusal = transport.refusal(response)
                failure = refusal
                response.close()
                wait = (
                    transport.delay_s(tries, refusal.retry_after_s, self._chance)
                    if response.status_code in transport.RETRY_STATUSES
                    else None
                )
            if wait is None or tries > self.settings.retries_max:
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
        self._place = transport.Place(client.settings.retries_max)
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
        """Raises StreamBroken when the answer stops before its end and cannot be taken up again."""
        with self:
            while True:
                try:
                    for event in _events(self._response):
                        piece = transport.chat_piece(event, self.job_id, self.island)
                        if piece is None:
                            return
                        if self._place.took(event, piece):
                            yield piece
                except StreamBroken:
                    pass
                self._go_on()

    def _go_on(self) -> None:
        self._response.close()
        wait_s = self._place.broke(self._client._chance)
        if wait_s is None:
            raise StreamBroken(f"the answer of job {self.job_id or '?'} stopped before its end")
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


class Jobs:
    """`client.jobs`: work that is asked for now and read later."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
        self,
        workload: str,
        input: Mapping[str, Any],  # noqa: A002  the API's own word
        *,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> values.Job:
        """Submits a job. The same `idempotency_key` gives the same job, however often it is sent."""
        return self._client.call(operations.create_job(workload, input, priority, idempotency_key))

    def list(
        self, *, limit: int = 20, offset: int = 0, status: str | None = None
    ) -> values.JobPage:
        return self._client.call(operations.list_jobs(limit, offset, status))

    def get(self, job_id: str) -> values.Job:
        return self._client.call(operations.get_job(job_id))

    def output(self, job_id: str) -> str | None:
        """The whole output, or None while there is none."""
        return self._client.call(operations.job_output(job_id))

    def files(self, job_id: str) -> tuple[values.File, ...]:
        """What the job has made, once it has completed."""
        return self._client.call(operations.job_files(job_id))

    def cancel(self, job_id: str) -> values.Job:
        """Cancels the job; one that has ended already is given back as it is."""
        return self._client.call(operations.cancel_job(job_id))

    def stream(self, job_id: str, *, last_event_id: str = "") -> Iterator[values.JobEvent]:
        """Events to the last one. A broken connection is taken up again where it broke."""
        breaks = 0
        while True:
            operation = operations.job_stream(job_id, last_event_id)
            response = self._client._send(operation, stream=True)
            try:
                for event in _events(response):
                    breaks, last_event_id = 0, event.id or last_event_id
                    told = transport.job_event(event)
                    yield told
                    if told.type in ("done", "error"):
                        return
            except StreamBroken:
                pass
            finally:
                response.close()
            breaks += 1
            if breaks > self._client.settings.retries_max:
                raise StreamBroken(f"the stream of job {job_id} broke {breaks} times in a row")
            self._client._sleep(transport.delay_s(breaks, None, self._client._chance) or 0)

    def wait(self, job_id: str, *, timeout_s: float = 300.0) -> values.Job:
        """The job once it has completed. Raises JobFailed, or TimeoutError."""
        end = time.monotonic() + timeout_s
        while not (job := self.get(job_id)).finished:
            if time.monotonic() >= end:
                raise TimeoutError(f"job {job_id} is still {job.status} after {timeout_s:g} s")
            self._client._sleep(POLL_S)
        if job.status != "completed":
            raise JobFailed(job)
        return job


class Keys:
    """`client.keys`: the credentials of programs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> tuple[values.ApiKey, ...]:
        return self._client.call(operations.list_keys())

    def create(
        self,
        name: str,
        scopes: Iterable[str] = ("read", "write"),
        *,
        expires_at: datetime | None = None,
        budget: Decimal | str | None = None,
    ) -> values.ApiKey:
        """A new key; its secret stands in `key` and is never shown again."""
        return self._client.call(operations.create_key(name, scopes, expires_at, budget))

    def revoke(self, key_id: str) -> None:
        self._client.call(operations.revoke_key(key_id))


def _events(response: httpx.Response) -> Iterator[Event]:
    """Raises StreamBroken when the connection fails."""
    parser = Parser()
    try:
        for data in response.iter_bytes():
            yield from parser.feed(data)
    except httpx.TransportError as error:
        raise StreamBroken(f"the connection broke: {error or type(error).__name__}") from error


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
