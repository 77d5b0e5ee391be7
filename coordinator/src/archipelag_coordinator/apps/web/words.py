"""How nouns read on a page: times, money, sizes and states in words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from archipelag_contracts.units import UCREDITS_PER_CREDIT, to_credits

from archipelag_coordinator.apps.job_words import job_status_text
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.karma import POINT_MS

SNIPPET_MAX: Final = 140
AGENT_MAX: Final = 60
# The first that fits: most call themselves by others' names too.
_BROWSERS: Final = (
    ("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("FxiOS", "Firefox"),
    ("HeadlessChrome", "Chrome"), ("CriOS", "Chrome"), ("Chrome", "Chrome"), ("Version", "Safari"),
)  # fmt: skip
_SYSTEMS: Final = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"),
    ("Mac OS X", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip
_TONES: Final = {
    "completed": "good",
    "succeeded": "good",
    "ready": "good",
    "listed": "good",
    "ok": "good",
    "warm": "good",
    "doing": "busy",
    "todo": "quiet",
    "running": "busy",
    "assigned": "busy",
    "loading": "busy",
    "draining": "warn",
    "silent": "warn",
    "enrolled": "warn",
    "submitted": "warn",
    "verified": "busy",
    "withdrawn": "quiet",
    "queued": "busy",
    "refused": "warn",
    "failed": "bad",
    "timeout": "bad",
    "lost": "bad",
    "suspended": "bad",
    "banned": "bad",
    "revoked": "bad",
    "rejected": "bad",
    "lease_lost": "bad",
    "bad_output": "bad",
    "cargo_died": "bad",
    "cargo_stalled": "bad",
    "cargo_failed": "warn",
    "island_stopped": "warn",
    "deadline": "warn",
}


def tone(state: str) -> str:
    """How a state is coloured: good, busy, warn, bad or quiet. Never the colour alone: the word stands beside it."""
    return _TONES.get(state, "quiet")


def status_of(job: Job) -> str:
    return job_status_text(job.status, job.cause)


def credits_text(amount: int, *, signed: bool = False) -> str:
    """Credits with a thin space between thousands, six decimals at most: `1 250.5`."""
    whole, dot, rest = to_credits(abs(amount)).partition(".")
    grouped = f"{int(whole):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    sign = "−" if amount < 0 else "+" if signed and amount > 0 else ""
    return f"{sign}{grouped}{dot}{rest}"


def money(amount: int) -> str:
    """Credits to be read at a glance: at most two decimals where there is a whole one."""
    if abs(amount) < UCREDITS_PER_CREDIT:
        return credits_text(amount)
    cents = UCREDITS_PER_CREDIT // 100
    return credits_text((abs(amount) // cents) * cents * (-1 if amount < 0 else 1))


def number(value: float) -> str:
    """Whole, with thin spaces between thousands."""
    return f"{round(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def ago(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "never"
    past = now - at
    if past < timedelta(seconds=0):
        return f"in {span(-past)}"
    if past < timedelta(seconds=5):
        return "just now"
    return f"{span(past)} ago"


def span(length: timedelta) -> str:
    """One unit, the largest that fits."""
    seconds = int(length.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def duration(ms: float | None) -> str:
    if ms is None:
        return "–"
    if ms < 1_000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1_000:.1f} s"
    minutes, seconds = divmod(int(ms / 1_000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def took(job: Job) -> str:
    """From its first start to its end."""
    if job.ended_at is None:
        return "–"
    return duration(1000 * (job.ended_at - (job.started_at or job.created_at)).total_seconds())


def stamp(at: datetime | None) -> str:
    """For people, in UTC."""
    return "–" if at is None else at.astimezone(UTC).strftime("%d %b %Y, %H:%M:%S UTC")


def iso(at: datetime | None) -> str:
    """For programs."""
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="seconds")


def size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def points(points_ms: int) -> str:
    """Karma: one point is an hour of good work."""
    return f"{points_ms / POINT_MS:.2f}"


def sentence(told: str) -> str:
    """With a capital and an end, unless it has one."""
    return f"{told[:1].upper()}{told[1:]}{'' if told.endswith(('?', '.', '!')) else '.'}"


def browser(agent: str) -> str:
    """What a browser calls itself, as people call it: `Firefox 140 on Linux`."""
    named = ((said, re.search(rf"\b{mark}/(\d+)", agent)) for mark, said in _BROWSERS)
    name = next((f"{said} {found[1]}" for said, found in named if found), "")
    system = next((said for mark, said in _SYSTEMS if mark in agent), "")
    if not name:
        return agent[:AGENT_MAX] or "unknown browser"
    return f"{name} on {system}" if system else name


def snippet(raw: bytes) -> str:
    """The first words of what a job was asked: for a list."""
    try:
        given = json.loads(raw)
    except ValueError:
        return ""
    text = " ".join(asked_of(given).split())
    return text if len(text) <= SNIPPET_MAX else text[: SNIPPET_MAX - 1] + "…"


def asked_of(given: Any) -> str:
    """What a person wrote in an input: the newest message, a prompt, or else its first text."""
    if not isinstance(given, Mapping):
        return ""
    messages = given.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], Mapping):
        content = messages[-1].get("content")
        return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    for name in ("prompt", "input", "text"):
        if isinstance(given.get(name), str):
            return str(given[name])
    texts = [value for value in given.values() if isinstance(value, str)]
    return texts[0] if texts else json.dumps(given, ensure_ascii=False)


def hardware(island: Island) -> list[tuple[str, str]]:
    """What an Island says of its machine, as far as it says anything of the right kind."""
    said = island.capabilities
    shown: list[tuple[str, str]] = []
    system = " ".join(str(said[name]) for name in ("os", "arch") if said.get(name))
    if system:
        shown.append(("System", system))
    if isinstance(cores := said.get("cores"), int) and cores:
        shown.append(("Processor", f"{cores} cores"))
    if isinstance(memory := said.get("memory_bytes"), int) and memory:
        shown.append(("Memory", size(memory)))
    if isinstance(disk := said.get("disk_free_bytes"), int) and disk:
        shown.append(("Free disk", size(disk)))
    shown += [("GPU", one) for one in _gpus(said.get("gpus"))]
    runtimes = said.get("runtimes")
    if isinstance(runtimes, list):
        names = [str(one.get("name", "")) for one in runtimes if isinstance(one, Mapping)]
        shown += [("Sandboxes", ", ".join(names))] if names else []
    if said.get("agent_version"):
        shown.append(("Agent", str(said["agent_version"])))
    return shown


def _gpus(given: Any) -> list[str]:
    if not isinstance(given, list):
        return []
    found = []
    for gpu in given:
        if isinstance(gpu, Mapping):
            memory = gpu.get("memory_bytes")
            told = f", {size(memory)}" if isinstance(memory, int) and memory else ""
            found.append(f"{gpu.get('name', 'unknown')}{told}")
    return found
