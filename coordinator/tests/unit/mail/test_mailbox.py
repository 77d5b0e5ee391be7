"""The local mailbox: the newest messages, and nobody else's eyes."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest
from archipelag_coordinator.adapters.mail.mailbox import KEPT_MAX, LocalMailbox
from archipelag_coordinator.testing.fakes import START, FakeClock


async def test_messages_are_kept_newest_first_as_they_were(tmp_path: Path) -> None:
    clock = FakeClock()
    mailbox = LocalMailbox(tmp_path / "mailbox", clock.now)

    empty = await mailbox.newest(5)
    await mailbox.send("ada@example.org", "one", "text é", "<p>")
    clock.advance(60)
    await mailbox.send("bob@example.org", "two", "", "")
    found = await LocalMailbox(tmp_path / "mailbox", clock.now).newest(5)

    assert empty == []
    assert [(one.to, one.subject) for one in found] == [
        ("bob@example.org", "two"),
        ("ada@example.org", "one"),
    ]
    assert (found[1].text, found[1].html, found[1].at) == ("text é", "<p>", START)
    assert len(await mailbox.newest(1)) == 1


async def test_only_the_newest_stay(tmp_path: Path) -> None:
    mailbox = LocalMailbox(tmp_path, FakeClock().now)

    for number in range(KEPT_MAX + 3):
        await mailbox.send("ada@example.org", str(number), "", "")
    found = await mailbox.newest(1_000)

    assert [one.subject for one in found] == [str(n) for n in range(KEPT_MAX + 2, 2, -1)]
    assert len(os.listdir(tmp_path)) == KEPT_MAX  # noqa: PTH208 - one look, for a test


async def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    mailbox = LocalMailbox(tmp_path, FakeClock().now)

    await asyncio.gather(*(mailbox.send("a@b.org", str(n), "", "") for n in range(20)))

    assert {one.subject for one in await mailbox.newest(50)} == {str(n) for n in range(20)}


async def test_nobody_else_on_this_machine_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "mailbox"
    folder.mkdir(mode=0o755)
    mailbox = LocalMailbox(folder, FakeClock().now)

    await mailbox.send("ada@example.org", "one", "", "")

    (kept,) = folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert kept.stat().st_mode & 0o777 == 0o600


async def test_the_link_is_in_the_log_of_ones_own_machine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    await LocalMailbox(tmp_path, FakeClock().now).send(
        "ada@example.org", "Sign in", "Open:\n\nhttp://127.0.0.1:1/sign-in/al_1\n\nbye", ""
    )

    assert "link=http://127.0.0.1:1/sign-in/al_1\n" in caplog.text
