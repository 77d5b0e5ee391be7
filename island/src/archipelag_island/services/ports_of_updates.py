"""What an update needs of the world: where releases come from, and where the software lies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from archipelag_contracts.releases import File

from archipelag_island.domain.update import Laid


class Releases(Protocol):
    """Nothing that it says is believed before its signature was verified. Raises ReleaseUnavailable."""

    async def newest(self) -> tuple[bytes, bytes]:
        """The newest document and its signature."""
        ...

    def file(self, file: File) -> AsyncGenerator[bytes, None]:
        """Its bytes, as they come."""
        ...


class Software(Protocol):
    """Each change is whole or not done at all, whenever the power goes. Raises ReleaseUnavailable for a full disk."""

    def laid(self) -> Laid: ...

    def highest(self) -> int:
        """The highest number of a release that was ever seen; 0 where none was."""
        ...

    def note(self, number: int) -> None:
        """Never goes back."""
        ...

    async def lay(self, file: File, chunks: AsyncIterator[bytes]) -> None:
        """Keeps a file, once all of it is here and has its digest. Raises BadRelease where it has not."""
        ...

    def arm(self, digest: str) -> None:
        """The next start tries this file."""
        ...

    def confirm(self) -> None:
        """What is being tried is the current one from now on."""
        ...
