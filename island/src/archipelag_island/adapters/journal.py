"""What was running, on disk: an append-only file of checksummed lines, so that a restarted Island knows what it owes.

A line lost to a crash of the machine costs little: an attempt that is not remembered loses its lease, and the
Coordinator gives it to another. So acceptance is only written; reports are flushed to the disk before they are sent.

On a full disk what has ended is kept in memory and sent from there; the whole file is written anew once there is room.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import logging
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import Epoch, JobId

from archipelag_island.clock import Clock, milliseconds
from archipelag_island.domain.admission import FRESH_MS
from archipelag_island.domain.attempt import AttemptKey
from archipelag_island.errors import JournalFull
from archipelag_island.services.ports import Remembered

log = logging.getLogger(__name__)

UNSETTLED_MAX: Final = 2_000
UNSETTLED_BYTES_MAX: Final = 256 << 20
DISK_FREE_BYTES_MIN: Final = 32 << 20
# Rewritten when it is this large and mostly of what no longer matters.
COMPACT_BYTES: Final = 1 << 20
# Epochs are remembered as long as a replay could be fresh, and the newest of them whatever the clock says.
SEEN_KEPT_MIN: Final = 1_000


class FileJournal:
    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._held: dict[AttemptKey, Remembered] = {}
        self._unfinished: dict[AttemptKey, bytes] = {}
        self._seen: dict[JobId, tuple[int, int]] = {}  # job → highest epoch, when (Unix ms)
        self._live_bytes = 0
        self._behind = False
        """The file lacks lines that memory has: there was no room for them."""
        self._ragged = False
        """The file ends in half a line that could not be cut off."""
        self._torn = self._read()
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size
        self._compacted_size = 0
        self._closed = False
        self._finish_what_died()

    @property
    def torn(self) -> bool:
        """Whether a crash or the disk had spoilt a line."""
        return self._torn

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._file)

    def trouble(self) -> str:
        if len(self._held) >= UNSETTLED_MAX or self._live_bytes >= UNSETTLED_BYTES_MAX:
            return f"{len(self._held)} attempts here still wait for the Coordinator to settle them"
        try:
            full = not self._has_room()
        except OSError as error:
            return f"this Island's folder cannot be read: {error.strerror}"
        return "this Island's disk is full" if full else ""

    def _has_room(self) -> bool:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize >= DISK_FREE_BYTES_MIN

    def epoch_seen(self, job: JobId) -> int:
        return self._seen.get(job, (0, 0))[0]

    def all(self) -> Sequence[Remembered]:
        return list(self._held.values())

    def get(self, key: AttemptKey) -> Remembered | None:
        return self._held.get(key)

    def accepted(self, key: AttemptKey, first_position: int, unfinished: bytes) -> None:
        if reason := self.trouble():
            raise JournalFull(reason)
        line = {
            "op": "accepted",
            "first": first_position,
            "at": milliseconds(self._clock),
            "sealed": _text(unfinished),
        }
        try:
            self._append(key, line)
        except OSError as error:
            raise JournalFull(f"this Island cannot write its journal: {error.strerror}") from error
        self._apply(key, line)

    async def ended(self, key: AttemptKey, next_position: int, sealed: bytes) -> None:
        line = {"op": "ended", "next": next_position, "sealed": _text(sealed)}
        self._apply(key, line)
        try:
            self._append(key, line)
            await asyncio.to_thread(os.fdatasync, self._file)
        except OSError as error:
            # It is still sent from memory; only a restart before that would lose it.
            log.error("journal_not_written job=%s error=%s", key, error)

    def delivered(self, key: AttemptKey, *, yes: bool = True) -> None:
        if key in self._held and self._held[key].sealed is not None:
            self._note(key, {"op": "delivered", "yes": yes})

    def forget(self, key: AttemptKey) -> None:
        if key in self._held:
            self._note(key, {"op": "forgotten"})
            self._compact_if_due()

    def _note(self, key: AttemptKey, line: dict[str, Any]) -> None:
        self._apply(key, line)
        try:
            self._append(key, line)
        except OSError as error:
            # Without this line a restart sends the report again, which the Coordinator takes in its stride.
            log.warning("journal_not_written job=%s error=%s", key, error)

    def _append(self, key: AttemptKey, line: dict[str, Any]) -> None:
        if self._behind and self._has_room():
            self._compact()
        data = _line(key, line)
        if self._ragged:
            data = b"\n" + data
        try:
            written = os.write(self._file, data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self._behind = True
            self._cut_off()
            raise
        self._ragged = False
        self._size += len(data)

    def _cut_off(self) -> None:
        """Half a line would spoil the next one."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError as error:
            log.warning("journal_not_cut error=%s", error)
            self._ragged = True
            self._size = os.fstat(self._file).st_size

    def _apply(self, key: AttemptKey, line: dict[str, Any]) -> None:
        match line["op"]:
            case "accepted":
                first = int(line["first"])
                self._hold(Remembered(key, first, first, None, False))
                self._unfinished[key] = base64.b64decode(line["sealed"])
                self._saw(key, int(line["at"]))
            case "seen":
                self._saw(key, int(line["at"]))
            case "ended":
                sealed = base64.b64decode(line["sealed"])
                was = self._held.get(key) or Remembered(key, 0, 0, None, False)
                self._hold(replace(was, next_position=int(line["next"]), sealed=sealed))
                self._unfinished.pop(key, None)
            case "delivered":
                if key in self._held:
                    self._hold(replace(self._held[key], delivered=bool(line["yes"])))
            case "forgotten":
                self._drop(key)
                self._unfinished.pop(key, None)
            case other:
                # A newer agent wrote it and this older one runs now: what it cannot read it leaves out.
                log.warning("journal_line_unknown op=%s", other)

    def _saw(self, key: AttemptKey, at: int) -> None:
        """Never lower: after compaction the line of an older attempt may stand below that of a newer one."""
        epoch, was = self._seen.get(key.job_id, (0, 0))
        self._seen[key.job_id] = (max(epoch, key.epoch), max(was, at))

    def _hold(self, remembered: Remembered) -> None:
        was = self._held.get(remembered.key)
        self._live_bytes += len(remembered.sealed or b"") - len(
            (was.sealed if was else None) or b""
        )
        self._held[remembered.key] = remembered

    def _drop(self, key: AttemptKey) -> None:
        was = self._held.pop(key, None)
        self._live_bytes -= len((was.sealed if was else None) or b"")

    def _read(self) -> bool:
        """Every line that holds; a spoilt one hides no other. True: something was spoilt."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return False
        at = good = lost = 0
        for raw in data.splitlines(keepends=True):
            at += len(raw)
            if self._take(raw):
                good = at
            else:
                lost += len(raw)
        if not lost:
            return False
        log.warning("journal_torn kept_bytes=%d lost_bytes=%d", len(data) - lost, lost)
        os.truncate(self._path, good)
        self._behind = True
        return True

    def _take(self, raw: bytes) -> bool:
        """False: this line cannot be believed."""
        parsed = _parse(raw)
        if parsed is None:
            return False
        try:
            self._apply(*parsed)
        except (KeyError, ValueError, TypeError):
            return False
        return True

    def _finish_what_died(self) -> None:
        """Attempts that ran when the last process died end as stopped by the Island: their report lies ready."""
        for key, sealed in tuple(self._unfinished.items()):
            log.info("attempt_interrupted job=%s", key)
            first = self._held[key].first_position
            self._note(key, {"op": "ended", "next": first, "sealed": _text(sealed)})

    def _compact_if_due(self) -> None:
        # Twice what was left the last time: else a journal of what must stay would be rewritten at every line.
        if self._size < max(COMPACT_BYTES, 2 * self._compacted_size, 4 * self._live_bytes):
            return
        self._compact()

    def _compact(self) -> None:
        """Writes the file anew from memory; the old one stays where that fails."""
        horizon = milliseconds(self._clock) - 2 * FRESH_MS
        kept = {key.job_id for key in self._held} | set(list(self._seen)[-SEEN_KEPT_MIN:])
        self._seen = {
            job: (epoch, at)
            for job, (epoch, at) in self._seen.items()
            if at >= horizon or job in kept
        }
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            with temporary.open("wb") as file:
                file.writelines(self._snapshot())
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o600)
            temporary.replace(self._path)
        except OSError as error:
            log.warning("journal_not_compacted error=%s", error)
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            return
        os.close(self._file)
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        self._size = self._compacted_size = os.fstat(self._file).st_size
        self._behind = self._ragged = False

    def _snapshot(self) -> list[bytes]:
        lines = []
        for job, (epoch, at) in self._seen.items():
            lines.append(_line(AttemptKey(job, Epoch(epoch)), {"op": "seen", "at": at}))
        for key, held in self._held.items():
            at = self._seen.get(key.job_id, (0, 0))[1]
            if held.sealed is None:
                sealed = _text(self._unfinished[key])
                line = {"op": "accepted", "first": held.first_position, "at": at, "sealed": sealed}
                lines.append(_line(key, line))
                continue
            sealed = _text(held.sealed)
            lines.append(_line(key, {"op": "ended", "next": held.next_position, "sealed": sealed}))
            if held.delivered:
                lines.append(_line(key, {"op": "delivered", "yes": True}))
        return lines


def _line(key: AttemptKey, line: dict[str, Any]) -> bytes:
    body = json.dumps({"job": key.job_id, "epoch": key.epoch, **line}, separators=(",", ":"))
    data = body.encode()
    return b"%08x %s\n" % (zlib.crc32(data), data)


def _parse(raw: bytes) -> tuple[AttemptKey, dict[str, Any]] | None:
    if not raw.endswith(b"\n") or raw[8:9] != b" ":
        return None
    data = raw[9:-1]
    try:
        if int(raw[:8], 16) != zlib.crc32(data):
            return None
        line = json.loads(data)
        return AttemptKey(ids.job_id(line["job"]), Epoch(int(line["epoch"]))), line
    except (ValueError, KeyError, TypeError, BadId):
        return None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
