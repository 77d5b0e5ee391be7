"""The sealed journey: what a browser brings back is what we gave it, or nothing."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_coordinator.domain.journey import Journey, opened, sealed
from archipelag_coordinator.errors import IdentityRefused
from archipelag_coordinator.testing.fakes import START

KEY, OTHER = b"k" * 32, b"o" * 32
JOURNEY = Journey("state", "nonce", "verifier", "/jobs", START + timedelta(minutes=10))


def test_it_comes_back_as_it_went() -> None:
    assert opened(sealed(JOURNEY, KEY), KEY, START) == JOURNEY


def test_the_challenge_is_the_verifiers_and_does_not_show_it() -> None:
    # The example of RFC 7636, appendix B.
    known = replace(JOURNEY, verifier="dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")

    assert known.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def a_forged(next_path: str = "//evil.example") -> str:
    """The same with another way on, under the tag of the real one."""
    body, _, tag = sealed(JOURNEY, KEY).partition(".")
    told = json.loads(base64.urlsafe_b64decode(body + "=="))
    told[3] = next_path
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=") + "." + tag


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        ".",
        "x.y",
        "é.é",
        sealed(JOURNEY, OTHER),
        sealed(JOURNEY, KEY)[:-2],
        sealed(JOURNEY, KEY) + "A",
        sealed(JOURNEY, KEY).partition(".")[0],
        "." + sealed(JOURNEY, KEY).partition(".")[2],
        a_forged(),
        "A" * 100_000,
    ],
)
def test_what_we_did_not_seal_is_refused(text: str | None) -> None:
    with pytest.raises(IdentityRefused):
        opened(text, KEY, START)


def test_it_is_over_in_time() -> None:
    with pytest.raises(IdentityRefused, match="too long"):
        opened(sealed(JOURNEY, KEY), KEY, JOURNEY.expires_at)


@pytest.mark.parametrize("state", ["", "State", "state ", "nonce", "é"])
def test_the_state_must_be_the_same(state: str) -> None:
    JOURNEY.check_state("state")

    with pytest.raises(IdentityRefused):
        JOURNEY.check_state(state)
