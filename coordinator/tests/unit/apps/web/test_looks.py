"""What a page that looks again every few seconds asks of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from archipelag_coordinator.apps.web.app import create_pages

from .house import House


@dataclass
class Counting:
    """A store that counts its transactions, and jobs that are read with their outputs."""

    store: Any
    begun: int = 0
    outputs: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Any]:
        self.begun += 1
        async with self.store.begin() as tx:
            get, of_user = tx.jobs.get, tx.jobs.of_user

            async def counted_get(job: Any, *, outputs: bool = True) -> Any:
                self.outputs += ["get"] if outputs else []
                return await get(job, outputs=outputs)

            async def counted_of_user(*who: Any, outputs: bool = True, **which: Any) -> Any:
                self.outputs += ["of_user"] if outputs else []
                return await of_user(*who, outputs=outputs, **which)

            tx.jobs.get, tx.jobs.of_user = counted_get, counted_of_user
            yield tx


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/live/overview", 1),
        ("/live/jobs", 1),
        ("/live/jobs/{job}", 1),
        ("/live/islands", 1),
        ("/live/islands/{island}", 1),
        ("/live/stats", 1),
    ],
)
async def test_a_look_is_one_transaction_and_leaves_outputs_in_the_database(
    house: House, path: str, most: int
) -> None:
    counting = Counting(house.scene.store)
    house.app = create_pages(replace(house.scene.world, store=counting))
    asked = path.format(job=house.jobs["waiting"].id, island=house.islands["reef"].id)

    async with house.browser("ada") as http:
        answer = await http.get(asked)

    assert answer.status_code == 200, answer.text
    assert counting.begun <= most
    assert counting.outputs == []
