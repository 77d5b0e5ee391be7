"""What the client promises: values, errors by name, retries that are not paid twice, streams to their end."""

from __future__ import annotations

import inspect
import json
from decimal import Decimal

import archipelag
import httpx
import pytest
from archipelag import AsyncClient, Client, client, errors, transport
from stub import ISLAND, JOB, TEXTS, Network, Pieces, chunks, job, numbered, refused


def events(*told: tuple[str, dict[str, object]]) -> bytes:
    return "".join(f"id: {i}\ndata: {json.dumps(d)}\n\n" for i, d in told).encode()


def test_chat_gives_text_origin_and_usage() -> None:
    answer = Network().client().chat("hi", "smollm2")

    assert answer.text == "".join(TEXTS)
    assert (answer.job_id, answer.island) == (JOB, ISLAND)
    assert answer.usage is not None and answer.usage.total_tokens == 7


def test_chat_sends_what_was_said_and_only_what_was_set() -> None:
    network = Network()

    network.client().chat("hi", "m", system="be brief", seed=0, temperature=0.0)

    body = json.loads(network.requests[0].content)
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
        ],
        "seed": 0,
        "temperature": 0.0,
    }
    assert network.requests[0].headers["authorization"] == "Bearer ak_test"


def test_the_first_model_is_chosen_and_asked_for_once() -> None:
    network = Network()
    with network.client() as one:
        one.chat("a")
        one.chat("b")

    assert [r.url.path for r in network.requests].count("/api/v1/models") == 1
    assert json.loads(network.requests[-1].content)["model"] == "smollm2"


def test_stream_gives_pieces_and_then_the_usage() -> None:
    stream = Network().client().chat_stream("hi", "m")

    pieces = list(stream)

    assert [p.text for p in pieces if p.text] == TEXTS
    assert {(p.job_id, p.island) for p in pieces} == {(JOB, ISLAND)}
    assert pieces[-1].usage is not None and pieces[-1].usage.completion_tokens == 4
    assert stream.finish_reason == "stop"


@pytest.mark.parametrize(
    "body",
    [
        Pieces(chunks(TEXTS, done=False)),
        Pieces(chunks(TEXTS)[:300], httpx.ReadError("reset")),
    ],
)
def test_a_stream_without_places_that_stops_early_says_so(body: Pieces) -> None:
    stream = Network(httpx.Response(200, stream=body)).client().chat_stream("hi", "m")

    with pytest.raises(archipelag.StreamBroken):
        list(stream)
    assert body.closed


def broken(texts: list[str], first: int = 0) -> httpx.Response:
    whole = numbered(texts, first=first)
    return httpx.Response(
        200, stream=Pieces(whole[: whole.rindex(b"finish")], httpx.ReadError("x"))
    )


def test_a_chat_stream_goes_on_where_it_broke_under_the_same_key() -> None:
    network = Network(
        broken(TEXTS[:1]),
        httpx.ConnectError("refused"),
        broken(TEXTS[1:3], first=1),
        httpx.Response(200, content=numbered(TEXTS[3:], first=3)),
    )
    stream = network.client().chat_stream("hi", "m")

    texts = [piece.text for piece in stream if piece.text]

    assert texts == TEXTS
    lasts = [r.headers.get("last-event-id") for r in network.requests]
    assert lasts == [None, "1", "1", "3"]
    assert len({r.headers["idempotency-key"] for r in network.requests}) == 1
    assert stream.finish_reason == "stop" and stream.usage is not None


def test_a_chat_stream_goes_on_at_another_coordinator() -> None:
    network = Network(
        broken(TEXTS[:2]),
        httpx.ConnectError("refused"),
        httpx.Response(200, content=numbered(TEXTS[2:], first=2)),
    )
    stream = network.client("http://a.test, http://b.test/v1").chat_stream("hi", "m")

    texts = [piece.text for piece in stream if piece.text]

    assert texts == TEXTS
    assert [r.url.host for r in network.requests] == ["a.test", "a.test", "b.test"]


def test_a_chat_stream_that_only_breaks_gives_up() -> None:
    network = Network(*[broken([], first=0) for _ in range(9)])

    with pytest.raises(archipelag.StreamBroken):
        list(network.client().chat_stream("hi", "m"))
    assert len(network.requests) == 4


def test_an_end_that_was_told_already_is_not_told_again() -> None:
    whole = numbered(TEXTS)
    cut = whole[: whole.index(b"id: 4", whole.index(b"finish_reason"))]
    network = Network(
        httpx.Response(200, stream=Pieces(cut, httpx.ReadError("x"))),
        httpx.Response(200, content=numbered([], first=4)),
    )

    pieces = list(network.client().chat_stream("hi", "m"))

    assert [p.finish_reason for p in pieces if p.finish_reason] == ["stop"]
    assert pieces[-1].usage is not None


def test_an_error_inside_a_stream_is_raised_by_its_name() -> None:
    told = {"error": {"code": "no_capacity", "message": "nobody", "reasons": ["no memory"]}}
    body = chunks(["a"], done=False) + f"data: {json.dumps(told)}\n\n".encode()
    stream = Network(httpx.Response(200, content=body)).client().chat_stream("hi", "m")

    with pytest.raises(archipelag.NoCapacity, match="nobody") as caught:
        list(stream)
    assert caught.value.reasons == ["no memory"]


def test_leaving_a_stream_closes_the_connection() -> None:
    body = Pieces(chunks(TEXTS))
    with Network(httpx.Response(200, stream=body)).client().chat_stream("hi", "m") as stream:
        next(iter(stream))

    assert body.closed


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        refused(429, "rate_limited", retry_after=2),
        refused(503, "no_capacity", retry_after=2),
        httpx.Response(502, text="<html>"),
    ],
)
def test_a_retry_carries_the_same_idempotency_key(failure: httpx.Response | Exception) -> None:
    network = Network(failure)

    network.client().chat("hi", "m")

    keys = [request.headers["idempotency-key"] for request in network.requests]
    assert len(keys) == 2 and keys[0] == keys[1]
    asked = 2.0 if getattr(failure, "headers", {}).get("Retry-After") else 0.25
    assert network.waits == [asked]


def test_two_requests_have_two_idempotency_keys() -> None:
    network = Network()
    one = network.client()

    one.chat("hi", "m")
    one.chat("hi", "m")

    assert len({request.headers["idempotency-key"] for request in network.requests}) == 2


def test_retries_end() -> None:
    network = Network(*[httpx.ConnectError("refused")] * 9)

    with pytest.raises(archipelag.NotReachable, match=r"http://network\.test"):
        network.client().account()
    assert len(network.requests) == 4


def test_a_long_wait_is_told_instead_of_waited() -> None:
    network = Network(refused(429, "rate_limited", retry_after=3600))

    with pytest.raises(archipelag.RateLimited) as caught:
        network.client().account()
    assert caught.value.retry_after_s == 3600 and network.waits == []


@pytest.mark.parametrize(
    ("status", "code", "wanted"),
    [
        (400, "invalid_json", archipelag.BadRequest),
        (400, "unsupported", archipelag.Unsupported),
        (401, "invalid_api_key", archipelag.NotAuthenticated),
        (402, "insufficient_credits", archipelag.InsufficientCredits),
        (402, "budget_exceeded", archipelag.BudgetExceeded),
        (403, "not_permitted", archipelag.NotPermitted),
        (404, "not_found", archipelag.NotFound),
        (409, "idempotency_mismatch", archipelag.IdempotencyMismatch),
        (409, "illegal_move", archipelag.Conflict),
        (410, "cargo_revoked", archipelag.CargoGone),
        (413, "too_large", archipelag.TooLarge),
        (422, "invalid_input", archipelag.InvalidInput),
        (500, "internal", archipelag.ServerError),
        (418, "teapot", archipelag.ApiError),
    ],
)
def test_each_refusal_has_its_error_and_is_not_tried_again(
    status: int, code: str, wanted: type[archipelag.ApiError]
) -> None:
    network = Network(refused(status, code, "said why", param="model", required="3"))

    with pytest.raises(archipelag.ApiError) as caught:
        network.client().account()

    assert type(caught.value) is wanted
    assert (caught.value.status, caught.value.code, caught.value.param) == (status, code, "model")
    assert str(caught.value) == "said why" and caught.value.required == "3"
    assert len(network.requests) == 1


@pytest.mark.parametrize("body", ["", "<html>", "[]", '{"error": "text"}', '{"error": null}'])
def test_a_refusal_without_our_shape_is_still_an_error(body: str) -> None:
    with pytest.raises(archipelag.NotFound, match="404"):
        Network(httpx.Response(404, text=body)).client().account()


@pytest.mark.parametrize(
    "body", ["", "<html>", "[]", "{}", '{"data": []}', '{"data": {"id": 1, "credits": "x"}}']
)
def test_an_answer_of_another_shape_is_a_bad_answer(body: str) -> None:
    with pytest.raises(archipelag.BadAnswer):
        Network(httpx.Response(200, text=body)).client().account()


def test_jobs_are_made_read_and_cancelled() -> None:
    network = Network()
    jobs = network.client().jobs

    made = jobs.create("llm-chat", {"prompt": "hi"}, idempotency_key="mine")

    assert (made.id, made.status, made.finished) == (JOB, "queued", False)
    assert network.requests[0].headers["idempotency-key"] == "mine"
    assert jobs.list().jobs[0].attempts[0].island == ISLAND
    assert jobs.output(JOB) == "".join(TEXTS)
    assert jobs.cancel(JOB).status == "cancelled"
    found = jobs.get(JOB)
    assert found.usage is not None and found.usage.credits_used == Decimal("0.00046")
    assert found.created_at is not None and found.created_at.tzinfo is not None


def test_an_id_cannot_leave_its_path() -> None:
    network = Network(httpx.Response(200, json={"data": job()}))

    network.client().jobs.get("../account?x")

    assert network.requests[0].url.raw_path == b"/api/v1/jobs/..%2Faccount%3Fx"


def test_waiting_ends_with_the_job() -> None:
    told = [httpx.Response(200, json={"data": job(s)}) for s in ("queued", "running", "completed")]
    network = Network(*told)

    assert network.client().jobs.wait(JOB).status == "completed"
    assert network.waits == [client.POLL_S, client.POLL_S]


def test_waiting_for_a_job_that_fails_raises() -> None:
    failed = job("failed", error="out of memory")

    with pytest.raises(archipelag.JobFailed, match="out of memory") as caught:
        Network(httpx.Response(200, json={"data": failed})).client().jobs.wait(JOB)
    assert caught.value.job.status == "failed"


def test_a_job_stream_goes_on_where_it_broke() -> None:
    first = events(
        ("1", {"type": "token", "content": "a"}), ("2", {"type": "token", "content": "b"})
    )
    rest = events(
        ("3", {"type": "token", "content": "c"}),
        ("4", {"type": "done", "usage": {"prompt_tokens": 1, "completion_tokens": 3}}),
    )
    network = Network(
        httpx.Response(200, stream=Pieces(first, httpx.ReadError("reset"))),
        httpx.Response(200, content=rest),
    )

    found = list(network.client().jobs.stream(JOB))

    assert "".join(event.text for event in found) == "abc"
    assert found[-1].usage is not None and found[-1].usage.completion_tokens == 3
    assert network.requests[1].headers["last-event-id"] == "2"


def test_a_job_stream_that_only_breaks_gives_up() -> None:
    network = Network(*[httpx.Response(200, content=b"") for _ in range(9)])

    with pytest.raises(archipelag.StreamBroken):
        list(network.client().jobs.stream(JOB))
    assert len(network.requests) == 4


def test_the_smaller_reads() -> None:
    one = Network().client()

    assert one.account().credits == Decimal("12.5")
    assert one.hosts()[0].name == "tern"
    island = one.hosts()[0].id
    assert (one.host_karma(island).tier, one.host_karma(island).points) == ("known", 1.5)
    assert [row.next_position for row in one.host_usage(island, limit=1)] == [7]
    assert one.workloads()[0].slug == "llm-chat"
    assert one.stats().online_islands == 2
    assert one.health() == "0.1.0"
    assert one.keys.list()[0].key is None
    assert one.keys.create("new", ["read"], budget="3").key == "ak_secret"
    one.keys.revoke("key_1")


def test_a_secret_is_not_printed_with_its_key() -> None:
    assert "ak_secret" not in repr(Network().client().keys.create("new"))


@pytest.mark.parametrize(
    "given",
    ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/api/v1", "http://h:1/api/v1/"],
)
def test_every_way_to_write_the_address(given: str) -> None:
    assert transport.root(given) == "http://h:1/api/v1"


def test_an_address_without_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="http://"):
        Client("localhost:8420")


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIPELAG_API_URL", "http://there:9")
    monkeypatch.setenv("ARCHIPELAG_API_KEY", "ak_env")

    with Client() as from_environment, Client("http://here:1", "ak_arg") as from_arguments:
        assert from_environment.settings.addresses == ("http://there:9/api/v1",)
        assert from_environment.settings.api_key == "ak_env"
        assert from_arguments.settings.addresses == ("http://here:1/api/v1",)
        assert from_arguments.settings.api_key == "ak_arg"


@pytest.mark.parametrize("tries", range(1, 9))
@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_waits_grow_and_stay_within_bounds(tries: int, chance: float) -> None:
    wait = transport.delay_s(tries, None, lambda: chance)

    assert wait is not None and 0.25 <= wait <= transport.BACKOFF_MAX_S


def test_every_error_is_public() -> None:
    named = {
        n
        for n, k in vars(errors).items()
        if isinstance(k, type) and k.__module__ == errors.__name__
    }

    assert named <= set(archipelag.__all__)


async def test_the_async_client_does_the_same() -> None:
    network = Network(httpx.ConnectError("refused"))
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    transport_layer = httpx.MockTransport(network)
    made = AsyncClient(
        "http://x.test", transport_layer=transport_layer, sleep=sleep, chance=lambda: 0
    )
    async with made as one:
        stream = await one.chat_stream("hi", "m")
        texts = [piece.text async for piece in stream if piece.text]
        assert (await one.jobs.wait(JOB)).status == "completed"
        assert (await one.keys.create("new")).key == "ak_secret"
        assert (await one.chat("hi")).text == "".join(TEXTS)

    assert texts == TEXTS and waits == [0.25]
    assert stream.usage is not None and stream.job_id == JOB


async def no_sleep(_: float) -> None: ...


async def test_the_async_chat_stream_goes_on_where_it_broke() -> None:
    network = Network(broken(TEXTS[:2]), httpx.Response(200, content=numbered(TEXTS[2:], first=2)))
    made = AsyncClient(
        "http://x.test",
        transport_layer=httpx.MockTransport(network),
        sleep=no_sleep,
        chance=lambda: 0,
    )
    async with made as one:
        stream = await one.chat_stream("hi", "m")
        texts = [piece.text async for piece in stream if piece.text]

    assert texts == TEXTS and stream.finish_reason == "stop"
    assert network.requests[1].headers["last-event-id"] == "2"


async def test_the_async_job_stream_goes_on_where_it_broke() -> None:
    first = events(("1", {"type": "token", "content": "a"}))
    network = Network(
        httpx.Response(200, stream=Pieces(first, httpx.ReadError("reset"))),
        httpx.Response(200, content=events(("2", {"type": "done"}))),
    )

    async with AsyncClient(
        "http://x.test", transport_layer=httpx.MockTransport(network), sleep=no_sleep
    ) as one:
        found = [event.type async for event in one.jobs.stream(JOB)]

    assert found == ["token", "done"]
    assert network.requests[1].headers["last-event-id"] == "1"


@pytest.mark.parametrize("room", ["", "cargos", "files", "jobs", "keys"])
def test_both_clients_offer_the_same(room: str) -> None:
    pairs = {
        "": (Client, AsyncClient),
        "files": (archipelag.files.FileCalls, archipelag.files.AsyncFileCalls),
        "cargos": (archipelag.publishing.Cargos, archipelag.publishing.AsyncCargos),
        "jobs": (client.Jobs, archipelag.async_client.AsyncJobs),
        "keys": (client.Keys, archipelag.async_client.AsyncKeys),
    }
    waiting, async_ = pairs[room]

    def offered(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in vars(kind).items()
            if inspect.isfunction(method) and not name.startswith("_")
        }

    assert offered(waiting) == offered(async_)
