"""What becomes of a published Cargo: checked, listed with a trust level, turned away, withdrawn, revoked.

Whoever changes the listing by one of these says so to everybody by `list_cargos`, which a loop does anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from archipelag_contracts.ids import UserId

from archipelag_coordinator.domain.cargo import OPEN, Cargo, CargoStatus
from archipelag_coordinator.domain.review import Check, Review
from archipelag_coordinator.domain.user import Role, User
from archipelag_coordinator.errors import Conflict, InvalidInput, NotFound
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World

REASON_MAX: Final = 500
WITHDRAW: Final = "cargo.withdraw"


async def take_checks(
    world: World, actor: UserId, number: int, checks: Sequence[Check], sbom: bytes = b""
) -> Cargo:
    """Notes what was found out about a submitted Cargo; with every check passed it waits for a person.

    Raises NotFound, IllegalMove.
    """
    async with world.store.begin() as tx:
        cargo = await _known(tx, number)
        taken = cargo.take_checks(tuple(checks))
        await tx.cargos.save(taken)
        if sbom:
            await tx.cargos.keep_sbom(number, sbom)
        told = ", ".join(f"{one.name} {'passed' if one.passed else 'failed'}" for one in checks)
        await _note(world, tx, actor, "cargo.checks", cargo, told)
    return taken


async def approve(world: World, reviewer: User, number: int, trust: int) -> Cargo:
    """Lists a verified Cargo, or a withdrawn one again. Raises NotFound, IllegalMove, InvalidInput, Conflict."""
    review = Review(reviewer.id, world.clock.now())
    async with world.store.begin() as tx:
        cargo = await _known(tx, number)
        listed = cargo.list_it(trust, review)
        _refuse_taken_name(listed, await tx.cargos.listed())
        await tx.cargos.save(listed)
        await _note(world, tx, reviewer.id, "cargo.approve", listed, f"trust {trust}")
    return listed


async def reject(world: World, reviewer: User, number: int, reason: str) -> Cargo:
    """It is never listed; its publisher reads why. Raises NotFound, IllegalMove, InvalidInput."""
    review = Review(reviewer.id, world.clock.now(), _reason(reason))
    return await _change(world, number, "cargo.reject", review, lambda cargo: cargo.reject(review))


async def withdraw(world: World, user: User, number: int) -> Cargo:
    """By its publisher or an administrator: no longer offered, what runs may finish. One that waits to be decided on
    is given up. Withdrawing twice changes nothing. Raises NotFound, also for another's, and IllegalMove."""
    review = Review(user.id, world.clock.now(), "withdrawn by its publisher")

    def move(cargo: Cargo) -> Cargo:
        if user.role is not Role.ADMIN and cargo.owner_id != user.id:
            raise NotFound("cargo", str(number))
        if cargo.status in OPEN:
            return cargo.reject(review)
        return cargo if cargo.withdrawn else cargo.withdraw(review)

    return await _change(world, number, WITHDRAW, review, move)


async def revoke(world: World, reviewer: User, number: int, reason: str) -> Cargo:
    """It must not run any more, anywhere, for good: Islands hear within seconds, and its jobs fail uncharged.

    Raises NotFound, IllegalMove, InvalidInput.
    """
    review = Review(reviewer.id, world.clock.now(), _reason(reason))
    return await _change(world, number, "cargo.revoke", review, lambda cargo: cargo.revoke(review))


async def read_cargo(world: World, user: User, number: int) -> Cargo:
    """One's own; for administrators any. Raises NotFound."""
    async with world.store.begin() as tx:
        cargo = await tx.cargos.get(number)
    if cargo is None or (user.role is not Role.ADMIN and cargo.owner_id != user.id):
        raise NotFound("cargo", str(number))
    return cargo


async def cargos_of(world: World, owner: UserId, *, limit: int, offset: int) -> list[Cargo]:
    async with world.store.begin() as tx:
        return await tx.cargos.of_owner(owner, limit=limit, offset=offset)


async def all_cargos(
    world: World, status: CargoStatus | None, *, limit: int, offset: int
) -> list[Cargo]:
    """For administrators: every publisher's, newest first."""
    async with world.store.begin() as tx:
        return await tx.cargos.of_status(status, limit=limit, offset=offset)


async def _change(
    world: World, number: int, act: str, review: Review, move: Callable[[Cargo], Cargo]
) -> Cargo:
    async with world.store.begin() as tx:
        before = await _known(tx, number)
        after = move(before)
        if after != before:
            await tx.cargos.save(after)
            # A publisher who withdraws their own is no administrator at work.
            own = act == WITHDRAW and review.by == before.owner_id
            if review.by is not None and not own:
                await _note(world, tx, review.by, act, after, review.reason)
    return after


async def _note(world: World, tx: Tx, actor: UserId, act: str, cargo: Cargo, detail: str) -> None:
    subject = f"cargo {cargo.id} {cargo.slug} {cargo.manifest.version}"
    await tx.audit.note(world.clock.now(), actor, act, subject, detail)


async def _known(tx: Tx, number: int) -> Cargo:
    cargo = await tx.cargos.lock(number)
    if cargo is None:
        raise NotFound("cargo", str(number))
    return cargo


def _refuse_taken_name(cargo: Cargo, listed: Sequence[Cargo]) -> None:
    """Customers ask by slug or by the model's name: nobody may take over what they ask another for."""
    for other in listed:
        if other.slug != cargo.slug and {cargo.model_name, cargo.slug} & {
            other.model_name,
            other.slug,
        }:
            raise Conflict(f"the name {cargo.model_name!r} is already {other.slug}'s")


def _reason(given: str) -> str:
    """Raises InvalidInput: a publisher who is turned away must learn why."""
    reason = " ".join(given.split())
    if not 0 < len(reason) <= REASON_MAX:
        raise InvalidInput({"reason": [f"is required: 1 to {REASON_MAX} characters"]})
    return reason
