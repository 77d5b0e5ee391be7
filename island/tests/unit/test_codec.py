"""What an Island says on the wire."""

from archipelag_contracts.ids import CargoDigest
from archipelag_contracts.pb.archipelag.v1 import island_pb2
from archipelag_contracts.signing import SigningKey, open_sealed
from archipelag_island.adapters.codec import seal_beat
from archipelag_island.domain.beat import Beat
from archipelag_island.domain.offer import Offer, Warm
from archipelag_island.domain.usage import Meter
from archipelag_island.runtime import CargoState, Description, Handle
from archipelag_island.testing.builders import ISLAND, the_echo_manifest


def test_heartbeat_says_in_which_determinism_class_a_warm_cargo_computes():
    manifest, key = the_echo_manifest(), SigningKey.from_seed(bytes(32))
    cold = Offer(manifest, CargoDigest(manifest.digest))
    described = Description(CargoState.READY, determinism_class="echo-1")
    warm = cold.get_warm(Warm(Handle("h"), described, Meter()))
    beat = Beat(ISLAND, 1, "boot", (cold, warm), 4, 4, (), False, "", 0, 0.0)

    said = open_sealed(seal_beat(key, beat), island_pb2.Heartbeat, {key.public})

    assert [cargo.determinism_class for cargo in said.cargos] == ["", "echo-1"]
