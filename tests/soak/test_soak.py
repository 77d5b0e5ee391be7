"""A soak in a small form: everything that `make soak` does, for less than a minute."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.network import started

from .crowd import IMPATIENT, Kind
from .outcome import Figures
from .report import told
from .running import Length, soak

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

SAY = print
"""Pytest keeps it for tests that fail."""
SMALL = Length(
    minutes=0.75,
    streams=40,
    items=(20, 60),
    islands=3,
    real=24,
    replace_every_s=15.0,
    strike_every_s=8.0,
    visit_every_s=16.0,
    sample_every_s=2.0,
    first_crowd_s=5.0,
)


async def _whole() -> Figures:
    async with started(SMALL.plan()) as network:
        figures = await soak(network, SMALL, SAY)
        network.keep = not figures.kept
        return figures


def test_nobody_sees_a_network_whose_coordinators_are_replaced_and_whose_islands_come_and_go() -> (
    None
):
    figures = asyncio.run(_whole())
    SAY("\n".join(told(figures)))

    assert not figures.broken
    assert set(figures.seen.ended) >= {Kind.STEADY, Kind.SLOW, Kind.FLAKY} | IMPATIENT
    faults = [strike.fault for strike in figures.strikes]
    assert faults.count("restart Coordinator") >= 2 and "come and go" in faults
    assert figures.seen.around_s["restart Coordinator"], "streams were open meanwhile"
    assert {sample.part for sample in figures.samples} >= {"c0", "c1", "i0", "NATS", "PostgreSQL"}
