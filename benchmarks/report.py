"""The page of results, in Markdown."""

from __future__ import annotations

import datetime
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import omniloss
from benchmarks.calls import CALLS
from benchmarks.crossentropy import SOFTMAX
from benchmarks.floor import Floor
from benchmarks.harness import OURS, Limit, Outcome
from benchmarks.jax import SMALL_CALLS
from benchmarks.jax import TABLES as JAX_TABLES
from benchmarks.memory import Peak
from benchmarks.pointwise import VALUE, VALUE_AND_GRADIENT
from benchmarks.pytorch import SMALL, TABLES
from benchmarks.tensorflow import SMALL_CALLS as SMALL_TENSORFLOW
from benchmarks.tensorflow import TABLES as TENSORFLOW
from omniloss import native

__all__ = ["IMPORT_LIMIT", "MEMORY_LIMIT", "Results", "page"]

IMPORT_LIMIT = 0.030  # seconds
MEMORY_LIMIT = 1 << 20  # bytes above the inputs and the gradient


@dataclass(frozen=True)
class Results:
    """Everything that one run measured."""

    command: str
    size: int
    floor: Floor
    outcomes: list[Outcome]
    import_seconds: float | None
    peaks: list[Peak]


@dataclass(frozen=True)
class Figure:
    """One target, what was measured, and how much of the target that is: at most 1 if it is met."""

    what: str
    target: str
    measured: str
    share: float

    def row(self) -> str:
        return f"| {self.what} | {self.target} | {self.measured} | {verdict(self.share)} |"


def page(results: Results) -> str:
    """The whole page."""
    parts = [_head(results), _summary(results)]
    tables = (VALUE, VALUE_AND_GRADIENT, SOFTMAX, CALLS, *TABLES, *JAX_TABLES, *TENSORFLOW)
    for table in tables:
        rows = [outcome for outcome in results.outcomes if outcome.table == table]
        if rows:
            parts.append(_table(table, rows))
    if results.peaks:
        parts.append(_memory(results.peaks))
    return "\n".join(parts)


def verdict(share: float) -> str:
    """Whether a target is met, and by what factor it is missed."""
    return "ok" if share <= 1 else f"**miss** by {share:.2f} x"


def _head(results: Results) -> str:
    floor = results.floor
    speeds = {name: f"{speed / 1e9:.1f} GB/s" for name, speed in floor.speeds.items()}
    packages = ("numpy", "keras", "torch", "jax", "optax", "tensorflow", "scikit-learn", "omniloss")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"""# Benchmarks

Written by `{results.command}` on {datetime.date.today().isoformat()}.

| | |
|---|---|
| processor | {_processor()}, {len(os.sched_getaffinity(0))} cores |
| system | {platform.system()}, {platform.machine()} |
| Python | {platform.python_version()}, {sys.implementation.name} |
| libraries | {versions} (Keras on its NumPy backend, and beside JAX's and TensorFlow's arrays on theirs; PyTorch eager) |
| Omniloss's core | {_core()} |
| threads | {omniloss.get_num_threads()} for Omniloss, PyTorch, scikit-learn and the floor; NumPy's own operations take one |
| elements of the large arrays | {results.size:,} |

All contenders of a row run in turn within one loop, on the same arrays; times are medians. A contender that takes over 40 ms joins
the first 3 of the 15 rounds. A pause of 10 ms before every timing lets the idle threads of the one before go to sleep. Before that every contender runs once, and its value must agree with ours to 0.1 %; only scikit-learn's
Poisson loss has another formula, since it takes logarithms of rates. Each section has a process of its own.

The *floor* is the time that the bytes of the row's arrays need to move in the same loop: for a value, to read targets, predictions and
weights; for a gradient, also to write an array of the predictions' size that is fresh from NumPy's allocator, as every gradient
here is, page faults included. Of several ways the fastest at the start of the run is taken, here: reading by {floor.reader} ({speeds["read"]});
reading two arrays and writing a third by {floor.adder} ({speeds["add"]}); reading one and writing another by {floor.copier} ({speeds["copy"]}).
"""


def _processor() -> str:
    try:
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
        )
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or "unknown"


def _core() -> str:
    if native.core is None:
        return "not there: formulas alone"
    return f"{native.core.instruction_set()}, OpenMP {'on' if native.core.openmp() else 'off'}"


def _summary(results: Results) -> str:
    rows = [
        figure.row()
        for figure in (
            *_worst(results.outcomes),
            *_import_figure(results.import_seconds),
            *_memory_figures(results.peaks),
        )
    ]
    head = ["## Targets", "", "The worst row of each kind.", ""]
    return "\n".join([*head, "| what | target | measured | |", "|---|---|---|---|", *rows, ""])


def _worst(outcomes: list[Outcome]) -> Iterator[Figure]:
    """For each table and first label, the row that is furthest from its limit."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.limit is not None:
            label = next(iter(outcome.labels.values())) if outcome.table != CALLS else "all losses"
            groups.setdefault((outcome.table, label), []).append(outcome)
    for (table, label), group in groups.items():
        figures = (_figure(f"{table}: {label}", outcome) for outcome in group)
        yield max(figures, key=lambda figure: figure.share)


def _figure(what: str, outcome: Outcome) -> Figure:
    limit = outcome.limit
    assert limit is not None
    figure = limit.figure(outcome.seconds)
    return Figure(what, describe(limit), f"{figure:.2f} x", limit.share(figure))


def _import_figure(seconds: float | None) -> Iterator[Figure]:
    if seconds is not None:
        target, measured = f"at most {1e3 * IMPORT_LIMIT:.0f} ms", f"{1e3 * seconds:.1f} ms"
        share = seconds / IMPORT_LIMIT
        yield Figure("`import omniloss` over `import numpy`", target, measured, share)


def _memory_figures(peaks: list[Peak]) -> Iterator[Figure]:
    for with_gradient in (False, True):
        group = [peak for peak in peaks if bool(peak.gradient) == with_gradient]
        if group:
            worst = max(peak.extra - peak.gradient for peak in group)
            what = "inputs and gradient" if with_gradient else "inputs"
            yield Figure(
                f"Peak memory above the {what}",
                f"less than {MEMORY_LIMIT >> 20} MB",
                f"{worst / 2**20:.2f} MB",
                worst / MEMORY_LIMIT,
            )


def describe(limit: Limit) -> str:
    """A limit in words."""
    if limit.kind == "at most":
        peer = "the floor" if limit.peer == "floor" else limit.peer
        return f"at most {limit.ratio:g} x {peer}"
    return f"{limit.peer} at least {limit.ratio:g} x"


def _table(title: str, outcomes: list[Outcome]) -> str:
    """One table: a column for each contender, with its time and what multiple of ours it is."""
    peers = list(dict.fromkeys(name for outcome in outcomes for name in outcome.seconds))
    small = (CALLS, SMALL, SMALL_CALLS, SMALL_TENSORFLOW)
    unit, scale = ("us", 1e6) if title in small else ("ms", 1e3)
    others = [name for name in peers if name != OURS]
    cells = [*outcomes[0].labels, OURS, *others, "target", "measured", ""]
    lines = [f"## {title}", "", f"Times in {unit}; in brackets, as a multiple of ours.", ""]
    lines += [f"| {' | '.join(cells)} |", f"|{'---|' * len(cells)}"]
    for outcome in outcomes:
        ours = outcome.seconds[OURS]
        row = [*outcome.labels.values(), f"{ours * scale:.2f}"]
        for name in others:
            seconds = outcome.seconds.get(name)
            row.append(
                "" if seconds is None else f"{seconds * scale:.2f} ({ratio(seconds / ours)})"
            )
        if outcome.limit is not None:
            figure = outcome.limit.figure(outcome.seconds)
            row += [
                describe(outcome.limit),
                f"{figure:.2f} x",
                verdict(outcome.limit.share(figure)),
            ]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join([*lines, ""])


def ratio(x: float) -> str:
    """A ratio in two digits or so."""
    return f"{x:.2f} x" if x < 10 else f"{x:.0f} x"


def _memory(peaks: list[Peak]) -> str:
    lines = [
        "## Peak memory",
        "",
        "How far the peak of a process's resident memory rises during one call of 16 classes in a row, in MB (Linux: `VmHWM`, "
        "reset before the call).",
        "",
        "| loss | with gradient | above the inputs | the gradient's own | left |",
        "|---|---|---|---|---|",
    ]
    for peak in peaks:
        extra, gradient = peak.extra / 2**20, peak.gradient / 2**20
        kind = "yes" if peak.gradient else "no"
        lines.append(
            f"| {peak.job} | {kind} | {extra:.2f} | {gradient:.2f} | {extra - gradient:.2f} |"
        )
    return "\n".join([*lines, ""])
