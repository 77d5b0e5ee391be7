"""The JSON shapes of sessions, users as administrators see them, and the audit log."""

from __future__ import annotations

from typing import Final

from archipelag_coordinator.apps.api.schemas import (
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Schema,
    data,
    many,
    maybe,
    one_of,
    shape,
)

_SESSION: Final = shape(
    {
        "id": TEXT,
        "user_agent": maybe(TEXT),
        "created_at": TIME,
        "last_used_at": maybe(TIME),
        "expires_at": TIME,
        "revoked_at": maybe(TIME),
        "current": TRUTH,
    }
)
_USER: Final = shape(
    {
        "id": TEXT,
        "email": TEXT,
        "role": one_of("user", "operator", "admin"),
        "suspended": TRUTH,
        "created_at": TIME,
    }
)
_ENTRY: Final = shape(
    {
        "number": WHOLE,
        "at": TIME,
        "actor": TEXT,
        "act": TEXT,
        "subject": TEXT,
        "detail": TEXT,
        "previous": TEXT,
        "hash": TEXT,
    }
)
_META: Final = shape({"total": WHOLE, "limit": WHOLE, "offset": WHOLE})
PEOPLE: Final[dict[str, Schema]] = {
    "Session": data(_SESSION),
    "SessionList": data(many(_SESSION)),
    "SignedOut": data(shape({"signed_out": WHOLE})),
    "User": data(_USER),
    "UserList": shape({"data": many(_USER), "meta": _META}),
    "RoleRequest": shape({"role": one_of("user", "operator", "admin")}, closed=True),
    "AuditLog": data(many(_ENTRY)),
    "AuditCheck": data(
        shape(
            {
                "whole": TRUTH,
                "entries": WHOLE,
                "broken_at": maybe(WHOLE),
                "hash": {"type": "string", "description": "The newest entry's: keep it elsewhere"},
            }
        )
    ),
}
