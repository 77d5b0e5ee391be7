"""A real NATS server and a Coordinator's side of the conversation, played by the test."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import pytest
from archipelag_contracts import cosign, streams, subjects
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.manifest import Manifest
from archipelag_contracts.pb.archipelag.v1 import island_pb2 as island
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as job
from archipelag_contracts.signing import MANIFEST_PREFIX, SigningKey, open_sealed
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_embedded.process import free_port
from archipelag_island.adapters.identity import Home
from archipelag_island.adapters.runtimes.oci.lifecycle import ContainerRuntime
from archipelag_island.agent import Agent
from archipelag_island.config import Settings
from archipelag_island.domain.attempt import Assignment, AttemptKey
from archipelag_island.runtime import CargoSpec
from archipelag_island.services.ports import Standing
from archipelag_island.testing import image_root
from archipelag_island.testing.builders import (
    ECHO_MODULE,
    ISLAND,
    RELAY,
    the_echo_manifest,
)
from nats.js.api import StreamConfig

from . import containers
from .doors import Desk, JwtBroker, a_desk, a_jwt_broker


@dataclass
class Broker:
    port: int
    store: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        binary = Path(sys.executable).parent / "nats-server"
        self.process = await asyncio.create_subprocess_exec(
            str(binary), "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self.store),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    await writer.wait_closed()
                    return
                except OSError:
                    await asyncio.sleep(0.01)

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    made = Broker(free_port(), tmp_path / "nats")
    await made.start()
    yield made
    await made.stop()


COSIGN = CosignKey.generate()


@dataclass
class Coordinator:
    """Answers heartbeats, assigns, listens to output and reports."""

    url: str
    key: SigningKey = field(default_factory=SigningKey.generate)
    publisher: SigningKey = field(default_factory=SigningKey.generate)
    manifests: list[Manifest] = field(default_factory=lambda: [the_echo_manifest()])
    beats: list[island.Heartbeat] = field(default_factory=list)
    chunks: list[job.Chunk] = field(default_factory=list)
    keep_alives: int = 0
    reports: list[job.Report] = field(default_factory=list)
    next_reply: dict[str, Any] = field(default_factory=dict)
    """Fields of the next heartbeat reply, used once."""
    catalogue_key: SigningKey = field(default_factory=SigningKey.generate)
    document: island.Catalogue | None = None
    """The signed catalogue, for Islands that know the key."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    interval_ms: int = 1000
    client: Any = None
    warm_boot: str = ""
    """Of the start of the agent that was last seen warm."""

    async def start(self) -> None:
        self.client = await nats.connect(self.url)
        jetstream = self.client.jetstream()
        await jetstream.add_stream(
            StreamConfig(name=streams.REPORTS.name, subjects=list(streams.REPORTS.subjects))
        )
        await self.client.subscribe(subjects.ALL_HEARTBEATS, cb=self._on_beat)
        await self.client.subscribe(subjects.output_of(RELAY), cb=self._on_chunk)
        await self.client.subscribe(subjects.ALL_REPORTS, cb=self._on_report)
        await self.client.flush()

    async def close(self) -> None:
        await self.client.close()

    async def _on_beat(self, message: Any) -> None:
        beat = open_sealed(message.data, island.Heartbeat, AnyKey())
        self.beats.append(beat)
        extra, self.next_reply = self.next_reply, {}
        reply = island.HeartbeatReply(
            next_interval_ms=self.interval_ms,
            accepts_work=True,
            catalogue_version="v1",
            sequence=beat.sequence,
            island_id=beat.island_id,
        )
        document = self.document
        if beat.reads_documents and document is not None:
            if beat.catalogue_number != document.version:
                reply.catalogue_number = document.version
                reply.catalogue_document = self.catalogue_key.seal(document)
        elif beat.catalogue_version != "v1":
            for manifest in self.manifests:
                data = manifest.canonical()
                reply.catalogue.add(
                    manifest=data,
                    signature=self.publisher.sign(MANIFEST_PREFIX, data),
                    public_key=self.publisher.public,
                )
        for name, keys in extra.items():
            getattr(reply, name).extend(
                island.AttemptRef(job_id=k.job_id, epoch=k.epoch) for k in keys
            )
        assert subjects.is_inbox_of(subjects.island_of(message.subject), message.reply)
        await self.client.publish(message.reply, self.key.seal(reply))
        self.changed.set()

    async def _on_chunk(self, message: Any) -> None:
        chunk = job.Chunk.FromString(message.data)
        if message.data:
            self.chunks.append(chunk)
        else:
            self.keep_alives += 1
        self.changed.set()

    async def _on_report(self, message: Any) -> None:
        self.reports.append(open_sealed(message.data, job.Report, AnyKey()))
        self.changed.set()

    async def issue(self, version: int, manifests: Sequence[Manifest]) -> None:
        """A new catalogue, and word of it."""
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        self.document = island.Catalogue(
            version=version, issued_at_ms=now_ms, expires_at_ms=now_ms + 3_600_000
        )
        for manifest in manifests:
            data = manifest.canonical()
            payload = cosign.payload("registry.example/it", cosign.artifact_digest(data))
            self.document.entries.add(
                manifest=data,
                payload=payload,
                signature=COSIGN.sign(payload),
                public_key=COSIGN.public,
                trust=3,
            )
        await self.client.publish(subjects.CATALOGUE_CHANGED, b"%d" % version)

    async def until(self, holds: Callable[[], Any], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not holds():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"never came: {what}") from None

    async def until_warm(self, slug: str = "echo", *, again: bool = False) -> None:
        """`again`: at another start of the agent than the last time."""

        def warm() -> bool:
            if not self.beats or (again and self.beats[-1].boot_id == self.warm_boot):
                return False
            return any(
                c.slug == slug and c.state == island.CargoState.STATE_WARM
                for c in self.beats[-1].cargos
            )

        await self.until(warm, f"{slug} warm")
        self.warm_boot = self.beats[-1].boot_id

    async def assign(
        self, assignment: Assignment, *, key: SigningKey | None = None
    ) -> job.AssignmentReply:
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        pb = job.Assignment(
            job_id=assignment.key.job_id,
            epoch=assignment.key.epoch,
            island_id=assignment.island_id,
            cargo_slug=assignment.cargo_slug,
            cargo_digest=assignment.cargo_digest,
            input=assignment.input,
            issued_at_ms=now_ms,
            lease_ms=60_000,
            deadline_ms=assignment.deadline_ms,
            relay=assignment.relay,
            first_position=assignment.first_position,
            resume_tokens=assignment.resume_tokens,
            output_items_max=assignment.output_items_max,
            output_bytes_max=assignment.output_bytes_max,
        )
        message = await self.client.request(
            subjects.assign(ISLAND), (key or self.key).seal(pb), timeout=PATIENCE_S
        )
        return job.AssignmentReply.FromString(message.data)

    async def cancel(self, key: AttemptKey) -> None:
        pb = job.Cancel(job_id=key.job_id, epoch=key.epoch, island_id=ISLAND, reason="enough")
        await self.client.publish(subjects.cancel(ISLAND), self.key.seal(pb))

    def texts(self) -> list[str]:
        return [text for chunk in self.chunks for text in chunk.texts]

    @property
    def end(self) -> job.End | None:
        return next((c.end for c in self.chunks if c.HasField("end")), None)


class AnyKey:
    def __contains__(self, key: object) -> bool:
        return True


@pytest.fixture
async def coordinator(broker: Broker) -> AsyncIterator[Coordinator]:
    made = Coordinator(broker.url)
    await made.start()
    yield made
    await made.close()


@dataclass
class RunningAgent:
    agent: Agent
    stop_wish: asyncio.Event
    task: asyncio.Task[None]

    async def stop(self) -> None:
        self.stop_wish.set()
        async with asyncio.timeout(PATIENCE_S):
            await self.task

    async def crash(self) -> None:
        """Ends at once, as if the process had been killed; its Cargos die with it."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class StartAgent:
    def __init__(self, home: Path, broker: Broker, coordinator: Coordinator) -> None:
        self.home = home
        self.broker = broker
        self.coordinator = coordinator
        self.started: list[RunningAgent] = []

    def enrolled(self, *, catalogue: bool = False) -> None:
        """As if enrolment had happened; with the catalogue's key where it signs one."""
        home = Home(self.home)
        home.prepare()
        home.key()
        home.save(
            Standing(
                island_id=ISLAND,
                broker_urls=(self.broker.url,),
                broker_jwt="",
                broker_jwt_expires_at=datetime.now(UTC) + timedelta(days=1),
                assignment_keys=(self.coordinator.key.public,),
                publisher_keys=(self.coordinator.publisher.public,),
                approved=True,
                catalogue_keys=(self.coordinator.catalogue_key.public,) if catalogue else (),
            )
        )

    def __call__(self, settings: dict[str, Any] | None = None, **changes: Any) -> RunningAgent:
        """`settings`: what differs from the ordinary ones; `changes`: of the agent's parts."""
        if not (self.home / "identity.json").exists():
            self.enrolled()
        chosen: dict[str, Any] = {
            "home": self.home,
            "coordinator": "",
            "name": "test island",
            "model_dir": self.home / "models",
            "extra_engines": {"echo": ECHO_MODULE},
        }
        agent = Agent(Settings(**(chosen | (settings or {}))), **changes)
        stop = asyncio.Event()
        running = RunningAgent(agent, stop, asyncio.create_task(agent.run(stop)))
        self.started.append(running)
        return running


@pytest.fixture
async def start_agent(
    tmp_path: Path, broker: Broker, coordinator: Coordinator
) -> AsyncIterator[StartAgent]:
    start = StartAgent(tmp_path / "island", broker, coordinator)
    yield start
    for running in start.started:
        if not running.task.done():
            await running.stop()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with a_desk() as made:
        yield made


@pytest.fixture
async def jwt_broker(tmp_path: Path) -> AsyncIterator[JwtBroker]:
    async with a_jwt_broker(tmp_path) as made:
        yield made


class Command:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings: dict[str, str] = {}
        """More of them, without ARCHIPELAG_ in front."""
        self.processes: list[asyncio.subprocess.Process] = []

    async def start(
        self, *arguments: str, terminal: int | None = None
    ) -> asyncio.subprocess.Process:
        """`terminal`: where it reads and writes, in place of pipes."""
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "ARCHIPELAG_ISLAND_HOME": str(self.home),
            "ARCHIPELAG_ISLAND_EXTRA_ENGINES": f"echo={ECHO_MODULE}",
            **{f"ARCHIPELAG_{name}": value for name, value in self.settings.items()},
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "archipelag_island", *arguments,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL if terminal is None else terminal,
            stdout=asyncio.subprocess.PIPE if terminal is None else terminal,
            stderr=asyncio.subprocess.PIPE if terminal is None else terminal,
        )  # fmt: skip
        self.processes.append(process)
        return process

    async def ask(self, *arguments: str) -> tuple[int, str]:
        process = await self.start(*arguments)
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, (out + err).decode()

    async def status_with(self, words: str) -> tuple[int, str]:
        """The status file is written once a second."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                status, told = await self.ask("status")
                if words in told:
                    return status, told

    async def ask_until_warm(self) -> tuple[int, str]:
        return await self.status_with("echo: warm")


@pytest.fixture
async def command(tmp_path: Path) -> AsyncIterator[Command]:
    made = Command(tmp_path / "island")
    yield made
    for process in made.processes:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked root with this interpreter and the echo Cargo."""
    return image_root.make_root(tmp_path_factory.mktemp("image") / "root")


@pytest.fixture(scope="session")
def engine_socket() -> Iterator[Callable[[str], Path]]:
    """The socket of Docker's or Podman's engine, which is started when it is first asked for."""
    with ExitStack() as stack:
        started: dict[str, Path] = {}

        def of(kind: str) -> Path:
            if kind not in started:
                # Podman takes 50 characters for its state: more than pytest's own folders leave.
                folder = tempfile.TemporaryDirectory(
                    prefix=kind, dir="/tmp", ignore_cleanup_errors=True
                )
                place = Path(stack.enter_context(folder))
                started[kind] = stack.enter_context(containers.engine(kind, place))
            return started[kind]

        yield of


@pytest.fixture(params=containers.KINDS)
async def oci_runtime(
    request: pytest.FixtureRequest, tmp_path: Path, engine_socket: Callable[[str], Path]
) -> AsyncIterator[ContainerRuntime]:
    """Each OCI runtime of this host in turn."""
    kind: str = request.param
    if why := containers.why_not(kind):
        pytest.skip(why)
    socket = engine_socket(kind) if kind in containers.ENGINES else None
    async with containers.open_runtime(kind, tmp_path, socket) as runtime:
        yield runtime


@pytest.fixture
def echo_image(image: Path) -> CargoSpec:
    return image_root.the_echo_image(image)
