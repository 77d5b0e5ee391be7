"""The suite itself: a good Cargo passes, and each way to be bad is found by the check that is meant for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from archipelag_contracts.manifest import Manifest, parse_toml
from archipelag_island.errors import BadInput, NoSlot, StartFailed
from archipelag_island.runtime import (
    CargoSpec,
    CargoState,
    Consumption,
    Description,
    Handle,
    RunEnd,
    RunEvent,
    RunRequest,
)
from archipelag_kit.conformance.finding import Finding, Outcome
from archipelag_kit.conformance.suite import check_cargo, check_manifest

MANIFEST = """
slug = "words"
version = "1.0.0"
name = "Words"
description = "Says words."
license = "Apache-2.0"
kind = "json"
runtime = "native"
engine = "words"
resumable = true
[input]
type = "object"
required = ["text"]
additionalProperties = false
[input.properties.text]
type = "string"
[example]
text = "one two three four"
[limits]
tier = "restricted"
seconds = 1
progress_s = 1
"""


def manifest(**changes: Any) -> Manifest:
    return replace(parse_toml(MANIFEST), **changes)


class Words:
    """A Cargo in this process, and a runtime in one; `bad` names what it does wrong."""

    def __init__(self, bad: str = "") -> None:
        self.bad = bad
        self.running = 0
        self.stopped = False
        self.told = 0
        self.seed = 0

    async def start(self, spec: CargoSpec) -> Handle:
        if self.bad == "start":
            raise StartFailed("no such file")
        return Handle("words")

    async def describe(self, handle: Handle) -> Description:
        if self.bad == "fails":
            return Description(CargoState.FAILED, error="no weights")
        return Description(CargoState.READY, slots=2, resumable=self.bad != "describe")

    async def stop(self, handle: Handle, grace_s: float) -> None:
        self.stopped = True

    def usage(self, handle: Handle) -> Consumption:
        return Consumption(1, 1, (300 if self.bad == "memory" else 100) << 20)

    async def run(self, handle: Handle, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        if self.running >= 2:
            raise NoSlot("full")
        words = self._read(request.input)
        self.running += 1
        try:
            async for event in self._say(words, request):
                yield event
                await asyncio.sleep(0)
        finally:
            if self.bad != "cancel" or self.told:
                self.running -= 1

    def _read(self, data: bytes) -> list[str]:
        try:
            given = json.loads(data, parse_constant=lambda _: 1 / 0)
            if given.keys() != {"text"} and self.bad != "accepts":
                raise BadInput("text: only that")
            text = given.get("text", "")
            if not isinstance(text, str) and self.bad != "accepts":
                raise BadInput("text: must be a text")
            return str(text).split()
        except (ValueError, AttributeError, RecursionError, ZeroDivisionError):
            raise BadInput("" if self.bad == "mute" else "no object") from None

    async def _say(self, words: list[str], request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        self.told = 0
        if self.bad == "hangs":
            await asyncio.Event().wait()
        first = 0 if self.bad == "resume" else request.first_position
        most = len(words) if self.bad == "more" else request.output_items_max
        for position, word in enumerate(words[:most]):
            if position < first:
                continue
            if self.bad == "chance":
                self.seed += 1
                word += str(self.seed)
            if self.bad == "large":
                word *= 20_000
            yield RunEvent(position + (self.bad == "gap" and position > 0), (word,))
        self.told = 1
        if self.bad == "endless":
            return
        yield RunEvent(end=RunEnd("", "broke") if self.bad == "breaks" else RunEnd("stop"))


async def tried(bad: str = "", **changes: Any) -> dict[str, Finding]:
    said = manifest(**changes)
    spec = CargoSpec(said, said.digest, module="words")
    found = await check_cargo(Words(bad), spec)  # type: ignore[arg-type]
    return {finding.name: finding for finding in found}


async def test_a_good_cargo_passes_every_check() -> None:
    found = await tried()

    assert [f for f in found.values() if f.outcome is not Outcome.PASSED] == []
    assert len(found) == 12


@pytest.mark.parametrize(
    ("bad", "check", "said"),
    [
        ("start", "it starts", "no such file"),
        ("fails", "it becomes ready", "no weights"),
        ("describe", "it describes itself", "resumable"),
        ("breaks", "it runs its example", "broke"),
        ("endless", "it runs its example", "before its end"),
        ("hangs", "it runs its example", "limits.seconds"),
        ("gap", "its items are in order and small", "gaps"),
        ("large", "its items are in order and small", "bytes"),
        ("more", "it makes no more than allowed", "4 came"),
        ("accepts", "it refuses bad input", "accepted"),
        ("mute", "it refuses bad input", "without a word"),
        ("cancel", "it ends when cancelled", "goes on holding"),
        ("chance", "it repeats itself", "two answers"),
        ("resume", "it goes on in the middle", "differently"),
        ("memory", "it needs what it says", "300 MiB"),
    ],
)
async def test_each_fault_is_found(
    bad: str, check: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipelag_kit.conformance.subject.FREED_S", 0.2)
    monkeypatch.setattr("archipelag_kit.conformance.checks.FREED_S", 0.2)
    monkeypatch.setattr("archipelag_kit.conformance.checks.FIRST_EVENT_S", 0.2)

    found = await tried(bad)

    assert found[check].outcome is Outcome.FAILED
    assert said in found[check].said and found[check].todo


async def test_what_is_not_promised_is_left_out() -> None:
    found = await tried(resumable=False)

    assert found["it goes on in the middle"].outcome is Outcome.LEFT_OUT
    assert found["it repeats itself"].outcome is Outcome.LEFT_OUT


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"description": " "}, "the manifest describes the Cargo"),
        ({"license": "free, mostly"}, "the manifest describes the Cargo"),
        ({"input": {}}, "the manifest describes the Cargo"),
        ({"example": {}}, "the example fits the schema"),
        ({"example": {"text": 7}}, "the example fits the schema"),
        ({"egress": ("a.example.org",)}, "the manifest stays in its tier"),
    ],
)
def test_each_fault_of_a_manifest_is_found(changes: dict[str, Any], check: str) -> None:
    assert all(finding.passed for finding in check_manifest(manifest()))

    found = {finding.name: finding for finding in check_manifest(manifest(**changes))}

    assert found[check].outcome is Outcome.FAILED and found[check].todo
