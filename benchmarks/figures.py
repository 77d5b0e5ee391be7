"""Helper of the benchmarks: one way to state a figure, beside the peer's and the limit of the same run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Beside:
    """What a figure is held against, in the same unit; NaN where it was tried and gave nothing."""

    name: str
    value: float


@dataclass(frozen=True)
class Figure:
    """One row. `path`: of the product; `how`: how it was measured, in one sentence."""

    path: str
    what: str
    ours: float
    unit: str
    how: str
    peer: Beside | None = None
    """Another product, or the usual way, at the same work."""
    limit: Beside | None = None
    """The least, or the most, that this machine gives without any of ours."""
    more_is_better: bool = False

    def __post_init__(self) -> None:
        if self.peer is None and self.limit is None:
            raise ValueError(f"{self.path}, {self.what}: a figure needs a peer or a limit")

    @property
    def times_peer(self) -> float:
        return times(self.ours, self.peer)

    @property
    def times_limit(self) -> float:
        return times(self.ours, self.limit)


def times(ours: float, beside: Beside | None) -> float:
    """NaN where it says nothing: no such figure, or one that is not above zero."""
    if beside is None or not beside.value > 0 or ours < 0:
        return math.nan
    return ours / beside.value


def written(figure: Figure) -> dict[str, Any]:
    """For JSON, which knows no NaN."""
    return {name: _known(value) for name, value in asdict(figure).items()}


def read(said: Mapping[str, Any]) -> Figure:
    given = dict(said)
    for name in ("peer", "limit"):
        if (beside := given.get(name)) is not None:
            given[name] = Beside(beside["name"], _number(beside["value"]))
    return Figure(**{**given, "ours": _number(given["ours"])})


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _known(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else value
