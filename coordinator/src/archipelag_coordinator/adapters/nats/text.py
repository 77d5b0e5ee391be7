"""Texts that came from another machine, made fit for a log line and a customer's eyes."""

from __future__ import annotations


def plain(text: str, characters_max: int) -> str:
    """One line of printable characters, bounded: nothing in it can forge a line or steer a terminal."""
    cut = text[: 4 * characters_max]
    shown = "".join(c if c.isprintable() else " " for c in cut)
    return " ".join(shown.split())[:characters_max]
