"""The page of plots: the last hour of this Coordinator, for those who look after the network."""

from __future__ import annotations

from datetime import timedelta

from archipelag_coordinator.domain.history import Counts, Levels

from .house import House


async def test_the_last_hour_is_drawn_by_the_minute(house: House) -> None:
    world = house.scene.world
    now = world.clock.now()
    for minute in range(3):
        world.history.note(
            now + timedelta(minutes=minute), Counts(submitted=7 * (minute + 1)), Levels(streams=4)
        )
    world.tally.first_item.add(0.02)

    async with house.browser("operator") as http:
        whole = await http.get("/admin/metrics")
        live = await http.get("/live/admin/metrics")

    for shown in (whole.text, live.text):
        assert shown.count('class="plot"') == 2, "jobs submitted and streams; the others are empty"
        assert ": 7 jobs</title>" in shown
        assert ": 4 streams</title>" in shown
        assert "25 ms" in shown
    assert whole.status_code == live.status_code == 200
