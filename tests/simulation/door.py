"""HTTP between a customer and a Coordinator: the real ASGI application, over a connection that is late and breaks."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from simulation.coordinator import SimCoordinator
from simulation.network import AGAIN_S, Network, Pipe
from simulation.party import Party

UNREAD_BYTES_MAX: Final = 2_048
"""So much lies between the two before the server's `send` waits: a slow reader is felt soon."""


EVENT_ID: Final = re.compile(rb"^id: (\d+)$", re.MULTILINE)


class ConnectionLost(ConnectionError):
    """The connection ended before the answer did."""


class Exchange:
    """One request and its answer, as the customer sees it."""

    def __init__(
        self,
        network: Network,
        customer: Party,
        server: SimCoordinator,
        request: tuple[str, str, dict[str, str], bytes],
        written: Callable[[str, int], None],
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._network = network
        self._customer = customer
        self._server = server
        self._request = request
        self._parts: deque[bytes | None] = deque()
        """What has arrived; None is the end."""
        self._on_way = 0
        self._down = Pipe(network, server.party, customer, self._arrive)
        self._broken = False
        self._complete = False
        self._written = written
        self._job = ""
        self._arrived = asyncio.Event()
        self._read = asyncio.Event()
        self._asked = False
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done, on the server's side, when the customer has gone."""
        server.party.on_death.append(self._server_died)
        customer.on_death.append(self.close)

    async def open(self, timeout_s: float) -> None:
        """Sends the request and waits for the head of the answer. Raises ConnectionLost or TimeoutError."""
        async with asyncio.timeout(timeout_s):
            await asyncio.sleep(self._network.delay())
            await self._until_reached()
            if self._server.party.dead or not self._server.serving:
                raise ConnectionLost("nobody listens")
            self._server.party.spawn(self._serve(), "request")
            while not self.status and not self._broken:
                self._arrived.clear()
                await self._arrived.wait()
        if not self.status:
            raise ConnectionLost("the connection was lost before the answer")

    async def part(self, timeout_s: float) -> bytes | None:
        """What came since; None at the end. Raises ConnectionLost or TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not self._parts:
                if self._broken:
                    raise ConnectionLost("the connection was lost in mid-answer")
                self._arrived.clear()
                await self._arrived.wait()
        taken = self._parts.popleft()
        if taken is None:
            self._parts.append(None)
        else:
            self._on_way -= len(taken)
            self._later(self._read.set, self._server.party)
        return taken

    async def whole(self, timeout_s: float) -> bytes:
        said = b""
        while (part := await self.part(timeout_s)) is not None:
            said += part
        return said

    def close(self) -> None:
        """The customer hangs up."""
        if not self._left.done() and not self._server.party.dead:
            self._later(self._tell_left, self._server.party)
        self._broken = True
        self._arrived.set()

    def _tell_left(self) -> None:
        if not self._left.done():
            self._left.set_result(None)
        self._read.set()

    async def _until_reached(self) -> None:
        mine, theirs = self._customer.host, self._server.party.host
        reaches = self._network.reaches
        while not (reaches(mine, theirs) and reaches(theirs, mine)):  # noqa: ASYNC110 - a TCP that sends again
            await asyncio.sleep(AGAIN_S)

    # --- On the server ---------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        method, path, headers, body = self._request
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
            "client": ("customer", 1),
            "server": ("coordinator", 80),
        }
        self._body = body
        await self._server.app(scope, self._receive, self._send)
        if not self._complete:
            self._put_end(broken=True)

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await asyncio.shield(self._left)
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        body = message.get("body", b"")
        if ids := EVENT_ID.findall(body):
            # Who writes to a client that has just gone cannot know.
            self._written(self._job, int(ids[-1]))
        if self._left.done() or self._broken:
            return
        if message["type"] == "http.response.start":
            headers = {k.decode(): v.decode("latin-1") for k, v in message["headers"]}
            self._job = headers.get("x-archipelag-job", "")
            self._put(lambda: self._head(message["status"], headers))
            return
        if body:
            self._on_way += len(body)
            self._put(lambda: self._parts.append(bytes(body)))
        if not message.get("more_body", False):
            self._complete = True
            self._put(lambda: self._parts.append(None))
        while self._on_way > UNREAD_BYTES_MAX and not self._left.done():
            self._read.clear()
            await self._read.wait()

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers

    # --- The wire between them -------------------------------------------------------------------------------------

    def _put(self, arrive: Any) -> None:
        self._down.send(arrive)

    def _arrive(self, arrive: Any) -> None:
        arrive()
        self._arrived.set()

    def _put_end(self, *, broken: bool) -> None:
        def end() -> None:
            self._broken = broken

        self._put(end)

    def _server_died(self) -> None:
        if not self._complete:
            self._put_end(broken=True)

    def _later(self, act: Any, party: Party) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._network.delay(), act, context=party.context)


class HttpClient:
    """One customer's way to the Coordinators."""

    def __init__(
        self, network: Network, customer: Party, secret: str, written: Callable[[str, int], None]
    ) -> None:
        self._written = written
        """Told of each position that a Coordinator has written to the response of a job."""
        self._network = network
        self._customer = customer
        self._secret = secret

    async def ask(
        self,
        server: SimCoordinator,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        *,
        timeout_s: float = 60.0,
    ) -> Exchange:
        """Raises ConnectionLost or TimeoutError."""
        data = json.dumps(body).encode() if body is not None else b""
        whole = {"authorization": f"Bearer {self._secret}", "content-type": "application/json"}
        exchange = Exchange(
            self._network,
            self._customer,
            server,
            (method, path, whole | (headers or {}), data),
            self._written,
        )
        try:
            await exchange.open(timeout_s)
        except BaseException:
            exchange.close()
            raise
        return exchange
