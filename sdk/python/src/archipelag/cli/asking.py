"""Asks a question and reads the answer to its end; `archipelag demo`."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

from archipelag import ArchipelagError, ChatStream, Client, JobFailedError, Usage
from archipelag.cli import printing

DEMO_PROMPT = "What is an archipelago? Answer in two or three sentences."
DEMO_TOKENS = 120
SETTLE_S = 5.0


@dataclass(frozen=True)
class Told:
    """An answer, and how long it took, in seconds since the question."""

    text: str
    first_s: float | None
    whole_s: float


def demo(client: Client, arguments: argparse.Namespace) -> int:
    as_json = arguments.format == "json"
    if not as_json:
        print(f"{printing.dim('You')}  {printing.clean(arguments.prompt)}\n")
    asked = time.perf_counter()
    stream = client.chat_stream(arguments.prompt, max_tokens=arguments.max_tokens, temperature=0)
    told = tell(client, stream, asked, aloud=not as_json)
    usage = _settled(client, stream)
    if as_json:
        times = {"first_token_s": told.first_s, "whole_s": told.whole_s}
        where = {"island": stream.island, "job_id": stream.job_id}
        printing.as_json(
            {"prompt": arguments.prompt, "text": told.text, **where, **times, "usage": usage}
        )
        return 0
    print("\n")
    printing.facts(
        {
            "Island": _island_name(client, stream.island),
            "first token": "none came" if told.first_s is None else f"{told.first_s:.3f} s",
            "speed": _speed(told, usage),
            "tokens": f"{usage.prompt_tokens} read, {usage.completion_tokens} written",
            "price": printing.credits_text(usage.credits_used),
            "job": stream.job_id or "not known",
        }
    )
    return 0


def tell(client: Client, stream: ChatStream, asked: float, *, aloud: bool) -> Told:
    """Reads the answer to its end; on Ctrl-C the job is cancelled, so that nobody works on or pays."""
    texts: list[str] = []
    first_s: float | None = None
    try:
        with stream:
            for piece in stream:
                if piece.text and first_s is None:
                    first_s = time.perf_counter() - asked
                texts.append(piece.text)
                if aloud:
                    sys.stdout.write(printing.clean(piece.text))
                    sys.stdout.flush()
    except KeyboardInterrupt:
        if aloud:
            print()
        _cancel(client, stream.job_id)
        raise
    return Told("".join(texts), first_s, time.perf_counter() - asked)


def _cancel(client: Client, job_id: str) -> None:
    if not job_id:
        return
    try:
        client.cancel_job(job_id)
    except ArchipelagError as error:
        print(f"archipelag: could not cancel job {job_id}: {error}", file=sys.stderr)


def _settled(client: Client, stream: ChatStream) -> Usage:
    """The usage with its price, which stands in the job once it is settled."""
    said = stream.usage or Usage()
    if said.credits_used is not None or not stream.job_id:
        return said
    try:
        return client.wait_for_job(stream.job_id, timeout_s=SETTLE_S).usage or said
    except JobFailedError as failed:
        return failed.job.usage or said
    except (ArchipelagError, TimeoutError):
        return said


def _island_name(client: Client, island: str) -> str:
    """The name its owner gave it, where we may see it."""
    try:
        names = {host.id: host.name for host in client.list_islands()}
    except ArchipelagError:
        names = {}
    name = names.get(island)
    return f"{name} ({island})" if name else island or "not known"


def _speed(told: Told, usage: Usage) -> str:
    """Of the tokens after the first, whose time is told apart."""
    if told.first_s is None or usage.completion_tokens < 2 or told.whole_s <= told.first_s:
        return "too short to tell"
    return f"{(usage.completion_tokens - 1) / (told.whole_s - told.first_s):.1f} tokens/s"
