"""The session's secret and its token, and what browsers may call themselves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from archipelag_contracts.ids import ApiKeyId, UserId
from archipelag_coordinator.domain.session import (
    USER_AGENT_MAX,
    check_csrf,
    csrf_of,
    hash_session,
    new_session,
)
from archipelag_coordinator.domain.user import ApiKey, KeyKind, Scope, hash_secret
from archipelag_coordinator.errors import NotAuthenticated, NotPermitted
from archipelag_coordinator.testing.builders import an_id
from archipelag_coordinator.testing.fakes import START

SECRET = "as_" + "a" * 43
OTHER = "as_" + "b" * 43


def a_made_session(**changes: str) -> ApiKey:
    return new_session(
        ApiKeyId(an_id("key")),
        UserId(an_id("usr")),
        changes.get("secret", SECRET),
        user_agent=changes.get("user_agent", ""),
        now=START,
        life_s=60,
    )


def test_a_session_may_what_its_user_may_until_it_expires() -> None:
    session = a_made_session()

    assert session.kind is KeyKind.SESSION
    session.check_scope(Scope.WRITE)
    session.check_usable(START + timedelta(seconds=59))
    with pytest.raises(NotAuthenticated):
        session.check_usable(START + timedelta(seconds=60))
    assert SECRET not in repr(session)


@pytest.mark.parametrize(
    "secret",
    ["", "as_", "ak_" + "a" * 43, "as_" + "a" * 42, SECRET + "a", SECRET + "\n", "as_" + "é" * 43],
)
def test_what_is_no_session_is_refused(secret: str) -> None:
    with pytest.raises(NotAuthenticated):
        hash_session(secret)


def test_a_session_is_no_key() -> None:
    with pytest.raises(NotAuthenticated):
        hash_secret(SECRET)


@pytest.mark.parametrize(
    "given",
    [None, "", csrf_of(OTHER), csrf_of(SECRET)[:-1], csrf_of(SECRET) + "=", SECRET, "é" * 43],
)
def test_only_this_sessions_own_token_is_taken(given: str | None) -> None:
    check_csrf(SECRET, csrf_of(SECRET))

    with pytest.raises(NotPermitted):
        check_csrf(SECRET, given)


def test_the_token_does_not_give_the_secret_away() -> None:
    token = csrf_of(SECRET)

    assert len(token) == 43 and SECRET[3:] not in token
    assert token != hash_session(SECRET).hex()


def test_a_browser_calls_itself_one_line_of_bounded_length() -> None:
    session = a_made_session(user_agent="A\r\nSet-Cookie: x\0\x1b[31m " + "b" * 9_000)

    assert session.user_agent.startswith("A Set-Cookie: x [31m b")
    assert session.user_agent.isprintable()
    assert len(session.user_agent) == USER_AGENT_MAX
