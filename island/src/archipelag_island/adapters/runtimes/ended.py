"""How a Cargo ended, in words that its author understands."""

from __future__ import annotations

from archipelag_island.runtime import Consumption, Exit


def how_it_ended(
    status: int, words: str, used: Consumption, memory_bytes: int, *, stopped: bool
) -> Exit:
    """An end by the memory limit says so: the kernel alone would say signal 9, which is also ours."""
    if used.oom_kills and not stopped and status != 0:
        limit = f"killed: more than {memory_bytes >> 20} MB of memory"
        words = f"{limit} | {words}" if words else limit
    return Exit(status, stopped=stopped, last_words=words)
