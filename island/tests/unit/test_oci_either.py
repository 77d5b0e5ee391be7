"""Which way to a container an Island goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from archipelag_island.adapters.runtimes.oci.direct import DirectRuntime
from archipelag_island.adapters.runtimes.oci.either import OciRuntime
from archipelag_island.adapters.runtimes.oci.lifecycle import ContainerRuntime
from archipelag_island.errors import NotUsable
from archipelag_island.runtime import Handle, RuntimeInfo


class Way(DirectRuntime):
    def __init__(self, name: str, problem: str = "") -> None:
        super().__init__()
        self.name, self.problem, self.recovered = name, problem, 0

    async def probe(self) -> RuntimeInfo:
        if self.problem:
            raise NotUsable(self.problem)
        return RuntimeInfo("oci", (), (), self.name, 0)

    async def recover(self) -> int:
        self.recovered += 1
        return 2


async def chosen(*ways: ContainerRuntime) -> str:
    return (await OciRuntime(ways=ways).probe()).executor


async def test_first_way_that_works_is_gone() -> None:
    assert await chosen(Way("direct"), Way("engine")) == "direct"
    assert await chosen(Way("direct", "needs root"), Way("engine")) == "engine"


async def test_host_with_no_way_hears_every_reason() -> None:
    with pytest.raises(NotUsable, match="needs root; no engine listens"):
        await chosen(Way("direct", "needs root"), Way("engine", "no engine listens"))


async def test_what_is_left_is_ended_by_every_way() -> None:
    ways = [Way("direct", "needs root"), Way("engine")]

    assert await OciRuntime(ways=ways).recover() == 4
    assert [way.recovered for way in ways] == [1, 1]


async def test_stopping_before_any_start_does_nothing(tmp_path: Path) -> None:
    await OciRuntime(tmp_path).stop(Handle("never"), 1.0)
