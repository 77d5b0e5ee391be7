"""Walks through a long list page by page, giving each thing once although new ones come meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from archipelag.operations import PAGE_MAX, Page


class Named(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Named)


class Listing(Generic[T]):
    """Where one walk has got to. What is new pushes the rest down the list, where it would be met again."""

    def __init__(self, limit: int | None, name_of: Callable[[T], str] = lambda one: one.id) -> None:
        if limit is not None and limit < 0:
            raise ValueError("limit: must be 0 or more")
        self._left = limit
        self._name_of = name_of
        self._seen: set[str] = set()
        self.offset = 0
        self.last: str | None = None
        """The id of the last one of the page before."""
        self.following: str | None = None
        """What to ask the next page with, where the server has said it."""
        self.more = limit != 0

    @property
    def page_size(self) -> int:
        return PAGE_MAX if self._left is None else min(self._left, PAGE_MAX)

    def fresh(self, page: Page[T]) -> Iterator[T]:
        """Those of this page that were not met before, so many as are still wanted."""
        self.offset += len(page.rows)
        self.more = page.more and bool(page.rows)
        self.following = page.following or None
        for one in page.rows:
            self.last, name = one.id, self._name_of(one)
            if name in self._seen:
                continue
            self._seen.add(name)
            yield one
            if self._left is not None:
                self._left -= 1
                if self._left <= 0:
                    self.more = False
                    return
