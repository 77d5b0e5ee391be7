"""An owner's orders from a page to a real Island: obeyed within a heartbeat, remembered, told with where they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from archipelag_island.adapters import status
from playwright.async_api import expect

from .conftest import CHAT_MODEL, Network, wait_for
from .test_pages import ADMIN, a_browser, a_window, picture, sign_in

ASK = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 4}


def told(network: Network) -> dict[str, Any]:
    """What the Island says of itself; nothing while none runs."""
    return status.read(network.home / "island") or {}


def drained(network: Network) -> Any:
    return told(network).get("drain", {}).get("afar")


def status_page(network: Network) -> str:
    program = [sys.executable, "-m", "archipelag_island", "status", "--once"]
    env = os.environ | {"ARCHIPELAG_ISLAND_HOME": str(network.home / "island")}
    return subprocess.run(
        program, env=env, capture_output=True, text=True, timeout=60, check=False
    ).stdout


async def test_a_drain_from_the_page_holds_until_it_is_taken_back_there(network: Network) -> None:
    async with a_browser() as browser:
        page = await a_window(browser, network)
        await sign_in(page, ADMIN)
        await page.goto("/islands")
        await page.get_by_role("link", name="test-island").click()
        await expect(page.get_by_text("takes no orders from here")).to_be_hidden()

        await page.get_by_text("Drain", exact=True).click()
        await page.get_by_role("button", name="Drain test-island").click()
        await expect(page.get_by_text("It is given nothing more")).to_be_visible()
        with network.http() as http:
            made = http.post(
                "/jobs", json={"workload": "echo", "input": {"text": "hello"}, "priority": 0}
            )
            job = made.json()["data"]["id"]
            waits = http.get(f"/jobs/{job}/why").json()["data"]
            assert waits["status"] == "queued", waits
            wait_for(lambda: drained(network), "the Island heard of it")
            shown = status_page(network)
            assert "drained on its page in the network" in shown and "the stricter wins" in shown

            # It remembers over a restart, before it has heard from anybody.
            pid = told(network)["pid"]
            for process in network.processes("archipelag_island"):
                if process.pid == pid:
                    process.kill()
            wait_for(lambda: told(network).get("pid", pid) != pid, "the Island is back", 90)
            assert drained(network)
            await page.reload()
            await picture(page, "island-drained")

            await page.get_by_role("button", name="Resume").click()
            await expect(page.get_by_text("It may take work again")).to_be_visible()
            wait_for(lambda: drained(network) is False, "the Island heard of that, too")
            wait_for(
                lambda: http.get(f"/jobs/{job}").json()["data"]["status"] == "completed",
                "what waited was done",
                60,
            )

        # Hours and prices stand in its status beside its own rules.
        await page.get_by_label("Monday, 0:00 to 1:00").uncheck()
        await page.get_by_role("button", name="Keep these hours").click()
        await expect(page.get_by_text("goes by these hours")).to_be_visible()
        wait_for(
            lambda: told(network)["wishes"]["times"] == "mon 01:00 to mon 00:00",
            "the Island has the hours",
        )
        await page.get_by_role("button", name="Lend it always").click()
        wait_for(lambda: told(network)["wishes"]["times"] is None, "the Island has none")
