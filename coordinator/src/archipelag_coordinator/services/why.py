"""Why: for a job, why these Islands and why it still waits; for an Island's owner, why it gets no work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from archipelag_contracts.ids import IslandId, JobId, UserId

from archipelag_coordinator.domain.attempt import Attempt
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.island import Island, IslandStatus, Offer
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.placement import Wanted, first_refusal
from archipelag_coordinator.domain.reasons import InLine, Outlook, in_line, outlook
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.domain.waits import Wait
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.expect import wait_of
from archipelag_coordinator.services.wanting import wanted_of
from archipelag_coordinator.services.world import World

BROKER_AWAY: Final = "the message fabric cannot be reached: wait until it is back"
CARGO_GONE: Final = "the Cargo is no longer offered: ask for another"
_HARMLESS: Final = ("behind_others", "no_demand")
"""Codes of what does not keep a job that comes now from going there."""
_CUT_OFF: Final = (IslandStatus.SUSPENDED, IslandStatus.RETIRED, IslandStatus.BANNED)
_PROMPT_TOKENS: Final = 100
_OUTPUT_ITEMS: Final = 100
"""Of the job that an Island's standing is measured by."""
_STATES: Final = {
    IslandStatus.ENROLLED: "it has not been heard from since it joined: start it with archipelag-island run",
    IslandStatus.DRAINING: "it is draining, as its owner said: it takes no more work until it is resumed",
    IslandStatus.SILENT: "it has not been heard from for a while: is the machine on and connected?",
    IslandStatus.LOST: "it has not been heard from for long: is the machine on and connected?",
}


@dataclass(frozen=True)
class JobWhy:
    """`outlook` is as of this moment and None unless the job waits; so is `hint`."""

    job: Job
    attempts: tuple[Attempt, ...]
    outlook: Outlook | None = None
    hint: str = ""
    wait: Wait | None = None
    """Who is before it and how long that takes, of one that waits."""
    reader_round_trip_s: float | None = None
    """To whoever last followed its stream at this process, a proxy where there is one, and back; None where nobody did
    as far as is known here, or nothing tells."""


@dataclass(frozen=True)
class CargoWhy:
    """One Cargo that an Island offers: where it stands, and what is asked for."""

    offer: Offer
    in_line: InLine
    queued: int
    """Jobs of everybody that wait for it."""
    asked_lately: int
    """Within five minutes, as far as this Coordinator took them."""


@dataclass(frozen=True)
class Hindrance:
    code: str
    reason: str


@dataclass(frozen=True)
class HostWhy:
    island: Island
    reasons: tuple[Hindrance, ...]
    cargos: tuple[CargoWhy, ...]

    @property
    def gets_work(self) -> bool:
        """Whether a job that came now could be given to it."""
        return all(one.code in _HARMLESS for one in self.reasons)


async def why_job(world: World, user_id: UserId, job_id: JobId) -> JobWhy:
    """Raises NotFound, also for somebody else's job."""
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id, outputs=False)
        if job is None or job.user_id != user_id:
            raise NotFound("job", job_id)
        attempts = tuple(await tx.attempts.of_job(job_id))
        answer = world.answers.get(job_id)
        away_s = answer.reader_round_trip_s if answer else None
        if job.status is not JobStatus.QUEUED:
            return JobWhy(job, attempts, reader_round_trip_s=away_s)
        cargo = await tx.cargos.by_digest(job.cargo_digest)
        wait = await wait_of(world, tx, job)
    continues = any(attempt.positions for attempt in attempts)
    wanted = wanted_of(world, job, attempts, continues=continues)
    found = outlook(wanted, world.fleet.candidates(wanted.slug, wanted.digest))
    hint = found.hint
    if cargo is None or not cargo.may_start:
        hint = CARGO_GONE
    elif not world.bus.connected:
        hint = BROKER_AWAY
    return JobWhy(job, attempts, found, hint, wait, away_s)


async def why_host(world: World, user: User, island_id: IslandId) -> HostWhy:
    """For its owner and for operators. Raises NotFound."""
    async with world.store.begin() as tx:
        stored = await tx.islands.get(island_id)
        if stored is None or not user.looks_after(stored.owner_id):
            raise NotFound("host", island_id)
        queued = {work.workload: work.queued for work in await tx.sums.work()}
    # What was heard here is newer; what is stored says whether it is cut off.
    island = stored if stored.status in _CUT_OFF else world.fleet.get(island_id) or stored
    cargos = tuple(_cargos(world, island, queued))
    return HostWhy(island, tuple(_hindrances(island, cargos)), cargos)


def hindrances_of(world: World, island: Island) -> list[Hindrance]:
    """What keeps a job that came now from this Island, the gravest first. For lists: no other Island is looked at."""
    cargos = []
    for slug, offer in sorted({offer.slug: offer for offer in island.offers}.items()):
        listed = next((cargo for cargo in world.catalogue.cargos if cargo.slug == slug), None)
        stands = _unlisted(slug)
        if listed is not None and (here := world.fleet.candidate(island.id, slug, listed.digest)):
            rule, reason = first_refusal(_measure(listed), here) or (None, None)
            stands = InLine(rule, reason, None, 0, None, None)
        cargos.append(CargoWhy(offer, stands, 0, 0))
    return [one for one in _hindrances(island, cargos) if one.code not in _HARMLESS]


def _cargos(world: World, island: Island, queued: Mapping[str, int]) -> list[CargoWhy]:
    if world.fleet.get(island.id) is None:
        return []  # Cut off, or not heard of here: it stands nowhere.
    asked = world.demand.lately(world.clock.monotonic())
    found = []
    for slug, offer in sorted({offer.slug: offer for offer in island.offers}.items()):
        listed = next((cargo for cargo in world.catalogue.cargos if cargo.slug == slug), None)
        if listed is None:
            found.append(CargoWhy(offer, _unlisted(slug), 0, 0))
            continue
        wanted = _measure(listed)
        stands = in_line(wanted, world.fleet.candidates(slug, listed.digest), island.id)
        found.append(CargoWhy(offer, stands, queued.get(slug, 0), asked[slug]))
    return found


def _unlisted(slug: str) -> InLine:
    return InLine("is_listed", f"{slug} is not listed (any more)", None, 0, None, None)


def _measure(cargo: Cargo) -> Wanted:
    """A job of usual size, to see who could take it."""
    price = cargo.manifest.price
    return Wanted(cargo.slug, cargo.digest, _PROMPT_TOKENS, _OUTPUT_ITEMS, price=price)


def _hindrances(island: Island, cargos: Sequence[CargoWhy]) -> list[Hindrance]:
    """The gravest first."""
    found = []
    if island.status in _CUT_OFF:
        by = "by its owner" if island.status is IslandStatus.RETIRED else "by an operator"
        return [Hindrance("suspended", f"it was {island.status.value} {by}")]
    if not island.approved:
        found.append(Hindrance("not_approved", "an operator has not approved it yet"))
    if island.standing in _STATES:
        found.append(Hindrance("not_ready", _STATES[island.standing]))
    if any(one.in_line.rule == "was_heard_since" for one in cargos):
        reason = "it lost work or did not answer a moment ago, and has not been heard since"
        found.append(Hindrance("in_doubt", reason))
    if not island.offers:
        found.append(Hindrance("no_cargo", "it offers no Cargo: none is fetched or fits"))
    return found or _about_work(cargos)


def _about_work(cargos: Sequence[CargoWhy]) -> list[Hindrance]:
    """Of an Island that is ready and has something to offer."""
    fitting = [one for one in cargos if one.in_line.rule is None]
    if not fitting:
        busy = [one for one in cargos if one.in_line.rule == "has_free_slot"]
        if busy:
            return [Hindrance("busy", f"it {busy[0].in_line.reason}")]
        said = "; ".join(f"it {one.in_line.reason}" for one in cargos[:3])
        return [Hindrance("none_fitting", said or "what it offers is not listed")]
    found = []
    if not any(one.queued or one.asked_lately for one in fitting):
        found.append(Hindrance("no_demand", "nobody asked for what it offers lately"))
    if all((one.in_line.rank or 1) > 1 for one in fitting):
        best = min(one.in_line.rank or 1 for one in fitting)
        reason = f"others are nearer, faster or freer: at best it is number {best} in line"
        found.append(Hindrance("behind_others", reason))
    return found
