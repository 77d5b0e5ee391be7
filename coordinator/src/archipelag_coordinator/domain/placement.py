"""Placement: rules that say no with a reason, preferences that rank, and a choice that keeps its reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from archipelag_contracts.ids import IslandId
from archipelag_contracts.manifest import Price

from archipelag_coordinator.domain.prefixes import Prefix
from archipelag_coordinator.domain.wishes import NO_WISHES, Wishes
from archipelag_coordinator.errors import NoPlacement

# Candidates whose scores differ by less are equals; one of two drawn at random takes the job, so that several
# Coordinators with the same snapshot do not all choose the same Island (power of two choices, Mitzenmacher 2001).
NEAR_EQUAL: Final = 0.05
REASONS_MAX: Final = 20
LOST_BEFORE: Final = "lost this job before, and there are others"
SEEN_APART: Final = 0.1
"""What was seen of an Island is told beside its own figures where they differ by more."""
START_MS_UNKNOWN: Final = 5_000.0
"""What a start is taken to last where the Island has not measured one."""


@dataclass(frozen=True)
class Wanted:
    """What a job needs of an Island."""

    slug: str
    digest: str
    prompt_tokens: int
    output_items: int
    avoid: frozenset[IslandId] = frozenset()
    """Islands that just refused this job, or broke the protocol over it."""
    lost: frozenset[IslandId] = frozenset()
    """Islands that lost this job, and may have it again where there is no other."""
    determinism_class: str = ""
    """Of the Island whose answer is to be continued; empty for one that begins, or where that Island did not say."""
    same_class_only: bool = False
    """Better to wait than to continue an answer in another class."""
    price: Price | None = None
    """Of this Cargo; None: no Island minds."""
    prefixes: tuple[Prefix, ...] = ()
    """Beginnings of the prompt that an Island may hold, the shortest first; none where nothing may be kept of it."""


@dataclass(frozen=True)
class Candidate:
    """An Island as placement sees it, for one Cargo."""

    island_id: IslandId
    name: str
    status: str
    approved: bool
    digest: str | None  # of the Cargo it offers under this slug; None: does not offer it
    state: str  # of that Cargo: "warm", "loading", "available", "failed"
    reason: str
    slots_free: int
    slots: int
    items_per_s: float
    first_item_ms: float
    prompt_tokens_per_s: float
    broker_rtt_ms: float
    """Between the Island and its region's broker."""
    load: float
    determinism_class: str = ""
    startable: bool = False
    """Not warm, but an assignment starts it."""
    start_ms: float = 0.0
    in_doubt: bool = False
    """It was silent a moment ago and has not been heard since."""
    wishes: Wishes = NO_WISHES
    region: str = ""
    region_rtt_ms: float | None = 0.0
    """Between its region and this one; None: that region cannot be reached from here."""
    first_item_factor: float = 1.0
    """How much later its first items came of late than its own figures say."""
    held_tokens: int = 0
    """Of this job's prompt, which it is taken to hold: at most so many, as a prompt's upper bound is counted."""
    remembered_tokens: int = 0
    """Of these, the part that it will not read again, by what was seen of it."""


@dataclass(frozen=True)
class Verdict:
    """What placement thought of one Island: a score, or a reason against it."""

    island_id: IslandId
    name: str
    score: float | None
    reason: str


@dataclass(frozen=True)
class Given:
    """What a preference gave the chosen Island: `weight` times `value`."""

    name: str
    weight: float
    value: float


@dataclass(frozen=True)
class Obstacle:
    """A rule, and how many Islands it kept out."""

    rule: str
    count: int


@dataclass(frozen=True)
class Placement:
    """The chosen Island and why, kept with the attempt."""

    island_id: IslandId
    score: float
    why: str
    verdicts: tuple[Verdict, ...]
    determinism_class: str = ""
    """In which the chosen Island runs this Cargo."""
    asked: int = 0
    """Of so many Islands; 0 for placements from before this was kept."""
    fit: int = 0
    """So many could have taken it."""
    preferences: tuple[Given, ...] = ()
    kept_out: tuple[Obstacle, ...] = ()
    looked: int = 0
    """So many of them were compared; 0: all."""
    reckoned_ms: float = 0.0
    """To the first item, by the chosen Island's own figures; 0 for placements from before this was kept."""
    reading_ms: float = 0.0
    """What the whole prompt's reading takes by these figures, be some of it remembered or not."""
    held_tokens: int = 0
    """Of the prompt, which the chosen Island was taken to hold."""
    remembered_tokens: int = 0
    """Of these, what it was not expected to read again."""


class Rule(Protocol):
    """Why not, or None. Its name is told to people."""

    __name__: str

    def __call__(self, wanted: Wanted, island: Candidate, /) -> str | None: ...


class Preference(Protocol):
    """0 to 1. Its name is told to people."""

    __name__: str

    def __call__(self, wanted: Wanted, island: Candidate, /) -> float: ...


def is_approved(_: Wanted, island: Candidate) -> str | None:
    return None if island.approved else "awaits approval by an operator"


def is_ready(_: Wanted, island: Candidate) -> str | None:
    return None if island.status == "ready" else f"is {island.status}"


def was_heard_since(_: Wanted, island: Candidate) -> str | None:
    return "was silent a moment ago and has not been heard since" if island.in_doubt else None


def is_in_reach(_: Wanted, island: Candidate) -> str | None:
    return (
        f"stands in {island.region}, which this region's broker does not reach"
        if island.region_rtt_ms is None
        else None
    )


def offers_cargo(wanted: Wanted, island: Candidate) -> str | None:
    if island.digest is None:
        return f"does not offer {wanted.slug}"
    return None if island.digest == wanted.digest else f"offers another version of {wanted.slug}"


def can_run_cargo(wanted: Wanted, island: Candidate) -> str | None:
    if island.state == "warm" or (island.startable and island.state != "failed"):
        return None
    return f"has {wanted.slug} {island.state}" + (f": {island.reason}" if island.reason else "")


def is_paid_enough(wanted: Wanted, island: Candidate) -> str | None:
    if wanted.price is None or not island.wishes.refuse(wanted.slug, wanted.price):
        return None
    return f"asks for more than {wanted.slug} pays"


def not_tried_before(wanted: Wanted, island: Candidate) -> str | None:
    return "already refused or spoilt this job" if island.island_id in wanted.avoid else None


def continues_in_its_class(wanted: Wanted, island: Candidate) -> str | None:
    if not wanted.same_class_only or _same_class(wanted, island):
        return None
    return "computes in another determinism class than the answer began in"


def has_free_slot(_: Wanted, island: Candidate) -> str | None:
    return (
        None if island.slots_free > 0 else f"is busy: {island.slots} of {island.slots} slots taken"
    )


RULES: Final[tuple[Rule, ...]] = (
    is_approved,
    is_ready,
    was_heard_since,
    is_in_reach,
    offers_cargo,
    can_run_cargo,
    is_paid_enough,
    not_tried_before,
    continues_in_its_class,
    has_free_slot,
)


def expected_first_item_ms(wanted: Wanted, island: Candidate) -> float:
    """Estimated time to the first item: as reckoned, corrected by what was seen of this Island."""
    return island.first_item_factor * reckoned_first_item_ms(wanted, island)


def reckoned_first_item_ms(wanted: Wanted, island: Candidate) -> float:
    """By the Island's own figures: the way and back, a start, the prompt, the first step, company."""
    start = 0.0 if island.state == "warm" else island.start_ms or START_MS_UNKNOWN
    way = island.broker_rtt_ms + (island.region_rtt_ms or 0.0)
    reading = _reading_ms(wanted.prompt_tokens - island.remembered_tokens, island)
    return way + start + _company(island) * island.first_item_ms + reading


def _reading_ms(tokens: int, island: Candidate) -> float:
    if not island.prompt_tokens_per_s:
        return 0.0
    return _company(island) * 1000 * tokens / island.prompt_tokens_per_s


def _company(island: Candidate) -> float:
    """How much longer everything takes for those that run there already."""
    return 1.0 + (island.slots - island.slots_free) / max(1, island.slots)


def prefers_near_and_fast(wanted: Wanted, island: Candidate) -> float:
    return 1.0 / (1.0 + expected_first_item_ms(wanted, island) / 500.0)


def prefers_quick_stream(_: Wanted, island: Candidate) -> float:
    return island.items_per_s / (island.items_per_s + 30.0)


def prefers_free(_: Wanted, island: Candidate) -> float:
    return island.slots_free / max(1, island.slots)


def prefers_idle(_: Wanted, island: Candidate) -> float:
    return 1.0 - min(1.0, max(0.0, island.load))


def prefers_the_same_class(wanted: Wanted, island: Candidate) -> float:
    return 1.0 if wanted.determinism_class and _same_class(wanted, island) else 0.0


NEAR_WEIGHT: Final = 0.45
PREFERENCES: Final[tuple[tuple[Preference, float], ...]] = (
    (prefers_near_and_fast, NEAR_WEIGHT),
    (prefers_quick_stream, 0.20),
    # Little, since a time to the first item already has the company of those that run there in it.
    (prefers_free, 0.10),
    (prefers_idle, 0.10),
    # As much as all others together: a continued answer is to equal the undisturbed one, be it a little slower.
    (prefers_the_same_class, 1.00),
)


@dataclass(frozen=True)
class Look:
    """What is known of the Islands when one is chosen: all of them, or enough of them to choose well."""

    fit: list[tuple[float, Candidate]]
    """Those looked at that could take the job, each with its score."""
    against: list[Verdict]
    asked: int
    able: int
    """How many could take it, looked at or not."""
    kept_out: tuple[Obstacle, ...]
    looked: int = 0
    """0: at all."""
    unseen: float = 0.0
    """None of those not looked at has a higher score."""


def place(wanted: Wanted, candidates: Sequence[Candidate], chance: float) -> Placement:
    """Chooses an Island of all. `chance` is uniform in [0, 1). Raises NoPlacement with every Island's reason."""
    fit: list[tuple[float, Candidate]] = []
    against: list[Verdict] = []
    failed: list[str] = []
    for island in candidates:
        refusal = first_refusal(wanted, island)
        if refusal is None:
            fit.append((score(wanted, island), island))
        else:
            failed.append(refusal[0])
            against.append(refused(island, refusal[1]))
    others = [pair for pair in fit if pair[1].island_id not in wanted.lost]
    if others:
        lost = [island for _, island in fit if island.island_id in wanted.lost]
        against += [refused(island, LOST_BEFORE) for island in lost]
        failed += ["not_lost_before"] * len(lost)
        fit = others
    look = Look(fit, against, len(candidates), len(fit), obstacles(Counter(failed)))
    return choose(wanted, look, chance)


def choose(wanted: Wanted, look: Look, chance: float) -> Placement:
    """One of the best, at random, and why. Raises NoPlacement."""
    if not look.fit:
        raise NoPlacement([f"{v.name} {v.reason}" for v in look.against[:REASONS_MAX]])
    fit = sorted(look.fit, key=lambda pair: (-pair[0], pair[1].island_id))
    best = max(fit[0][0], look.unseen)
    equals = [pair for pair in fit if best - pair[0] <= NEAR_EQUAL]
    # Who remembers this conversation is nobody else's best at this moment: there is no crowd to spread.
    chosen_score, chosen = fit[0] if _remembers(fit[0][1]) else _two_choices(equals, chance)
    return Placement(
        island_id=chosen.island_id,
        score=round(chosen_score, 4),
        why=_why(wanted, chosen, look),
        verdicts=_verdicts(fit, chosen, look.against),
        determinism_class=chosen.determinism_class,
        asked=look.asked,
        fit=look.able,
        looked=look.looked,
        reckoned_ms=round(reckoned_first_item_ms(wanted, chosen), 1),
        reading_ms=round(_reading_ms(wanted.prompt_tokens, chosen), 1),
        held_tokens=chosen.held_tokens,
        remembered_tokens=chosen.remembered_tokens,
        preferences=tuple(
            Given(prefer.__name__, weight, round(prefer(wanted, chosen), 4))
            for prefer, weight in PREFERENCES
        ),
        kept_out=look.kept_out,
    )


def _remembers(island: Candidate) -> bool:
    """It holds some of the prompt, and is believed most of what it says of that."""
    return 0 < island.held_tokens <= 2 * island.remembered_tokens


def refused(island: Candidate, reason: str) -> Verdict:
    return Verdict(island.island_id, island.name, None, reason)


def _verdicts(
    fit: Sequence[tuple[float, Candidate]], chosen: Candidate, against: Sequence[Verdict]
) -> tuple[Verdict, ...]:
    """The best, then those kept out; the chosen one among them, whatever its place."""
    shown = list(fit[:REASONS_MAX])
    if all(island is not chosen for _, island in shown):
        shown[-1] = next(pair for pair in fit if pair[1] is chosen)
    verdicts = [Verdict(i.island_id, i.name, round(s, 4), "") for s, i in shown]
    return tuple([*verdicts, *against][:REASONS_MAX])


def first_refusal(wanted: Wanted, island: Candidate) -> tuple[str, str] | None:
    """The first rule that says no, by its name, and why. None: it could take the job."""
    for rule in RULES:
        if (why := rule(wanted, island)) is not None:
            return rule.__name__, why
    return None


def obstacles(counted: Mapping[str, int]) -> tuple[Obstacle, ...]:
    """The most frequent first."""
    return tuple(
        Obstacle(rule, counted[rule])
        for rule in sorted(counted, key=lambda r: (-counted[r], r))
        if counted[rule]
    )


def score(wanted: Wanted, island: Candidate) -> float:
    """Weighted preferences, 0 to 1; where an answer is continued in its class, 1 more."""
    return sum(weight * prefer(wanted, island) for prefer, weight in PREFERENCES)


def _two_choices(equals: list[tuple[float, Candidate]], chance: float) -> tuple[float, Candidate]:
    """The less loaded of two drawn from the near-equals; where they are loaded alike, the one that was drawn first, or
    whoever draws the same two at the same moment would choose the same."""
    count = len(equals)
    if count == 1:
        return equals[0]
    drawn = int(chance * count * (count - 1))
    first, second = divmod(drawn, count - 1)
    if second >= first:
        second += 1
    return min((equals[first], equals[second]), key=lambda pair: -pair[1].slots_free)


def _why(wanted: Wanted, island: Candidate, look: Look) -> str:
    first = expected_first_item_ms(wanted, island)
    own = reckoned_first_item_ms(wanted, island)
    return (
        f"{island.name}: first item expected in {first:.0f} ms"
        + (f" (by its own figures {own:.0f})" if abs(first - own) > SEEN_APART * own else "")
        + (
            f", {island.region_rtt_ms:.0f} ms of it the way to {island.region}"
            if island.region_rtt_ms
            else ""
        )
        + (
            f", remembers up to {island.remembered_tokens} tokens of this conversation"
            if island.remembered_tokens
            else ""
        )
        + f", {island.items_per_s:.0f} items/s, "
        f"{island.slots_free} of {island.slots} slots free; {look.able} of {look.asked} Islands could take it"
        + (f", {look.looked} looked at" if look.looked else "")
        + _why_class(wanted, island)
    )


def _why_class(wanted: Wanted, island: Candidate) -> str:
    if not wanted.determinism_class:
        return ""
    if _same_class(wanted, island):
        return "; continues in the same determinism class"
    known = island.determinism_class or "unknown"
    return (
        f"; none of class {wanted.determinism_class} could: continues in class {known}, "
        "where the text may differ from an undisturbed answer"
    )


def _same_class(wanted: Wanted, island: Candidate) -> bool:
    """Where it is not known what to equal, any class will do."""
    return wanted.determinism_class in ("", island.determinism_class)
