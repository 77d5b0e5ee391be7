"""Images and files without a registry or a broker, for tests of the verbs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from archipelag_contracts.ids import FileId
from archipelag_contracts.manifest import Manifest

from archipelag_island.domain.attempt import Assignment, AttemptKey
from archipelag_island.errors import FilesUnavailable, ImageUnavailable
from archipelag_island.runtime import FilePart, InputFile
from archipelag_island.services.ports import Unpacked


@dataclass
class FakeImages:
    """Has every image, unless told otherwise."""

    refuse: str = ""
    fetched: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    async def fetch(
        self, manifest: Manifest, publisher: bytes, told: Callable[[str], None]
    ) -> Unpacked:
        del publisher
        told(f"fetching {manifest.slug}")
        if self.refuse:
            raise ImageUnavailable(self.refuse)
        self.fetched.append(manifest.slug)
        return Unpacked(command=("/cargo",))

    def keep(self, manifests: Sequence[Manifest]) -> None:
        self.kept = [manifest.slug for manifest in manifests]


@dataclass
class FakeFiles:
    """Keeps what is sent, and has what it was given."""

    stored: dict[FileId, InputFile] = field(default_factory=dict)
    sent: list[tuple[AttemptKey, int, FilePart]] = field(default_factory=list)
    refuse: str = ""

    @asynccontextmanager
    async def inputs(self, assignment: Assignment) -> AsyncIterator[tuple[InputFile, ...]]:
        try:
            files = tuple(self.stored[one.id] for one in assignment.files)
        except KeyError as missing:
            raise FilesUnavailable(f"no file {missing}") from None
        yield files

    async def send(self, key: AttemptKey, offset: int, part: FilePart) -> None:
        if self.refuse:
            raise FilesUnavailable(self.refuse)
        self.sent.append((key, offset, part))
