"""The worked examples of the billing contract, played with the real verbs: every figure on the page is what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.attempt import Cause, Usage
from archipelag_coordinator.domain.karma import COSTS_MS, POINT_MS, NoteKind
from archipelag_coordinator.domain.ledger import (
    FEES,
    INSURANCE,
    ISSUANCE,
    PayKind,
    Transfer,
    owner_account,
)
from archipelag_coordinator.services.cancel import cancel
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.failover import failover
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.watch import watch
from archipelag_coordinator.testing.books import broken_promises
from archipelag_coordinator.testing.builders import CREDIT, a_stored_island, a_user
from archipelag_coordinator.testing.fakes import START
from archipelag_coordinator.testing.worlds import Scene, a_scene

PAGE = (Path(__file__).parents[4] / "docs" / "billing.md").read_text(encoding="utf-8")
EXAMPLES = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| `.*` \| \d+ \|", line)
]
PROMPT_TOKENS = 50


class Play:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.owners: dict[str, Any] = {}
        self.job: Any = None
        self.reader: Any = None

    async def island(self, name: str) -> Any:
        """A, B or C appears, with an owner of its own."""
        owner = a_user()
        async with self.scene.store.begin() as tx:
            await tx.users.add(owner)
        island = await a_stored_island(self.scene.store, owner, cargo=self.scene.cargo, name=name)
        self.owners[name] = owner
        self.scene.world.fleet.load([island])
        return island

    async def begin(self, fund: int) -> None:
        async with self.scene.store.begin() as tx:
            entries = {INSURANCE: Ucredits(fund - CREDIT), ISSUANCE: Ucredits(CREDIT - fund)}
            if fund != CREDIT:
                await tx.ledger.transfer(Transfer("drain", entries, START))
        messages = [{"role": "user", "content": "a question of some length" * 4}]
        wanted = {"messages": messages, "max_tokens": 100}
        self.job = await self.scene.submit(input=wanted)
        self.reader = await watch(self.scene.world, self.job.id)

    def stream(self, count: int) -> None:
        self.scene.stream(self.job, *["x"] * count, prompt_tokens=PROMPT_TOKENS)

    def read(self, count: int | None = None) -> None:
        answer = self.scene.world.answers.get(self.job.id)
        assert answer is not None
        self.reader.take()
        self.reader.delivered()
        if count is not None:
            answer.taken = answer.delivered = count

    async def end(self, cause: Cause) -> None:
        answer = self.scene.world.answers.get(self.job.id)
        assert answer is not None
        if cause is Cause.LEASE_LOST:
            await failover(self.scene.world, self.job.id, self.job.epoch, cause, "silent")
            return
        first = self.scene.bus.assigned[-1].first_position
        texts = tuple(answer.texts[first:])
        lie = cause is Cause.BAD_OUTPUT
        report = self.scene.report(
            self.job,
            *((*texts[1:], "lie") if lie else texts),
            cause=Cause.COMPLETED if lie else cause,
            first_position=first,
            next_position=answer.next,
            usage=Usage(prompt_tokens=PROMPT_TOKENS),
        )
        await track(self.scene.world, report)


async def play(scene: Scene, story: str) -> Play:
    acts = story.strip("`").split(", ")
    fund = CREDIT
    if (given := re.match(r"insurance has (\d+)", acts[0])) is not None:
        fund, acts = int(given[1]), acts[1:]
    it = Play(scene)
    await it.begin(fund)
    delivered: int | None = None
    islands = [act.split()[0] for act in acts if act[0] in "ABC"]
    known = await it.island(islands[0])
    for act in acts:
        words = act.split()
        if act == "cancelled":
            it.read(delivered)
            await cancel(scene.world, scene.user.id, it.job.id)
        elif words[1] == "delivered":
            delivered = int(words[0])
        elif words[1] == "refused":
            scene.bus.refuse(known.id)
            it.job = await dispatch(scene.world, it.job.id)
            known = await it.island(islands[islands.index(words[0]) + 1])
        else:
            it.job = await dispatch(scene.world, it.job.id)
            assert scene.bus.assigned[-1].island_id == known.id
            it.stream(int(words[1]))
            if len(words) > 2:
                if "unread" not in words:
                    it.read()
                after = islands.index(words[0]) + 1
                # Who is to go on is there before the other ends; or somebody who never gets to it.
                known = await it.island(islands[after] if after < len(islands) else "spare")
                await it.end(Cause(words[-1]))
    return it


def by_island(cell: str) -> dict[str, int]:
    return {part.split()[0]: int(part.split()[1]) for part in cell.split(", ") if part}


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 10 and all(len(example) == 7 for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=[example[0] for example in EXAMPLES])
async def test_what_the_page_says_is_what_happens(example: list[str]) -> None:
    story, pays, fees, insurance, charged, insured, owed = example
    scene = await a_scene()

    it = await play(scene, story)

    job = await scene.job(it.job.id)
    assert job.finished
    found: dict[PayKind, dict[str, int]] = {kind: {} for kind in PayKind}
    names = {owner.id: name for name, owner in it.owners.items()}
    async with scene.store.begin() as tx:
        assert await broken_promises(tx, [job.id], scene.world.policy.shares) == []
        for pay in await tx.usage.pays_of([job.id]):
            found[pay.kind][names[pay.owner_id]] = pay.amount
        assert (await tx.ledger.account(FEES)).balance == int(fees)
        fund = (await tx.ledger.account(INSURANCE)).balance
        balances = {
            name: (await tx.ledger.account(owner_account(owner.id))).balance
            for name, owner in it.owners.items()
        }
    assert job.charged == CREDIT - await scene.balance() == int(pays)
    assert found[PayKind.CHARGE] == by_island(charged)
    assert found[PayKind.INSURED] == by_island(insured)
    assert found[PayKind.OWED] == by_island(owed)
    began = int(given[1]) if (given := re.match(r"`insurance has (\d+)", story)) else CREDIT
    assert fund == began + int(insurance) - sum(by_island(insured).values())
    for name, balance in balances.items():
        assert balance == by_island(charged).get(name, 0) + by_island(insured).get(name, 0)


def test_the_page_says_what_each_fault_costs() -> None:
    for kind in set(NoteKind) - {NoteKind.GOOD_WORK}:
        cause = "refused" if kind is NoteKind.REFUSED_LATE else kind.value
        cost = f"−{COSTS_MS[kind] / POINT_MS:g}"
        rows = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{cause}`" in line]
        assert any(line.rstrip(" |").endswith(f"| {cost}") for line in rows), (kind, cost)


def test_the_page_names_every_cause() -> None:
    table = PAGE.partition("## The table of endings")[2].partition("## Worked examples")[0]

    assert [cause.value for cause in Cause if f"`{cause.value}`" not in table] == []
