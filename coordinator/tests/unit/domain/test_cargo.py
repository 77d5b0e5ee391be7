"""A Cargo version's moves, and the catalogue that lists it."""

import pytest
from archipelag_coordinator.domain.cargo import MOVES, CargoStatus
from archipelag_coordinator.domain.catalogue import Catalogue
from archipelag_coordinator.errors import IllegalMove, NotFound
from archipelag_coordinator.testing.builders import a_cargo

ACTS = {
    "verify": CargoStatus.VERIFIED,
    "list_it": CargoStatus.LISTED,
    "withdraw": CargoStatus.WITHDRAWN,
    "revoke": CargoStatus.REVOKED,
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("status", CargoStatus)
def test_moves_are_those_of_the_table(status, act):
    cargo = a_cargo(status=status)

    if ACTS[act] in MOVES[status]:
        assert getattr(cargo, act)().status is ACTS[act]
    else:
        with pytest.raises(IllegalMove):
            getattr(cargo, act)()


def test_cargo_is_named_by_its_model_or_its_slug():
    assert a_cargo().model_name == "small-model"
    assert a_cargo(model=None).model_name == "llm-chat"
    assert a_cargo().digest == a_cargo().manifest.digest


def test_catalogue_finds_by_slug_model_and_digest():
    chat, other = a_cargo(), a_cargo(id=2, slug="other", model=None)
    catalogue = Catalogue([chat, other])

    assert catalogue.find("llm-chat") is catalogue.find("small-model") is chat
    assert catalogue.find("other") is other
    assert catalogue.by_digest(other.digest) is other
    assert catalogue.by_digest("sha256:0") is None
    with pytest.raises(NotFound):
        catalogue.find("nothing")


def test_catalogues_version_follows_its_content():
    chat, other = a_cargo(), a_cargo(slug="other")

    assert Catalogue([chat, other]).version == Catalogue([other, chat]).version
    assert Catalogue([chat]).version != Catalogue().version
