"""Runs a module as the wasm runtime does: nothing but three pipes, fuel and a memory limit of the restricted tier."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from archipelag_contracts.tiers import TIERS

HERE = Path(__file__).parent
# About what a minute of one core executes; a module that needs more than a fraction of it is not what these are.
FUEL = 20_000_000_000


@dataclass(frozen=True)
class Answer:
    items: tuple[str, ...]
    finish_reason: str = ""
    error: str = ""
    bad_input: str = ""
    fuel: int = 0

    @property
    def text(self) -> str:
        """The whole answer. There must be one."""
        assert self.finish_reason == "stop", self
        return "".join(self.items)

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Modules:
    """Each compiled once for all tests."""

    def __init__(self) -> None:
        config = wasmtime.Config()
        config.consume_fuel = True
        self.engine = wasmtime.Engine(config)
        self._compiled: dict[str, wasmtime.Module] = {}

    def __getitem__(self, name: str) -> wasmtime.Module:
        if name not in self._compiled:
            path = HERE / name / f"{name}.wasm"
            self._compiled[name] = wasmtime.Module.from_file(self.engine, str(path))
        return self._compiled[name]


@pytest.fixture(scope="session")
def modules() -> Modules:
    return Modules()


def run_raw(modules: Modules, name: str, given: bytes, folder: Path) -> Answer:
    (folder / "in").write_bytes(given)
    wasi = wasmtime.WasiConfig()
    wasi.argv = [name]
    wasi.stdin_file = str(folder / "in")
    wasi.stdout_file = str(folder / "out")
    wasi.stderr_file = str(folder / "err")
    store = wasmtime.Store(modules.engine)
    store.set_fuel(FUEL)
    store.set_limits(memory_size=TIERS["restricted"].memory_bytes)
    store.set_wasi(wasi)
    linker = wasmtime.Linker(modules.engine)
    linker.define_wasi()
    instance = linker.instantiate(store, modules[name])
    try:
        instance.exports(store)["_start"](store)
    except wasmtime.ExitTrap as ended:
        if ended.code != 0:
            raise AssertionError((folder / "err").read_text()) from ended
    return _answer((folder / "out").read_bytes(), FUEL - store.get_fuel())


def _answer(out: bytes, fuel: int) -> Answer:
    items: list[str] = []
    end: dict[str, str] = {}
    for line in out.decode().split("\n")[:-1]:
        event = json.loads(line)
        assert not end, "something came after the end"
        match event:
            case {"text": str(text)}:
                assert 0 < len(text.encode()) <= 32 * 1024
                items.append(text)
            case {"end": dict(said)}:
                end = said
            case {"bad_input": str(why)}:
                assert not items, "refused after it began to answer"
                end = {"bad_input": why}
            case _:
                raise AssertionError(f"not an event: {line[:200]}")
    assert end, "no end"
    return Answer(tuple(items), **end, fuel=fuel)


@pytest.fixture
def raw(modules: Modules, tmp_path: Path) -> Callable[[str, bytes], Answer]:
    return lambda name, given: run_raw(modules, name, given, tmp_path)


@pytest.fixture
def run(raw: Callable[[str, bytes], Answer]) -> Callable[..., Answer]:
    """Runs a Cargo on an input; `envelope` overrides what stands beside it."""

    def one(name: str, given: Any, **envelope: Any) -> Answer:
        whole = {"run_id": "r", "input": given, "first_position": 0, "output_items_max": 0}
        return raw(name, json.dumps(whole | envelope, ensure_ascii=False).encode())

    return one
