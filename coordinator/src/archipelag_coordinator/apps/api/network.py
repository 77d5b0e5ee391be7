"""What the network offers: models, workloads, hosts, figures and the keys that Cargos are signed with."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Final

from archipelag_contracts import ids
from archipelag_contracts.cosign import fingerprint, public_pem
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import IslandId
from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from archipelag_coordinator.apps.api import openapi, present
from archipelag_coordinator.apps.api.auth import Reading, TheWorld
from archipelag_coordinator.apps.api.results import MODEL_KINDS
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services import read

OFFSET_MAX: Final = 1_000_000
NOTES_MAX: Final = 50

models = APIRouter(tags=["models"])
router = APIRouter(tags=["network"])


@models.get("/models", summary="List the models", responses=openapi.answers(200, "ModelList"))
async def get_models(world: TheWorld, caller: Reading) -> Response:  # noqa: ARG001 - must have a key
    listed = await read.listed_cargos(world)
    cargos = [cargo for cargo in listed if cargo.manifest.kind in MODEL_KINDS]
    return JSONResponse(
        {"object": "list", "data": [present.model_object(cargo) for cargo in cargos]}
    )


@models.get(
    "/models/{model:path}", summary="Read a model", responses=openapi.answers(200, "Model", 404)
)
async def get_model(model: str, world: TheWorld, caller: Reading) -> Response:  # noqa: ARG001
    cargo = await read.find_cargo(world, model)
    if cargo.manifest.kind not in MODEL_KINDS:
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
    summary="Read a Cargo",
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
    "/hosts/{host_id}/usage",
    summary="What an Island did and was paid, newest first",
    responses=openapi.answers(200, "HostUsageList", 404, 422),
)
async def get_host_usage(
    host_id: str,
    world: TheWorld,
    caller: Reading,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=OFFSET_MAX)] = 0,
) -> Response:
    """For its owner and for operators: one row for each attempt that ended, whatever its outcome."""
    island = known_island(host_id)
    rows = await read.read_usage(world, caller.user, island, limit=limit, offset=offset)
    return JSONResponse({"data": [present.usage_object(row) for row in rows]})


@router.get(
    "/hosts/{host_id}/karma",
    summary="What is held for and against an Island",
    responses=openapi.answers(200, "KarmaAnswer", 404),
)
async def get_host_karma(host_id: str, world: TheWorld, caller: Reading) -> Response:
    """One point is an hour of good work. The newest notes are shown to its owner and to operators."""
    view = await read.read_karma(world, caller.user, known_island(host_id), limit=NOTES_MAX)
    return JSONResponse({"data": present.karma_object(view)})


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
    summary="Public keys that Cargos and the catalogue are signed with",
    openapi_extra=openapi.OPEN,
    responses=openapi.answers(200, "SigningKeyList"),
)
async def get_signing_keys(world: TheWorld) -> Response:
    """`catalogue` signs the list of what may run; `publisher` keys sign Cargos, those in PEM as cosign has them."""
    keys = [_key("publisher", "ed25519", _text(key)) for key in world.publisher_keys]
    if world.signer is not None:
        keys.append(_key("catalogue", "ed25519", _text(world.signer.public)))
    signed = {cargo.cosigned.public_key for cargo in world.catalogue.cargos if cargo.cosigned}
    for key in sorted(signed | ({world.publisher_key} if world.publisher_key else set())):
        named = {"fingerprint": fingerprint(key)}
        keys.append(_key("publisher", "ecdsa-p256", public_pem(key).decode()) | named)
    return JSONResponse({"data": keys})


def _key(use: str, algorithm: str, public_key: str) -> dict[str, str]:
    return {"use": use, "algorithm": algorithm, "public_key": public_key}


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def known_island(host_id: str) -> IslandId:
    """Raises NotFound for what cannot be an Island's id."""
    try:
        return ids.island_id(host_id)
    except BadId:
        raise NotFound("host", host_id) from None


def _shown(island: Island, user: User) -> dict[str, Any]:
    return present.island_object(island, whole=read.owns(user, island))
