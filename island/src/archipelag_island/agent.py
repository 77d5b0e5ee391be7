"""Puts the parts of a running Island together: the one place that knows them all, beside `__main__`."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, Final

from archipelag_contracts.ending import end_tasks
from archipelag_contracts.signing import SigningKey
from archipelag_contracts.traces import Tracer, TracesMissing
from archipelag_oci import settings as oci

from archipelag_island.adapters import codec, engines, orders, probe, status
from archipelag_island.adapters.control import ControlServer
from archipelag_island.adapters.enrolment import GrpcEnrolment
from archipelag_island.adapters.files import CoordinatorFiles
from archipelag_island.adapters.identity import Home
from archipelag_island.adapters.images import OciImages
from archipelag_island.adapters.journal import FileJournal
from archipelag_island.adapters.link import Credentials, NatsLink
from archipelag_island.adapters.metrics import MetricsDoor
from archipelag_island.adapters.models import FetchedModels
from archipelag_island.adapters.probe import cpu, disk, memory
from archipelag_island.adapters.runtimes.found import found_runtimes
from archipelag_island.adapters.runtimes.several import Runtimes
from archipelag_island.adapters.senses import HostSenses
from archipelag_island.adapters.shelf import FileShelf
from archipelag_island.adapters.update.found import found_updates
from archipelag_island.adapters.wishes import FileWishes
from archipelag_island.clock import Clock, SystemClock
from archipelag_island.config import Settings
from archipelag_island.domain.backoff import Backoff
from archipelag_island.domain.capability import Capabilities
from archipelag_island.domain.caps import Bucket, disk_refusal
from archipelag_island.domain.update import Consent
from archipelag_island.errors import (
    BadSettings,
    BrokerUnreachable,
    EnrolmentRefused,
    NoAnswer,
)
from archipelag_island.runtime import Runtime, RuntimeInfo
from archipelag_island.services import (
    announce,
    deliver,
    drain,
    enrol,
    execute,
    heed,
    measure,
    offer,
    reconcile,
    update,
    yield_to_owner,
)
from archipelag_island.services.ports import NoTraces, Senses, Standing, Traces
from archipelag_island.services.world import Host, World

log = logging.getLogger(__name__)

DRAIN_S: Final = 5.0
LAST_REPORTS_S: Final = 2.0
STATUS_S: Final = 1.0
REFRESH_LOOKS: Final = 600
# Disk and graphics processors change while we run; they are looked at again this often.
PROBE_AGAIN_S: Final = 60.0
CANCEL_AGAIN_S: Final = 0.2
FILE_TRIES_S: Final = (0.2, 5.0)


class Agent:
    """One Island from start to stop. `run` once."""

    def __init__(
        self,
        settings: Settings,
        *,
        runtime: Runtime | None = None,
        clock: Clock | None = None,
        chance: Random | None = None,
        senses: Senses | None = None,
    ) -> None:
        self.settings = settings
        self.home = Home(settings.home)
        self.runtime = Runtimes(
            {"native": runtime}
            if runtime
            else found_runtimes(
                settings.runtimes,
                settings.home / "compiled",
                settings.container_engine,
                settings.cargo_lines_max,
            )
        )
        self.clock = clock or SystemClock()
        self.chance = chance or Random()
        self.senses = senses
        self._tracer = _tracer(settings)
        self.traces: Traces = self._tracer or NoTraces()
        self.bucket = Bucket(settings.caps.send_bytes_per_s)
        self.coordinator = settings.coordinator
        self.world: World | None = None
        """There once the Island has enrolled."""
        self._runs: set[asyncio.Task[None]] = set()
        self._standing: Standing | None = None
        self._capabilities: Capabilities | None = None
        self._renewed = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, and then until everything has ended.

        Raises BadSettings, AlreadyRunning, or EnrolmentRefused when another pairing code is needed.
        """
        self.home.prepare()
        self.home.lock()
        try:
            self.coordinator = self.home.coordinator(self.settings.coordinator)
            self._must_have_a_network()
            key = self.home.key()
            infos = await self.runtime.usable()
            if leftovers := await self.runtime.recover():
                log.info("leftovers_removed count=%d", leftovers)
            self._probe(infos)
            if not await self._join(key, stop):
                return
            await self._serve(key, infos, stop)
        finally:
            if self._tracer is not None:
                await asyncio.to_thread(self._tracer.close)
            status.remove(self.settings.home)
            self.home.unlock()

    async def enrol(self) -> Standing:
        """Joins the network and keeps what it gave; what stands already is returned. Raises like `run`."""
        self.home.prepare()
        self.home.lock()
        try:
            self.coordinator = self.home.coordinator(self.settings.coordinator)
            self._must_have_a_network()
            self._probe(await self.runtime.usable())
            await self._join(self.home.key(), asyncio.Event())
            assert self._standing is not None
            return self._standing
        finally:
            self.home.unlock()

    def _must_have_a_network(self) -> None:
        """Before anything of the machine is looked at. Raises EnrolmentRefused."""
        asked = self.coordinator and self.settings.pairing_code
        if not asked and self.home.load() is None:
            raise EnrolmentRefused(
                "this Island has not joined a network yet: make a pairing code on the network's pages, under Islands, "
                "and type `archipelag-island join HOST:PORT CODE` "
                "(or set ARCHIPELAG_COORDINATOR and ARCHIPELAG_PAIRING_CODE)"
            )

    async def _join(self, key: SigningKey, stop: asyncio.Event) -> bool:
        """False: told to stop before there was an answer."""
        self._standing = self.home.load()
        if self._standing is not None:
            return True
        assert self._capabilities is not None
        enrolling = asyncio.create_task(
            enrol.enrol(
                GrpcEnrolment(self.coordinator, key),
                self.settings.pairing_code,
                self.settings.name,
                self._capabilities,
                self.chance,
            )
        )
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({enrolling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not enrolling.done():
                return False
            self._standing = enrolling.result()
        finally:
            enrolling.cancel()
            stopping.cancel()
            await asyncio.gather(enrolling, stopping, return_exceptions=True)
        self.home.save(self._standing)
        log.info("enrolled island=%s", self._standing.island_id)
        if not self._standing.approved:
            log.warning("an operator has yet to approve this Island; it gets no work until then")
        return True

    async def _serve(
        self, key: SigningKey, infos: tuple[RuntimeInfo, ...], stop: asyncio.Event
    ) -> None:
        assert self._standing is not None
        refused = asyncio.Event()
        if not self._standing.catalogue_keys:
            refused.set()  # Enrolled before there were signed catalogues: ask for the key at once.
        journal = self._journal()
        link = NatsLink(
            island=self._standing.island_id,
            key=key,
            credentials=self._credentials,
            accept=lambda assignment: execute.accept(world, assignment),
            room=lambda assignment: execute.room(world, assignment),
            cancel=lambda wish: execute.cancel(world, wish),
            up=lambda: world.came_up(),  # noqa: PLW0108 - the world is made after the link
            refused=refused.set,
            chance=self.chance,
            catalogue_changed=lambda number: announce.catalogue_changed(world, number),
            sent=lambda size_bytes: self.bucket.spend(size_bytes, self.clock.monotonic()),
            traces=self.traces,
        )
        world = self.world = self._world(link, journal, infos)
        heed.load_wishes(world)
        reconcile.load_catalogue(world)
        control = ControlServer(self.settings.home, partial(orders.obey, world))
        await control.start()
        renewals = self._renew(key, refused, world) if self.coordinator else _never()
        cargos = asyncio.create_task(offer.offer_for_ever(world), name="cargos")
        others = [
            asyncio.create_task(work, name=name)
            for name, work in {
                "link": link.run(),
                "heartbeats": announce.announce_for_ever(
                    world, partial(reconcile.reconcile, world)
                ),
                "reports": deliver.deliver_for_ever(world),
                "credentials": renewals,
                "catalogue": reconcile.expire_for_ever(world),
                "refresh": self._refresh(link, world),
                "status": self._tell(world, link),
                "probes": self._probe_again(infos),
                "drains": drain.drain_for_ever(world),
                "measures": measure.measure_for_ever(world, self._disk_taken),
                **self._watching(world),
                **self._figures(world, link),
                **self._updating(world),
            }.items()
        ]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait(
                {cargos, stopping, *others}, return_when=asyncio.FIRST_COMPLETED
            )
            log.info("stopping runs=%d", len(world.now.runs))
            # From here on nobody can take the last drain back.
            await control.close()
            await self._drain(world)
            for task in done - {stopping}:
                # None of these ends by itself: an error of ours, which must be seen.
                task.result()
        finally:
            await control.close()
            await end_tasks([cargos, stopping, *self._runs], CANCEL_AGAIN_S)
            await end_tasks(others, CANCEL_AGAIN_S)
            journal.close()

    def _watching(self, world: World) -> dict[str, Coroutine[Any, Any, None]]:
        """What looks after the owner. The line is asked only where a rule wants to know: it starts a program."""
        if self.senses is not None:
            return {"senses": yield_to_owner.yield_for_ever(world, self.senses)}
        senses = HostSenses(self.clock, os.getpid())
        looking = {"senses": yield_to_owner.yield_for_ever(world, senses)}
        return looking | (
            {"metered line": senses.line.watch()} if self.settings.rules.on_metered else {}
        )

    def _figures(self, world: World, link: NatsLink) -> dict[str, Coroutine[Any, Any, None]]:
        port = self.settings.metrics_port
        if not port:
            return {}
        return {"metrics": MetricsDoor(world, port, lambda: link.connected).serve()}

    def _updating(self, world: World) -> dict[str, Coroutine[Any, Any, None]]:
        """Nothing where the installer did not lay this Island. A trial proves itself, whatever its owner wants next."""
        settings = self.settings
        if settings.software is None or not (settings.updates or settings.on_trial):
            return {}
        if not settings.update_url:
            log.warning("no_updates: ARCHIPELAG_ISLAND_UPDATE_URL is not set")
            return {}
        consent = Consent(settings.updates, settings.update_pin)
        updates = found_updates(
            settings.update_url, settings.software, settings.update_key, consent
        )
        return {"updates": update.update_for_ever(world, updates, on_trial=settings.on_trial)}

    def _journal(self) -> FileJournal:
        try:
            return FileJournal(self.settings.home / "journal", self.clock)
        except OSError as error:
            raise BadSettings(
                f"the journal in {self.settings.home} cannot be opened ({error.strerror}); an Island that cannot "
                "remember takes no work: make room on that disk, or mend the rights of that folder"
            ) from error

    def _disk_taken(self) -> int:
        return disk.taken_bytes((self.settings.home, self.settings.model_dir))

    def _over_disk(self, more_bytes: int) -> str | None:
        caps = self.settings.caps
        return disk_refusal(caps, self._disk_taken(), more_bytes) if caps.disk_bytes else None

    async def _drain(self, world: World) -> None:
        await drain.drain(world, DRAIN_S)
        try:
            async with asyncio.timeout(LAST_REPORTS_S):
                await deliver.deliver(world)
        except (TimeoutError, BrokerUnreachable, NoAnswer) as error:
            log.warning("reports_kept_for_next_start error=%s", error)

    def _world(self, link: NatsLink, journal: FileJournal, infos: tuple[RuntimeInfo, ...]) -> World:
        assert self._standing is not None
        settings, caps = self.settings, self.settings.caps
        threads = settings.threads or max(1, cpu.cores() - 1)
        images = OciImages(
            settings.home / "images",
            lambda: settings.registry or world.now.registry,
            bytes_max=settings.images_mb_max << 20,
            settings=_registries(settings),
            over=self._over_disk,
        )
        world = World(
            host=Host(
                island_id=self._standing.island_id,
                boot_id=secrets.token_hex(8),
                slots=settings.slots,
                threads=min(threads, caps.cores) if caps.cores else threads,
                memory_bytes=memory.usable_bytes(),
                engines=engines.installed(settings.extra_engines),
                cargos=settings.cargos,
                drain_s=settings.drain_s,
                rules=settings.rules,
                caps=caps,
                cpus=cpu.lent(caps.cores),
                runtimes=infos,
                publishers=settings.publishers,
                trust_min=settings.trust_min,
                idle_s=settings.idle_s,
                keep_warm=settings.keep_warm,
                keep_prompts=settings.keep_prompts,
                remote_orders=settings.remote_orders,
            ),
            clock=self.clock,
            chance=self.chance,
            link=link,
            journal=journal,
            shelf=FileShelf(settings.home / "catalogue.json"),
            models=FetchedModels(settings.model_dir, self._over_disk, images.fetch_model),
            images=images,
            files=CoordinatorFiles(
                link.ask_files,
                settings.home / "inputs",
                over=self._over_disk,
                backoff=lambda: Backoff(*FILE_TRIES_S, self.chance),
            ),
            runtime=self.runtime,
            publisher_keys=self._publisher_keys,
            catalogue_keys=self._catalogue_keys,
            read_document=codec.read_document,
            read_wishes=lambda sealed: codec.read_wishes(
                sealed, self._credentials().assignment_keys
            ),
            kept_wishes=FileWishes(settings.home / "wishes.signed"),
            capabilities=self._current_capabilities,
            load=partial(probe.load, cpu.cores()),
            spawn=self._spawn,
            bucket=self.bucket,
            traces=self.traces,
        )
        return world

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._runs.add(task)
        task.add_done_callback(self._run_done)
        return task

    def _run_done(self, task: asyncio.Task[None]) -> None:
        self._runs.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("run_task_broke", exc_info=task.exception())

    def _credentials(self) -> Credentials:
        s = self._standing
        assert s is not None
        return Credentials(s.broker_urls, s.broker_jwt, s.assignment_keys, bool(s.catalogue_keys))

    def _publisher_keys(self) -> tuple[bytes, ...]:
        assert self._standing is not None
        return self._standing.publisher_keys

    def _catalogue_keys(self) -> tuple[bytes, ...]:
        assert self._standing is not None
        return self._standing.catalogue_keys

    def _current_capabilities(self) -> Capabilities:
        assert self._capabilities is not None
        return self._capabilities

    def _probe(self, infos: tuple[RuntimeInfo, ...]) -> None:
        self._capabilities = probe.capabilities(
            self.settings.home,
            infos,
            tuple(engines.installed(self.settings.extra_engines)),
            self.settings.region,
            self.settings.caps,
            takes_orders=self.settings.remote_orders,
        )

    async def _probe_again(self, infos: tuple[RuntimeInfo, ...]) -> None:
        while True:
            await asyncio.sleep(PROBE_AGAIN_S)
            try:
                self._probe(infos)
            except OSError as error:
                log.warning("not_probed error=%s", error)

    async def _renew(self, key: SigningKey, refused: asyncio.Event, world: World) -> None:
        assert self._standing is not None
        await enrol.renew_for_ever(
            GrpcEnrolment(self.coordinator, key),
            self._standing,
            refused,
            self._keep,
            partial(setattr, world.now, "notice"),
            self.clock,
            self.chance,
        )

    def _keep(self, standing: Standing) -> None:
        if not standing.catalogue_keys and self._standing is not None:
            # A Coordinator that forgets its catalogue key does not take us back to believing less.
            standing = replace(standing, catalogue_keys=self._standing.catalogue_keys)
        self._standing = standing
        self._renewed.set()
        try:
            self.home.save(standing)
        except OSError as error:
            # They hold without the file too; the next renewal comes with the next try, a restart asks anew.
            log.error("credentials_not_saved error=%s", error)

    async def _refresh(self, link: NatsLink, world: World) -> None:
        """The broker ends a connection together with the credentials it began with: begin anew before, when idle."""
        while True:
            await self._renewed.wait()
            self._renewed.clear()
            for _ in range(REFRESH_LOOKS):
                if not world.now.runs:
                    break
                await asyncio.sleep(STATUS_S)
            await link.refresh()

    async def _tell(self, world: World, link: NatsLink) -> None:
        while True:
            status.write(
                self.settings.home, status.snapshot(world, self.settings.name, link.connected)
            )
            await asyncio.sleep(STATUS_S)


def _tracer(settings: Settings) -> Tracer | None:
    if not settings.traces_url:
        return None
    try:
        # Only what a Coordinator follows is followed here.
        return Tracer("archipelag-island", settings.traces_url)
    except TracesMissing as error:
        raise BadSettings(f"ARCHIPELAG_TRACES_URL: {error}") from None


def _registries(settings: Settings) -> oci.Settings:
    """How they are spoken to. The owner's password is for the one registry that the owner names."""
    host = settings.registry.partition("/")[0]
    known = oci.Credentials(settings.registry_user, settings.registry_password)
    return oci.Settings(
        plain_hosts=settings.registry_plain_http,
        credentials={host: known} if settings.registry_user else {},
    )


async def _never() -> None:
    await asyncio.Event().wait()
