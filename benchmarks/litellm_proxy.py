"""Helper of the benchmarks: LiteLLM's proxy in its cheapest form, in front of a model that only counts.

`make litellm` installs it; LITELLM names another executable. No database, no callbacks, one worker, one master key.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvloop
from archipelag_embedded.process import Process, free_port
from network import Target, on_one_core, wait_for

KEY = f"sk-{secrets.token_hex(32)}"
INSTALLED = Path(__file__).parent.parent / ".venv/litellm/bin/litellm"
START_S = 120.0
TURN_S = 0.001
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = (
    '{"id":"c","object":"chat.completion.chunk","created":1700000000,"model":"mock",'
    '"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}'
)


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    text = f"data: {CHUNK % (json.dumps(delta), json.dumps(finish))}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(text), text)


TOKENS = [event({"content": f"~{number}"}) for number in range(2_048)]
OPENING = event({"role": "assistant", "content": ""})
ENDING = event({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Model(asyncio.Protocol):
    """An OpenAI-compatible server of one connection: ~0~1~2… in time, or whole."""

    def __init__(self, saying: list[list[Any]]) -> None:
        self.saying = saying
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        self.buffer = body[length:]
        asked = json.loads(body[:length])
        items = asked.get("max_tokens") or 16
        if asked.get("stream"):
            self.transport.write(HEAD + OPENING + TOKENS[0] + (ENDING if items == 1 else b""))
            self.saying.append([self.transport, 1, items, time.perf_counter()])
        else:
            self.transport.write(_whole(items))


def _whole(items: int) -> bytes:
    content = "".join(f"~{number}" for number in range(items))
    message = {"role": "assistant", "content": content}
    body = json.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "mock",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": items, "total_tokens": items + 1},
        }
    ).encode()
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return (head % len(body)).encode() + body


async def serve(port: int, rate: float) -> None:
    saying: list[list[Any]] = []
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Model(saying), "127.0.0.1", port, backlog=2048)
    begun, turn = time.perf_counter(), 0
    while True:
        turn += 1
        await asyncio.sleep(max(0.0, begun + turn * TURN_S - time.perf_counter()))
        now = time.perf_counter()
        turn = max(turn, int((now - begun) / TURN_S))
        saying[:] = [s for s in saying if s[1] < s[2] and not s[0].is_closing()]
        for stream in saying:
            transport, number, items, since = stream
            due = min(items, int((now - since) * rate) + 1) if rate else items
            if due > number:
                last = ENDING if due == items else b""
                transport.write(b"".join(TOKENS[number:due]) + last)
                stream[1] = due


def found() -> str | None:
    """Its executable, where there is one."""
    return shutil.which(os.environ.get("LITELLM", INSTALLED))


@contextmanager
def litellm(*, rate: float) -> Iterator[Target | None]:
    """None where it is not to be had."""
    program = found()
    if program is None:
        yield None
        return
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="archipelag-litellm-")))
        model_port, port = free_port(), free_port()
        model = Process(
            "Model",
            [sys.executable, __file__, str(model_port), str(rate)],
            log=home / "model.log",
        )
        stack.callback(model.stop)
        config = home / "config.yaml"
        config.write_text(_config(model_port))
        env = os.environ | {
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MASTER_KEY": KEY,
            "NO_PROXY": "127.0.0.1",
        }
        arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        with on_one_core():
            proxy = Process(
                "LiteLLM",
                [program, *arguments, "--num_workers", "1"],
                log=home / "litellm.log",
                env=env,
                cwd=home,
            )
        stack.callback(proxy.stop)
        wait_for(port, "/health/liveliness", proxy, START_S)
        processes = {"litellm": proxy.pid, "model": model.pid}
        yield Target("LiteLLM", port, KEY, model="mock", processes=processes)


def _config(model_port: int) -> str:
    return (
        "model_list:\n"
        "  - model_name: mock\n"
        "    litellm_params:\n"
        "      model: openai/mock\n"
        f"      api_base: http://127.0.0.1:{model_port}/v1\n"
        "      api_key: none\n"
        "litellm_settings:\n"
        "  telemetry: false\n"
        "  callbacks: []\n"
        "general_settings:\n"
        f"  master_key: {KEY}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="A model that only counts.")
    parser.add_argument("port", type=int)
    parser.add_argument("rate", type=float)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.rate))


if __name__ == "__main__":
    main()
