"""What both clients do with what belongs to the caller: account, credits and keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal

from archipelag import operations_of_account as operations
from archipelag import values, values_of_money
from archipelag.calls import AsyncCalls, Calls
from archipelag.listing import Listing


class AccountCalls:
    """Account, credits and keys, in the client that waits."""

    def get_account(self: Calls) -> values.Account:
        return self.call(operations.account())

    def get_usage(
        self: Calls, *, since: date | None = None, until: date | None = None, by: str | None = None
    ) -> tuple[values_of_money.UsageSum, ...]:
        """What was used and paid, summed by `day`, `key` or `workload`; days are UTC's."""
        return self.call(operations.usage(since, until, by))

    def list_transfers(
        self: Calls, *, limit: int | None = None
    ) -> Iterator[values_of_money.Transfer]:
        """Every entry in one's accounts, newest first, fetched as they are needed. `limit`: so many at most."""
        listing = Listing[values_of_money.Transfer](limit, entry_of)
        while listing.more:
            page = self.call(operations.transfers(listing.page_size, listing.following))
            yield from listing.fresh(page)

    def list_keys(self: Calls) -> tuple[values.ApiKey, ...]:
        return self.call(operations.list_keys())

    def create_key(
        self: Calls,
        name: str,
        scopes: Iterable[str] = ("read", "write"),
        *,
        expires_at: datetime | None = None,
        budget: Decimal | str | None = None,
        rate_per_minute: int | None = None,
    ) -> values.ApiKey:
        """A new key; its secret `key` is shown this once."""
        return self.call(operations.create_key(name, scopes, expires_at, budget, rate_per_minute))

    def update_key(
        self: Calls,
        key_id: str,
        *,
        name: str | None = None,
        expires_at: datetime | None = None,
        budget: Decimal | str | None = None,
        rate_per_minute: int | None = None,
    ) -> values.ApiKey:
        """Changes what is given. A key cannot give another one more than it may itself."""
        changes = {
            "name": name,
            "expires_at": expires_at,
            "budget": budget,
            "rate_per_minute": rate_per_minute,
        }
        return self.call(operations.update_key(key_id, changes))

    def revoke_key(self: Calls, key_id: str) -> None:
        """Refused from the next request on, everywhere."""
        self.call(operations.revoke_key(key_id))


class AsyncAccountCalls:
    """The same, in the client for asyncio."""

    async def get_account(self: AsyncCalls) -> values.Account:
        return await self.call(operations.account())

    async def get_usage(
        self: AsyncCalls,
        *,
        since: date | None = None,
        until: date | None = None,
        by: str | None = None,
    ) -> tuple[values_of_money.UsageSum, ...]:
        """What was used and paid, summed by `day`, `key` or `workload`; days are UTC's."""
        return await self.call(operations.usage(since, until, by))

    async def list_transfers(
        self: AsyncCalls, *, limit: int | None = None
    ) -> AsyncIterator[values_of_money.Transfer]:
        """Every entry in one's accounts, newest first, fetched as they are needed. `limit`: so many at most."""
        listing = Listing[values_of_money.Transfer](limit, entry_of)
        while listing.more:
            page = await self.call(operations.transfers(listing.page_size, listing.following))
            for transfer in listing.fresh(page):
                yield transfer

    async def list_keys(self: AsyncCalls) -> tuple[values.ApiKey, ...]:
        return await self.call(operations.list_keys())

    async def create_key(
        self: AsyncCalls,
        name: str,
        scopes: Iterable[str] = ("read", "write"),
        *,
        expires_at: datetime | None = None,
        budget: Decimal | str | None = None,
        rate_per_minute: int | None = None,
    ) -> values.ApiKey:
        """A new key; its secret `key` is shown this once."""
        return await self.call(
            operations.create_key(name, scopes, expires_at, budget, rate_per_minute)
        )

    async def update_key(
        self: AsyncCalls,
        key_id: str,
        *,
        name: str | None = None,
        expires_at: datetime | None = None,
        budget: Decimal | str | None = None,
        rate_per_minute: int | None = None,
    ) -> values.ApiKey:
        """Changes what is given. A key cannot give another one more than it may itself."""
        changes = {
            "name": name,
            "expires_at": expires_at,
            "budget": budget,
            "rate_per_minute": rate_per_minute,
        }
        return await self.call(operations.update_key(key_id, changes))

    async def revoke_key(self: AsyncCalls, key_id: str) -> None:
        """Refused from the next request on, everywhere."""
        await self.call(operations.revoke_key(key_id))


def entry_of(transfer: values_of_money.Transfer) -> str:
    """One that went from one of the two accounts to the other is an entry in each."""
    return f"{transfer.id} {transfer.account}"
