"""Files of a run: what is fetched is what was assigned, what is sent is what the Cargo made, and neither stays."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from archipelag_contracts.ids import Epoch, FileId, JobId
from archipelag_contracts.pb.archipelag.v1 import common_pb2
from archipelag_contracts.pb.archipelag.v1 import files_pb2 as pb
from archipelag_island.adapters.files import PIECE_BYTES, CoordinatorFiles
from archipelag_island.domain.attempt import AttemptKey, FileRef
from archipelag_island.domain.backoff import Backoff
from archipelag_island.errors import BrokerUnreachable, FilesUnavailable, NoAnswer
from archipelag_island.runtime import FilePart
from archipelag_island.testing.builders import an_assignment

KEY = AttemptKey(JobId("job_" + "0" * 26), Epoch(1))
FILE = FileId("file_" + "a" * 32)


@dataclass
class Coordinator:
    """Answers as one does, after the troubles that a test puts first."""

    inputs: dict[str, bytes] = field(default_factory=dict)
    made: dict[str, bytes] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    troubles: list[Exception | int] = field(default_factory=list)
    asked: int = 0

    async def ask(self, payload: bytes) -> bytes:
        self.asked += 1
        if self.troubles:
            trouble = self.troubles.pop(0)
            if isinstance(trouble, Exception):
                raise trouble
            return pb.FileReply(refused=trouble).SerializeToString()  # type: ignore[arg-type]
        request = pb.FileRequest.FromString(payload)
        assert (request.job_id, request.epoch) == KEY
        if request.HasField("read"):
            read = request.read
            data = self.inputs[read.file_id][read.offset : read.offset + read.length]
            return pb.FileReply(data=data).SerializeToString()
        return self._write(request.write).SerializeToString()

    def _write(self, write: pb.FileWrite) -> pb.FileReply:
        before = self.made.get(write.name, b"")
        assert write.offset == len(before), "parts come in order"
        assert len(write.data) == PIECE_BYTES or write.last
        self.made[write.name] = before + write.data
        reply = pb.FileReply(next_offset=len(self.made[write.name]))
        if write.last:
            self.whole[write.name] = write.sha256.hex()
            reply.file.CopyFrom(common_pb2.FileRef(file_id=FILE))
        return reply


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
def files(coordinator: Coordinator, tmp_path: Path) -> CoordinatorFiles:
    return of(coordinator, tmp_path)


def of(coordinator: Coordinator, folder: Path, **changes: Any) -> CoordinatorFiles:
    options: dict[str, Any] = {
        "over": lambda _: None,
        "backoff": lambda: Backoff(0.001, 0.002, Random(1)),
        "free_bytes": lambda _: 1 << 40,
    }
    return CoordinatorFiles(coordinator.ask, folder / "inputs", **options | changes)


def assigned(*datas: bytes) -> tuple[Any, dict[str, bytes]]:
    named = {FileId(f"file_{n:032x}"): data for n, data in enumerate(datas)}
    refs = tuple(
        FileRef(name, hashlib.sha256(data).digest(), len(data)) for name, data in named.items()
    )
    return an_assignment(key=KEY, files=refs), dict(named)


def parts(data: bytes, name: str = "out.bin", size: int = 100_000) -> list[FilePart]:
    pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    made = [FilePart(name, "text/plain", piece) for piece in pieces[:-1]]
    return [*made, FilePart(name, "text/plain", pieces[-1], True, hashlib.sha256(data).digest())]


async def fetch(files: CoordinatorFiles, assignment: Any) -> list[bytes]:
    """What the run would read."""
    async with files.inputs(assignment) as found:
        return [one.path.read_bytes() for one in found]


async def send(files: CoordinatorFiles, made: list[FilePart]) -> None:
    at = 0
    for part in made:
        await files.send(KEY, at, part)
        at += len(part.data)


async def test_inputs_lie_under_their_ids_until_the_run_is_over(
    coordinator: Coordinator, files: CoordinatorFiles, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 7000
    assignment, coordinator.inputs = assigned(data, b"small", b"")

    async with files.inputs(assignment) as found:
        read = [(one.name, one.path.read_bytes()) for one in found]
        modes = {stat.S_IMODE(one.path.stat().st_mode) for one in found}

    assert read == list(coordinator.inputs.items()) and modes == {0o644}
    assert list((tmp_path / "inputs").iterdir()) == []


@pytest.mark.parametrize("wrong", [b"other", b"inpu", b"input and more", b""])
async def test_what_was_not_assigned_is_not_taken(
    coordinator: Coordinator, files: CoordinatorFiles, tmp_path: Path, wrong: bytes
) -> None:
    assignment, named = assigned(b"input")
    coordinator.inputs = dict.fromkeys(named, wrong)
    if wrong == b"input and more":
        coordinator.inputs = dict.fromkeys(named, b"inpux")

    with pytest.raises(FilesUnavailable):
        await fetch(files, assignment)
    assert list((tmp_path / "inputs").iterdir()) == []


async def test_inputs_of_all_runs_keep_to_the_cap_and_the_disk(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    assignment, coordinator.inputs = assigned(b"12345")
    capped = of(coordinator, tmp_path, over=lambda size: "the cap" if size > 9 else None)
    other = an_assignment(key=AttemptKey(KEY.job_id, Epoch(2)), files=assignment.files)

    async with capped.inputs(assignment):
        with pytest.raises(FilesUnavailable, match="the cap"):
            await fetch(capped, other)
    await fetch(capped, assignment)
    with pytest.raises(FilesUnavailable, match="disk is full"):
        await fetch(of(coordinator, tmp_path, free_bytes=lambda _: 1 << 20), assignment)


async def test_what_a_dead_process_left_is_removed_at_the_start(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    left = tmp_path / "inputs" / "job" / "file"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"old")

    of(coordinator, tmp_path)

    assert not left.exists()


async def test_a_job_without_files_asks_nothing(
    coordinator: Coordinator, files: CoordinatorFiles, tmp_path: Path
) -> None:
    assert await fetch(files, an_assignment(key=KEY)) == []
    assert coordinator.asked == 0 and not (tmp_path / "inputs").exists()


async def test_a_question_is_asked_again_while_an_answer_may_come(
    coordinator: Coordinator, files: CoordinatorFiles
) -> None:
    assignment, coordinator.inputs = assigned(b"input")
    coordinator.troubles = [
        NoAnswer("late"),
        BrokerUnreachable("away"),
        pb.FileReply.REFUSED_TRY_AGAIN,
    ]

    assert await fetch(files, assignment) == [b"input"] and coordinator.asked == 4


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        (pb.FileReply.REFUSED_STALE, "no longer"),
        (pb.FileReply.REFUSED_LOST, "lost"),
        (99, "refused"),
    ],
)
async def test_a_refusal_is_final_and_says_why(
    coordinator: Coordinator, files: CoordinatorFiles, refused: int, told: str
) -> None:
    assignment, coordinator.inputs = assigned(b"input")
    coordinator.troubles = [refused] * 9

    with pytest.raises(FilesUnavailable, match=told):
        await fetch(files, assignment)
    assert coordinator.asked == 1


async def test_nobody_is_asked_for_ever(coordinator: Coordinator, files: CoordinatorFiles) -> None:
    assignment, coordinator.inputs = assigned(b"input")
    coordinator.troubles = [NoAnswer("late") for _ in range(99)]

    with pytest.raises(FilesUnavailable, match="late"):
        await fetch(files, assignment)
    assert coordinator.asked < 20


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 5])
async def test_outputs_arrive_as_they_were_made(
    coordinator: Coordinator, files: CoordinatorFiles, size: int
) -> None:
    data = Random(1).randbytes(size)
    async with files.inputs(an_assignment(key=KEY)):
        await send(files, parts(data))

    assert coordinator.made == {"out.bin": data}
    assert coordinator.whole == {"out.bin": hashlib.sha256(data).hexdigest()}


async def test_two_outputs_may_come_by_turns(
    coordinator: Coordinator, files: CoordinatorFiles
) -> None:
    one, other = parts(b"a" * 650_000, "a"), parts(b"b" * 650_000, "b")
    at = 0
    for pair in zip(one, other, strict=True):
        for part in pair:
            await files.send(KEY, at, part)
        at += len(pair[0].data)

    assert coordinator.made == {"a": b"a" * 650_000, "b": b"b" * 650_000}


async def test_what_was_left_of_an_output_goes_with_its_run(
    coordinator: Coordinator, files: CoordinatorFiles
) -> None:
    async with files.inputs(an_assignment(key=KEY)):
        await files.send(KEY, 0, FilePart("a", "", b"half"))
    async with files.inputs(an_assignment(key=KEY)):
        await files.send(KEY, 0, FilePart("a", "", b"whole", True))

    assert coordinator.made == {"a": b"whole"}


@pytest.mark.parametrize(
    "reply", [pb.FileReply(next_offset=7), pb.FileReply(next_offset=1)], ids=["another", "no name"]
)
async def test_a_coordinator_that_has_another_part_is_told_apart(
    tmp_path: Path, reply: pb.FileReply
) -> None:
    async def confused(payload: bytes) -> bytes:
        return reply.SerializeToString()

    odd = CoordinatorFiles(
        confused,
        tmp_path,
        over=lambda _: None,
        backoff=lambda: Backoff(0.001, 0.001, Random(1)),
    )
    with pytest.raises(FilesUnavailable, match="another part"):
        await odd.send(KEY, 0, FilePart("a", "", b"x", True))
