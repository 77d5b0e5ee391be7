"""The 401 dance of the distribution specification: basic, or a bearer token from the realm that the registry names."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from archipelag_oci import strict
from archipelag_oci.errors import AccessDenied, BadDocument, BadReference, RegistryLied, TooLarge
from archipelag_oci.settings import Credentials, Settings

CHALLENGE_CHARACTERS_MAX: Final = 8 * 1024
TOKEN_BYTES_MAX: Final = 64 * 1024

_PARAMETER: Final = re.compile(r'([a-zA-Z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True)
class Challenge:
    scheme: str
    realm: str = ""
    service: str = ""


def parse_challenge(header: str) -> Challenge:
    """Of `WWW-Authenticate`. Its scope is not read: we ask for what we need, never for what a registry would like."""
    if len(header) > CHALLENGE_CHARACTERS_MAX:
        raise RegistryLied("the registry's challenge is too long")
    scheme, _, rest = header.strip().partition(" ")
    found: Mapping[str, str] = {
        name.lower(): (quoted or plain) for name, quoted, plain in _PARAMETER.findall(rest)
    }
    return Challenge(scheme.lower(), found.get("realm", ""), found.get("service", ""))


class Authority:
    """Remembers what each registry let us in with. Credentials go to their own registry, or to the host named for
    its tokens, and nowhere else."""

    def __init__(self, http: httpx.AsyncClient, settings: Settings) -> None:
        self._http = http
        self._settings = settings
        self._headers: dict[tuple[str, str], str] = {}

    def header(self, registry: str, scope: str) -> str:
        return self._headers.get((registry, scope), "")

    def forget(self, registry: str, scope: str) -> None:
        self._headers.pop((registry, scope), None)

    async def answer(self, registry: str, scope: str, challenge: Challenge) -> None:
        """Gets what the registry asks for. Raises AccessDenied."""
        known = self._settings.credentials.get(registry)
        match challenge.scheme:
            case "basic":
                if known is None:
                    raise AccessDenied(
                        f"{registry} asks for a name and password: add credentials for it"
                    )
                value = _basic(known)
            case "bearer":
                value = "Bearer " + await self._token(registry, scope, challenge, known)
            case other:
                raise AccessDenied(f"{registry} asks for {other[:40]!r}, which is not known here")
        self._headers[registry, scope] = value

    async def _token(
        self, registry: str, scope: str, challenge: Challenge, known: Credentials | None
    ) -> str:
        realm = self._realm(registry, challenge.realm)
        headers = {}
        if known is not None and realm.netloc.decode() in (registry, known.token_host):
            headers["Authorization"] = _basic(known)
        query = {"scope": scope} | ({"service": challenge.service} if challenge.service else {})
        async with self._http.stream(
            "GET", realm.copy_merge_params(query), headers=headers
        ) as answer:
            if answer.status_code != httpx.codes.OK:
                raise AccessDenied(
                    f"{realm.host} gives no token for {registry} ({answer.status_code}): check the credentials"
                )
            data = await bounded(answer, TOKEN_BYTES_MAX)
        try:
            document = strict.parse_object(data, "the token", TOKEN_BYTES_MAX)
            token = strict.text(document, "token", "the token") or strict.text(
                document, "access_token", "the token"
            )
        except BadDocument as error:
            raise RegistryLied(f"{realm.host}: {error}") from None
        if not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", token):
            raise RegistryLied(f"{realm.host} sent no token")
        return token

    def _realm(self, registry: str, text: str) -> httpx.URL:
        try:
            realm = httpx.URL(text)
            host = realm.netloc.decode()
            plain = self._settings.is_plain(host)
        except (httpx.InvalidURL, BadReference, UnicodeDecodeError):
            raise RegistryLied(f"{registry} names no address to get a token from") from None
        # A registry out there may not send us to a service of this machine.
        if realm.scheme != "https" and not (plain and self._settings.is_plain(registry)):
            raise RegistryLied(f"{registry} wants tokens to be had without TLS, from {host}")
        return realm


async def bounded(answer: httpx.Response, bytes_max: int) -> bytes:
    """The body, refused with the first byte too many."""
    parts: list[bytes] = []
    size = 0
    async for part in answer.aiter_raw():
        size += len(part)
        if size > bytes_max:
            raise TooLarge(f"{answer.url.host} sends more than {bytes_max} bytes")
        parts.append(part)
    return b"".join(parts)


def _basic(known: Credentials) -> str:
    pair = f"{known.username}:{known.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()
