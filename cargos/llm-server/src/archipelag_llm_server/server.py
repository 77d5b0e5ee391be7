"""The model's server: started as a child on a Unix socket, or one that runs already; asked over HTTP, watched."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Final

import httpx
from archipelag_kit import BadInput

from archipelag_llm_server import events
from archipelag_llm_server.errors import ServerFailed
from archipelag_llm_server.events import Told

LOOK_S: Final = 0.1
DEATH_S: Final = 0.5
CONNECT_S: Final = 5.0
SILENT_S: Final = 45.0
"""Less than an Island waits before it calls a Cargo frozen, so that the customer hears the reason."""
ERROR_BYTES_MAX: Final = 16 * 1024
LAST_LINES: Final = 5
_LINE_BYTES_MAX: Final = 1000


class Server:
    """One server. `start` or not, `wait_ready`, then `answer` as often as there are slots; `stop`."""

    def __init__(
        self,
        name: str,
        *,
        address: str = "http://server",
        socket: str | None = None,
        silent_s: float = SILENT_S,
    ) -> None:
        self.name = name
        """For people."""
        self._process: asyncio.subprocess.Process | None = None
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._watching: list[asyncio.Task[None]] = []
        self._client = httpx.AsyncClient(
            base_url=address,
            transport=httpx.AsyncHTTPTransport(uds=socket),
            timeout=httpx.Timeout(silent_s, connect=CONNECT_S),
            # No proxy of the environment's may read along.
            trust_env=False,
        )

    async def start(self, command: Sequence[str], died: Callable[[], None]) -> None:
        """`died` is called if it ends by itself. Raises ServerFailed."""
        tied = [sys.executable, "-m", "archipelag_llm_server.child", str(os.getpid()), *command]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *tied,
                stdin=asyncio.subprocess.DEVNULL,
                # Our own output is the Island's; what it logs is for the Cargo's author.
                stdout=sys.stderr,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise ServerFailed(f"{self.name} could not be started: {error}") from None
        reading = asyncio.create_task(self._read_words(self._process))
        self._watching = [reading, asyncio.create_task(self._watch(reading, died))]

    async def wait_ready(self, within_s: float, tell: Callable[[float], None]) -> None:
        """`tell` gets the part of the time that is over. Raises ServerFailed."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < within_s:
            self._check_lives()
            tell(passed / within_s)
            # Not there yet, or there and still loading.
            with suppress(httpx.HTTPError):
                found = await self._client.get("/health", timeout=CONNECT_S)
                if found.status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(LOOK_S)
        raise ServerFailed(f"{self.name} was not ready within {within_s:.0f} s{self._words()}")

    async def answer(self, body: bytes) -> AsyncGenerator[Told, None]:
        """Closing it early closes the connection, by which the server knows to stop.

        Raises BadInput for what the server refuses as the customer's mistake, and ServerFailed.
        """
        self._check_lives()
        try:
            async with self._client.stream(
                "POST",
                "/v1/chat/completions",
                content=body,
                headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
            ) as response:
                await self._check_answers(response)
                async with aclosing(events.read(response.aiter_raw())) as heard:
                    async for told in heard:
                        yield told
        except httpx.TimeoutException:
            raise ServerFailed(f"{self.name} says nothing any more") from None
        except httpx.HTTPError as error:
            await self._check_death()
            why = str(error) or type(error).__name__
            raise ServerFailed(f"{self.name} broke off: {why}") from None
        except ServerFailed as error:
            await self._check_death()
            raise ServerFailed(f"{self.name}: {error}") from None

    async def stop(self) -> None:
        for task in self._watching[1:]:
            task.cancel()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        for task in self._watching:
            with suppress(asyncio.CancelledError):
                await task
        await self._client.aclose()

    async def _check_answers(self, response: httpx.Response) -> None:
        """Raises BadInput, ServerFailed."""
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if response.status_code == httpx.codes.OK:
            if kind != "text/event-stream":
                raise ServerFailed(f"it answers with {kind[:80] or 'no type'} and not a stream")
            return
        said = b""
        async for chunk in response.aiter_raw():
            said += chunk
            if len(said) > ERROR_BYTES_MAX:
                break
        message = events.message(said[:ERROR_BYTES_MAX])
        if response.status_code in (
            httpx.codes.BAD_REQUEST,
            httpx.codes.REQUEST_ENTITY_TOO_LARGE,
            httpx.codes.UNPROCESSABLE_ENTITY,
        ):
            raise BadInput(f"the model's server refuses this: {message}")
        raise ServerFailed(f"it answers {response.status_code}: {message}")

    async def _check_death(self) -> None:
        """A death says more than the connection that it broke, and is known a little later. Raises ServerFailed."""
        if self._watching:
            await asyncio.wait(self._watching[1:], timeout=DEATH_S)
        self._check_lives()

    def _check_lives(self) -> None:
        if self._process is not None and self._process.returncode is not None:
            raise ServerFailed(self._why_died())

    def _why_died(self) -> str:
        assert self._process is not None and self._process.returncode is not None
        status = self._process.returncode
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return f"{self.name} ended {how}{self._words()}"

    def _words(self) -> str:
        return f": {' / '.join(self._last)}" if self._last else ""

    async def _read_words(self, process: asyncio.subprocess.Process) -> None:
        """Passes its words on and keeps the last. In pieces, as a line may be of any length."""
        assert process.stderr is not None
        rest = b""
        while piece := await process.stderr.read(1 << 16):
            sys.stderr.write(piece.decode(errors="replace"))
            *lines, rest = (rest + piece).split(b"\n")
            rest = rest[-_LINE_BYTES_MAX:]
            for line in (*lines, rest if len(rest) == _LINE_BYTES_MAX else b""):
                if text := line[:_LINE_BYTES_MAX].decode(errors="replace").strip():
                    self._last.append(text[:200])

    async def _watch(self, reading: asyncio.Task[None], died: Callable[[], None]) -> None:
        assert self._process is not None
        await self._process.wait()
        # A worker of its that lives on may hold the pipe open.
        await asyncio.wait([reading], timeout=LOOK_S)
        sys.stderr.write(f"{self._why_died()}\n")
        died()
