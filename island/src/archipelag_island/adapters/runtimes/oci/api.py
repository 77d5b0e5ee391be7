"""The few calls of the Docker Engine API that we make, over its Unix socket; Podman answers them alike.

httpx is here already and the calls are ten, so no client library is brought along.
"""

from __future__ import annotations

import asyncio
import stat
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from archipelag_island.errors import NotUsable, StartFailed

CALL_S: Final = 60.0
ERROR_CHARS_MAX: Final = 500
FRAME: Final = struct.Struct(">BxxxI")
FRAME_BYTES_MAX: Final = 1 << 20
STDERR: Final = 2
JUST_ENDED: Final = "no such process"
"""Podman's answer about a container whose process ends while it looks at its groups."""
JUST_ENDED_TRIES: Final = 20
JUST_ENDED_S: Final = 0.05
SOCKETS: Final = (Path("/var/run/docker.sock"), Path("/run/podman/podman.sock"))


def find_socket(named: Path | None = None) -> Path:
    """The engine's that the owner names, else Docker's, else Podman's. Raises NotUsable."""
    tried = SOCKETS if named is None else (named,)
    for path in tried:
        try:
            if stat.S_ISSOCK(path.stat().st_mode):
                return path
        except OSError:
            continue
    raise NotUsable(f"no engine listens at {' or '.join(map(str, tried))}")


class EngineApi:
    """Raises StartFailed where the engine refuses or does not answer."""

    def __init__(self, socket: Path) -> None:
        transport = httpx.AsyncHTTPTransport(uds=str(socket))
        self._client = httpx.AsyncClient(
            transport=transport, base_url="http://engine", timeout=CALL_S, trust_env=False
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def version(self) -> dict[str, Any]:
        return dict(await self._call("GET", "/version"))

    async def info(self) -> dict[str, Any]:
        return dict(await self._call("GET", "/info"))

    async def has_image(self, name: str) -> bool:
        return (await self._send("GET", f"/images/{name}/json")).status_code == httpx.codes.OK

    async def import_root(self, name: str, tar: bytes) -> None:
        """An image of one layer, from what is at hand: the engine fetches nothing."""
        await self._call(
            "POST",
            "/images/create",
            # No tag beside it: Podman 4 would ignore it.
            params={"fromSrc": "-", "repo": name},
            content=tar,
            headers={"Content-Type": "application/x-tar"},
        )

    async def remove_image(self, name: str) -> None:
        """Unless a container uses it."""
        await self._send("DELETE", f"/images/{name}")

    async def images(self, reference: str) -> list[str]:
        """Ids of those whose name is so."""
        filters = f'{{"reference":["{reference}"]}}'
        found = await self._call("GET", "/images/json", params={"filters": filters})
        return [str(one["Id"]) for one in found]

    async def create(self, name: str, body: Mapping[str, Any]) -> str:
        made = await self._call(
            "POST", "/containers/create", params={"name": name}, json=dict(body)
        )
        return str(made["Id"])

    async def start(self, container: str) -> None:
        await self._call("POST", f"/containers/{container}/start")

    async def state(self, container: str) -> dict[str, Any]:
        found = await self._look_at(container)
        state: dict[str, Any] = found["State"]
        return state

    async def _look_at(self, container: str) -> Any:
        for _ in range(JUST_ENDED_TRIES):
            try:
                return await self._call("GET", f"/containers/{container}/json")
            except StartFailed as error:
                if JUST_ENDED not in str(error):
                    raise
                refused = error
            await asyncio.sleep(JUST_ENDED_S)
        raise refused

    async def signal(self, container: str, name: str) -> None:
        """Whether or not it still runs."""
        await self._send("POST", f"/containers/{container}/kill", params={"signal": name})

    async def wait(self, container: str) -> dict[str, Any]:
        """Its state after its end, whenever that is. What `wait` itself says is -1 where Podman was too late."""
        await self._call("POST", f"/containers/{container}/wait", timeout=None)
        return await self.state(container)

    async def remove(self, container: str) -> None:
        """By force, whatever it does."""
        await self._send("DELETE", f"/containers/{container}", params={"force": "1", "v": "1"})

    async def labelled(self, label: str) -> dict[str, str]:
        """Id → the label's value, of every container that has it."""
        found = await self._call(
            "GET",
            "/containers/json",
            params={"all": "1", "filters": f'{{"label":["{label}"]}}'},
        )
        return {one["Id"]: one["Labels"][label] for one in found}

    async def errors(
        self, container: str, attached: Callable[[], None] = lambda: None
    ) -> AsyncIterator[bytes]:
        """What it writes to standard error, from when `attached` is called to its end."""
        request = self._client.build_request(
            "POST",
            f"/containers/{container}/attach",
            params={"stream": "1", "stderr": "1"},
            timeout=httpx.Timeout(CALL_S, read=None),
        )
        answer = await self._client.send(request, stream=True)
        attached()
        try:
            held = b""
            async for piece in answer.aiter_raw():
                held += piece
                while len(held) >= FRAME.size:
                    stream, size = FRAME.unpack_from(held)
                    if size > FRAME_BYTES_MAX:
                        return
                    if len(held) < FRAME.size + size:
                        break
                    if stream == STDERR:
                        yield held[FRAME.size : FRAME.size + size]
                    held = held[FRAME.size + size :]
        finally:
            await answer.aclose()

    async def _call(self, method: str, path: str, **more: Any) -> Any:
        answer = await self._send(method, path, **more)
        if answer.is_error:
            try:
                why = str(answer.json()["message"])
            except (ValueError, KeyError, TypeError):
                why = answer.text
            raise StartFailed(f"the engine refused: {why[:ERROR_CHARS_MAX]}")
        if not answer.content or "json" not in answer.headers.get("content-type", ""):
            return {}
        try:
            return answer.json()
        except ValueError:
            # A call that reports progress answers with one document after another.
            return {}

    async def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            return await self._client.request(method, path, **more)
        except httpx.HTTPError as error:
            raise StartFailed(
                f"the engine does not answer: {error or type(error).__name__}"
            ) from None
