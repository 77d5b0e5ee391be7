"""Helper of `relay.py`: its figures for the table, from what each relay showed at each number of streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from figures import Beside, Figure
from loadgen import Steady, percentile

PATH: Final = "relay"
HOW: Final = (
    "A Coordinator alone on one core, a synthetic Island that answers at once, one Chunk a token. Peers: LiteLLM's "
    "proxy before a model that only counts, and a bare relay by nats-py; limit: a bare relay that parses NATS in "
    "place. Added: no model thinks, so all of the time is the network's; between two tokens, what goes beyond their "
    "own pace."
)
PEERS: Final = ("LiteLLM", "nats-py")
Measure = Callable[[Steady, float], float]
"""Of what was measured, at so many tokens a second of a stream."""
Seen = Mapping[tuple[str, int], tuple[Steady, float]]
"""Who, with how many streams → what was measured, and the tokens a second of a stream."""


def figures_of(seen: Seen) -> Iterator[Figure]:
    """Only where the bare relay was measured too."""
    for (name, streams), (ours, rate) in seen.items():
        if name != "Archipelag" or ("floor", streams) not in seen:
            continue
        for peer in PEERS:
            theirs = seen.get((peer, streams))
            for what, unit, of in MEASURES if peer == PEERS[0] else MEASURES[:1]:
                yield Figure(
                    PATH,
                    f"{what}, {streams:,} stream{'s' if streams > 1 else ''}",
                    of(ours, rate),
                    unit,
                    HOW,
                    peer=Beside(peer, of(theirs[0], rate)) if theirs else None,
                    limit=Beside("bare relay", of(seen["floor", streams][0], rate)),
                    more_is_better=of is tokens_per_s,
                )


def cpu_ms(one: Steady, _rate: float) -> float:
    """Of the process on the measured core: as many microseconds a token as milliseconds a thousand."""
    return one.cpu_us[next(iter(one.cpu_us))]


def tokens_per_s(one: Steady, _rate: float) -> float:
    return one.tokens_per_s


def to_the_first_ms(share: float) -> Measure:
    return lambda one, _: 1e3 * percentile(one.probes_s, share)


def between_ms(share: float) -> Measure:
    return lambda one, rate: 1e3 * (percentile(one.gaps_s, share) - 1 / rate)


MEASURES: Final[Sequence[tuple[str, str, Measure]]] = (
    ("CPU per 1,000 tokens", "ms", cpu_ms),
    ("tokens", "/s", tokens_per_s),
    ("added to the first token p50", "ms", to_the_first_ms(0.5)),
    ("added to the first token p99", "ms", to_the_first_ms(0.99)),
    ("added between tokens p50", "ms", between_ms(0.5)),
    ("added between tokens p99", "ms", between_ms(0.99)),
)
