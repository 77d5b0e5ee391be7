"""Who somebody is at a provider of sign-in: an issuer's word for a user of ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from archipelag_contracts.ids import UserId


@dataclass(frozen=True)
class Identity:
    """`subject` is the issuer's own name for the person; an address may change hands, this does not."""

    issuer: str
    subject: str
    user_id: UserId
    created_at: datetime


@dataclass(frozen=True)
class Claims:
    """What a provider said of a person, in a token that was checked."""

    issuer: str
    subject: str
    email: str
    email_verified: bool
