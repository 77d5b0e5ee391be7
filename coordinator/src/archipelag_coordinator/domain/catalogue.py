"""The listed Cargos as one Coordinator process holds them, with a version that Islands compare."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.errors import NotFound


class Catalogue:
    """A snapshot of what is listed, loaded again every second: withdrawing a Cargo works at once."""

    def __init__(self, cargos: Iterable[Cargo] = ()) -> None:
        self.load(cargos)

    def load(self, cargos: Iterable[Cargo]) -> None:
        self.cargos: tuple[Cargo, ...] = tuple(cargos)
        self._by_name = {cargo.model_name: cargo for cargo in self.cargos}
        self._by_name |= {cargo.slug: cargo for cargo in self.cargos}
        self._by_digest: dict[str, Cargo] = {cargo.digest: cargo for cargo in self.cargos}
        digests = "\n".join(sorted(cargo.digest for cargo in self.cargos))
        self.version: str = hashlib.sha256(digests.encode()).hexdigest()[:16]

    def find(self, name: str) -> Cargo:
        """By slug or by its model's name. Raises NotFound."""
        cargo = self._by_name.get(name)
        if cargo is None:
            raise NotFound("workload", name)
        return cargo

    def by_digest(self, digest: str) -> Cargo | None:
        return self._by_digest.get(digest)
