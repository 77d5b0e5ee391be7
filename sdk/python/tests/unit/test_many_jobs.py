"""Many jobs: listed page by page, submitted side by side or as one, waited for; streams of them, each event once."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from contextlib import suppress
from typing import Any

import archipelag
import httpx
import pytest
from archipelag import AsyncClient
from archipelag.cli import main
from stub import JOB, Network, Pieces, job, refused

BATCH = "bat_" + "a" * 32


class Office(Network):
    """Keeps `count` jobs, newest first; before page `comes` a new one comes. Refuses the input it is told to."""

    def __init__(self, count: int = 0, comes: int = 0, refuses: int = -1) -> None:
        super().__init__()
        self.kept = [f"job_{n}" for n in range(count)]
        self.comes = comes
        self.refuses = refuses
        self.cancelled: list[str] = []
        self.made: list[str] = []
        self._lock = threading.Lock()

    def usual(self, request: httpx.Request) -> httpx.Response:
        match (request.method, request.url.path.removeprefix("/api/v1")):
            case ("GET", "/jobs"):
                return self._page(request)
            case ("POST", "/jobs"):
                number = json.loads(request.content)["input"]["n"]
                if number == self.refuses:
                    return refused(402, "insufficient_credits", required="2", available="1.5")
                with self._lock:
                    self.made.append(f"job_{number}")
                return httpx.Response(201, json={"data": job("queued") | {"id": f"job_{number}"}})
            case ("DELETE", path):
                with self._lock:
                    self.cancelled.append(path.removeprefix("/jobs/"))
                return httpx.Response(200, json={"data": job("cancelled")})
        return super().usual(request)

    def _page(self, request: httpx.Request) -> httpx.Response:
        offset, limit = (int(request.url.params[name]) for name in ("offset", "limit"))
        if self.comes and len(self.requests) == self.comes:
            self.kept.insert(0, "job_new")
        rows = [job() | {"id": one} for one in self.kept[offset : offset + limit]]
        meta = {"total": len(self.kept), "limit": limit, "offset": offset}
        return httpx.Response(200, json={"data": rows, "meta": meta})


@pytest.mark.parametrize("count", [0, 1, 100, 101, 250])
def test_jobs_are_listed_over_all_pages_and_no_page_too_many(count: int) -> None:
    office = Office(count)

    found = [one.id for one in office.client().list_jobs()]

    assert found == [f"job_{n}" for n in range(count)]
    assert len(office.requests) == max(1, -(-count // 100))


def test_pages_are_fetched_when_they_are_needed() -> None:
    office = Office(250)
    jobs = office.client().list_jobs(status=["queued", "running"], workload="llm-chat")

    assert office.requests == []
    assert [next(jobs).id for _ in range(100)][-1] == "job_99" and len(office.requests) == 1
    asked = office.requests[0].url.params
    assert (asked.get_list("status"), asked["workload"]) == (["queued", "running"], "llm-chat")


def test_what_comes_meanwhile_makes_nobody_come_twice() -> None:
    office = Office(150, comes=2)

    found = [one.id for one in office.client().list_jobs()]

    assert found == [f"job_{n}" for n in range(150)]


@pytest.mark.parametrize(("limit", "pages"), [(0, 0), (1, 1), (100, 1), (101, 2)])
def test_no_more_than_the_limit(limit: int, pages: int) -> None:
    office = Office(250)

    assert len(list(office.client().list_jobs(limit=limit))) == limit
    assert len(office.requests) == pages


def test_a_batch_of_jobs_comes_back_in_the_order_of_its_inputs() -> None:
    office = Office()

    made = office.client().batch("w", [{"n": n} for n in range(30)])

    assert [one.id for one in made] == [f"job_{n}" for n in range(30)]
    keys = {request.headers["idempotency-key"] for request in office.requests}
    assert len(keys) == 30


def test_a_batch_is_made_whole_or_not_at_all() -> None:
    office = Office(refuses=17)

    with pytest.raises(archipelag.InsufficientCreditsError) as caught:
        office.client().batch("w", [{"n": n} for n in range(30)])

    assert str(caught.value.available) == "1.5"
    assert sorted(office.cancelled) == sorted(office.made) != []


async def test_the_async_client_does_the_same_with_many() -> None:
    office = Office(refuses=17)
    async with AsyncClient("http://x.test", transport_layer=httpx.MockTransport(office)) as one:
        made = await one.batch("w", [{"n": n} for n in range(17)])
        with pytest.raises(archipelag.InsufficientCreditsError):
            await one.batch("w", [{"n": n} for n in range(30)])
    lister = Office(150, comes=2)
    async with AsyncClient("http://x.test", transport_layer=httpx.MockTransport(lister)) as one:
        found = [job.id async for job in one.list_jobs()]

    assert [job.id for job in made] == [f"job_{n}" for n in range(17)]
    assert sorted(office.cancelled) == sorted(office.made[17:]) != []
    assert found == [f"job_{n}" for n in range(150)]


async def test_the_order_is_that_of_the_inputs_whatever_is_answered_first() -> None:
    office, later = Office(), asyncio.Event()

    class Uneven(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await request.aread()
            if b'"n":0' in request.content.replace(b" ", b""):
                await later.wait()
            if b'"n":5' in request.content.replace(b" ", b""):
                later.set()
            return office(request)

    async with AsyncClient("http://x.test", transport_layer=Uneven()) as one:
        made = await one.batch("w", [{"n": n} for n in range(8)])

    assert office.made[0] != "job_0"
    assert [job.id for job in made] == [f"job_{n}" for n in range(8)]


def test_waiting_for_all_tells_how_each_ended() -> None:
    told = ["running", "completed", "failed", "cancelled"]
    network = Network(*(httpx.Response(200, json={"data": job(one)}) for one in told))

    ended = network.client().wait_all([JOB, JOB, JOB])

    assert [one.status for one in ended] == ["completed", "failed", "cancelled"]


def test_waiting_ends_when_its_time_has() -> None:
    network = Network(httpx.Response(200, json={"data": job("running")}))

    with pytest.raises(archipelag.TimeoutError, match="still running") as caught:
        network.client().wait_for_job(JOB, timeout_s=0)
    assert isinstance(caught.value, TimeoutError)


def batch(status: str, **more: Any) -> httpx.Response:
    shown = {
        "id": BATCH,
        "status": status,
        "total": 2,
        "counts": {"queued": 0, "running": 1, "completed": 1, "failed": 0, "cancelled": 0},
        "jobs": [JOB, JOB],
        "items": [{"job_id": JOB, "status": "completed", "error": None}],
    }
    return httpx.Response(200, json={"data": shown | more})


def test_a_batch_is_handed_over_followed_and_read() -> None:
    made = {
        "id": BATCH,
        "status": "queued",
        "total": 2,
        "counts": {"queued": 2},
        "jobs": [JOB, JOB],
    }
    network = Network(
        httpx.ConnectError("refused"),
        httpx.Response(201, json={"data": made}),
        batch("running"),
        batch("completed", output="ab"),
        batch("cancelled"),
    )
    one = network.client()

    asked = one.submit_batch("w", [{"n": 1}, {"n": 2}], merge_strategy="concat", max_parallelism=2)
    ended = one.wait_for_batch(asked.id)
    cancelled = one.cancel_batch(BATCH)

    assert json.loads(network.requests[1].content) == {
        "workload": "w",
        "inputs": [{"n": 1}, {"n": 2}],
        "merge_strategy": "concat",
        "max_parallelism": 2,
    }
    keys = [request.headers.get("idempotency-key") for request in network.requests[:2]]
    assert keys[0] == keys[1] and keys[0]
    assert (asked.total, asked.jobs, asked.finished) == (2, (JOB, JOB), False)
    assert (ended.output, ended.finished, ended.ended) == ("ab", True, 1)
    assert ended.items[0].status == "completed" and cancelled.status == "cancelled"


def events(*told: tuple[str, dict[str, object]]) -> bytes:
    return "".join(f"id: {i}\ndata: {json.dumps(d)}\n\n" for i, d in told).encode()


def test_how_things_stand_is_not_told_twice_when_a_stream_goes_on() -> None:
    running = {"type": "status", "content": "running"}
    step = {"type": "progress", "step": 1, "total": 4}
    first = events(("0", running), ("0", step), ("1", {"type": "token", "content": "a"}))
    rest = events(("1", running), ("1", step), ("1", step | {"step": 2}), ("1", {"type": "done"}))
    network = Network(
        httpx.Response(200, stream=Pieces(first, httpx.ReadError("reset"))),
        httpx.Response(200, content=rest),
    )

    found = list(network.client().stream_job(JOB))

    assert [one.type for one in found] == ["status", "progress", "token", "progress", "done"]


def test_a_stream_that_only_says_how_things_stand_gives_up() -> None:
    running = events(("0", {"type": "status", "content": "running"}))
    network = Network(*(httpx.Response(200, content=running) for _ in range(9)))

    with pytest.raises(archipelag.StreamBrokenError) as caught:
        list(network.client().stream_job(JOB))
    assert len(network.requests) == 4 and isinstance(caught.value, ConnectionError)


def test_a_picture_is_bytes_and_what_made_it() -> None:
    shown = {"b64_json": base64.b64encode(b"png").decode(), "seed": 7}
    answer = {"data": [shown], "size": "64x32", "output_format": "png"}
    answer["usage"] = {"credits_used": "0.5"}
    offered = [{"id": "talker", "kind": "chat"}, {"id": "drawer", "kind": "image"}]
    network = Network(
        httpx.Response(200, json={"data": offered}),
        httpx.Response(200, headers={"X-Archipelag-Job": JOB}, json=answer),
    )

    picture = network.client().generate_image("a red square", width=64, height=32, seed=7)

    asked = json.loads(network.requests[1].content)
    assert asked["model"] == "drawer" and asked["size"] == "64x32" and "steps" not in asked
    assert (picture.data, picture.seed, picture.width, picture.height) == (b"png", 7, 64, 32)
    assert str(picture.credits_used) == "0.5" and picture.job_id == JOB


def test_one_side_of_a_picture_is_no_size() -> None:
    with pytest.raises(ValueError, match="width and height"):
        Network().client().generate_image("x", "m", width=64)


def test_vectors_come_in_the_order_of_their_texts() -> None:
    rows = [{"index": 1, "embedding": [3, 4.5]}, {"index": 0, "embedding": [1.0, 2.0]}]
    answer = {"data": rows, "model": "m", "usage": {"prompt_tokens": 2, "credits_used": "0.1"}}

    found = Network(httpx.Response(200, json=answer)).client().embed(["a", "b"], "m")

    assert found.vectors == ((1.0, 2.0), (3.0, 4.5))
    assert found.usage is not None and found.usage.prompt_tokens == 2


@pytest.mark.parametrize("method", ["generate_image", "embed"])
def test_a_network_without_such_a_model_says_so(method: str) -> None:
    one = Network().client()

    with pytest.raises(archipelag.NothingOfferedError, match="no model of the kind"):
        getattr(one, method)("x")


def test_a_server_that_says_not_to_try_again_is_believed() -> None:
    told = refused(502, "cargo_failed")
    told.headers["x-should-retry"] = "false"
    network = Network(told)

    with pytest.raises(archipelag.ServerError):
        network.client().chat("hi", "m")
    assert len(network.requests) == 1


def test_what_is_gone_when_asked_again_was_done_by_the_first_try() -> None:
    network = Network(httpx.ReadError("reset"), refused(404, "not_found"))

    network.client().delete_file("file_1")

    assert len(network.requests) == 2
    with pytest.raises(archipelag.NotFoundError):
        Network(refused(404, "not_found")).client().delete_file("file_1")
    with pytest.raises(archipelag.NotFoundError):
        Network(httpx.ReadError("reset"), refused(404, "not_found")).client().get_job(JOB)


def test_no_answer_in_time_and_no_answer_at_all_are_two_errors() -> None:
    slow = Network(*[httpx.ReadTimeout("slow")] * 9)
    away = Network(*[httpx.ConnectTimeout("away")] * 9)

    with pytest.raises(TimeoutError) as late:
        slow.client().get_account()
    with pytest.raises(ConnectionError) as gone:
        away.client().get_account()

    assert isinstance(late.value, archipelag.TimeoutError)
    assert isinstance(gone.value, archipelag.ConnectionError)
    assert not isinstance(gone.value, TimeoutError)


def test_a_key_is_not_made_a_second_time_because_an_answer_was_lost() -> None:
    lost = Network(httpx.ReadError("reset"))
    away = Network(httpx.ConnectError("refused"))

    with pytest.raises(archipelag.ConnectionError):
        lost.client().create_key("new")
    assert away.client().create_key("new").key == "ak_secret"
    assert (len(lost.requests), len(away.requests)) == (1, 2)


@pytest.mark.parametrize(("status", "tries"), [(429, 2), (502, 1), (503, 1), (504, 1)])
def test_a_key_is_asked_for_again_only_where_it_surely_was_not_made(
    status: int, tries: int
) -> None:
    network = Network(refused(status, "no"))

    with suppress(archipelag.ApiError):
        network.client().create_key("new")

    assert len(network.requests) == tries


def test_a_transfer_between_ones_own_accounts_is_an_entry_in_each() -> None:
    spent = {"id": "tra_1", "account": "spending", "kind": "other", "amount": "-1"}
    earned = spent | {"account": "earnings", "amount": "1"}
    network = Network(
        httpx.Response(200, json={"data": [spent, earned], "meta": {"next": "tra_1"}}),
        httpx.Response(200, json={"data": [earned], "meta": {"next": None}}),
    )

    found = list(network.client().list_transfers())

    assert [one.account for one in found] == ["spending", "earnings"]
    assert network.requests[1].url.params["before"] == "tra_1"


def test_batches_are_listed_on_the_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = {"id": BATCH, "status": "completed", "workload_slug": "echo", "total": 3, "jobs": []}
    made |= {"counts": {"completed": 2, "failed": 1, "queued": 0}}
    page = {"data": [made], "meta": {"total": 1, "limit": 20, "offset": 0}}
    network = Network(httpx.Response(200, json=page))

    status = main(["batches", "--status", "completed"], lambda *_: network.client())

    told = capsys.readouterr().out
    assert status == 0 and BATCH in told and "3 of 3" in told
    assert network.requests[0].url.params["status"] == "completed"
