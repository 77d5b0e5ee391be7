"""The journal: what survives a crash, and what a crash may not break."""

from __future__ import annotations

from pathlib import Path

import pytest
from archipelag_island.adapters import journal as module
from archipelag_island.adapters.journal import FileJournal
from archipelag_island.clock import SystemClock
from archipelag_island.errors import JournalFull
from archipelag_island.testing.builders import a_key

CLOCK = SystemClock()


def open_journal(path: Path) -> FileJournal:
    return FileJournal(path, CLOCK)


async def test_restart_finds_reports_and_finishes_what_ran(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = open_journal(path)
    first.accepted(a_key(1), 0, b"unfinished one")
    first.accepted(a_key(2), 3, b"unfinished two")
    await first.ended(a_key(1), 5, b"report one")
    first.delivered(a_key(1))
    first.close()

    second = open_journal(path)

    one, two = second.get(a_key(1)), second.get(a_key(2))
    second.close()
    assert one is not None and two is not None
    assert (one.sealed, one.delivered, one.next_position) == (b"report one", True, 5)
    assert (two.sealed, two.delivered, two.next_position) == (b"unfinished two", False, 3)


@pytest.mark.parametrize("cut", [1, 5, 40])
async def test_torn_last_line_loses_only_itself(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    first = open_journal(path)
    first.accepted(a_key(1), 0, b"one")
    await first.ended(a_key(1), 1, b"report")
    first.accepted(a_key(2), 0, b"two")
    first.close()
    data = path.read_bytes()
    path.write_bytes(data[:-cut])

    second = open_journal(path)
    second.accepted(a_key(3), 0, b"three")
    second.close()
    third = open_journal(path)

    assert second.torn and not third.torn
    assert [held.key for held in third.all()] == [a_key(1), a_key(3)]
    third.close()


async def test_bytes_that_were_changed_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = open_journal(path)
    first.accepted(a_key(1), 0, b"one")
    first.close()
    path.write_bytes(path.read_bytes().replace(b'"first":0', b'"first":9'))

    second = open_journal(path)

    assert second.torn and not second.all()
    second.close()


async def test_epochs_stay_seen_after_forgetting_and_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = open_journal(path)
    first.accepted(a_key(1, epoch=4), 0, b"")
    first.forget(a_key(1, epoch=4))
    first.forget(a_key(1, epoch=4))
    first.close()

    second = open_journal(path)

    assert second.epoch_seen(a_key(1).job_id) == 4
    assert second.epoch_seen(a_key(2).job_id) == 0
    assert not second.all()
    second.close()


async def test_compacting_keeps_what_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMPACT_BYTES", 2000)
    path = tmp_path / "journal"
    first = open_journal(path)
    first.accepted(a_key(1), 0, b"runs")
    first.accepted(a_key(2), 0, b"x")
    await first.ended(a_key(2), 2, b"kept")
    first.delivered(a_key(2))
    for number in range(3, 60):
        first.accepted(a_key(number), 0, b"x" * 50)
        await first.ended(a_key(number), 1, b"y" * 50)
        first.forget(a_key(number))
    size = path.stat().st_size
    first.accepted(a_key(100), 0, b"after")
    first.close()

    second = open_journal(path)

    assert size < 20_000
    assert [held.key for held in second.all()] == [a_key(1), a_key(2), a_key(100)]
    kept = second.get(a_key(2))
    assert kept is not None and kept.delivered and kept.sealed == b"kept"
    assert second.epoch_seen(a_key(30).job_id) == 1
    second.close()


async def test_full_disk_refuses_new_work_and_leaves_the_journal_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    first = open_journal(path)
    first.accepted(a_key(1), 0, b"one")
    write = module.os.write
    with monkeypatch.context() as patched:
        patched.setattr(module.os, "write", lambda file, data: write(file, data[:10]))
        with pytest.raises(JournalFull, match="journal"):
            first.accepted(a_key(2), 0, b"two")
        await first.ended(a_key(1), 1, b"kept in memory")
    first.accepted(a_key(3), 0, b"three")
    held = first.get(a_key(1))
    first.close()

    second = open_journal(path)

    assert held is not None and held.sealed == b"kept in memory"
    assert not second.torn
    assert [held.key for held in second.all()] == [a_key(1), a_key(3)]
    second.close()


async def test_too_many_unsettled_attempts_refuse_new_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNSETTLED_MAX", 1)
    journal = open_journal(tmp_path / "journal")
    journal.accepted(a_key(1), 0, b"one")

    with pytest.raises(JournalFull, match="settle"):
        journal.accepted(a_key(2), 0, b"two")

    journal.forget(a_key(1))
    journal.accepted(a_key(2), 0, b"two")
    journal.close()
