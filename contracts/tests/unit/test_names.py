"""Ids, credits, subjects and streams: what is accepted, what is refused, and who may use what."""

from __future__ import annotations

from decimal import Decimal

import pytest
from archipelag_contracts import ids, streams, subjects, units
from archipelag_contracts.errors import BadId, BadMessage
from archipelag_contracts.ids import Epoch
from hypothesis import given
from hypothesis import strategies as st

BODY = "01jd00000000000000000000ab"
JOB = ids.job_id(f"job_{BODY}")
ISLAND = ids.island_id(f"isl_{BODY}")
OTHER = ids.island_id(f"isl_{BODY[:-1]}z")
RELAY = ids.relay_id(f"rly_{BODY}")
PARSERS = {
    "job": ids.job_id,
    "isl": ids.island_id,
    "usr": ids.user_id,
    "key": ids.api_key_id,
    "rly": ids.relay_id,
}


@pytest.mark.parametrize("prefix", PARSERS)
def test_an_id_of_its_kind_is_accepted_and_no_other(prefix: str) -> None:
    for other, parse in PARSERS.items():
        if other == prefix:
            assert parse(f"{prefix}_{BODY}") == f"{prefix}_{BODY}"
        else:
            with pytest.raises(BadId):
                parse(f"{prefix}_{BODY}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "isl_",
        BODY,
        f"isl_{BODY}\n",
        f" isl_{BODY}",
        f"isl_{BODY[:-1]}",
        f"isl_{BODY}0",
        f"isl_{BODY.upper()}",
        "isl_" + "*" * 26,
        "isl_" + ">" * 26,
        f"isl_{BODY[:-1]}.",
        f"isl_{BODY[:-1]}i",
        f"isl_{BODY[:-1]}٣",
    ],
)
def test_hostile_ids_are_refused(text: str) -> None:
    with pytest.raises(BadId):
        ids.island_id(text)


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_every_made_id_is_accepted(when: int, chance: bytes) -> None:
    assert ids.job_id("job_" + ids.encode(when, chance))


@given(
    st.integers(0, 2**48 - 2),
    st.binary(min_size=10, max_size=10),
    st.binary(min_size=10, max_size=10),
)
def test_ids_sort_by_age(when: int, first: bytes, second: bytes) -> None:
    assert ids.encode(when, first) < ids.encode(when + 1, second)


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "A" * 64, "sha1:" + "a" * 64, "a" * 64]
)
def test_hostile_digests_are_refused(text: str) -> None:
    with pytest.raises(BadId):
        ids.cargo_digest(text)


@pytest.mark.parametrize(
    ("text", "amount", "back"),
    [
        ("0", 0, "0"),
        ("1", 1_000_000, "1"),
        ("1.50", 1_500_000, "1.5"),
        ("-0.000001", -1, "-0.000001"),
        ("100", 100_000_000, "100"),
        ("1e2", 100_000_000, "100"),
        (Decimal("0.1"), 100_000, "0.1"),
        (7, 7_000_000, "7"),
    ],
)
def test_credits_are_exact(text: str | int | Decimal, amount: int, back: str) -> None:
    assert units.from_credits(text) == amount and units.to_credits(amount) == back


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1,5",
        "0.0000001",
        "1.0000000000000000000000000000000001",
        "NaN",
        "sNaN",
        "Infinity",
        "1e30",
        "1e999999",
        "1e-999999",
        "9223372036854.775808",
        "--1",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        units.from_credits(text)


@given(st.integers(-units.UCREDITS_MAX, units.UCREDITS_MAX))
def test_every_amount_survives_as_text(amount: int) -> None:
    assert units.from_credits(units.to_credits(amount)) == amount


def matches(pattern: str, subject: str) -> bool:
    """NATS's own rule: `*` is one token, `>` is one or more at the end."""
    wanted, given_ = pattern.split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(given_) > place
        if place >= len(given_) or token not in ("*", given_[place]):
            return False
    return len(wanted) == len(given_)


def sent_by(island: ids.IslandId) -> list[str]:
    out = subjects.out(island, RELAY, JOB, Epoch(2))
    return [subjects.heartbeat(island), subjects.report(island), out]


def test_an_island_may_send_what_it_must_and_nothing_of_another() -> None:
    allowed = subjects.island_publishes(ISLAND)

    assert all(any(matches(p, subject) for p in allowed) for subject in sent_by(ISLAND))
    assert not any(matches(p, subject) for p in allowed for subject in sent_by(OTHER))
    assert not any(matches(p, subjects.assign(ISLAND)) for p in allowed)
    assert not any(matches(p, "$JS.API.STREAM.DELETE.REPORTS") for p in allowed)


def test_an_island_may_hear_what_it_must_and_nothing_of_another() -> None:
    allowed = subjects.island_subscribes(ISLAND)

    def heard(island: ids.IslandId) -> list[str]:
        inbox = f"{subjects.inbox_prefix(island)}.x.1"
        return [subjects.assign(island), subjects.cancel(island), inbox]

    assert all(any(matches(p, subject) for p in allowed) for subject in heard(ISLAND))
    assert not any(matches(p, subject) for p in allowed for subject in heard(OTHER))
    assert not any(matches(p, subject) for p in allowed for subject in sent_by(OTHER))


def test_the_coordinators_hear_every_island() -> None:
    heartbeat, report, out = sent_by(ISLAND)

    assert matches(subjects.ALL_HEARTBEATS, heartbeat)
    assert matches(subjects.ALL_REPORTS, report)
    assert matches(subjects.ALL_OUTPUT, out) and matches(subjects.output_of(RELAY), out)
    assert not matches(subjects.output_of(ids.relay_id(f"rly_{BODY[:-1]}z")), out)


@pytest.mark.parametrize("subject", sent_by(ISLAND))
def test_the_subject_names_the_island(subject: str) -> None:
    assert subjects.island_of(subject) == ISLAND


@pytest.mark.parametrize(
    "subject", ["", "arc.v1.island", f"arc.v2.island.{ISLAND}.report", f"x.arc.v1.island.{ISLAND}"]
)
def test_other_subjects_belong_to_no_island(subject: str) -> None:
    with pytest.raises(BadMessage):
        subjects.island_of(subject)


def test_an_island_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(BadId):
        subjects.island_of("arc.v1.island.*.report")


@pytest.mark.parametrize(
    ("subject", "may"),
    [
        (f"_INBOX.{ISLAND}.abc", True),
        (f"_INBOX.{ISLAND}.abc.1", True),
        (f"_INBOX.{ISLAND}", False),
        (f"_INBOX.{OTHER}.abc", False),
        (f"_INBOX.{ISLAND}x.abc", False),
        (f"_INBOX.{ISLAND}.>", False),
        (f"_INBOX.{ISLAND}.*", False),
        (subjects.assign(ISLAND), False),
        ("", False),
    ],
)
def test_replies_go_only_to_the_islands_own_inbox(subject: str, may: bool) -> None:
    assert subjects.is_inbox_of(ISLAND, subject) is may


def test_each_stream_is_bounded_and_hears_its_own() -> None:
    _, report, out = sent_by(ISLAND)
    assert matches(streams.REPORTS.subjects[0], report)
    assert matches(streams.OUTPUT.subjects[0], out)

    for stream in streams.ALL:
        assert 0 < stream.message_bytes_max <= stream.bytes_max and stream.age_max_s > 0
    # A report must never be dropped for a newer one; output may.
    assert (streams.REPORTS.discard, streams.REPORTS.retention) == ("new", "workqueue")
