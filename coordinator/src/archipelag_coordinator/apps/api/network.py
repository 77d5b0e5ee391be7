"""What the network offers: models, workloads, hosts, figures and the keys that Cargos are signed with."""

from __future__ import annotations

import base64
from typing import Any

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import IslandId
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi, present
from archipelag_coordinator.apps.api.auth import Reading, TheWorld
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.user import Role, User
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services import read

models = APIRouter(tags=["models"])
router = APIRouter(tags=["network"])


@models.get("/models", summary="List the models", responses=openapi.answers(200, "ModelList"))
async def get_models(world: TheWorld, caller: Reading) -> Response:  # noqa: ARG001 - must have a key
    cargos = [cargo for cargo in await read.listed_cargos(world) if cargo.manifest.kind == "chat"]
    return JSONResponse(
        {"object": "list", "data": [present.model_object(cargo) for cargo in cargos]}
    )


@models.get(
    "/models/{model:path}", summary="Read a model", responses=openapi.answers(200, "Model", 404)
)
async def get_model(model: str, world: TheWorld, caller: Reading) -> Response:  # noqa: ARG001
    cargo = await read.find_cargo(world, model)
    if cargo.manifest.kind != "chat":
        raise NotFound("model", model)
    return JSONResponse(present.model_object(cargo))


@router.get(
    "/workloads", summary="List the catalogue", responses=openapi.answers(200, "WorkloadList")
)
async def get_workloads(world: TheWorld, caller: Reading) -> Response:  # noqa: ARG001
    cargos = await read.listed_cargos(world)
    return JSONResponse({"data": [present.cargo_object(cargo) for cargo in cargos]})


@router.get(
    "/workloads/{slug}",
    summary="Read a workload",
    responses=openapi.answers(200, "WorkloadAnswer", 404),
)
async def get_workload(slug: str, world: TheWorld, caller: Reading) -> Response:  # noqa: ARG001
    return JSONResponse({"data": present.cargo_object(await read.find_cargo(world, slug))})


@router.get(
    "/hosts",
    summary="List the Islands that one may see",
    responses=openapi.answers(200, "HostList"),
)
async def get_hosts(world: TheWorld, caller: Reading) -> Response:
    islands = await read.visible_islands(world, caller.user)
    return JSONResponse({"data": [_shown(island, caller.user) for island in islands]})


@router.get(
    "/hosts/{host_id}", summary="Read an Island", responses=openapi.answers(200, "HostAnswer", 404)
)
async def get_host(host_id: str, world: TheWorld, caller: Reading) -> Response:
    island = await read.read_island(world, caller.user, known_island(host_id))
    return JSONResponse({"data": _shown(island, caller.user)})


@router.get(
    "/network/stats",
    summary="Figures of the network",
    openapi_extra=openapi.OPEN,
    responses=openapi.answers(200, "Stats"),
)
async def get_stats(world: TheWorld) -> Response:
    stats = await read.network_stats(world)
    shown = {
        "online_islands": stats.online_islands,
        "regions": stats.regions,
        "jobs_completed": stats.jobs_completed,
    }
    return JSONResponse({"data": shown})


@router.get(
    "/signing-keys",
    summary="Public keys that Cargos are signed with",
    openapi_extra=openapi.OPEN,
    responses=openapi.answers(200, "SigningKeyList"),
)
async def get_signing_keys(world: TheWorld) -> Response:
    keys = [
        {"algorithm": "ed25519", "public_key": base64.b64encode(key).decode()}
        for key in world.publisher_keys
    ]
    return JSONResponse({"data": keys})


def known_island(host_id: str) -> IslandId:
    """Raises NotFound for what cannot be an Island's id."""
    try:
        return ids.island_id(host_id)
    except BadId:
        raise NotFound("host", host_id) from None


def _shown(island: Island, user: User) -> dict[str, Any]:
    whole = island.owner_id == user.id or user.role in (Role.OPERATOR, Role.ADMIN)
    return present.island_object(island, whole=whole)
