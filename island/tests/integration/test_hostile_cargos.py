"""Cargos that mean harm, run by a real Island over a real broker: each ends in an error that names its cause.

The Island is unharmed: it goes on with the next job, and when it stops, nothing of any Cargo is left.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from archipelag_contracts import subjects
from archipelag_contracts.ids import CargoDigest
from archipelag_contracts.manifest import Manifest
from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_contracts.pb.archipelag.v1 import files_pb2
from archipelag_contracts.pb.archipelag.v1 import island_pb2 as island_pb
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as job
from archipelag_contracts.tiers import TIERS
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters.runtimes.native import NativeRuntime, group_parent
from archipelag_island.adapters.runtimes.native import runtime as native
from archipelag_island.adapters.runtimes.native.cgroups import PREFIX
from archipelag_island.adapters.runtimes.native.meter import tree
from archipelag_island.adapters.runtimes.oci import cgroups as oci_cgroups
from archipelag_island.adapters.runtimes.oci import lifecycle, owner
from archipelag_island.adapters.runtimes.oci.direct import EXECUTORS, DirectRuntime
from archipelag_island.domain.outputs import Outputs
from archipelag_island.runtime import CargoSpec, Handle, Runtime, RuntimeInfo
from archipelag_island.services import execute, offer
from archipelag_island.testing import image_root
from archipelag_island.testing.builders import ISLAND, a_key, an_assignment, the_echo_manifest

from . import containers
from .conftest import Broker, Coordinator, StartAgent, free_port

# Not traced: what a hostile Cargo may do in a second, an Island that is traced cannot keep up with.
pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: sandboxes are the kernel's"),
]

MODULE = "archipelag_island.testing.hostile_engine"
MEMORY_MB = 192
SECONDS = 12
PROGRESS_S = 5
START_S = 12.0
RUNTIMES = ("native", EXECUTORS[0])


def hostile(slug: str = "hostile", start: str = "ordinary") -> Manifest:
    made = the_echo_manifest(
        slug=slug,
        engine="hostile",
        description=start,
        resumable=False,
        limits={"seconds": SECONDS, "progress_s": PROGRESS_S},
    )
    return replace(made, needs=replace(made.needs, memory_mb=MEMORY_MB))


class InImage:
    """The native engine from an image, as if that had been pulled: everything but the registry is real."""

    def __init__(self, inner: DirectRuntime, root: Path) -> None:
        self._inner = inner
        self._root = root

    async def probe(self) -> RuntimeInfo:
        return replace(await self._inner.probe(), name="native")

    async def start(self, spec: CargoSpec) -> Handle:
        command = (image_root.PYTHON, "-m", spec.module)
        environment = tuple(image_root.ENVIRONMENT.items())
        return await self._inner.start(
            replace(spec, root=self._root, command=command, environment=environment)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@dataclass
class Stage:
    """A running Island, and the Coordinator's side of the line."""

    coordinator: Coordinator
    agents: StartAgent
    scratch: Path
    manifests: dict[str, Manifest]
    version: int = 1
    keys: Any = None

    async def offer(self, *manifests: Manifest) -> None:
        """These beside the ordinary one."""
        self.version += 1
        self.manifests = {one.slug: one for one in (hostile(), *manifests)}
        await self.coordinator.issue(self.version, list(self.manifests.values()))

    async def begin(self, mode: str, slug: str = "hostile") -> Any:
        """Its key; waits until the Cargo is there."""
        await self.coordinator.until_warm(slug)
        key = a_key(next(self.keys))
        wish = an_assignment(
            key,
            cargo_slug=slug,
            cargo_digest=CargoDigest(self.manifests[slug].digest),
            input=json.dumps({"mode": mode}).encode(),
            deadline_ms=30_000,
        )
        async with asyncio.timeout(PATIENCE_S):
            # It is warm by the last heartbeat, and may just have died.
            while not (reply := await self.coordinator.assign(wish)).accepted:
                assert "hostile" in reply.refusal.reason, reply
                await asyncio.sleep(0.2)
        return key

    async def end_of(self, key: Any) -> job.Report:
        def found() -> job.Report | None:
            return next((r for r in self.coordinator.reports if r.job_id == key.job_id), None)

        await self.coordinator.until(found, "the report")
        report = found()
        assert report is not None
        return report

    async def run(self, mode: str, slug: str = "hostile") -> job.Report:
        return await self.end_of(await self.begin(mode, slug))

    async def assert_serves(self) -> None:
        after = await self.run("good")
        assert after.cause == common.CAUSE_COMPLETED, after.error
        assert list(after.texts) == ["still", "there"]

    def reason_of(self, slug: str) -> str:
        """Why it cannot be had; empty while it is tried."""
        beats = self.coordinator.beats
        failed = island_pb.CargoState.STATE_FAILED
        return next(
            (c.reason for c in (beats[-1].cargos if beats else ()) if c.slug == slug and c.state == failed), ""
        )  # fmt: skip


async def _take_files(coordinator: Coordinator) -> None:
    """A Coordinator that takes every part of a file."""
    sizes: dict[tuple[str, str], int] = {}

    async def answer(message: Any) -> None:
        write = files_pb2.FileRequest.FromString(message.data).write
        wanted = files_pb2.FileRequest.FromString(message.data).job_id
        at = (wanted, write.name)
        sizes[at] = sizes.get(at, 0) + len(write.data)
        reply = files_pb2.FileReply(next_offset=sizes[at])
        if write.last:
            reply.file.file_id = "file_1"
        await coordinator.client.publish(message.reply, reply.SerializeToString())

    await coordinator.client.subscribe(subjects.files(ISLAND), cb=answer)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=RUNTIMES)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    with ExitStack() as stack:
        runtime, folder = _runtime(request, stack)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # Whoever died is started again soon, and whoever never speaks is given up soon.
        patch.setattr(offer, "HEALTHY_S", 0.0)
        patch.setattr(offer, "SILENT_S", 3.0)
        patch.setattr(native, "START_S", START_S)
        patch.setattr(lifecycle, "START_S", START_S)
        patch.setattr(execute, "Outputs", partial(Outputs, bytes_max=8 << 20))
        async with _playing(runtime, folder) as made:
            yield made


def _runtime(request: pytest.FixtureRequest, stack: ExitStack) -> tuple[Runtime, Path]:
    kind: str = request.param
    # Not pytest's own folder, which is closed to the Cargo's user.
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hostile-")))
    folder.chmod(0o755)
    runtime: Runtime = NativeRuntime(folder)
    if kind != "native":
        if why := containers.why_not(kind):
            pytest.skip(why)
        root: Path = request.getfixturevalue("image")
        runtime = InImage(DirectRuntime(folder, executors=(kind,)), root)
    return runtime, folder


class _playing:  # noqa: N801 - reads as a phrase
    """Broker, Coordinator and Island; asserts in the end that nothing is left."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self._runtime, self._folder = runtime, folder

    async def __aenter__(self) -> Stage:
        self._before = set(tree(os.getpid()))
        self._broker = Broker(free_port(), self._folder / "nats")
        await self._broker.start()
        self._coordinator = Coordinator(self._broker.url, interval_ms=200)
        await self._coordinator.start()
        await _take_files(self._coordinator)
        self._agents = StartAgent(self._folder / "island", self._broker, self._coordinator)
        self._agents.enrolled(catalogue=True)
        stage = Stage(self._coordinator, self._agents, self._folder, {}, keys=count(1))
        await stage.offer()
        self._agents({"extra_engines": {"hostile": MODULE}}, runtime=self._runtime)
        return stage

    async def __aexit__(self, *_: object) -> None:
        try:
            for running in self._agents.started:
                if not running.task.done():
                    await running.stop()
            assert self._broker.process is not None
            living = set(tree(os.getpid())) - self._before - {self._broker.process.pid}
            assert not [containers.told(pid, "cmdline") for pid in living]
            assert not list(self._folder.glob("archipelag-*"))
            assert not [name for name in oci_cgroups.names() if name.startswith(owner.prefix())]
            assert f" {self._folder}/" not in containers.told(os.getpid(), "mountinfo")
            async with asyncio.timeout(PATIENCE_S):
                while _groups():  # noqa: ASYNC110 - one is removed once the kernel has ended all in it
                    await asyncio.sleep(0.1)
        finally:
            await self._coordinator.close()
            await self._broker.stop()


def _groups() -> list[Path]:
    """Control groups that native Cargos of this process have."""
    parent = group_parent.find_parent()
    ours = f"{PREFIX}{os.getpid()}-*"
    return [] if parent is None else [p for f in parent.folders.values() for p in f.glob(ours)]


COMPLETED, FAILED = common.CAUSE_COMPLETED, common.CAUSE_CARGO_FAILED
PROTOCOL = "the Cargo broke its protocol: "
# Words in this order; what the Cargo had said before may stand between them.
ENDS = {
    "exits": (common.CAUSE_CARGO_DIED, "status 7: …goodbye"),
    "hangs": (common.CAUSE_CARGO_STALLED, f"no progress for {PROGRESS_S} s"),
    "freezes": (common.CAUSE_CARGO_STALLED, f"no progress for {PROGRESS_S} s"),
    "floods": (common.CAUSE_LIMIT_EXCEEDED, f"more than the {SECONDS} s"),
    "huge_message": (FAILED, PROTOCOL + "a message of more than 8388608 bytes"),
    "huge_item": (FAILED, PROTOCOL + "an item of 204800 bytes, 32768 at most"),
    "bad_text": (FAILED, PROTOCOL + "what it sent is no message"),
    "garbage": (FAILED, PROTOCOL + "what it sent is no message"),
    "skips": (FAILED, PROTOCOL + "position 5 came, 0 was due"),
    "goes_back": (FAILED, PROTOCOL + "position 0 came, 1 was due"),
    "negative": (FAILED, PROTOCOL + "position 4294967295 came, 0 was due"),
    "tokens_amiss": (FAILED, PROTOCOL + "2 items came with 1 tokens"),
    "never_ends": (FAILED, "stopped speaking before its end"),
    "full_late": (FAILED, "the Cargo gave up in the middle: no room, after all"),
    "eats_memory": (common.CAUSE_CARGO_DIED, f"more than {MEMORY_MB} MB of memory"),
    "file_up_the_tree": (FAILED, "a file may not be called '../../../etc/cron.d/mine'"),
    "file_absolute": (FAILED, "a file may not be called '/etc/passwd'"),
    "file_without_name": (FAILED, "a file may not be called ''"),
    "file_without_end": (FAILED, "ended without ending its file out.bin"),
    "file_after_its_end": (FAILED, "the file out.bin had ended already"),
    "file_out_of_order": (FAILED, "out.bin is not what its hash says"),
    "file_part_too_large": (FAILED, "a part of a file has 307200 bytes, 262144 at most"),
    "files_without_number": (FAILED, "more than 64 files"),
    "file_endless": (FAILED, "more than 8388608 bytes of files"),
}


@pytest.mark.parametrize("mode", ENDS)
async def test_hostile_cargo_ends_in_an_error_and_the_next_job_is_served(
    stage: Stage, mode: str
) -> None:
    cause, words = ENDS[mode]

    report = await stage.run(mode)

    assert re.search(".*".join(map(re.escape, words.split("…"))), report.error), report.error
    assert report.cause == cause
    await stage.assert_serves()


@pytest.mark.parametrize(
    ("mode", "words"),
    [("fills_tmp", "No space left on device"), ("endless_errors", "still")],
)
async def test_what_is_bounded_does_no_harm(stage: Stage, mode: str, words: str) -> None:
    report = await stage.run(mode)

    assert report.cause == COMPLETED, report.error
    assert words in "".join(report.texts)
    await stage.assert_serves()


async def test_items_without_end_are_cut_where_the_job_ends(stage: Stage) -> None:
    report = await stage.run("floods_items")

    assert (report.cause, report.finish_reason) == (COMPLETED, "length")
    assert report.next_position == 1000
    await stage.assert_serves()


async def test_heartbeats_go_on_and_a_cancel_is_obeyed_in_a_flood(stage: Stage) -> None:
    key = await stage.begin("floods")
    beats = len(stage.coordinator.beats)
    await stage.coordinator.until(lambda: len(stage.coordinator.beats) > beats + 3, "heartbeats")

    await stage.coordinator.cancel(key)
    report = await stage.end_of(key)

    assert report.cause == common.CAUSE_CANCELLED
    await stage.assert_serves()


async def test_cargo_that_ignores_a_cancel_keeps_nobody_waiting(stage: Stage) -> None:
    key = await stage.begin("ignores_cancel")

    await stage.coordinator.cancel(key)
    report = await stage.end_of(key)

    assert report.cause == common.CAUSE_CANCELLED
    await stage.assert_serves()


STARTS = {
    "exits": "status 4: no thanks",
    "silent": f"did not open its socket within {START_S:.0f} s",
    "deaf": "opened its socket and speaks no gRPC",
    "mute": "opened its socket and said nothing",
    "garbled": PROTOCOL + "what it sent is no message",
    "babbles": "opened its socket and speaks no gRPC",
}


@pytest.mark.parametrize("start", STARTS)
async def test_cargo_that_never_becomes_ready_is_given_up_with_a_reason(
    stage: Stage, start: str
) -> None:
    odd = f"odd-{start}"
    await stage.offer(hostile(odd, start))

    await stage.coordinator.until(lambda: stage.reason_of(odd), "a failed offer")

    assert STARTS[start] in stage.reason_of(odd)
    await stage.assert_serves()


async def test_cargo_that_is_unlisted_is_ended_with_all_that_it_forked(stage: Stage) -> None:
    # The stage's own Cargo is there before it is counted, whichever test comes first.
    await stage.assert_serves()
    before = len(tree(os.getpid()))
    await stage.offer(hostile("extra"))
    report = await stage.run("forks", "extra")
    made = int(report.texts[0].split()[0])
    assert "Resource temporarily unavailable" in report.texts[0]
    assert 0 < made <= TIERS["restricted"].pids
    await stage.assert_serves()

    await stage.offer()
    await stage.coordinator.until(
        lambda: all(c.slug != "extra" for c in stage.coordinator.beats[-1].cargos), "its end"
    )
    async with asyncio.timeout(PATIENCE_S):
        while len(tree(os.getpid())) > before:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.05)

    await stage.assert_serves()
