"""Every attempt, in every runtime on the real kernel: refused; and outside, where nothing holds it, a success."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import places
import pytest

PROBES = places.probes()


def test_there_are_many() -> None:
    assert len(PROBES) >= 40


def test_outside_the_probes_work(packed: Path, world: dict[str, Any]) -> None:
    """A probe that fails where nothing stops it would prove nothing by failing inside."""
    found = places.try_outside(packed, PROBES, world)

    must = ("anybody", "root") if os.getuid() == 0 else ("anybody",)
    broken = {
        n: found[n]["said"] for n in PROBES if PROBES[n].works in must and not found[n]["escaped"]
    }
    assert broken == {}
    assert found.keys() == PROBES.keys()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("place", places.PLACES)
async def test_nothing_escapes(
    place: str,
    packed: Path,
    root: Callable[[], Path],
    engine: Callable[[str], Path],
    world: dict[str, Any],
    scratch: Path,
) -> None:
    if why := places.why_not(place):
        pytest.skip(why)
    async with places.open_place(place, scratch, engine) as runtime:
        info = await runtime.probe()
        if info.trust_min > 0:
            pytest.skip(
                "this host has no sandbox for it, and the runtime says so: "
                + "; ".join(info.not_isolated)
            )

        found = await places.try_inside(runtime, places.spec_of(place, packed, root), PROBES, world)

    escaped = {name: one["said"] for name, one in found.items() if one["escaped"]}
    known = {name for where, name in places.KNOWN if where == place}
    assert escaped.keys() == known, escaped
    assert found.keys() == PROBES.keys()
    ended = [name for name, one in found.items() if "how" in one]
    assert all(PROBES[name].may_kill for name in ended), {n: found[n]["how"] for n in ended}
