"""One request to a registry: let in, redirected and tried again, so that what is above sees answers only."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

import httpx

from archipelag_oci.auth import Authority, bounded, parse_challenge
from archipelag_oci.errors import (
    AccessDenied,
    BadReference,
    NotInRegistry,
    RegistryLied,
    RegistryRefused,
    RegistryUnreachable,
    TooLarge,
)
from archipelag_oci.reference import Reference
from archipelag_oci.settings import AGENT, Settings

REDIRECTS_MAX: Final = 5
ERROR_BYTES_MAX: Final = 4096
RETRY_AFTER_S_MAX: Final = 30.0
AGAIN: Final = (408, 429, 500, 502, 503, 504)

T = TypeVar("T")
Body = Callable[[], AsyncIterator[bytes]]
"""Made anew for each try."""


class Passing(RegistryUnreachable):
    """An answer or a failure that another try may not meet."""

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


class Connection:
    """Owns the HTTP client; `sleep` and `chance` are passed in by tests."""

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self._sleep = sleep
        self._chance = chance or random.Random()
        limits = httpx.Timeout(settings.silence_s, connect=settings.connect_s)
        # A proxy of the environment is used, but never to reach this machine itself.
        here = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}
        self._http = httpx.AsyncClient(
            timeout=limits,
            follow_redirects=False,
            headers={"User-Agent": AGENT, "Accept-Encoding": "identity"},
            transport=transport,
            mounts={} if transport is not None else here,
        )
        self._authority = Authority(self._http, settings)

    async def close(self) -> None:
        await self._http.aclose()

    async def patiently(self, once: Callable[[], Awaitable[T]]) -> T:
        """Tries again what may pass, a bounded number of times, each later than the one before."""
        for attempt in range(self.settings.attempts_max):
            try:
                return await once()
            except Passing as error:
                if attempt + 1 == self.settings.attempts_max:
                    raise RegistryUnreachable(
                        f"{error}; tried {self.settings.attempts_max} times: try again later"
                    ) from error
                await self.wait(attempt, error.wait_s)
        raise AssertionError("attempts_max is at least 1")

    async def wait(self, attempt: int, at_least_s: float = 0.0) -> None:
        """Full jitter, so that a thousand Islands do not come back at once."""
        most = min(self.settings.backoff_s * 2**attempt, self.settings.backoff_s_max)
        await self._sleep(max(at_least_s, most * (0.5 + self._chance.random() / 2)))

    @asynccontextmanager
    async def request(
        self,
        method: str,
        registry: str,
        path: str | httpx.URL,
        *,
        scope: str,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        expect: tuple[int, ...] = (200,),
    ) -> AsyncIterator[httpx.Response]:
        """The answer's head; its body is still to be read. Raises an error of the tree for any other status."""
        url = self.address(registry, path) if isinstance(path, str) else path
        with _told(registry):
            answer = await self._let_in(method, registry, url, scope, dict(headers or {}), body)
            try:
                if answer.status_code not in expect:
                    await _refuse(answer, registry, url)
                yield answer
            finally:
                await answer.aclose()

    def address(self, registry: str, path: str) -> httpx.URL:
        return httpx.URL(f"{self.settings.scheme(registry)}://{registry}{path}")

    def follow(self, registry: str, base: httpx.URL, location: str) -> httpx.URL:
        """Where a registry sends us. Never from TLS to plain, and never to this machine's own services."""
        try:
            url = base.join(location)
            plain = url.scheme == "http" and self.settings.is_plain(url.netloc.decode())
        except (httpx.InvalidURL, BadReference, UnicodeDecodeError):
            raise RegistryLied(f"{registry} sends us to an address that is none") from None
        if not url.host or "%" in url.host:
            raise RegistryLied(f"{registry} sends us to an address that is none")
        if url.scheme != "https" and not (plain and self.settings.is_plain(registry)):
            raise RegistryLied(f"{registry} sends us to {url.host} without TLS")
        return url

    async def _let_in(
        self,
        method: str,
        registry: str,
        url: httpx.URL,
        scope: str,
        headers: dict[str, str],
        body: Body | None,
    ) -> httpx.Response:
        answer = await self._redirected(method, registry, url, scope, headers, body)
        if answer.status_code != httpx.codes.UNAUTHORIZED or not _is_at(answer.url, registry):
            return answer
        challenge = parse_challenge(answer.headers.get("www-authenticate", ""))
        await answer.aclose()
        self._authority.forget(registry, scope)
        await self._authority.answer(registry, scope, challenge)
        return await self._redirected(method, registry, url, scope, headers, body)

    async def _redirected(
        self,
        method: str,
        registry: str,
        url: httpx.URL,
        scope: str,
        headers: dict[str, str],
        body: Body | None,
    ) -> httpx.Response:
        for _ in range(REDIRECTS_MAX):
            known = self._authority.header(registry, scope)
            # A storage service that a registry redirects to never sees the token.
            own = {"Authorization": known} if known and _is_at(url, registry) else {}
            request = self._http.build_request(
                method, url, headers=headers | own, content=body() if body else None
            )
            answer = await self._http.send(request, stream=True)
            if answer.status_code not in (301, 302, 303, 307, 308):
                return answer
            await answer.aclose()
            url = self.follow(registry, url, answer.headers.get("location", ""))
        raise RegistryLied(f"{registry} redirects without end")


def _is_at(url: httpx.URL, registry: str) -> bool:
    return url.netloc.decode() == registry


@contextmanager
def _told(registry: str) -> Iterator[None]:
    """What the network says, as an error of ours."""
    try:
        yield
    except httpx.TimeoutException:
        raise Passing(f"{registry} does not answer in time") from None
    except httpx.TransportError as error:
        raise Passing(f"{registry} cannot be reached ({error or type(error).__name__})") from error


async def _refuse(answer: httpx.Response, registry: str, url: httpx.URL) -> None:
    status = answer.status_code
    if status in AGAIN:
        raise Passing(f"{registry} answers {status}", _retry_after_s(answer))
    if status == httpx.codes.NOT_FOUND:
        raise NotInRegistry(f"{registry} has no {url.path}: check the name, and that it was pushed")
    if status in (401, 403):
        raise AccessDenied(
            f"{registry} denies {url.path} ({status}): check its credentials and what they permit"
        )
    try:
        said = (await bounded(answer, ERROR_BYTES_MAX)).decode(errors="replace")
    except TooLarge:
        said = ""
    raise RegistryRefused(f"{registry} refuses {url.path} with {status}: {printable(said)}")


def printable(text: str) -> str:
    """A stranger's words, harmless in a log."""
    return "".join(c if c.isprintable() else " " for c in text)[:200]


def _retry_after_s(answer: httpx.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return min(float(text), RETRY_AFTER_S_MAX) if text.isascii() and text.isdigit() else 0.0


def pulling(reference: Reference) -> str:
    """The scope of a token that reads one repository."""
    return f"repository:{reference.repository}:pull"


def pushing(reference: Reference) -> str:
    return f"repository:{reference.repository}:pull,push"
