"""What the client promises: values, errors by name, retries that are not paid twice."""

from __future__ import annotations

import inspect
import json
from decimal import Decimal

import archipelag
import httpx
import pytest
from archipelag import AsyncClient, Client, errors, transport
from stub import ISLAND, JOB, TEXTS, Network, job, refused


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


def test_what_is_of_use_for_some_seconds_says_so() -> None:
    network = Network()
    with network.client() as one:
        one.chat("hi", "m", within_s=20)
        list(one.chat_stream("hi", "m", within_s=2.5))
        one.create_job("llm-chat", {}, within_s=0.5)
        one.create_job("llm-chat", {})

    told = [request.headers.get("x-archipelag-within") for request in network.requests]
    assert told == ["20", "2.5", "0.5", None]


def test_the_first_model_is_chosen_and_asked_for_once() -> None:
    network = Network()
    with network.client() as one:
        one.chat("a")
        one.chat("b")

    assert [r.url.path for r in network.requests].count("/api/v1/models") == 1
    assert json.loads(network.requests[-1].content)["model"] == "smollm2"


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

    with pytest.raises(archipelag.ConnectionError, match=r"http://network\.test"):
        network.client().get_account()
    assert len(network.requests) == 4


def test_a_long_wait_is_told_instead_of_waited() -> None:
    network = Network(refused(429, "rate_limited", retry_after=3600))

    with pytest.raises(archipelag.RateLimitError) as caught:
        network.client().get_account()
    assert caught.value.retry_after == 3600 and network.waits == []


@pytest.mark.parametrize(
    ("status", "code", "wanted"),
    [
        (400, "invalid_json", archipelag.BadRequestError),
        (400, "unsupported", archipelag.UnsupportedError),
        (401, "invalid_api_key", archipelag.AuthenticationError),
        (402, "insufficient_credits", archipelag.InsufficientCreditsError),
        (402, "budget_exceeded", archipelag.BudgetExceededError),
        (403, "not_permitted", archipelag.PermissionDeniedError),
        (404, "not_found", archipelag.NotFoundError),
        (409, "idempotency_mismatch", archipelag.IdempotencyMismatchError),
        (409, "illegal_move", archipelag.ConflictError),
        (410, "cargo_revoked", archipelag.GoneError),
        (413, "too_large", archipelag.TooLargeError),
        (422, "invalid_input", archipelag.ValidationError),
        (500, "internal", archipelag.ServerError),
        (418, "teapot", archipelag.ApiError),
        (500, "internal_error", archipelag.ServerError),
    ],
)
def test_each_refusal_has_its_error_and_is_not_tried_again(
    status: int, code: str, wanted: type[archipelag.ApiError]
) -> None:
    network = Network(refused(status, code, "said why", param="model", required="3"))

    with pytest.raises(archipelag.ApiError) as caught:
        network.client().get_account()

    assert type(caught.value) is wanted
    assert (caught.value.status, caught.value.code, caught.value.param) == (status, code, "model")
    assert str(caught.value) == "said why"
    if isinstance(caught.value, archipelag.InsufficientCreditsError):
        assert (caught.value.required, caught.value.available) == (Decimal(3), None)
    assert len(network.requests) == 1


@pytest.mark.parametrize("body", ["", "<html>", "[]", '{"error": "text"}', '{"error": null}'])
def test_a_refusal_without_our_shape_is_still_an_error(body: str) -> None:
    with pytest.raises(archipelag.NotFoundError, match="404"):
        Network(httpx.Response(404, text=body)).client().get_account()


@pytest.mark.parametrize(
    "body", ["", "<html>", "[]", "{}", '{"data": []}', '{"data": {"id": 1, "credits": "x"}}']
)
def test_an_answer_of_another_shape_is_a_bad_answer(body: str) -> None:
    with pytest.raises(archipelag.BadAnswerError):
        Network(httpx.Response(200, text=body)).client().get_account()


def test_jobs_are_made_read_and_cancelled() -> None:
    network = Network()
    one = network.client()

    made = one.create_job("llm-chat", {"prompt": "hi"}, idempotency_key="mine")

    assert (made.id, made.status, made.finished) == (JOB, "queued", False)
    assert network.requests[0].headers["idempotency-key"] == "mine"
    assert next(one.list_jobs()).attempts[0].island == ISLAND
    assert one.get_job_output(JOB) == "".join(TEXTS)
    assert one.cancel_job(JOB).status == "cancelled"
    found = one.get_job(JOB)
    assert found.usage is not None and found.usage.credits_used == Decimal("0.00046")
    assert found.created_at is not None and found.created_at.tzinfo is not None


def test_an_id_cannot_leave_its_path() -> None:
    network = Network(httpx.Response(200, json={"data": job()}))

    network.client().get_job("../account?x")

    assert network.requests[0].url.raw_path == b"/api/v1/jobs/..%2Faccount%3Fx"


def test_waiting_ends_with_the_job() -> None:
    told = [httpx.Response(200, json={"data": job(s)}) for s in ("queued", "running", "completed")]
    network = Network(*told)

    assert network.client().wait_for_job(JOB).status == "completed"
    assert network.waits == [transport.POLL_S, transport.POLL_S]


def test_waiting_for_a_job_that_fails_raises() -> None:
    failed = job("failed", error="out of memory")

    with pytest.raises(archipelag.JobFailedError, match="out of memory") as caught:
        Network(httpx.Response(200, json={"data": failed})).client().wait_for_job(JOB)
    assert caught.value.job.status == "failed"


def test_the_smaller_reads() -> None:
    one = Network().client()

    assert one.get_account().credits == Decimal("12.5")
    assert one.list_islands()[0].name == "tern"
    island = one.list_islands()[0].id
    assert (one.get_island_karma(island).tier, one.get_island_karma(island).points) == (
        "known",
        1.5,
    )
    assert [row.next_position for row in one.list_island_usage(island, limit=1)] == [7]
    assert one.list_workloads()[0].slug == "llm-chat"
    assert one.get_stats().online_islands == 2
    assert one.get_version() == "0.1.0"
    assert one.list_keys()[0].key is None
    assert one.create_key("new", ["read"], budget="3").key == "ak_secret"
    one.revoke_key("key_1")


def test_a_secret_is_not_printed_with_its_key() -> None:
    assert "ak_secret" not in repr(Network().client().create_key("new"))


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
        assert (await one.wait_for_job(JOB)).status == "completed"
        assert (await one.create_key("new")).key == "ak_secret"
        assert (await one.chat("hi")).text == "".join(TEXTS)

    assert texts == TEXTS and waits == [0.25]
    assert stream.usage is not None and stream.job_id == JOB


def offered(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(method)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("waiting", "async_"),
    [(Client, AsyncClient), (archipelag.publishing.Cargos, archipelag.publishing.AsyncCargos)],
)
def test_both_clients_offer_the_same(waiting: type, async_: type) -> None:
    ours, theirs = offered(waiting), offered(async_)

    assert ours.keys() == theirs.keys() and len(ours) > 8
    for name in ours:
        assert list(ours[name].parameters) == list(theirs[name].parameters), name
        for one, other in zip(
            ours[name].parameters.values(), theirs[name].parameters.values(), strict=True
        ):
            assert (one.kind, one.default) == (other.kind, other.default), (name, one.name)
        answers = (str(ours[name].return_annotation), str(theirs[name].return_annotation))
        assert answers[0] == answers[1].replace("Async", "") or "Download" in answers[0], name


@pytest.mark.parametrize(
    "wanted",
    [
        "chat chat_stream generate_image embed create_job get_job list_jobs cancel_job",
        "wait_for_job stream_job batch wait_all submit_batch get_batch_status wait_for_batch",
        "upload_file download_file list_files delete_file list_workloads get_workload",
        "list_models list_keys create_key update_key revoke_key get_account get_usage",
        "list_transfers list_islands get_island list_batches list_sessions revoke_session",
        "revoke_sessions list_users grant_credits order_island",
    ],
)
def test_the_names_that_are_promised_stand_on_the_client(wanted: str) -> None:
    assert [name for name in wanted.split() if name not in offered(Client)] == []
