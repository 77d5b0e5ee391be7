"""The table of runtimes, strongest first; adapt it here."""

from __future__ import annotations

from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.adapters.runtimes.oci.either import OciRuntime
from archipelag_island.adapters.runtimes.wasm.runtime import WasmRuntime
from archipelag_island.config import Settings
from archipelag_island.runtime import Runtime


def found_runtimes(settings: Settings) -> dict[str, Runtime]:
    """By name, those that the owner allows. Whether this host can run them is found out by `probe`."""
    native = NativeRuntime()
    made: dict[str, Runtime] = {
        "wasm": WasmRuntime(settings.home / "compiled", native),
        "oci": OciRuntime(engine=settings.container_engine),
        "native": native,
    }
    return {name: made[name] for name in settings.runtimes if name in made}
