"""Where the reader of a stream has got to, over all its connections: nothing comes twice, nothing is lost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import httpx

from archipelag import errors, values
from archipelag.errors import BadAnswerError, StreamBrokenError, from_body
from archipelag.sse import Event, Parser
from archipelag.transport import delay_s


class ChatPlace:
    """Of the reader of a chat."""

    def __init__(self, retries_max: int) -> None:
        self.last_event_id = ""
        self.usage: values.Usage | None = None
        self.finish_reason: str | None = None
        self._given = False
        self._breaks = 0
        self._retries_max = retries_max

    def took(self, event: Event, piece: values.ChatPiece) -> bool:
        """Whether the reader has a use for this piece: not for the name of the role, nor for an end told twice."""
        self.last_event_id = event.id or self.last_event_id
        told = self.finish_reason is not None and not piece.text and not piece.usage
        self.usage = piece.usage or self.usage
        self.finish_reason = piece.finish_reason or self.finish_reason
        worth = bool(piece.text or piece.finish_reason or piece.usage) and not told
        if worth:
            self._given, self._breaks = True, 0
        return worth

    def broke(self, chance: Callable[[], float]) -> float | None:
        """How long to wait before going on where it broke; None when nothing can go on: it broke too often in a row, or
        the server names no places and something was given already."""
        self._breaks += 1
        if self._breaks > self._retries_max or (self._given and not self.last_event_id):
            return None
        return delay_s(self._breaks, None, chance)


class JobPlace:
    """Of the reader of a job's events."""

    def __init__(self, job_id: str, retries_max: int, last_event_id: str) -> None:
        self.last_event_id = last_event_id
        self.ended = False
        self._job_id = job_id
        self._told: dict[str, Mapping[str, Any]] = {}
        self._breaks = 0
        self._retries_max = retries_max

    def took(self, event: Event) -> values.JobEvent | None:
        """The event, or None where the reader knows it: a new connection begins with how things stand."""
        told = job_event(event)
        if told.type in ("status", "progress"):
            if self._told.get(told.type) == told.raw:
                return None
            self._told[told.type] = told.raw
        self.last_event_id = event.id or self.last_event_id
        self.ended = told.type in ("done", "error")
        self._breaks = 0
        return told

    def broke(self, chance: Callable[[], float]) -> float:
        """How long to wait before going on where it broke. Raises StreamBrokenError: too often in a row."""
        self._breaks += 1
        if self._breaks > self._retries_max:
            raise StreamBrokenError(
                f"the stream of job {self._job_id} broke {self._breaks} times in a row"
            )
        return delay_s(self._breaks, None, chance) or 0.0


def events_of(response: httpx.Response) -> Iterator[Event]:
    """Raises StreamBrokenError when the connection fails."""
    parser = Parser()
    try:
        for data in response.iter_bytes():
            yield from parser.feed(data)
    except httpx.TransportError as error:
        raise _broken(error) from error


async def async_events_of(response: httpx.Response) -> AsyncIterator[Event]:
    """Raises StreamBrokenError when the connection fails."""
    parser = Parser()
    try:
        async for data in response.aiter_bytes():
            for event in parser.feed(data):
                yield event
    except httpx.TransportError as error:
        raise _broken(error) from error


def _broken(error: httpx.TransportError) -> StreamBrokenError:
    return StreamBrokenError(f"the connection broke: {error or type(error).__name__}")


def chat_piece(event: Event, job_id: str, island: str) -> values.ChatPiece | None:
    """The piece in one event; None at the end of the stream. Raises ApiError as the stream tells it."""
    if event.data.strip() == "[DONE]":
        return None
    raw = _decoded(event)
    if raw.get("error"):
        raise _told(raw)
    return values.chat_piece(raw, job_id, island)


def job_event(event: Event) -> values.JobEvent:
    raw = _decoded(event)
    if "type" not in raw and raw.get("error"):
        raise _told(raw)
    return values.job_event(raw, event.id)


def _decoded(event: Event) -> Mapping[str, Any]:
    try:
        return values.table(json.loads(event.data), "an event")
    except (ValueError, RecursionError):
        raise BadAnswerError(f"not an event: {event.data[:100]!r}") from None


def _told(raw: Mapping[str, Any]) -> errors.ApiError:
    """An error that came inside a stream, after status 200 had been sent."""
    told = raw["error"]
    return from_body(500, raw if isinstance(told, Mapping) else {"error": {"message": str(told)}})
