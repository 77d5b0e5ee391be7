"""What a person sends by a form: read within bounds, and only when a page of ours made it."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl

from archipelag_contracts.units import Ucredits, from_credits
from starlette.requests import Request

from archipelag_coordinator.apps.bodies import whole
from archipelag_coordinator.apps.cookies import check_same_origin
from archipelag_coordinator.apps.web.asking import settings_of, token_of, visitor_of, world_of
from archipelag_coordinator.apps.web.settings import PagesSettings
from archipelag_coordinator.errors import CoordinatorError, InvalidInput, NotPermitted, TooLarge

TOKEN: Final = "token"  # noqa: S105 - the field's name
FIELDS_MAX: Final = 200
_TYPE: Final = "application/x-www-form-urlencoded"
_CREDITS_LENGTH_MAX: Final = 24


class FormRefused(CoordinatorError):
    """It was not sent by a page of ours that is still good."""

    code = "form_refused"


class FormUnreadable(CoordinatorError):
    code = "form_unreadable"


@dataclass(frozen=True)
class Form:
    values: Mapping[str, str]

    def text(self, name: str, length_max: int = 500) -> str:
        """Trimmed; empty where it is missing. Raises InvalidInput for what is too long."""
        value = self.values.get(name, "").strip()
        if len(value) > length_max:
            raise InvalidInput({name: [f"must have at most {length_max} characters"]})
        return value

    def has(self, name: str) -> bool:
        return bool(self.values.get(name))

    def credits(self, name: str) -> Ucredits | None:
        """None where it is left empty. Raises InvalidInput."""
        value = self.text(name).replace(" ", "")
        if not value:
            return None
        try:
            if len(value) > _CREDITS_LENGTH_MAX or not value.isascii():
                raise ValueError(name)
            return from_credits(value)
        except ValueError:
            raise InvalidInput(
                {name: ["must be a number of credits with at most six decimals"]}
            ) from None

    def count(self, name: str) -> int | None:
        """None where it is left empty. Raises InvalidInput."""
        value = self.text(name)
        if not value:
            return None
        if not value.isascii() or not value.isdigit() or len(value) > 9:
            raise InvalidInput({name: ["must be a whole number"]})
        return int(value)

    def end_of_day(self, name: str) -> datetime | None:
        """When the day that was named is over, in UTC; None where it is left empty. Raises InvalidInput."""
        value = self.text(name)
        if not value:
            return None
        try:
            day = datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise InvalidInput({name: ["must be a day such as 2030-01-31"]}) from None
        if not 2000 <= day.year <= 9998:
            raise InvalidInput({name: ["must be a day such as 2030-01-31"]})
        return day + timedelta(days=1)


async def read_form(request: Request) -> Form:
    """Raises FormRefused, FormUnreadable, TooLarge, TooSlow. No form is read in another way, so none goes unchecked."""
    try:
        check_same_origin(request, world_of(request).public_url)
    except NotPermitted:
        raise FormRefused("this form came from another site") from None
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != _TYPE:
        raise FormUnreadable("this is not a form")
    raw = await _body(request, settings_of(request))
    try:
        pairs = parse_qsl(
            raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX
        )
    except ValueError:
        raise FormUnreadable("this form cannot be read") from None
    values = {name: value for name, value in pairs if "\0" not in value}
    await visitor_of(request)
    if not hmac.compare_digest(token_of(request).encode(), values.get(TOKEN, "").encode()):
        raise FormRefused("this form is too old, or was made for somebody else")
    return Form(values)


async def _body(request: Request, settings: PagesSettings) -> bytes:
    parts = bytearray()
    async for part in whole(request, settings.bodies):
        parts += part
        if len(parts) > settings.form_bytes_max:
            raise TooLarge("the form", settings.form_bytes_max)
    return bytes(parts)
