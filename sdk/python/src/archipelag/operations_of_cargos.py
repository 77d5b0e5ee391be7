"""Requests of publishers and administrators about Cargos."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from archipelag import values_of_cargos
from archipelag.operations import Operation, data, listed


def submit_cargo(
    reference: str, manifest: bytes, payload: bytes, signature: bytes, public_key: str
) -> Operation[values_of_cargos.Cargo]:
    body = {
        "reference": reference,
        "manifest": base64.b64encode(manifest).decode(),
        "payload": base64.b64encode(payload).decode(),
        "signature": base64.b64encode(signature).decode(),
        "public_key": public_key,
    }
    return Operation("POST", "/cargos", data(values_of_cargos.cargo), body)


def list_cargos(limit: int, offset: int) -> Operation[tuple[values_of_cargos.Cargo, ...]]:
    params = {"limit": limit, "offset": offset}
    return Operation("GET", "/cargos", listed(values_of_cargos.cargo), params=params)


def get_cargo(cargo_id: int) -> Operation[values_of_cargos.Cargo]:
    return Operation("GET", f"/cargos/{cargo_id:d}", data(values_of_cargos.cargo))


def withdraw_cargo(cargo_id: int) -> Operation[values_of_cargos.Cargo]:
    return Operation("DELETE", f"/cargos/{cargo_id:d}", data(values_of_cargos.cargo))


def all_cargos(
    limit: int, offset: int, status: str | None
) -> Operation[tuple[values_of_cargos.Cargo, ...]]:
    params: dict[str, Any] = {"limit": limit, "offset": offset}
    if status is not None:
        params["status"] = status
    return Operation("GET", "/admin/cargos", listed(values_of_cargos.cargo), params=params)


def check_cargo(
    cargo_id: int, checks: Iterable[Mapping[str, Any]], sbom: Mapping[str, Any] | None
) -> Operation[values_of_cargos.Cargo]:
    body: dict[str, Any] = {"checks": [dict(one) for one in checks]}
    if sbom is not None:
        body["sbom"] = sbom
    return Operation(
        "POST", f"/admin/cargos/{cargo_id:d}/checks", data(values_of_cargos.cargo), body
    )


def approve_cargo(cargo_id: int, trust: int) -> Operation[values_of_cargos.Cargo]:
    path = f"/admin/cargos/{cargo_id:d}/approve"
    return Operation("POST", path, data(values_of_cargos.cargo), {"trust": trust})


def reject_cargo(cargo_id: int, reason: str) -> Operation[values_of_cargos.Cargo]:
    path = f"/admin/cargos/{cargo_id:d}/reject"
    return Operation("POST", path, data(values_of_cargos.cargo), {"reason": reason})


def revoke_cargo(cargo_id: int, reason: str) -> Operation[values_of_cargos.Cargo]:
    path = f"/admin/cargos/{cargo_id:d}/revoke"
    return Operation("POST", path, data(values_of_cargos.cargo), {"reason": reason})
