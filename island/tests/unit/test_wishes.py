"""An owner's wishes from afar: whose are believed, what they do beside the machine's own rules, and that they last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from archipelag_contracts.errors import ContractError
from archipelag_contracts.ids import IslandId, encode
from archipelag_contracts.pb.archipelag.v1 import island_pb2 as pb
from archipelag_contracts.signing import SigningKey
from archipelag_contracts.week import packed_hours
from archipelag_island.adapters import codec, orders, status, status_page
from archipelag_island.adapters.wishes import FileWishes
from archipelag_island.domain.attempt import Cause, RefusalCode
from archipelag_island.domain.owner import Readings, Rules
from archipelag_island.domain.schedule import of_hours, parse
from archipelag_island.services import announce, drain, execute, reconcile, yield_to_owner
from archipelag_island.services.heed import load_wishes, take_wishes
from archipelag_island.testing.builders import ISLAND, a_key, an_assignment

Stage = Any
TRUSTED, STRANGER = SigningKey.from_seed(b"t" * 32), SigningKey.from_seed(b"s" * 32)
ANOTHER = IslandId("isl_" + encode(2, bytes(10)))
MONDAY_NOON = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)
MORNINGS = sum(0xFFF << 24 * day for day in range(7))


@dataclass
class Kept:
    sealed: bytes = b""

    def load(self) -> bytes:
        return self.sealed

    def save(self, sealed: bytes) -> None:
        self.sealed = sealed


def wishes(key: SigningKey = TRUSTED, **changes: Any) -> bytes:
    sane: dict[str, Any] = {"island_id": ISLAND, "version": 7, "draining": True}
    return key.seal(pb.Wishes(**sane | changes))


@pytest.fixture
def heeding(stage: Stage) -> Stage:
    stage.world.read_wishes = lambda sealed: codec.read_wishes(sealed, {TRUSTED.public})
    stage.world.kept_wishes = Kept()
    return stage


async def test_a_drain_from_afar_begins_at_once_and_hands_over_in_time(heeding: Stage) -> None:
    await heeding.warm()
    heeding.start(drain.drain_for_ever(heeding.world))
    heeding.runtime.knobs.stall_at = 1
    execute.accept(heeding.world, an_assignment(a_key(1)))
    await heeding.until(heeding.link.texts)

    take_wishes(heeding.world, wishes())
    refused = execute.accept(heeding.world, an_assignment(a_key(2)))
    far = drain.progress(heeding.world)
    heeding.clock.seconds += 60
    heeding.world.drain_changed.set()
    await heeding.until(lambda: heeding.link.delivered)

    assert refused is not None and refused.code is RefusalCode.DRAINING
    assert (far.draining, far.afar, far.runs, far.left_s) == (True, True, 1, 60)
    assert heeding.link.delivered_reports()[0].ending.cause is Cause.ISLAND_STOPPED
    assert drain.progress(heeding.world).handed_over == 1


async def test_they_come_with_the_answer_to_a_heartbeat_and_the_next_one_says_so(
    heeding: Stage,
) -> None:
    accepts = heeding.link.answer
    heeding.link.answer = lambda beat: replace(accepts(beat), wishes=wishes(version=9))
    voice = announce.Voice(1)
    for _ in range(2):
        await announce.announce(
            heeding.world, voice, lambda reply: reconcile.reconcile(heeding.world, reply)
        )

    assert [beat.wishes_version for beat in heeding.link.beats] == [0, 9]
    assert [beat.draining for beat in heeding.link.beats] == [False, True]


@pytest.mark.parametrize(
    "sealed",
    [
        wishes(STRANGER),
        wishes(island_id=ANOTHER),
        wishes(island_id="isl_nonsense"),
        wishes(hours=bytes(21)),
        wishes(hours=b"\xff" * 20),
        wishes(least_prices=[pb.LeastPrice(cargo_slug="\x1b[2J")]),
        wishes(least_prices=[pb.LeastPrice(cargo_slug="echo")] * 65),
        wishes()[:-1] + b"\x00",
        TRUSTED.seal(pb.Heartbeat(island_id=ISLAND, sequence=7)),
        b"nonsense",
    ],
)
async def test_what_may_not_be_believed_changes_nothing(heeding: Stage, sealed: bytes) -> None:
    take_wishes(heeding.world, sealed)

    assert heeding.world.takes_work
    assert heeding.world.now.wishes.version == 0
    assert heeding.world.kept_wishes.sealed == b""


@pytest.mark.parametrize("version", [0, 6, 7])
async def test_an_older_document_is_refused_though_it_is_signed(
    heeding: Stage, version: int
) -> None:
    take_wishes(heeding.world, wishes())

    take_wishes(heeding.world, wishes(version=version, draining=False))

    assert heeding.world.drained
    assert heeding.world.now.wishes.version == 7


async def test_neither_order_takes_the_other_back(heeding: Stage) -> None:
    drain.begin(heeding.world, 30)
    take_wishes(heeding.world, wishes())
    left_s = drain.progress(heeding.world).left_s

    here = orders.obey(heeding.world, {"op": "resume"})
    afar_only = heeding.world.drained
    drain.begin(heeding.world, 30)
    take_wishes(heeding.world, wishes(version=8, draining=False))
    here_only = heeding.world.drained
    drain.resume(heeding.world)

    assert left_s == 30
    assert (here["draining"], here["afar"]) == (True, True)
    assert (afar_only, here_only, heeding.world.drained) == (True, True, False)


async def test_a_schedule_from_afar_pauses_and_never_opens_what_is_closed_here(
    heeding: Stage,
) -> None:
    noon = Readings(local=MONDAY_NOON)
    take_wishes(heeding.world, wishes(draining=False, hours=packed_hours(MORNINGS)))
    yield_to_owner.look(heeding.world, noon)
    closed_afar = heeding.world.now.owner

    heeding.world.host = replace(
        heeding.world.host, rules=Rules(schedule=parse("mon 18:00-20:00"), quiet_s=0)
    )
    take_wishes(heeding.world, wishes(version=8, draining=False))
    yield_to_owner.look(heeding.world, noon)

    assert closed_afar.paused
    assert closed_afar.reason == "it is outside the schedule of its page until tue 00:00"
    assert heeding.world.now.owner.reason == "it is outside the schedule until mon 18:00"


async def test_they_outlive_a_restart_and_a_replay_after_it(heeding: Stage) -> None:
    take_wishes(heeding.world, wishes())
    heeding.world.now = type(heeding.world.now)()

    load_wishes(heeding.world)
    take_wishes(heeding.world, wishes(version=6, draining=False))

    assert heeding.world.drained


async def test_an_owner_who_takes_no_orders_from_afar_gets_none(heeding: Stage) -> None:
    heeding.world.kept_wishes.save(wishes())
    heeding.world.host = replace(heeding.world.host, remote_orders=False)

    load_wishes(heeding.world)
    take_wishes(heeding.world, wishes(version=8))

    told = status.snapshot(heeding.world, "attic", True)
    assert heeding.world.takes_work
    assert any("nothing counts" in line for line in status_page.page(told, heeding.clock.now()))


async def test_status_says_what_was_asked_and_where(heeding: Stage) -> None:
    least = [pb.LeastPrice(cargo_slug="echo", output_item_ucredits=120)]
    take_wishes(heeding.world, wishes(hours=packed_hours(MORNINGS), least_prices=least))
    heeding.world.now.readings = Readings(local=MONDAY_NOON)

    told = status.snapshot(heeding.world, "attic", True)
    page = "\n".join(status_page.page(told, heeding.clock.now()))

    assert "no, drained on its page in the network" in page
    assert "beside the rules of this machine: the stricter wins" in page
    assert "closed now: mon 00:00 to mon 12:00" in page
    assert "0.00012 per output item" in page


def test_the_file_keeps_what_was_signed_for_its_owner_alone(tmp_path: Path) -> None:
    kept = FileWishes(tmp_path / "wishes.signed")

    before = kept.load()
    kept.save(wishes())

    assert (before, kept.load()) == (b"", wishes())
    assert (tmp_path / "wishes.signed").stat().st_mode & 0o077 == 0


def test_a_disk_without_room_is_no_reason_to_end(tmp_path: Path) -> None:
    FileWishes(tmp_path / "missing" / "wishes.signed").save(wishes())


@pytest.mark.parametrize(
    ("hours", "text", "open_at"),
    [
        (1, "mon 00:00 to mon 01:00", [0]),
        (1 << 167 | 1, "sun 23:00 to mon 01:00", [167, 0]),
        (0b110 | 1 << 30, "mon 01:00 to mon 03:00, tue 06:00 to tue 07:00", [1, 2, 30]),
    ],
)
def test_hours_become_the_times_of_a_week(hours: int, text: str, open_at: list[int]) -> None:
    schedule = of_hours(hours)

    found = [
        hour
        for hour in range(168)
        if schedule.is_open(datetime(2026, 6, 1 + hour // 24, hour % 24, 59))  # noqa: DTZ001
    ]
    assert schedule.text == text
    assert found == sorted(open_at)


def test_trust_is_asked_for_by_the_reader() -> None:
    with pytest.raises(ContractError):
        codec.read_wishes(wishes(), {STRANGER.public})
