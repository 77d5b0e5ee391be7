"""Records `exchanges.json` from a running network: `record.py --url URL --key KEY --poor KEY --slow KEY`.

The network has the Cargos `echo` and `fast-chat` (`tests/chaos/fast_chat.toml`) on an Island, and `trap` on none. Keys:
`--key` a new customer's with credits, `--poor` one of a customer without, `--slow` one that may ask once a minute. All
of it is the customer's own, so it holds nothing secret but the keys, which are replaced.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent))
import exchange
import promised
from archipelag import ArchipelagError, ChatStream, Client

SECRET = re.compile(r"ak_[A-Za-z0-9_-]{20,}")
NOTES = {"base64": "VHdvIGxpbmVzCm9mIG5vdGVzLgo="}


class Tape(httpx.BaseTransport):
    """Lets requests through and keeps them with their answers. `cuts`: after how many events an answer breaks off;
    `chosen`: the Idempotency-Key that the caller chose."""

    def __init__(self, cuts: list[int], chosen: str | None) -> None:
        self.inner = httpx.HTTPTransport()
        self.kept: list[dict[str, Any]] = []
        self.cuts = cuts
        self.chosen = chosen

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        with httpx.Client(transport=self.inner, timeout=60) as client:
            answered = client.send(request)
        response = exchange.response_of(answered)
        if self.cuts and "events" in response:
            response["events"] = response["events"][: self.cuts.pop(0)]
            response["cut"] = True
        sent = exchange.request_of(request)
        if "authorization" in sent["headers"]:
            sent["headers"]["authorization"] = f"Bearer {exchange.KEY}"
        if sent["headers"].get("idempotency-key") != self.chosen:
            sent["headers"] |= (
                {"idempotency-key": "*"} if "idempotency-key" in sent["headers"] else {}
            )
        self.kept.append({"request": sent, "response": response})
        return exchange.answer(response)


class Recorder:
    def __init__(self, url: str) -> None:
        self.url = url
        self.told: list[dict[str, Any]] = []

    def call(
        self, name: str, key: str, method: str, /, *, cuts: tuple[int, ...] = (), **args: Any
    ) -> Any:
        """Makes one call and keeps it; gives what it gave, or the error."""
        tape = Tape(list(cuts), args.get("idempotency_key"))
        client = Client(
            self.url, key, retries_max=3 if cuts else 0, transport_layer=tape, sleep=_no_sleep
        )
        found: Any
        try:
            found = getattr(client, method)(**exchange.arguments(args))
            found, shown = shown_of(found)
        except ArchipelagError as error:
            found, shown = error, exchange.plain_error(error)
        assert tape.kept, f"{name}: nothing was asked"
        whole = {
            "name": name,
            "recorded": True,
            "call": {"method": method, "args": args},
            **tape.kept[0],
            **({"then": tape.kept[1:]} if len(tape.kept) > 1 else {}),
            "result": shown,
        }
        self.told.append(json.loads(SECRET.sub(exchange.KEY + "_secret", json.dumps(whole))))
        return found


def played(told: dict[str, Any]) -> dict[str, Any]:
    """A promised exchange with what the client makes of it."""
    steps = [told, *told.get("then", ())]

    def answered(request: httpx.Request) -> httpx.Response:
        return exchange.answer(steps.pop(0)["response"])

    client = Client(
        "http://promised.test",
        exchange.KEY,
        retries_max=3 if "then" in told else 0,
        transport_layer=httpx.MockTransport(answered),
        sleep=_no_sleep,
    )
    try:
        _, shown = shown_of(getattr(client, told["call"]["method"])(**told["call"]["args"]))
    except ArchipelagError as error:
        shown = exchange.plain_error(error)
    return told | {"result": shown}


def shown_of(found: Any) -> tuple[Any, Any]:
    """What a call gave, and that as it stands in the file. Streams and lists are read to their end."""
    if isinstance(found, ChatStream):
        pieces = list(found)
        return found, {
            "pieces": exchange.plain(pieces),
            "job_id": found.job_id,
            "island": found.island,
            "finish_reason": found.finish_reason,
            "usage": exchange.plain(found.usage),
        }
    if hasattr(found, "__next__"):
        found = list(found)
    return found, exchange.plain(found)


def record(
    url: str, key: str, poor: str, slow: str, *, pictures: bool = True
) -> list[dict[str, Any]]:
    """Every exchange, in an order in which each has what it needs; pictures and vectors where there are such models."""
    recorder = Recorder(url)
    with Client(url, key, retries_max=10) as warming:
        warming.chat("one", "fast-chat")
        if pictures:
            warming.embed("An Island fetches its model the first time.", "all-minilm-l6-v2")

    def call(name: str, method: str, /, *, cuts: tuple[int, ...] = (), **args: Any) -> Any:
        return recorder.call(name, key, method, cuts=cuts, **args)

    _chats(call)
    _jobs(call)
    if pictures:
        _pictures(call)
    _rest(call)
    recorder.call("an unknown key", "ak_unknown", "get_account")
    ask = {"messages": "hi", "model": "fast-chat", "max_tokens": 4}
    recorder.call("not enough credits", poor, "chat", **ask)
    recorder.call("nobody has the model", key, "chat", **(ask | {"model": "trap-model"}))
    recorder.call("the first of this minute", slow, "get_account")
    recorder.call("too many requests", slow, "get_account")
    return recorder.told


def _chats(call: Callable[..., Any]) -> None:
    seeded = json.dumps({"seeded": True, "items": 30})
    said = [{"role": "system", "content": seeded}, {"role": "user", "content": "One é 🌊"}]
    call("a chat", "chat", messages="one two three", model="fast-chat", max_tokens=8)
    call("a chat of messages", "chat", messages=said, model="fast-chat", seed=7, temperature=0)
    call("a chat as a stream", "chat_stream", messages="a b c", model="fast-chat", max_tokens=6)
    slowly = json.dumps({"seeded": True, "items": 12, "delay_ms": 20})
    ask = {"messages": 'x "y" z', "model": "fast-chat", "seed": 3, "system": slowly}
    call("a chat that breaks twice", "chat_stream", cuts=(5, 2), **ask)
    call("a chat cut before its first word", "chat_stream", cuts=(0, 1), **ask)
    call("a chat that is not valid", "chat", messages="x", model="fast-chat", temperature=9)
    call("a model that there is not", "chat", messages="x", model="none-such")


def _jobs(call: Callable[..., Any]) -> None:
    asked = {"workload": "echo", "input": {"text": "five little words in row"}}
    job = call("a job", "create_job", **asked, priority=3, idempotency_key="recorded-1")
    call("the same job again", "create_job", **asked, priority=3, idempotency_key="recorded-1")
    other = asked | {"input": {"text": "another"}}
    call("another job under its key", "create_job", **other, idempotency_key="recorded-1")
    call("a job of no workload", "create_job", workload="none", input={})
    call("a job followed", "stream_job", job_id=job.id)
    call("a job followed and cut twice", "stream_job", cuts=(2, 1), job_id=job.id)
    call("a job followed from a place", "stream_job", job_id=job.id, last_event_id="2")
    call("a job waited for", "wait_for_job", job_id=job.id)
    call("a job read", "get_job", job_id=job.id)
    call("what a job said", "get_job_output", job_id=job.id)
    call("what a job made", "list_job_files", job_id=job.id)
    call("a job that there is not", "get_job", job_id="job_" + "0" * 32)
    failing = {"text": "x y z", "fail_at": 1}
    failed = call("a job that will fail", "create_job", workload="echo", input=failing)
    call("a job that failed followed", "stream_job", job_id=failed.id)
    call("a job that failed waited for", "wait_for_job", job_id=failed.id)
    slow = {"text": "x", "items": 1000, "delay_ms": 100}
    running = call("a job that takes long", "create_job", workload="echo", input=slow)
    call("a job cancelled", "cancel_job", job_id=running.id)
    call("a job cancelled waited for", "wait_for_job", job_id=running.id)
    call("the newest jobs", "list_jobs", limit=2)
    call("jobs by status", "list_jobs", status="completed", limit=1)


def _pictures(call: Callable[..., Any]) -> None:
    draw = {"prompt": "a red square", "model": "image-gen", "seed": 7}
    call("a picture", "generate_image", **draw, width=64, height=64, steps=2)
    call("a picture that is not valid", "generate_image", prompt="", model="image-gen")
    call("vectors", "embed", texts=["an island", "a sea"], model="all-minilm-l6-v2")


def _rest(call: Callable[..., Any]) -> None:
    call("the account", "get_account")
    call("models", "list_models")
    call("the catalogue", "list_workloads")
    call("a workload", "get_workload", slug="echo")
    islands = call("Islands", "list_islands")
    call("an Island", "get_island", island_id=islands[0].id)
    call("an Island's karma", "get_island_karma", island_id=islands[0].id)
    call("how large the network is", "get_stats")
    file = call("a file sent", "upload_file", file=NOTES, name="notes.txt")
    call("files", "list_files", limit=1)
    call("a file", "get_file", file_id=file.id)
    call("what is in a file", "file_content", file_id=file.id)
    call("a file deleted", "delete_file", file_id=file.id)
    call("a file that there is not", "get_file", file_id=file.id)
    made = call("a key made", "create_key", name="recorded", scopes=["read"], budget="5")
    call("keys", "list_keys")
    call("a key revoked", "revoke_key", key_id=made.id)
    call("a key that is not valid", "create_key", name="", scopes=["read"])
    asked = {"workload": "echo", "inputs": [{"text": "first"}, {"text": "second"}]}
    call("a batch made", "submit_batch", **asked, max_parallelism=1)
    call("batches", "list_batches", limit=1)
    call("batches by status", "list_batches", status=["completed", "failed"], limit=1)
    call("jobs whose time ran out", "list_jobs", status="timeout", limit=1)
    call("sessions", "list_sessions")
    call("a session that there is not", "revoke_session", session_id="key_" + "0" * 26)
    call("sessions ended everywhere", "revoke_sessions")
    call("people, without the role for it", "list_users", search="a", limit=1)
    grant = {"user_id": "usr_" + "0" * 26, "amount": "1", "cause": "recorded"}
    call("a grant, without the role for it", "grant_credits", **grant)


def _no_sleep(_: float) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("url", "key", "poor", "slow"):
        parser.add_argument(f"--{name}", required=True)
    told = record(**vars(parser.parse_args()))
    told += map(played, promised.exchanges())
    exchange.FILE.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    sys.stdout.write(f"{len(told)} exchanges\n")


if __name__ == "__main__":
    main()
