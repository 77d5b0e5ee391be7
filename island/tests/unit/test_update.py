"""Self-update: what is refused, whose turn it is, and that the power may go between any two steps."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from archipelag_contracts import releases
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.errors import BadMessage, BadSignature
from archipelag_contracts.releases import File, Release
from archipelag_island.adapters.update.releases import HttpReleases
from archipelag_island.adapters.update.software import SoftwareFolder
from archipelag_island.domain import update as domain
from archipelag_island.domain.update import MOVES, Consent, Laid, Stage
from archipelag_island.errors import BadRelease, ReleaseUnavailable, UpdateUnproven
from archipelag_island.services import drain, execute, update
from archipelag_island.testing.builders import a_key, an_assignment

KEY = CosignKey.generate()
PLATFORM = "linux-x86_64"
OLD, NEW = b"the old one", b"the new one"


def file_of(content: bytes) -> File:
    return File(hashlib.sha256(content).hexdigest(), len(content))


@dataclass
class Shop:
    """Releases from memory, and what is wrong with them."""

    release: Release
    content: bytes = NEW
    key: CosignKey = KEY
    fetched: int = 0
    spoil: Callable[[bytes], bytes] = field(default=lambda made: made)

    async def newest(self) -> tuple[bytes, bytes]:
        made = releases.document(self.release)
        return self.spoil(made), releases.sign(self.key, made)

    async def file(self, file: File) -> AsyncIterator[bytes]:
        self.fetched += 1
        for at in range(0, len(self.content), 4):
            yield self.content[at : at + 4]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "versions").mkdir()
    old = file_of(OLD).digest
    (tmp_path / "versions" / old).write_bytes(OLD)
    (tmp_path / "current").symlink_to(f"versions/{old}")
    (tmp_path / "highest").write_text("3\n")
    return tmp_path


Scene = Any


@pytest.fixture
def scene(stage: Any, folder: Path) -> Scene:
    """An Island, a release that it may take at once, and its software."""
    now = int(stage.clock.now().timestamp())
    release = Release(4, "0.2.0", now, now + 10_000, ((100, 0),), {PLATFORM: file_of(NEW)})
    shop = Shop(release)
    stage.shop, stage.software = shop, SoftwareFolder(folder)

    async def sleep(seconds: float) -> None:
        stage.clock.seconds += seconds
        await asyncio.sleep(0)

    stage.updates = update.Updates(shop, stage.software, KEY.public, PLATFORM, Consent(), sleep)
    return stage


async def refused(scene: Scene, *errors: type[Exception]) -> None:
    before = scene.software.laid()

    with pytest.raises(errors):
        await update.look(scene.world, scene.updates)

    assert scene.software.laid() == before and scene.software.highest() == 3


async def test_an_older_release_is_refused(scene: Scene) -> None:
    scene.shop.release = replace(scene.shop.release, number=2)

    await refused(scene, BadRelease)
    assert scene.shop.fetched == 0


async def test_an_expired_release_is_refused(scene: Scene) -> None:
    release = scene.shop.release
    scene.shop.release = replace(
        release, issued_at=release.issued_at - 20_000, expires_at=release.issued_at
    )

    await refused(scene, BadRelease)


async def test_a_release_from_the_far_future_is_refused(scene: Scene) -> None:
    day = 86_400
    release = scene.shop.release
    scene.shop.release = replace(
        release, issued_at=release.issued_at + 2 * day, expires_at=release.issued_at + 9 * day
    )

    await refused(scene, BadRelease)


async def test_a_release_by_another_key_is_refused(scene: Scene) -> None:
    scene.shop.key = CosignKey.generate()

    await refused(scene, BadSignature)


async def test_a_release_that_was_changed_is_refused(scene: Scene) -> None:
    scene.shop.spoil = lambda made: made.replace(b"0.2.0", b"0.9.0")

    await refused(scene, BadSignature, BadMessage)


@pytest.mark.parametrize(
    "content", [NEW[:-1], NEW + b"!", NEW.replace(b"new", b"odd"), b"", NEW * 100]
)
async def test_a_file_that_is_not_the_signed_one_is_not_kept(content: bytes, scene: Scene) -> None:
    scene.shop.content = content
    before = scene.software.laid()

    with pytest.raises(BadRelease):
        await update.look(scene.world, scene.updates)

    assert scene.software.laid() == before
    assert not list(scene.software._folder.glob("versions/*.part"))


async def test_a_full_disk_is_told_and_leaves_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    scene.software.note(4)
    monkeypatch.setattr(os, "fsync", full)
    before = scene.software.laid()

    with pytest.raises(ReleaseUnavailable, match="disk is full"):
        await update.look(scene.world, scene.updates)

    assert scene.software.laid() == before
    assert not list(scene.software._folder.glob("versions/*.part"))


async def test_the_highest_number_outlives_what_is_offered(scene: Scene) -> None:
    scene.updates = replace(scene.updates, consent=Consent(on=False))

    assert await update.look(scene.world, scene.updates) is None
    assert scene.software.highest() == 4
    scene.software.note(1)
    assert scene.software.highest() == 4


def test_a_damaged_number_is_not_taken_for_none(folder: Path) -> None:
    (folder / "highest").write_text("x\n")

    with pytest.raises(ReleaseUnavailable, match="damaged"):
        SoftwareFolder(folder).highest()


NOW = 1_000_000
RELEASE = Release(4, "0.2.0", NOW, NOW + 999, ((100, 0),), {PLATFORM: file_of(NEW)})
LAID = Laid(current=file_of(OLD).digest, files=frozenset({file_of(OLD).digest}))


@pytest.mark.parametrize(
    ("release", "laid", "consent", "taken"),
    [
        (RELEASE, LAID, Consent(), True),
        (RELEASE, LAID, Consent(on=False), False),
        (RELEASE, LAID, Consent(pin="0.1.0"), False),
        (replace(RELEASE, waves=((0, 0),)), LAID, Consent(pin="0.2.0"), True),
        (replace(RELEASE, waves=((100, 1),)), LAID, Consent(), False),
        (replace(RELEASE, files={"linux-other": file_of(NEW)}), LAID, Consent(), False),
        (RELEASE, replace(LAID, current=file_of(NEW).digest), Consent(), False),
        (RELEASE, replace(LAID, refused=frozenset({file_of(NEW).digest})), Consent(), False),
    ],
    ids=[
        "taken",
        "off",
        "pinned elsewhere",
        "pinned",
        "not its turn",
        "no file",
        "has it",
        "failed",
    ],
)
def test_each_owner_and_each_island_in_its_turn(
    release: Release, laid: Laid, consent: Consent, taken: bool
) -> None:
    chosen = domain.choose(release, laid, consent, island="isl_1", platform=PLATFORM, now=NOW)

    assert (chosen is not None) is taken


async def test_nothing_is_armed_while_something_runs(scene: Scene) -> None:
    await scene.warm()
    scene.start(drain.drain_for_ever(scene.world))
    scene.runtime.knobs.stall_at = 1
    execute.accept(scene.world, an_assignment(a_key(1)))
    await scene.until(scene.link.texts)
    armed_with: list[int] = []
    arm = scene.software.arm
    scene.software.arm = lambda digest: (armed_with.append(len(scene.world.now.runs)), arm(digest))

    file = await update.look(scene.world, scene.updates)
    assert file is not None
    changed = await update.change(scene.world, scene.updates, file)

    assert changed and armed_with == [0]
    assert scene.software.laid().stage is Stage.ARMED


async def test_an_owners_own_drain_is_left_alone(scene: Scene) -> None:
    drain.begin(scene.world, 60)
    file = await update.look(scene.world, scene.updates)
    assert file is not None

    assert not await update.change(scene.world, scene.updates, file)
    assert scene.software.laid().stage is Stage.FETCHED


async def test_the_agent_ends_once_armed_and_proves_itself_when_it_is_tried(scene: Scene) -> None:
    await update.update_for_ever(scene.world, scene.updates, on_trial=False)
    assert scene.software.laid().stage is Stage.ARMED

    (scene.software._folder / "trying").write_text("started\n")
    scene.world.now.connected = True
    await update.prove(scene.world, scene.updates)

    laid = scene.software.laid()
    assert laid.current == file_of(NEW).digest and not laid.trial
    assert file_of(OLD).digest in laid.files, "the one before is kept"


async def test_a_trial_that_no_coordinator_answers_ends_unconfirmed(scene: Scene) -> None:
    await update.update_for_ever(scene.world, scene.updates, on_trial=False)
    (scene.software._folder / "trying").write_text("started\n")
    scene.world.now.connected = False

    with pytest.raises(UpdateUnproven):
        await update.prove(scene.world, scene.updates)

    assert scene.software.laid().stage is Stage.TRYING


class PowerCut(BaseException):
    pass


STEPS = (
    (Path, "replace"),
    (Path, "unlink"),
    (Path, "symlink_to"),
    (Path, "chmod"),
    (os, "fsync"),
)


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`power(n)`: from the n-th step on a disk, nothing happens any more."""
    left = [10**9]

    def step(real: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise PowerCut
            return real(*arguments, **named)

        return instead

    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, step(getattr(owner, name)))
    return lambda number: left.__setitem__(0, number)


@pytest.mark.parametrize("number", range(24))
async def test_the_power_may_go_between_any_two_steps(
    number: int, folder: Path, power: Callable[[int], None]
) -> None:
    software = SoftwareFolder(folder)
    shop, old, new = Shop(RELEASE), file_of(OLD), file_of(NEW)
    stages: list[Stage] = [software.laid().stage]

    async def whole_way() -> None:
        software.note(4)
        await software.lay(new, shop.file(new))
        stages.append(software.laid().stage)
        software.arm(new.digest)
        stages.append(software.laid().stage)
        (folder / "trying").write_text("started\n")
        stages.append(software.laid().stage)
        software.confirm()

    power(number)
    with suppress(PowerCut):
        await whole_way()
    power(10**9)

    laid = SoftwareFolder(folder).laid()
    assert laid.current in (old.digest, new.digest)
    for name in ("current", "trial"):
        if (folder / name).is_symlink():
            content = (folder / name).read_bytes()
            assert file_of(content).digest == (folder / name).readlink().name
    assert software.highest() in (3, 4)
    for one, another in pairwise(stages):
        assert another in MOVES[one]
    # And whoever comes back gets there.
    (folder / "trial").unlink(missing_ok=True)
    await software.lay(new, shop.file(new))
    software.arm(new.digest)
    assert software.laid().stage is Stage.ARMED, "tries of the one before would count"
    software.confirm()
    assert software.laid().current == new.digest and software.laid().stage is Stage.SETTLED


def test_every_stage_has_its_moves() -> None:
    assert set(MOVES) == set(Stage)
    assert Stage.TRYING not in MOVES[Stage.FETCHED], "nothing is tried that was not armed"


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 1000


async def test_what_is_fetched_is_bounded_and_errors_say_where() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("release.json"):
            return httpx.Response(200, content=endless())
        return httpx.Response(404)

    shop = HttpReleases("https://example.org/releases/", httpx.MockTransport(answer))

    with pytest.raises(ReleaseUnavailable, match="larger"):
        await shop.newest()
    with pytest.raises(ReleaseUnavailable, match="answers 404"):
        [chunk async for chunk in shop.file(file_of(NEW))]
    with pytest.raises(ReleaseUnavailable):
        await HttpReleases("nonsense://").newest()
