"""Files without a Coordinator: inputs as a test puts them, outputs kept in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from archipelag_contracts.ids import FileId

from archipelag_island.domain.attempt import Assignment, AttemptKey, FileRef
from archipelag_island.errors import CargoFailed, FilesUnavailable
from archipelag_island.runtime import FilePart, InputFile


@dataclass
class FakeFiles:
    """`inputs` by id; those that are missing are unavailable. `sent` by attempt and name."""

    folder: Path
    inputs: dict[str, bytes] = field(default_factory=dict)
    sent: dict[tuple[AttemptKey, str], bytes] = field(default_factory=dict)
    dropped: list[AttemptKey] = field(default_factory=list)

    async def fetch(self, assignment: Assignment) -> tuple[InputFile, ...]:
        found = []
        for file in assignment.files:
            data = self.inputs.get(file.id)
            if data is None:
                raise FilesUnavailable(f"{file.id} is not there")
            path = self.folder / file.id
            path.write_bytes(data)
            found.append(InputFile(file.id, path))
        return tuple(found)

    def outputs(self, key: AttemptKey) -> FakeOutputs:
        return FakeOutputs(self, key)

    def drop(self, key: AttemptKey) -> None:
        self.dropped.append(key)


@dataclass
class FakeOutputs:
    files: FakeFiles
    key: AttemptKey
    open: dict[str, bytes] = field(default_factory=dict)

    async def take(self, part: FilePart) -> FileRef | None:
        data = self.open.get(part.name, b"") + part.data
        self.open[part.name] = data
        if not part.last:
            return None
        del self.open[part.name]
        self.files.sent[(self.key, part.name)] = data
        digest = hashlib.sha256(data)
        name = FileId(f"file_{digest.hexdigest()[:32]}")
        return FileRef(name, digest.digest(), len(data), part.media_type)

    def finish(self) -> None:
        if self.open:
            raise CargoFailed("it ended in the middle of a file")
