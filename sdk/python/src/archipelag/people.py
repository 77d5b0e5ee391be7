"""What both clients do about sessions and, where the role allows it, about people."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal

from archipelag import operations_of_people as operations
from archipelag import values_of_people
from archipelag.calls import AsyncCalls, Calls
from archipelag.listing import Listing


class PeopleCalls:
    """Sessions and people, in the client that waits."""

    def list_sessions(self: Calls) -> tuple[values_of_people.Session, ...]:
        """The browsers that one is signed in with, newest first."""
        return self.call(operations.sessions())

    def revoke_session(self: Calls, session_id: str) -> values_of_people.Session:
        """Signs out in one browser, from its next request on."""
        return self.call(operations.revoke_session(session_id))

    def revoke_sessions(self: Calls) -> int:
        """Signs out in every browser; how many there were. Keys stay."""
        return self.call(operations.revoke_sessions())

    def list_users(
        self: Calls, *, search: str | None = None, limit: int | None = None
    ) -> Iterator[values_of_people.User]:
        """People, newest first, for operators and administrators. `search`: a part of an address, or an id."""
        listing = Listing[values_of_people.User](limit)
        while listing.more:
            page = self.call(operations.users(listing.offset, listing.page_size, search))
            yield from listing.fresh(page)

    def grant_credits(
        self: Calls,
        user_id: str,
        amount: Decimal | str,
        cause: str,
    ) -> values_of_people.Grant:
        """Gives somebody credits, for administrators: once for each `cause`, however often it is asked."""
        return self.call(operations.grant(user_id, amount, cause))


class AsyncPeopleCalls:
    """The same, in the client for asyncio."""

    async def list_sessions(self: AsyncCalls) -> tuple[values_of_people.Session, ...]:
        """The browsers that one is signed in with, newest first."""
        return await self.call(operations.sessions())

    async def revoke_session(self: AsyncCalls, session_id: str) -> values_of_people.Session:
        """Signs out in one browser, from its next request on."""
        return await self.call(operations.revoke_session(session_id))

    async def revoke_sessions(self: AsyncCalls) -> int:
        """Signs out in every browser; how many there were. Keys stay."""
        return await self.call(operations.revoke_sessions())

    async def list_users(
        self: AsyncCalls, *, search: str | None = None, limit: int | None = None
    ) -> AsyncIterator[values_of_people.User]:
        """People, newest first, for operators and administrators. `search`: a part of an address, or an id."""
        listing = Listing[values_of_people.User](limit)
        while listing.more:
            page = await self.call(operations.users(listing.offset, listing.page_size, search))
            for one in listing.fresh(page):
                yield one

    async def grant_credits(
        self: AsyncCalls,
        user_id: str,
        amount: Decimal | str,
        cause: str,
    ) -> values_of_people.Grant:
        """Gives somebody credits, for administrators: once for each `cause`, however often it is asked."""
        return await self.call(operations.grant(user_id, amount, cause))
