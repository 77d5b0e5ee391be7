"""Measure what Cargos and files take, so that caps can be kept and the owner sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from archipelag_island.services.world import World

LOOK_S: Final = 1.0
# Walking folders costs more than asking the kernel for a figure.
DISK_LOOKS: Final = 15


async def measure_for_ever(world: World, disk_bytes: Callable[[], int]) -> None:
    """`disk_bytes` walks the folders that count; it is called in a thread."""
    looks = 0
    cpu_ms, sent, at = _cpu_ms(world), world.bucket.sent_bytes, world.clock.monotonic()
    while True:
        if looks % DISK_LOOKS == 0:
            found = await asyncio.to_thread(disk_bytes)
            world.now.taken = replace(world.now.taken, disk_bytes=found)
        looks += 1
        await asyncio.sleep(LOOK_S)
        before = cpu_ms, sent, at
        cpu_ms, sent, at = _cpu_ms(world), world.bucket.sent_bytes, world.clock.monotonic()
        passed_s = max(0.001, at - before[2])
        world.now.taken = replace(
            world.now.taken,
            # A Cargo that ended takes its figures with it.
            cores=max(0, cpu_ms - before[0]) / 1000 / passed_s,
            memory_bytes=sum(world.memory_of(offer) for offer in world.now.offers.values()),
            send_bytes_per_s=(sent - before[1]) / passed_s,
        )


def _cpu_ms(world: World) -> int:
    warm = [offer.warm for offer in world.now.offers.values() if offer.warm]
    return sum(world.runtime.usage(one.handle).cpu_ms for one in warm)
