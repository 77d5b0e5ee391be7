"""What a program is told that hands over what cannot be: at once, by name, and without the key."""

from __future__ import annotations

import pytest
from archipelag import AsyncClient, Client
from stub import Network


@pytest.mark.parametrize("make", [Client, AsyncClient])
@pytest.mark.parametrize("key", ["ak_of_a_file\n", "ak_two words", "ak_\x00", "ak_é", "\tak_of"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_told(make: type, key: str) -> None:
    with pytest.raises(ValueError, match="visible ASCII") as caught:
        make("http://127.0.0.1:1", key)

    assert "ak_" not in str(caught.value)


def test_a_key_of_the_environment_is_held_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIPELAG_API_KEY", "ak_of_a_file\n")

    with pytest.raises(ValueError, match="visible ASCII"):
        Client("http://127.0.0.1:1")


@pytest.mark.parametrize("wrong", ["Name a sea.", 3, None, ["prompt"]])
def test_an_input_that_is_no_mapping_is_named(wrong: object) -> None:
    network = Network()

    with pytest.raises(TypeError, match="the input is a mapping"):
        network.client().create_job("llm-chat", wrong)  # type: ignore[arg-type]
    assert network.requests == []
