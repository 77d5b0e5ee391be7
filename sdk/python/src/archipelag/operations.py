"""A request of the API as a value: what to send, and how to read the answer. No network here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, BinaryIO, Final, Generic, TypeVar
from urllib.parse import quote

from archipelag import values, values_of_batches, values_of_money, values_of_why
from archipelag.errors import BadAnswerError

T = TypeVar("T")
Headers = Mapping[str, str]
Messages = str | Iterable[Mapping[str, Any]]
PAGE_MAX: Final = 100


@dataclass(frozen=True)
class Upload:
    """A file as it is sent. `content` is read from its beginning at every try."""

    name: str
    content: bytes | BinaryIO


@dataclass(frozen=True)
class Operation(Generic[T]):
    """One request. `read` turns the decoded body and the headers into a value."""

    method: str
    path: str
    read: Callable[[Any, Headers], T]
    body: Mapping[str, Any] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Headers = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    """Fields of a form, instead of a body in JSON."""
    file: Upload | None = None
    gone_is_done: bool = False
    """That it is not there any more when asked again says that the first try did it."""
    once: bool = False
    """The network would do it again: it is tried again only where it surely did not arrive."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a longer list."""

    rows: tuple[T, ...]
    more: bool
    following: str = ""
    """What to ask the next page with, where the server says it."""


def data(read: Callable[[Any], T]) -> Callable[[Any, Headers], T]:
    """What stands under "data"."""
    return lambda body, _: read(values.table(body, "an object").get("data"))


def listed(read: Callable[[Any], T]) -> Callable[[Any, Headers], tuple[T, ...]]:
    """A list under "data"."""

    def rows(body: Any, _: Headers) -> tuple[T, ...]:
        found = values.table(body, "an object").get("data")
        if not isinstance(found, list):
            raise BadAnswerError("the answer is not a list")
        return tuple(read(one) for one in found)

    return rows


def counted(read: Callable[[Any], T], offset: int) -> Callable[[Any, Headers], Page[T]]:
    """A part of a list that says how long the whole is."""

    def page(body: Any, headers: Headers) -> Page[T]:
        rows = listed(read)(body, headers)
        total = values.table(body.get("meta") or {}, "an object").get("total")
        return Page(rows, isinstance(total, int) and offset + len(rows) < total)

    return page


def segment(text: str) -> str:
    """One part of a path, whatever is in it."""
    return quote(text, safe="")


ALWAYS: Final = "always"


def given(**named: Any) -> dict[str, Any]:
    """Only what was given, as it stands in JSON or behind the question mark."""
    return {name.rstrip("_"): _plain(value) for name, value in named.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def of_use_within(seconds: float | None) -> dict[str, str]:
    """The header by which a job that cannot be done in time is not begun."""
    return {} if seconds is None else {"X-Archipelag-Within": f"{seconds:g}"}


def chat(
    messages: Messages,
    model: str,
    *,
    system: str | None,
    stream: bool,
    within_s: float | None,
    options: Mapping[str, Any],
) -> Operation[values.ChatAnswer]:
    said = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    if system is not None:
        said = [{"role": "system", "content": system}, *said]
    body: dict[str, Any] = {"model": model, "messages": said}
    body |= {name: value for name, value in options.items() if value is not None}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}

    def read(answer: Any, headers: Headers) -> values.ChatAnswer:
        return values.chat_answer(answer, *origin(headers))

    return Operation("POST", "/chat/completions", read, body, headers=of_use_within(within_s))


def origin(headers: Headers) -> tuple[str, str]:
    """Job and Island of a chat answer."""
    return headers.get("x-archipelag-job", ""), headers.get("x-archipelag-island", "")


def image(
    prompt: str, model: str, options: Mapping[str, Any]
) -> Operation[values_of_batches.Picture]:
    body = {"model": model, "prompt": prompt, "response_format": "b64_json"} | given(**options)

    def read(answer: Any, headers: Headers) -> values_of_batches.Picture:
        return values_of_batches.picture(answer, origin(headers)[0])

    return Operation("POST", "/images/generations", read, body)


def embed(
    texts: str | Iterable[str], model: str, dimensions: int | None
) -> Operation[values_of_batches.Embeddings]:
    wanted = texts if isinstance(texts, str) else list(texts)
    body = {"model": model, "input": wanted} | given(dimensions=dimensions)

    def read(answer: Any, headers: Headers) -> values_of_batches.Embeddings:
        return values_of_batches.embeddings(answer, origin(headers)[0])

    return Operation("POST", "/embeddings", read, body)


def models() -> Operation[tuple[values.Model, ...]]:
    return Operation("GET", "/models", listed(values.model))


def workloads() -> Operation[tuple[values.Workload, ...]]:
    return Operation("GET", "/workloads", listed(values.workload))


def workload(slug: str) -> Operation[values.Workload]:
    return Operation("GET", f"/workloads/{segment(slug)}", data(values.workload))


def islands() -> Operation[tuple[values.Island, ...]]:
    return Operation("GET", "/hosts", listed(values.island))


def island(island_id: str) -> Operation[values.Island]:
    return Operation("GET", f"/hosts/{segment(island_id)}", data(values.island))


def order_island(island_id: str, wishes: dict[str, Any]) -> Operation[values.Island]:
    """`schedule`: ALWAYS takes it back."""
    asked = given(**wishes)
    if asked.get("schedule") == ALWAYS:
        asked["schedule"] = None
    for slug, prices in asked.get("least_prices", {}).items():
        asked["least_prices"] = asked["least_prices"] | {slug: given(**prices)}
    return Operation("PATCH", f"/hosts/{segment(island_id)}", data(values.island), asked)


def island_karma(island_id: str) -> Operation[values.Karma]:
    return Operation("GET", f"/hosts/{segment(island_id)}/karma", data(values.karma))


def island_usage(island_id: str, limit: int, offset: int) -> Operation[tuple[values.UsageRow, ...]]:
    params = {"limit": limit, "offset": offset}
    return Operation(
        "GET", f"/hosts/{segment(island_id)}/usage", listed(values.usage_row), params=params
    )


def island_earnings(
    island_id: str, since: date | None, until: date | None, by: str | None
) -> Operation[tuple[values_of_money.Earning, ...]]:
    params = given(from_=since, to=until, by=by)
    path = f"/hosts/{segment(island_id)}/earnings"
    return Operation("GET", path, listed(values_of_money.earning), params=params)


def island_why(island_id: str) -> Operation[values_of_why.IslandWhy]:
    return Operation("GET", f"/hosts/{segment(island_id)}/why", data(values_of_why.island_why))


def stats() -> Operation[values.Stats]:
    # Some answers stand under "data", this one may stand plain: it is open to anyone.
    def read(body: Any, _: Headers) -> values.Stats:
        plain = values.table(body, "an object")
        return values.stats(plain.get("data", plain))

    return Operation("GET", "/network/stats", read)


def version() -> Operation[str]:
    """The version of the Coordinator that answers."""
    return Operation(
        "GET", "/health", lambda body, _: str(values.table(body, "an object").get("version", ""))
    )
