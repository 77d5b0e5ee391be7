"""The table of runtimes, strongest first; adapt it here."""

from __future__ import annotations

from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.config import Settings
from archipelag_island.runtime import Runtime


def found_runtimes(settings: Settings) -> dict[str, Runtime]:
    """By name, those that the owner allows. Whether this host can run them is found out by `probe`."""
    made: dict[str, Runtime] = {"native": NativeRuntime()}
    return {name: made[name] for name in settings.runtimes if name in made}
