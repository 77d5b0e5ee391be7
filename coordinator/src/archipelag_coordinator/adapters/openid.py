"""A provider of sign-in by OpenID Connect: the authorization code flow with PKCE, and tokens that are checked here."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from archipelag_coordinator.domain.identity import Claims
from archipelag_coordinator.domain.journey import Journey
from archipelag_coordinator.errors import IdentityRefused

Key = RSAKey | ECKey | OKPKey

log = logging.getLogger(__name__)

ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "Ed25519", "EdDSA"]
"""By a private key of the provider's only: neither `none` nor what is signed with a secret that two share."""
TIMEOUT_S: Final = 10.0
KNOWN_FOR: Final = timedelta(hours=1)
ASK_AGAIN: Final = timedelta(seconds=30)
"""Keys that are not known are looked for again, but not by each forged token."""
LEEWAY: Final = timedelta(seconds=60)
"""How far the provider's clock may be off."""
KEYS_MAX: Final = 50
SUBJECT_MAX: Final = 255
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def check_issuer(issuer: str) -> str:
    """Raises ValueError. Only on one's own machine a provider may do without https."""
    parts = urlsplit(issuer)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not safe or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("must be https://… as the provider writes it")
    return issuer


class OpenIdProvider:
    """Implements `IdentityProvider`. What the provider says of itself is kept for an hour, its keys until one is new.

    `close` it when done.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str,
        now: Callable[[], datetime],
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._now = now
        self._http = http or httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False)
        self._said: dict[str, Any] = {}
        self._said_at: datetime | None = None
        self._keys: list[Key] = []
        self._keys_at: datetime | None = None

    @property
    def name(self) -> str:
        return urlsplit(self._issuer).hostname or self._issuer

    async def close(self) -> None:
        await self._http.aclose()

    async def address(self, journey: Journey, callback: str) -> str:
        said = await self._configuration()
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": callback,
            "scope": "openid email",
            "state": journey.state,
            "nonce": journey.nonce,
            "code_challenge": journey.challenge,
            "code_challenge_method": "S256",
        }
        endpoint = str(said["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    async def claims(self, journey: Journey, code: str, callback: str) -> Claims:
        said = await self._configuration()
        tokens = await self._exchange(said, journey, code, callback)
        told = await self._checked(str(tokens.get("id_token", "")), journey.nonce)
        if "email" not in told and "userinfo_endpoint" in said:
            told = {**await self._userinfo(said, tokens, told["sub"]), **told}
        verified = told.get("email_verified") in (True, "true")
        return Claims(self._issuer, told["sub"], str(told.get("email", "")), verified)

    async def _exchange(
        self, said: dict[str, Any], journey: Journey, code: str, callback: str
    ) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": journey.verifier,
        }
        auth: httpx.BasicAuth | None = None
        if "client_secret_basic" in said.get(
            "token_endpoint_auth_methods_supported", ["client_secret_basic"]
        ):
            auth = httpx.BasicAuth(self._client_id, self._client_secret)
        else:
            form |= {"client_id": self._client_id, "client_secret": self._client_secret}
        answer = await self._ask("POST", str(said["token_endpoint"]), data=form, auth=auth)
        if answer.status_code != 200:
            # The reason is the operator's to read; a stranger's code is refused in the same way.
            log.warning("openid_code_refused status=%s", answer.status_code)
            raise IdentityRefused("the provider did not take the code")
        return _object(answer)

    async def _userinfo(
        self, said: dict[str, Any], tokens: dict[str, Any], subject: str
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {tokens.get('access_token', '')}"}
        answer = await self._ask("GET", str(said["userinfo_endpoint"]), headers=headers)
        told = _object(answer) if answer.status_code == 200 else {}
        # Without this, one token could be passed off with another person's address.
        return told if told.get("sub") == subject else {}

    async def _checked(self, token: str, nonce: str) -> dict[str, Any]:
        """The claims of a token that this provider signed for us, now, for this try. Raises IdentityRefused."""
        told = await self._signed(token)
        now = self._now().timestamp()
        right = _for_us(told, self._issuer, self._client_id) and _timely(told, now)
        given, subject = told.get("nonce"), told.get("sub")
        same = isinstance(given, str) and hmac.compare_digest(given.encode(), nonce.encode())
        named = isinstance(subject, str) and 0 < len(subject) <= SUBJECT_MAX
        if not (right and same and named):
            log.warning("openid_token_refused right=%s same=%s named=%s", right, same, named)
            raise IdentityRefused("the provider's token is not for this try")
        return told

    async def _signed(self, token: str) -> dict[str, Any]:
        for again in (False, True):
            for key in await self._known_keys(again=again):
                try:
                    return dict(jwt.decode(token, key, algorithms=ALGORITHMS).claims)
                except (JoseError, ValueError, TypeError):
                    continue
        log.warning("openid_signature_refused")
        raise IdentityRefused("the provider's token is not signed by its keys")

    async def _known_keys(self, *, again: bool) -> list[Key]:
        """As known; or asked anew, since providers change their keys, where that was not done just now."""
        now = self._now()
        known_for = ASK_AGAIN if again else KNOWN_FOR
        if self._keys_at is None or now - self._keys_at >= known_for:
            answer = await self._ask("GET", str((await self._configuration())["jwks_uri"]))
            told = _object(answer).get("keys", ())
            self._keys, self._keys_at = _keys_of(told), now
        return self._keys

    async def _configuration(self) -> dict[str, Any]:
        now = self._now()
        if self._said_at is None or now - self._said_at >= KNOWN_FOR:
            where = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
            said = _object(await self._ask("GET", where))
            needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            if said.get("issuer") != self._issuer or any(one not in said for one in needed):
                raise ConnectionError(f"{where} does not describe {self._issuer}")
            self._said, self._said_at = said, now
        return self._said

    async def _ask(self, method: str, url: str, **more: Any) -> httpx.Response:
        try:
            return await self._http.request(method, url, **more)
        except httpx.HTTPError as error:
            raise ConnectionError(f"the provider of sign-in is out of reach: {error!r}") from error


def _for_us(told: dict[str, Any], issuer: str, client_id: str) -> bool:
    """Said by this issuer, to us: where to others too, asked for by us."""
    said_to = told.get("aud")
    audience = said_to if isinstance(said_to, list) else [said_to]
    party = told.get("azp")
    ours = party == client_id or (party is None and len(audience) == 1)
    return told.get("iss") == issuer and client_id in audience and ours


def _timely(told: dict[str, Any], now: float) -> bool:
    until, since = told.get("exp"), told.get("iat")
    if not isinstance(until, int | float) or not isinstance(since, int | float):
        return False
    leeway = LEEWAY.total_seconds()
    return now < until + leeway and since <= now + leeway


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        told = None
    if answer.status_code != 200 or not isinstance(told, dict):
        raise ConnectionError(f"{answer.url} answered {answer.status_code} and nothing to go by")
    return told


def _keys_of(told: Any) -> list[Key]:
    """Public keys for signatures. A secret among them would be everybody's; a kind that is not known is left out."""
    found: list[Key] = []
    for key in told[:KEYS_MAX] if isinstance(told, list) else ():
        if not isinstance(key, dict) or key.get("use") not in (None, "sig"):
            continue
        with suppress(JoseError, ValueError, TypeError, KeyError):
            made = import_key(key)
            if isinstance(made, Key):
                found.append(made)
    return found
