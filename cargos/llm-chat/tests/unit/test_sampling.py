"""The choice of a token: golden values, and a second implementation in plain Python that must agree."""

import math
import random
from collections import Counter

import numpy as np
import pytest
from archipelag_llm_chat.sampling import Sampling, choose, keep, noise

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def splitmix(state: int) -> int:
    """SplitMix64 as it is published: one step from `state`."""
    z = (state + GOLDEN) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def plain_noise(seed: int, position: int, token: int) -> float:
    key = splitmix((splitmix(seed & MASK) + position * GOLDEN) & MASK)
    bits = splitmix((key + token * GOLDEN) & MASK)
    uniform = ((bits >> 12) + 0.5) / 2**52
    return -math.log(-math.log(uniform))


def plain_choice(
    logits: list[float], sampling: Sampling, position: int, answer: Counter[int]
) -> int:
    scores = [
        logit
        - (answer[t] * sampling.frequency_penalty + sampling.presence_penalty if answer[t] else 0.0)
        for t, logit in enumerate(logits)
    ]
    if sampling.temperature == 0:
        return scores.index(max(scores))
    scores = [score / sampling.temperature for score in scores]
    order = sorted(range(len(scores)), key=lambda t: (-scores[t], t))
    if sampling.top_k:
        order = order[: sampling.top_k]
    weights = [math.exp(scores[t] - scores[order[0]]) for t in order]
    if sampling.top_p < 1:
        head, total = [], 0.0
        for token, weight in zip(order, weights, strict=True):
            if head and total >= sampling.top_p * sum(weights):
                break
            head.append(token)
            total += weight
        order = head
    order = [t for t in order if math.exp(scores[t] - scores[order[0]]) >= sampling.min_p]
    return max(order, key=lambda t: (scores[t] + plain_noise(sampling.seed, position, t), -t))


def test_splitmix_is_the_published_one() -> None:
    # The first outputs of SplitMix64 seeded with 1234567, from its reference implementation.
    state, found = 1234567, []
    for _ in range(3):
        found.append(splitmix(state))
        state = (state + GOLDEN) & MASK

    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize(
    ("seed", "position", "expected"),
    [
        (0, 0, [-0.6807578025137786, 3.5293597414235305, -0.4168699086247647]),
        (42, 7, [-1.5753393218783878, -0.863865850409436, -0.4197643276586148]),
        (-1, 0, [4.155114743906717, -0.22471439730456436, 1.6118653999413928]),
        (2**63 - 1, 1_000_000, [-1.323650732070623, 0.7390586955202347, -0.008726982917794762]),
    ],
)
def test_noise_has_its_golden_values(seed: int, position: int, expected: list[float]) -> None:
    found = noise(seed, position, np.array([0, 1, 49151], dtype=np.int64))

    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_noise_agrees_with_plain_python_for_every_id() -> None:
    ids = np.arange(5000, dtype=np.int64)

    found = noise(123456789, 77, ids)

    assert found.tolist() == pytest.approx(
        [plain_noise(123456789, 77, t) for t in range(5000)], rel=1e-12
    )


def test_noise_of_an_id_does_not_depend_on_its_neighbours() -> None:
    alone = noise(5, 3, np.array([1234], dtype=np.int64))
    among = noise(5, 3, np.arange(4096, dtype=np.int64))

    assert alone[0] == pytest.approx(among[1234], rel=1e-15)


@pytest.mark.parametrize("case", range(300))
def test_choice_agrees_with_plain_python(case: int) -> None:
    chance = random.Random(case)
    spread = chance.choice([0.5, 4, 15])
    logits = [chance.gauss(0, spread) for _ in range(300)]
    logits = np.array(logits, dtype=np.float32).tolist()
    sampling = Sampling(
        seed=chance.randrange(-(2**63), 2**63),
        temperature=chance.choice([0, 0.2, 0.8, 1.0, 2.0]),
        top_k=chance.choice([0, 0, 1, 5, 40, 1000]),
        top_p=chance.choice([1.0, 1.0, 0.0, 0.5, 0.95]),
        min_p=chance.choice([0.0, 0.0, 0.05, 1.0]),
        frequency_penalty=chance.choice([0.0, 0.7, -1.5]),
        presence_penalty=chance.choice([0.0, 1.2, -2.0]),
    )
    answer = Counter(chance.choices(range(300), k=chance.choice([0, 20])))
    position = chance.randrange(2000)

    found = choose(np.array(logits, dtype=np.float32), sampling, position, answer)

    assert found == plain_choice(logits, sampling, position, answer)


def test_an_unlikely_id_still_wins_as_often_as_it_should() -> None:
    # 40,000 ids, each 13 below the largest: together they hold 8.3 % of the whole.
    logits = np.full(40_001, -13.0, dtype=np.float32)
    logits[0] = 0.0
    share = 40_000 * math.exp(-13) / (1 + 40_000 * math.exp(-13))

    found = [choose(logits, Sampling(seed=4), p, Counter()) for p in range(2000)]

    assert sum(token != 0 for token in found) / 2000 == pytest.approx(share, abs=0.02)
    for position in range(0, 2000, 100):
        noisy = logits + noise(4, position, np.arange(40_001))
        assert found[position] == int(np.argmax(noisy))


def test_temperature_zero_takes_the_lowest_id_of_equals() -> None:
    logits = np.array([1.0, 3.0, 3.0, 2.0], dtype=np.float32)

    assert choose(logits, Sampling(seed=1, temperature=0), 0, Counter()) == 1


def test_a_tie_at_the_cut_keeps_the_lower_id() -> None:
    scores = np.array([0.0, 5.0, 5.0, 5.0])

    assert keep(scores, Sampling(seed=1, top_k=2)).tolist() == [1, 2]


def test_frequencies_follow_the_distribution() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05])).astype(np.float32)

    counts = Counter(choose(logits, Sampling(seed=9), p, Counter()) for p in range(20_000))

    shares = [counts[t] / 20_000 for t in range(4)]
    assert shares == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.015)


def test_penalty_counts_the_answer_so_far() -> None:
    logits = np.array([2.0, 1.5], dtype=np.float32)
    sampling = Sampling(seed=1, temperature=0, frequency_penalty=0.3)

    assert choose(logits, sampling, 0, Counter({0: 1})) == 0
    assert choose(logits, sampling, 0, Counter({0: 2})) == 1
