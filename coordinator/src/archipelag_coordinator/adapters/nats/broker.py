"""Who may speak on the message fabric: tokens for Islands, cutting off those who may not, and who is connected."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import nats.errors
from archipelag_contracts.ids import IslandId, RelayId
from nats.aio.msg import Msg

from archipelag_coordinator.adapters.nats import credentials, links, nkey
from archipelag_coordinator.adapters.nats.connection import REQUEST_TIMEOUT_S, Connection, Identity
from archipelag_coordinator.adapters.nats.credentials import Keys
from archipelag_coordinator.adapters.nats.presence import Presence
from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain.link import Link

log = logging.getLogger(__name__)

CREDENTIALS_LIFE_MAX: Final = timedelta(days=7)
# Every token that an Island was given is void once it is older than this, so its revocation may be forgotten.
REVOKED_FOR: Final = CREDENTIALS_LIFE_MAX + timedelta(days=1)
# A token that was being made while the Island was suspended must be void too, so a revocation covers the future.
ANY_TOKEN: Final = 253_402_300_799
ANSWER_BYTES_MAX: Final = 64 << 10


class BrokerUnreachable(ConnectionError):
    """The broker could not be told; it is told again at the next connect and the next time round."""


class NatsBroker:
    """Implements `Broker` with a user token per Island and revocations in the account's own token."""

    def __init__(self, keys: Keys, urls: Sequence[str], relay: RelayId, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._revoked: tuple[dict[str, int], dict[str, int]] | None = None
        """Of the network's account and of the system's."""
        self._tokens: list[str] = []
        self._presence: Presence | None = None
        self._system = Connection(
            urls,
            Identity(
                key=keys.system_user,
                token=lambda: credentials.system_token(keys, relay, issued_at=clock.now()),
                inbox_prefix=credentials.inbox_of(relay),
                name=f"{relay} claims",
            ),
            on_connected=self._remind,
            on_lost=self._lost,
        )

    async def open(self) -> None:
        await self._system.open()

    async def close(self) -> None:
        await self._system.close()

    async def listen_presence(
        self,
        on_gone: Callable[[IslandId], None],
        on_back: Callable[[IslandId], None],
        on_unsure: Callable[[], None],
    ) -> None:
        """Calls back when an Island's connection to any server of the broker ended, when it stands again, and when
        neither can be told because our own ended. None may block."""
        presence = self._presence = Presence(on_gone, on_back, on_unsure)

        async def connected(message: Msg) -> None:
            presence.connected(message.data)

        async def disconnected(message: Msg) -> None:
            presence.disconnected(message.data)

        account = self._keys.account_id
        await self._system.subscribe(credentials.CONNECTED.format(account=account), connected)
        await self._system.subscribe(credentials.DISCONNECTED.format(account=account), disconnected)

    def credentials(
        self, public_key: bytes, island: IslandId, name: str, expires_at: datetime
    ) -> str:
        now = self._clock.now()
        return credentials.island_token(
            self._keys,
            public_key,
            island,
            name,
            issued_at=now,
            expires_at=min(expires_at, now + CREDENTIALS_LIFE_MAX),
        )

    async def enforce(
        self, cut_off: Mapping[bytes, datetime], unlinked: Collection[Link] = ()
    ) -> None:
        """Raises BrokerUnreachable; what is wanted is kept and told at the next connect."""
        now = self._clock.now()
        revoked = {
            nkey.public(nkey.USER, key): ANY_TOKEN
            for key, since in sorted(cut_off.items())
            if now - since <= REVOKED_FOR
        }
        joined = sorted(unlinked)
        revoked |= {links.user_of(self._keys, link): ANY_TOKEN for link in joined}
        of_system = {links.system_user_of(self._keys, link): ANY_TOKEN for link in joined}
        if (revoked, of_system) != self._revoked:
            issued_at = int(now.timestamp())
            tokens = [credentials.account_token(self._keys, revoked, issued_at=issued_at)]
            if of_system:
                # First: whose link is cut learns of it by the word of its end, which this one carries.
                tokens.insert(
                    0, credentials.system_account_token(self._keys, of_system, issued_at=issued_at)
                )
            self._revoked, self._tokens = (revoked, of_system), tokens
        # The same token again costs the broker nothing when it has it already.
        await self._push()

    async def _push(self) -> None:
        for token in self._tokens:
            try:
                answer = await self._system.request(
                    credentials.CLAIMS_UPDATE, token.encode(), REQUEST_TIMEOUT_S
                )
            except (nats.errors.Error, OSError, TimeoutError) as error:
                raise BrokerUnreachable(
                    f"the broker was not told who is cut off: {error!r}"
                ) from error
            _check(answer)

    def _lost(self) -> None:
        if self._presence is not None:
            self._presence.unsure()

    async def _remind(self, _: Connection) -> None:
        """A broker that was restarted may have forgotten."""
        if self._revoked is not None:
            await self._push()


def _check(answer: bytes) -> None:
    try:
        said = json.loads(answer[:ANSWER_BYTES_MAX])
    except ValueError:
        said = {}
    if "error" in said or said.get("data", {}).get("code") != 200:
        log.error("broker_refused_claims answer=%r", answer[:500])
        raise BrokerUnreachable("the broker refused the account's token: is it of this network?")
