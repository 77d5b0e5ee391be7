"""What does a customer get of the model's own speed? The whole network beside the same engine called directly.

    python benchmarks/end_to_end.py [--tokens 256] [--repetitions 5]

Starts a network as `make up` does (PostgreSQL, NATS, Coordinator, Island, the real model) and asks for one stream at
temperature 0; in turn with it, the Cargo's own engine answers the same in this process, without anything around it. The
answers must be the same text. Prints medians and the share of the model's speed that is left; the aim is 95 %.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from archipelag_contracts import manifest as manifests
from archipelag_llm_chat.chat import parse_request
from archipelag_llm_chat.engine import Engine
from archipelag_llm_chat.fetch_model import fetch_model
from archipelag_llm_chat.model import Model
from archipelag_llm_chat.run import Ask
from figures import Beside, Figure
from telling import state

MANIFEST = Path(__file__).parent.parent / "cargos/llm-chat/manifest.toml"
PROMPT = "Write a long story about a lighthouse keeper and the ships that pass."
START_S = 180.0
STOP_S = 60.0
AIM = 0.95
PATH = "whole path"
HOW = (
    "A network as `make up` starts it, with the real model at temperature 0; medians of turns that alternate. Limit: "
    "the same engine called directly, which gives the same text."
)
THREADS = max(1, (os.cpu_count() or 1) - 1)
"""Of the model, on both sides: as an Island takes them where nobody says otherwise."""
EXPORT = re.compile(r"export (\w+)='?([^'\n]*)'?")


@dataclass(frozen=True)
class Answer:
    """One stream: when its first token came, how fast the others, and the text."""

    first_s: float
    tokens_per_s: float
    tokens: int
    text: str


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    body = {
        "model": manifests.parse_toml(MANIFEST.read_text()).slug,
        "messages": [{"role": "user", "content": PROMPT}],
        "temperature": 0,
        "max_tokens": options.tokens,
    }
    with network() as (url, key, models), engine(models) as direct:
        ask_network(url, key, body)  # Both have read the prompt before they are measured.
        ask_engine(direct, body)
        through, alone = [], []
        for _ in range(options.repetitions):
            alone.append(ask_engine(direct, body))
            through.append(ask_network(url, key, body))
    same = len({answer.text for answer in (*through, *alone)}) == 1
    report("the engine, directly", alone)
    report("through the network", through)
    left = median_speed(through) / median_speed(alone)
    added = median_first(through) - median_first(alone)
    print(
        f"{left:.1%} of the engine's own speed (aim {AIM:.0%}); first token {added * 1e3:+.1f} ms"
    )
    print(
        f"{alone[0].tokens} tokens; {'the same text' if same else 'NOT the same text'} every time"
    )
    limit = Beside("the engine", median_first(alone) * 1e3)
    state(
        [
            Figure(
                PATH,
                "tokens of one stream",
                median_speed(through),
                "/s",
                HOW,
                limit=Beside("the engine", median_speed(alone)),
                more_is_better=True,
            ),
            Figure(PATH, "first token", median_first(through) * 1e3, "ms", HOW, limit=limit),
        ]
    )
    sys.exit(not same)


def report(name: str, answers: list[Answer]) -> None:
    speeds = sorted(answer.tokens_per_s for answer in answers)
    print(
        f"{name:22} first token {median_first(answers) * 1e3:7.1f} ms   "
        f"{median_speed(answers):7.1f} tokens/s  ({speeds[0]:.1f} to {speeds[-1]:.1f})",
        flush=True,
    )


def median_first(answers: list[Answer]) -> float:
    return statistics.median(answer.first_s for answer in answers)


def median_speed(answers: list[Answer]) -> float:
    return statistics.median(answer.tokens_per_s for answer in answers)


# --- The engine alone ------------------------------------------------------------------------------------------------


@contextmanager
def engine(models: Path) -> Iterator[Engine]:
    """As the Cargo makes it, but for its slots, which change nothing for one stream."""
    wanted = manifests.parse_toml(MANIFEST.read_text()).model
    assert wanted is not None
    # Where the network found it: the same folder, the same check of its bytes.
    model = Model(fetch_model(wanted, models))
    made = Engine(model, slots=1, context_tokens=wanted.context_tokens, threads=THREADS)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def ask_engine(made: Engine, body: dict[str, object]) -> Answer:
    begun = time.perf_counter()
    # What the Coordinator makes of a request, without the names that are its own.
    own = {name: value for name, value in body.items() if name != "model"}
    chat = parse_request(json.dumps(own).encode())
    prompt = tuple(made.model.prompt_tokens(chat.messages))
    news = threading.Event()
    run = made.submit(Ask(prompt, chat.sampling, chat.max_tokens, chat.stop), news.set)
    texts: list[str] = []
    first = last = 0.0
    ending = None
    while ending is None:
        news.wait()
        news.clear()
        _, items, ending = run.outbox.take()
        last = time.perf_counter()
        if items and not texts:
            first = last
        texts += [item.text for item in items]
    return Answer(first - begun, (len(texts) - 1) / (last - first), len(texts), "".join(texts))


# --- The whole network -----------------------------------------------------------------------------------------------


def ask_network(url: str, key: str, body: dict[str, object]) -> Answer:
    asked = body | {"stream": True, "stream_options": {"include_usage": True}}
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.connect()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    begun = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps(asked), headers)
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"{response.status}: {response.read().decode()}")
    first = last = 0.0
    tokens = 0
    texts: list[str] = []
    while line := response.readline():
        if not line.startswith(b"data: {"):
            continue
        now = time.perf_counter()
        event = json.loads(line[6:])
        if "error" in event:
            raise SystemExit(f"the stream failed: {event}")
        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        if event["choices"] and (text := event["choices"][0]["delta"].get("content")):
            first, last = first or now, now
            texts.append(text)
    connection.close()
    return Answer(first - begun, (tokens - 1) / (last - first), tokens, "".join(texts))


@contextmanager
def network() -> Iterator[tuple[str, str, Path]]:
    """Where a new network answers, a key, and the folder with its model."""
    home = Path(tempfile.mkdtemp(prefix="archipelag-bench-"))
    home.chmod(0o755)
    env = os.environ | {"ARCHIPELAG_HOME": str(home), "ARCHIPELAG_ISLAND_THREADS": str(THREADS)}
    command = [sys.executable, "-m", "archipelag_embedded"]
    with (home / "up.log").open("ab") as log:
        process = subprocess.Popen([*command, "up"], env=env, stdout=log, stderr=log, cwd=home)
    try:
        deadline = time.monotonic() + START_S
        told = {}
        while "ARCHIPELAG_API_URL" not in told:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"no network:\n{(home / 'up.log').read_text()[-3000:]}")
            time.sleep(0.5)
            said = subprocess.run(
                [*command, "env"], env=env, capture_output=True, text=True, cwd=home, check=False
            )
            told = dict(EXPORT.findall(said.stdout)) if said.returncode == 0 else {}
        yield told["ARCHIPELAG_API_URL"], told["ARCHIPELAG_API_KEY"], home / "models"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
