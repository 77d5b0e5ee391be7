"""How the session's cookie is set: what a browser is told to do with it."""

from __future__ import annotations

from archipelag_coordinator.apps.cookies import clear_session, set_session
from fastapi import Response


def test_over_https_the_cookie_is_bound_to_this_host_and_its_scripts_cannot_read_it() -> None:
    answer = Response()

    set_session(answer, "as_secret", "https://net.example", 60.5)

    said = answer.headers["set-cookie"].split("; ")
    assert said[0] == "__Host-archipelag_session=as_secret"
    assert {"HttpOnly", "Max-Age=60", "Path=/", "SameSite=lax", "Secure"} == set(said[1:])


def test_on_ones_own_machine_it_is_the_same_without_https() -> None:
    answer = Response()

    set_session(answer, "as_secret", "http://127.0.0.1:8420", 60)

    said = answer.headers["set-cookie"].split("; ")
    assert said[0] == "archipelag_session=as_secret"
    assert {"HttpOnly", "Max-Age=60", "Path=/", "SameSite=lax"} == set(said[1:])


def test_a_cleared_cookie_is_empty_and_over() -> None:
    answer = Response()

    clear_session(answer, "https://net.example")

    said = answer.headers["set-cookie"]
    assert said.startswith('__Host-archipelag_session=""; ')
    assert "Max-Age=0" in said and "Secure" in said and "HttpOnly" in said
