"""Cases as records, and the loop that measures every contender of a case in turn."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["OURS", "Case", "Effort", "Limit", "Outcome", "measure", "measure_all"]

OURS = "omniloss"
Contender = Callable[[], Any]


@dataclass(frozen=True)
class Limit:
    """What the measurement is to show: our time as a multiple of a peer's, or the peer's of ours."""

    peer: str
    ratio: float
    kind: Literal["at most", "at least"]

    def figure(self, seconds: dict[str, float]) -> float:
        """The ratio that was measured."""
        ours, peer = seconds[OURS], seconds[self.peer]
        return ours / peer if self.kind == "at most" else peer / ours

    def share(self, figure: float) -> float:
        """How much of the limit a figure takes up: at most 1 if it keeps it."""
        return figure / self.ratio if self.kind == "at most" else self.ratio / figure


@dataclass(frozen=True)
class Case:
    """One job that several libraries do. ``labels`` are the first cells of its row in ``table``.

    Contenders return the loss, or None for what computes none; those named in ``unlike`` compute another
    number. Each timing is of ``calls`` calls.
    """

    table: str
    labels: dict[str, str]
    contenders: dict[str, Contender]
    limit: Limit | None = None
    calls: int = 1
    unlike: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A measured case: the median seconds of one call of each contender."""

    table: str
    labels: dict[str, str]
    seconds: dict[str, float]
    limit: Limit | None


@dataclass(frozen=True)
class Effort:
    """How long to measure: contenders slower than ``slow`` seconds join the first ``few`` rounds only.

    Every timing comes after a ``pause``: idle threads of OpenMP go on spinning for some milliseconds, and
    would take the processor from the next contender, which has a thread pool of its own.
    """

    rounds: int = 15
    few: int = 3
    slow: float = 0.04
    pause: float = 0.01


def measure_all(cases: Iterable[Case], effort: Effort) -> Iterator[Outcome]:
    """Measure cases one after the other; each is made when its turn comes."""
    for case in cases:
        yield measure(case, effort)


def measure(case: Case, effort: Effort) -> Outcome:
    """Run every contender once to warm up and to compare the values, then all of them in turn."""
    values, first = {}, {}
    for name, contender in case.contenders.items():
        start = time.perf_counter()
        values[name] = contender()
        first[name] = time.perf_counter() - start
    for name, value in values.items():
        if value is None or name in case.unlike:
            continue
        if not math.isclose(float(value), float(values[OURS]), rel_tol=1e-3, abs_tol=1e-6):
            raise ValueError(
                f"{case.table}, {case.labels}: {name} gives {float(value)}, {OURS} {float(values[OURS])}"
            )

    times: dict[str, list[float]] = {name: [] for name in case.contenders}
    for turn in range(effort.rounds):
        for name, contender in case.contenders.items():
            if turn < effort.few or first[name] * case.calls < effort.slow:
                time.sleep(effort.pause)
                times[name].append(_time(contender, case.calls))
    seconds = {name: statistics.median(each) for name, each in times.items()}
    return Outcome(case.table, case.labels, seconds, case.limit)


def _time(contender: Contender, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        contender()
    return (time.perf_counter() - start) / calls
