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


async def test_spoilt_line_in_the_middle_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = open_journal(path)
    first.accepted(a_key(1), 0, b"one")
    first.accepted(a_key(2), 0, b"two")
    await first.ended(a_key(1), 1, b"report one")
    first.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + bytes(len(lines[1])) + b"\n" + lines[2])

    second = open_journal(path)
    second.accepted(a_key(3), 0, b"three")
    second.close()
    third = open_journal(path)

    one = third.get(a_key(1))
    assert second.torn and not third.torn, "the file was written anew, without the spoilt line"
    assert one is not None and one.sealed == b"report one"
    assert [held.key for held in third.all()] == [a_key(1), a_key(3)]
    third.close()


async def test_line_of_a_newer_agent_with_other_fields_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(module._line(a_key(1), {"op": "accepted", "came": 0}))
    first = open_journal(path)
    first.accepted(a_key(2), 0, b"two")

    assert [held.key for held in first.all()] == [a_key(2)]
    first.close()


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_older_attempt_that_is_still_held_never_lowers_the_epoch_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[int, int]
) -> None:
    monkeypatch.setattr(module, "COMPACT_BYTES", 1)
    path = tmp_path / "journal"
    first = open_journal(path)
    for epoch in order:
        first.accepted(a_key(1, epoch=epoch), 0, b"runs")
    first.accepted(a_key(2), 0, b"other")
    first.forget(a_key(2))
    first.close()

    second = open_journal(path)

    assert second.epoch_seen(a_key(1).job_id) == 2
    second.close()


async def test_clock_that_jumps_ahead_does_not_forget_the_newest_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMPACT_BYTES", 1)
    path = tmp_path / "journal"
    first = open_journal(path)
    first.accepted(a_key(1, epoch=3), 0, b"one")
    first.forget(a_key(1, epoch=3))
    monkeypatch.setattr(module, "milliseconds", lambda clock: 32_503_680_000_000)
    first.accepted(a_key(2), 0, b"two")
    first.forget(a_key(2))
    first.close()

    second = open_journal(path)

    assert second.epoch_seen(a_key(1).job_id) == 3
    second.close()


async def test_half_a_line_that_cannot_be_cut_off_spoils_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "input/output error")

    path = tmp_path / "journal"
    first = open_journal(path)
    first.accepted(a_key(1), 0, b"one")
    write = module.os.write
    monkeypatch.setattr(first, "_has_room", lambda: True)
    monkeypatch.setattr(first, "_compact", lambda: None)
    with monkeypatch.context() as patched:
        patched.setattr(module.os, "write", lambda file, data: write(file, data[:10]))
        patched.setattr(module.os, "ftruncate", broken)
        with pytest.raises(JournalFull):
            first.accepted(a_key(2), 0, b"two")
    first.accepted(a_key(3), 0, b"three")
    with monkeypatch.context() as patched:
        patched.setattr(module.os, "write", lambda file, data: write(file, data[:10]))
        with pytest.raises(JournalFull):
            first.accepted(a_key(4), 0, b"four")
    first.close()

    second = open_journal(path)

    assert [held.key for held in second.all()] == [a_key(1), a_key(3)]
    second.close()


async def test_what_ended_on_a_full_disk_is_written_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    first = open_journal(path)
    first.accepted(a_key(1), 0, b"unfinished")
    write = module.os.write
    with monkeypatch.context() as patched:
        patched.setattr(module.os, "write", lambda file, data: write(file, data[:10]))
        patched.setattr(first, "_has_room", lambda: False)
        await first.ended(a_key(1), 7, b"the whole report")
    first.delivered(a_key(1))
    first.close()

    second = open_journal(path)

    kept = second.get(a_key(1))
    assert kept is not None and (kept.sealed, kept.delivered) == (b"the whole report", True)
    second.close()
