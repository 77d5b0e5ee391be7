"""What both clients ask of the network: pictures, vectors, models, workloads, Islands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Literal

from archipelag import operations, values, values_of_batches, values_of_money, values_of_why
from archipelag.calls import AsyncCalls, Calls


class NetworkCalls:
    """What the network offers and who is in it, in the client that waits; pictures and vectors."""

    def generate_image(
        self: Calls,
        prompt: str,
        model: str | None = None,
        *,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
    ) -> values_of_batches.Picture:
        """One picture. The same seed draws the same one."""
        options = {
            "negative_prompt": negative_prompt,
            "size": size_of(width, height),
            "steps": steps,
            "guidance_scale": guidance_scale,
            "seed": seed,
        }
        chosen = model or self.default_model("image")
        return self.call(operations.image(prompt, chosen, options))

    def embed(
        self: Calls,
        texts: str | Iterable[str],
        model: str | None = None,
        *,
        dimensions: int | None = None,
    ) -> values_of_batches.Embeddings:
        """A vector for each text."""
        chosen = model or self.default_model("embeddings")
        return self.call(operations.embed(texts, chosen, dimensions))

    def list_models(self: Calls) -> tuple[values.Model, ...]:
        return self.call(operations.models())

    def list_workloads(self: Calls) -> tuple[values.Workload, ...]:
        """The catalogue of Cargos."""
        return self.call(operations.workloads())

    def get_workload(self: Calls, slug: str) -> values.Workload:
        return self.call(operations.workload(slug))

    def list_islands(self: Calls) -> tuple[values.Island, ...]:
        """One's own Islands, and others while they are here."""
        return self.call(operations.islands())

    def get_island(self: Calls, island_id: str) -> values.Island:
        return self.call(operations.island(island_id))

    def order_island(
        self: Calls,
        island_id: str,
        *,
        draining: bool | None = None,
        schedule: Mapping[str, Sequence[int]] | Literal["always"] | None = None,
        least_prices: Mapping[str, Mapping[str, Decimal | str]] | None = None,
    ) -> values.Island:
        """Changes what is given of an owner's orders to one's own Island; beside its own rules, the stricter wins.

        `schedule`: day (`mon` to `sun`) → hours; `least_prices`: workload → `per_job`, `per_prompt_token` and
        `per_output_item`, in credits.
        """
        wishes = {"draining": draining, "schedule": schedule, "least_prices": least_prices}
        return self.call(operations.order_island(island_id, wishes))

    def get_island_karma(self: Calls, island_id: str) -> values.Karma:
        return self.call(operations.island_karma(island_id))

    def list_island_usage(
        self: Calls, island_id: str, *, limit: int = 20, offset: int = 0
    ) -> tuple[values.UsageRow, ...]:
        """What one's own Island did and was paid, newest first."""
        return self.call(operations.island_usage(island_id, limit, offset))

    def get_island_earnings(
        self: Calls,
        island_id: str,
        *,
        since: date | None = None,
        until: date | None = None,
        by: str | None = None,
    ) -> tuple[values_of_money.Earning, ...]:
        """What one's own Island earned, summed by `day` or `workload`; days are UTC's."""
        return self.call(operations.island_earnings(island_id, since, until, by))

    def why_island(self: Calls, island_id: str) -> values_of_why.IslandWhy:
        """Why one's own Island gets no work now."""
        return self.call(operations.island_why(island_id))

    def get_stats(self: Calls) -> values.Stats:
        """How large the network is; open to anyone."""
        return self.call(operations.stats())

    def get_version(self: Calls) -> str:
        """The version of the Coordinator that answers; open to anyone."""
        return self.call(operations.version())


class AsyncNetworkCalls:
    """The same, in the client for asyncio."""

    async def generate_image(
        self: AsyncCalls,
        prompt: str,
        model: str | None = None,
        *,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
    ) -> values_of_batches.Picture:
        """One picture. The same seed draws the same one."""
        options = {
            "negative_prompt": negative_prompt,
            "size": size_of(width, height),
            "steps": steps,
            "guidance_scale": guidance_scale,
            "seed": seed,
        }
        chosen = model or await self.default_model("image")
        return await self.call(operations.image(prompt, chosen, options))

    async def embed(
        self: AsyncCalls,
        texts: str | Iterable[str],
        model: str | None = None,
        *,
        dimensions: int | None = None,
    ) -> values_of_batches.Embeddings:
        """A vector for each text."""
        chosen = model or await self.default_model("embeddings")
        return await self.call(operations.embed(texts, chosen, dimensions))

    async def list_models(self: AsyncCalls) -> tuple[values.Model, ...]:
        return await self.call(operations.models())

    async def list_workloads(self: AsyncCalls) -> tuple[values.Workload, ...]:
        """The catalogue of Cargos."""
        return await self.call(operations.workloads())

    async def get_workload(self: AsyncCalls, slug: str) -> values.Workload:
        return await self.call(operations.workload(slug))

    async def list_islands(self: AsyncCalls) -> tuple[values.Island, ...]:
        """One's own Islands, and others while they are here."""
        return await self.call(operations.islands())

    async def get_island(self: AsyncCalls, island_id: str) -> values.Island:
        return await self.call(operations.island(island_id))

    async def order_island(
        self: AsyncCalls,
        island_id: str,
        *,
        draining: bool | None = None,
        schedule: Mapping[str, Sequence[int]] | Literal["always"] | None = None,
        least_prices: Mapping[str, Mapping[str, Decimal | str]] | None = None,
    ) -> values.Island:
        """Changes what is given of an owner's orders to one's own Island; beside its own rules, the stricter wins.

        `schedule`: day (`mon` to `sun`) → hours; `least_prices`: workload → `per_job`, `per_prompt_token` and
        `per_output_item`, in credits.
        """
        wishes = {"draining": draining, "schedule": schedule, "least_prices": least_prices}
        return await self.call(operations.order_island(island_id, wishes))

    async def get_island_karma(self: AsyncCalls, island_id: str) -> values.Karma:
        return await self.call(operations.island_karma(island_id))

    async def list_island_usage(
        self: AsyncCalls, island_id: str, *, limit: int = 20, offset: int = 0
    ) -> tuple[values.UsageRow, ...]:
        """What one's own Island did and was paid, newest first."""
        return await self.call(operations.island_usage(island_id, limit, offset))

    async def get_island_earnings(
        self: AsyncCalls,
        island_id: str,
        *,
        since: date | None = None,
        until: date | None = None,
        by: str | None = None,
    ) -> tuple[values_of_money.Earning, ...]:
        """What one's own Island earned, summed by `day` or `workload`; days are UTC's."""
        return await self.call(operations.island_earnings(island_id, since, until, by))

    async def why_island(self: AsyncCalls, island_id: str) -> values_of_why.IslandWhy:
        """Why one's own Island gets no work now."""
        return await self.call(operations.island_why(island_id))

    async def get_stats(self: AsyncCalls) -> values.Stats:
        """How large the network is; open to anyone."""
        return await self.call(operations.stats())

    async def get_version(self: AsyncCalls) -> str:
        """The version of the Coordinator that answers; open to anyone."""
        return await self.call(operations.version())


def size_of(width: int | None, height: int | None) -> str | None:
    """As the API wants it. Raises ValueError where one side is given without the other."""
    if width is None and height is None:
        return None
    if width is None or height is None:
        raise ValueError("give width and height, or neither")
    return f"{width}x{height}"
