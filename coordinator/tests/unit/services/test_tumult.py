"""Any sequence of attempts and endings: the books close, and nobody is paid twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from archipelag_coordinator.testing.tumult import Tumult
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

WHICH = st.integers(0, 7)
TOKENS = st.sampled_from([0, 1, 5, 90, 10**6])


class PayMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.tumult: Any = None

    def run(self, act: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(act)
        self.loop.run_until_complete(self.tumult.check())

    @initialize(resumable=st.booleans(), day_ucredits=st.sampled_from([0, 50, 10**9]))
    def begin(self, resumable: bool, day_ucredits: int) -> None:
        begun = Tumult.begin(resumable=resumable, day_ucredits=day_ucredits)
        self.tumult = self.loop.run_until_complete(begun)

    @rule(interactive=st.booleans())
    def submit(self, interactive: bool) -> None:
        if len(self.tumult.jobs) < 4:
            self.run(self.tumult.submit(interactive))

    @rule(which=WHICH, refusing=st.sampled_from([0, 0, 0, 1, 2, 4]))
    def dispatch(self, which: int, refusing: int) -> None:
        self.run(self.tumult.dispatch(which, refusing))

    @rule(which=WHICH, count=st.integers(0, 5), tokens=TOKENS)
    def stream(self, which: int, count: int, tokens: int) -> None:
        self.run(self.tumult.stream(which, count, tokens))

    @rule(which=WHICH, count=st.integers(1, 5), written=st.booleans())
    def read(self, which: int, count: int, written: bool) -> None:
        self.run(self.tumult.read(which, count, written))

    @rule(which=WHICH, tokens=TOKENS)
    def complete(self, which: int, tokens: int) -> None:
        self.run(self.tumult.report(which, None, False, tokens))

    @rule(which=WHICH, cause=st.integers(0, 7), lies=st.booleans(), tokens=TOKENS)
    def fail(self, which: int, cause: int, lies: bool, tokens: int) -> None:
        self.run(self.tumult.report(which, cause, lies, tokens))

    @rule(which=WHICH)
    def report_again(self, which: int) -> None:
        self.run(self.tumult.report_again(which))

    @rule(which=WHICH)
    def lose(self, which: int) -> None:
        self.run(self.tumult.lose(which))

    @rule(which=WHICH)
    def lose_again(self, which: int) -> None:
        self.run(self.tumult.lose_again(which))

    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        self.run(self.tumult.cancel(which))

    @rule(seconds=st.sampled_from([1, 31, 400]))
    def wait(self, seconds: int) -> None:
        self.run(self.tumult.wait(seconds))

    @rule(amount=st.sampled_from([-(10**12), -100, 60, 10**9]))
    def move_insurance(self, amount: int) -> None:
        self.run(self.tumult.move_insurance(amount))

    def teardown(self) -> None:
        if self.tumult is not None:
            self.loop.run_until_complete(self.tumult.end())
        self.loop.close()


TestPay = PayMachine.TestCase
TestPay.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


async def test_chance_reaches_every_ending_and_every_promise_holds() -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(100):
        chance = random.Random(seed)
        tumult = await Tumult.begin(
            resumable=seed % 4 > 0, day_ucredits=chance.choice((0, 500, 10**9))
        )
        await tumult.rage(chance, 150)
        outcomes += await tumult.outcomes()

    reached = {f"{end} by {count}" for end in ("succeeded", "failed") for count in (1, 2, 3)}
    assert reached | {"cancelled by 2", "charge", "insured", "owed"} <= set(outcomes), outcomes
