"""Files of a job, for the Island that holds it and for nobody else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from archipelag_contracts.ids import Epoch, FileId, IslandId
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.file import JOB_OUTPUT, OUTPUTS_MAX, PIECE_BYTES, File
from archipelag_coordinator.domain.file_fields import files_of
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.errors import (
    Conflict,
    ContentLost,
    CoordinatorError,
    InvalidInput,
    NotFound,
    StaleAttempt,
    StorageExceeded,
    TooLarge,
)
from archipelag_coordinator.services.cancel import cancel
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.failover import failover
from archipelag_coordinator.services.files import (
    delete_file,
    files_of_job,
    find_file,
    list_files,
    read_whole,
    sweep_files,
)
from archipelag_coordinator.services.serve_files import (
    Holder,
    Piece,
    Taken,
    read_input,
    write_output,
)
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.upload import upload
from archipelag_coordinator.testing.builders import an_id
from archipelag_coordinator.testing.worlds import Scene, a_scene

SCHEMA = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "file"},
        "more": {"type": "array", "items": {"type": "string", "format": "file"}},
    },
}


@dataclass
class Work:
    """A running job that reads one file, and the Island that holds it."""

    scene: Scene
    file: File
    job: Job
    holder: Holder

    @classmethod
    async def begun(cls, policy: Policy | None = None, data: bytes = b"input") -> Work:
        scene = await a_scene(kind="json", slug="transcode", input=SCHEMA, policy=policy)
        island = await scene.island()
        file = await kept(scene, data)
        job = await scene.running(input={"file": file.id}, interactive=False)
        holder = Holder(island.id, job.id, Epoch(job.epoch))
        return cls(scene, file, job, holder)

    async def write(self, data: bytes, name: str = "out.bin", **changes: Any) -> Taken:
        """A whole small file in one piece."""
        piece = Piece(name, "", 0, data, last=True, sha256=sum_of(data))
        return await write_output(self.scene.world, self.holder, replace(piece, **changes))

    async def succeed(self) -> None:
        self.scene.stream(self.job, "{}")
        await track(self.scene.world, self.scene.report(self.job, "{}"))

    async def made(self) -> list[File]:
        return await files_of_job(self.scene.world, self.scene.user.id, self.job.id)


async def kept(scene: Scene, data: bytes, name: str = "in.bin", owner: Any = None) -> File:
    async def parts() -> Any:
        yield data

    sent = await upload(scene.world, (owner or scene.user).id, parts())
    return await sent.finish(name=name, purpose="user_data", kept_s=3600)


def sum_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_the_holder_reads_its_job_s_file_part_by_part() -> None:
    data = bytes(range(256)) * 5000
    work = await Work.begun(data=data)
    read = b""
    while len(read) < len(data):
        length = min(300_000, PIECE_BYTES)
        read += await read_input(work.scene.world, work.holder, work.file.id, len(read), length)

    assert read == data
    (assigned,) = work.scene.bus.assigned
    assert [(one.file_id, one.sha256) for one in assigned.files] == [(work.file.id, sum_of(data))]


async def test_an_island_is_shown_no_other_file() -> None:
    work = await Work.begun()
    other = await kept(work.scene, b"private")

    with pytest.raises(NotFound):
        await read_input(work.scene.world, work.holder, other.id, 0, 10)
    with pytest.raises(NotFound):
        await read_input(work.scene.world, work.holder, FileId("file_" + "0" * 32), 0, 10)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda h: replace(h, island_id=IslandId(an_id("isl"))),
        lambda h: replace(h, epoch=Epoch(h.epoch + 1)),
        lambda h: replace(h, job_id=an_id("job")),
    ],
    ids=["another Island", "an epoch to come", "another job"],
)
async def test_whoever_does_not_hold_the_attempt_gets_and_makes_nothing(
    wrong: Callable[[Holder], Holder],
) -> None:
    work = await Work.begun()
    holder = wrong(work.holder)

    with pytest.raises(StaleAttempt):
        await read_input(work.scene.world, holder, work.file.id, 0, 10)
    piece = Piece("a", "", 0, b"x", last=True, sha256=sum_of(b"x"))
    with pytest.raises(StaleAttempt):
        await write_output(work.scene.world, holder, piece)


async def test_an_old_epoch_is_refused_and_what_it_made_is_not_shown() -> None:
    work = await Work.begun()
    second = await work.scene.island(name="second")
    await work.write(b"half the truth")
    await failover(work.scene.world, work.job.id, work.job.epoch, Cause.LEASE_LOST, "silent")
    job = await dispatch(work.scene.world, work.job.id)
    assert job.epoch == 2 and work.scene.bus.assigned[-1].island_id == second.id
    assert [one.file_id for one in work.scene.bus.assigned[-1].files] == [work.file.id]

    with pytest.raises(StaleAttempt):
        await work.write(b"late", name="late.bin")
    work.job, work.holder = job, Holder(second.id, job.id, Epoch(2))
    await work.write(b"the truth")
    await work.succeed()

    (made,) = await work.made()
    assert (made.epoch, await read_whole(work.scene.world, made, bytes_max=99)) == (2, b"the truth")


async def test_a_file_is_the_customers_once_it_is_whole_and_the_job_has_succeeded() -> None:
    work = await Work.begun()
    taken = await work.write(b"\x89PNG\r\n\x1a\n", name="a.png", media_type="text/html")
    assert taken.file is not None
    early = (await list_files(work.scene.world, work.scene.user.id, limit=9))[0]

    await work.succeed()

    (made,) = await work.made()
    assert early == [work.file] and made.id == taken.file
    assert (made.name, made.purpose, made.media_type) == ("a.png", JOB_OUTPUT, "image/png")
    assert (made.expires_at - made.created_at).days == 7
    assert await find_file(work.scene.world, work.scene.user.id, made.id) == made


async def test_large_output_comes_in_pieces_and_the_same_piece_twice_is_once() -> None:
    work = await Work.begun()
    data = b"a" * PIECE_BYTES + b"b" * PIECE_BYTES + b"end"
    pieces = [
        Piece("out", "", at, data[at : at + PIECE_BYTES], last=False, sha256="")
        for at in (0, PIECE_BYTES)
    ]
    last = Piece("out", "", 2 * PIECE_BYTES, b"end", last=True, sha256=sum_of(data))
    received = []
    for piece in (pieces[0], pieces[0], pieces[1], pieces[0], last, last, pieces[1]):
        received.append(await write_output(work.scene.world, work.holder, piece))
    await work.succeed()

    (made,) = await work.made()
    whole = Taken(len(data), made.id)
    sizes = [PIECE_BYTES, PIECE_BYTES, 2 * PIECE_BYTES, 2 * PIECE_BYTES]
    assert received == [*(Taken(size) for size in sizes), whole, whole, whole]
    assert await read_whole(work.scene.world, made, bytes_max=1 << 30) == data


async def test_a_whole_number_of_pieces_ends_with_an_empty_one() -> None:
    work = await Work.begun()
    data = b"a" * PIECE_BYTES
    await write_output(
        work.scene.world, work.holder, Piece("out", "", 0, data, last=False, sha256="")
    )
    last = Piece("out", "", PIECE_BYTES, b"", last=True, sha256=sum_of(data))
    taken = await write_output(work.scene.world, work.holder, last)

    assert taken.received == PIECE_BYTES and taken.file is not None


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": "../up"}, InvalidInput),
        ({"name": ""}, InvalidInput),
        ({"name": "a\x00"}, InvalidInput),
        ({"offset": 1}, InvalidInput),
        ({"offset": PIECE_BYTES}, Conflict),
        ({"data": bytes(PIECE_BYTES + 1)}, InvalidInput),
        ({"last": False}, InvalidInput),
        ({"sha256": ""}, InvalidInput),
        ({"sha256": sum_of(b"other")}, InvalidInput),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_a_piece_that_does_not_fit_is_refused(
    changes: dict[str, Any], error: type[CoordinatorError]
) -> None:
    work = await Work.begun()

    piece = Piece("out.bin", "", 0, b"x", last=True, sha256=sum_of(b"x"))
    with pytest.raises(error):
        await write_output(work.scene.world, work.holder, replace(piece, **changes))
    await work.succeed()

    assert await work.made() == []


async def test_other_content_under_the_same_name_is_refused() -> None:
    work = await Work.begun()
    await write_output(
        work.scene.world, work.holder, Piece("b", "", 0, bytes(PIECE_BYTES), False, "")
    )
    await work.write(b"first")

    with pytest.raises(Conflict):
        await work.write(b"second")
    other = Piece("b", "", 0, b"x" * PIECE_BYTES, False, "")
    with pytest.raises(Conflict):
        await write_output(work.scene.world, work.holder, other)


async def test_what_a_job_makes_is_bounded() -> None:
    work = await Work.begun(Policy(file_bytes_max=100))
    for number in range(OUTPUTS_MAX):
        await work.write(b"x", name=f"{number}")

    with pytest.raises(TooLarge):
        await work.write(b"x", name="one more")
    with pytest.raises(TooLarge):
        await (await Work.begun(Policy(file_bytes_max=100))).write(bytes(101))
    with pytest.raises(StorageExceeded):
        await (await Work.begun(Policy(files_bytes_max=100))).write(bytes(101))


async def test_a_piece_that_the_store_lost_makes_no_file() -> None:
    work = await Work.begun()
    piece = Piece("out", "", 0, bytes(PIECE_BYTES), last=False, sha256="")
    await write_output(work.scene.world, work.holder, piece)
    pieces = work.scene.world.blobs.pieces  # type: ignore[attr-defined]
    written = next(key for key in pieces if len(pieces[key]) == PIECE_BYTES)
    pieces[written] = b"x" * PIECE_BYTES

    last = Piece("out", "", PIECE_BYTES, b"", last=True, sha256=sum_of(bytes(PIECE_BYTES)))
    with pytest.raises(ContentLost):
        await write_output(work.scene.world, work.holder, last)


async def test_a_lost_input_is_told_as_lost() -> None:
    work = await Work.begun()
    work.scene.world.blobs.pieces.clear()  # type: ignore[attr-defined]

    with pytest.raises(ContentLost):
        await read_input(work.scene.world, work.holder, work.file.id, 0, 5)


async def test_a_file_that_is_deleted_meanwhile_stays_readable_for_the_job() -> None:
    work = await Work.begun()
    await delete_file(work.scene.world, work.scene.user.id, work.file.id)
    await sweep_files(work.scene.world, 100)

    assert await read_input(work.scene.world, work.holder, work.file.id, 0, 5) == b"input"

    await cancel(work.scene.world, work.scene.user.id, work.job.id)
    await sweep_files(work.scene.world, 100)
    assert work.scene.world.blobs.pieces == {}  # type: ignore[attr-defined]
    with pytest.raises(StaleAttempt):
        await read_input(work.scene.world, work.holder, work.file.id, 0, 5)


async def test_a_job_takes_its_customers_own_files_only() -> None:
    work = await Work.begun()
    stranger = await kept(work.scene, b"private", owner=work.scene.owner)
    before = await work.scene.balance()
    for wrong in (stranger.id, "file_" + "0" * 32, "notes.txt"):
        for given in ({"file": wrong}, {"more": [work.file.id, wrong]}):
            with pytest.raises(InvalidInput) as refused:
                await work.scene.submit(input=given, interactive=False)
            assert list(refused.value.errors) == [["input.file"], ["input.more.1"]]["more" in given]

    assert await work.scene.balance() == before, "nothing is reserved for what was refused"


def test_files_are_found_wherever_the_schema_says() -> None:
    file = FileId("file_" + "a" * 32)
    schema = {
        "type": "object",
        "properties": {
            "one": {"anyOf": [{"type": "string", "format": "file"}, {"type": "null"}]},
            "rows": {"type": "array", "items": SCHEMA},
            "text": {"type": "string"},
        },
        "additionalProperties": {"type": "string", "format": "file"},
    }
    given = {"one": file, "rows": [{"file": file}, {}], "text": file, "other": file, "x": 1}

    found = files_of(schema, given)
    assert found == {"input.one": file, "input.rows.0.file": file, "input.other": file}
    with pytest.raises(InvalidInput, match="16 files"):
        files_of(schema, {"rows": [{"file": file}] * 17})
