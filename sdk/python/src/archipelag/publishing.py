"""`client.cargos`: what a publisher and an administrator do with Cargos, for both clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from archipelag import operations_of_cargos as operations
from archipelag import values_of_cargos

if TYPE_CHECKING:
    from archipelag.async_client import AsyncClient
    from archipelag.client import Client


class Cargos:
    """Submitted with one's own signature, checked, reviewed, listed; the last five are for administrators."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def submit(
        self, reference: str, manifest: bytes, payload: bytes, signature: bytes, public_key: str
    ) -> values_of_cargos.Cargo:
        """A canonical manifest, signed in cosign's form. The same one again is the same submission."""
        return self._client.call(
            operations.submit_cargo(reference, manifest, payload, signature, public_key)
        )

    def list(self, *, limit: int = 20, offset: int = 0) -> tuple[values_of_cargos.Cargo, ...]:
        """One's own, newest first."""
        return self._client.call(operations.list_cargos(limit, offset))

    def get(self, cargo_id: int) -> values_of_cargos.Cargo:
        return self._client.call(operations.get_cargo(cargo_id))

    def withdraw(self, cargo_id: int) -> values_of_cargos.Cargo:
        """No longer offered: jobs that wait fail and cost nothing, those that run may finish."""
        return self._client.call(operations.withdraw_cargo(cargo_id))

    def all(
        self, *, limit: int = 20, offset: int = 0, status: str | None = None
    ) -> tuple[values_of_cargos.Cargo, ...]:
        """Every publisher's, newest first."""
        return self._client.call(operations.all_cargos(limit, offset, status))

    def check(
        self,
        cargo_id: int,
        checks: Iterable[Mapping[str, Any]],
        sbom: Mapping[str, Any] | None = None,
    ) -> values_of_cargos.Cargo:
        """Notes what was found out: `name`, `passed` and `said` of each check."""
        return self._client.call(operations.check_cargo(cargo_id, checks, sbom))

    def approve(self, cargo_id: int, trust: int) -> values_of_cargos.Cargo:
        """Lists it with a trust level of 0 to 3, which decides its sandbox tier."""
        return self._client.call(operations.approve_cargo(cargo_id, trust))

    def reject(self, cargo_id: int, reason: str) -> values_of_cargos.Cargo:
        return self._client.call(operations.reject_cargo(cargo_id, reason))

    def revoke(self, cargo_id: int, reason: str) -> values_of_cargos.Cargo:
        """Stops it everywhere, for good."""
        return self._client.call(operations.revoke_cargo(cargo_id, reason))


class AsyncCargos:
    """Submitted with one's own signature, checked, reviewed, listed; the last five are for administrators."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def submit(
        self, reference: str, manifest: bytes, payload: bytes, signature: bytes, public_key: str
    ) -> values_of_cargos.Cargo:
        """A canonical manifest, signed in cosign's form. The same one again is the same submission."""
        return await self._client.call(
            operations.submit_cargo(reference, manifest, payload, signature, public_key)
        )

    async def list(self, *, limit: int = 20, offset: int = 0) -> tuple[values_of_cargos.Cargo, ...]:
        """One's own, newest first."""
        return await self._client.call(operations.list_cargos(limit, offset))

    async def get(self, cargo_id: int) -> values_of_cargos.Cargo:
        return await self._client.call(operations.get_cargo(cargo_id))

    async def withdraw(self, cargo_id: int) -> values_of_cargos.Cargo:
        """No longer offered: jobs that wait fail and cost nothing, those that run may finish."""
        return await self._client.call(operations.withdraw_cargo(cargo_id))

    async def all(
        self, *, limit: int = 20, offset: int = 0, status: str | None = None
    ) -> tuple[values_of_cargos.Cargo, ...]:
        """Every publisher's, newest first."""
        return await self._client.call(operations.all_cargos(limit, offset, status))

    async def check(
        self,
        cargo_id: int,
        checks: Iterable[Mapping[str, Any]],
        sbom: Mapping[str, Any] | None = None,
    ) -> values_of_cargos.Cargo:
        """Notes what was found out: `name`, `passed` and `said` of each check."""
        return await self._client.call(operations.check_cargo(cargo_id, checks, sbom))

    async def approve(self, cargo_id: int, trust: int) -> values_of_cargos.Cargo:
        """Lists it with a trust level of 0 to 3, which decides its sandbox tier."""
        return await self._client.call(operations.approve_cargo(cargo_id, trust))

    async def reject(self, cargo_id: int, reason: str) -> values_of_cargos.Cargo:
        return await self._client.call(operations.reject_cargo(cargo_id, reason))

    async def revoke(self, cargo_id: int, reason: str) -> values_of_cargos.Cargo:
        """Stops it everywhere, for good."""
        return await self._client.call(operations.revoke_cargo(cargo_id, reason))
