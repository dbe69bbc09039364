"""Measure Omniloss beside its peers and write the page of results."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "numpy")  # before Keras is imported

import torch

import omniloss
from benchmarks import calls, crossentropy, memory, pointwise, pytorch
from benchmarks.floor import Floor
from benchmarks.harness import OURS, Case, Effort, Outcome, measure_all
from benchmarks.report import Results, page

SECTIONS = ("pointwise", "crossentropy", "pytorch", "calls", "import", "memory")


def main() -> None:
    """Run the sections that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small arrays: does it run?")
    parser.add_argument("--output", type=Path, help="the page; without it, it is printed")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION",
        help=f"measure these sections only: {', '.join(SECTIONS)}",
    )  # fmt: skip
    options = parser.parse_args()

    torch.set_num_threads(omniloss.get_num_threads())
    size = 1 << 18 if options.quick else 1 << 24
    effort = Effort(rounds=3) if options.quick else Effort()
    floor = Floor(size)

    outcomes = []
    for outcome in measure_all(_cases(options.only, size, floor, options.quick), effort):
        print(_line(outcome), file=sys.stderr, flush=True)
        outcomes.append(outcome)
    seconds = calls.import_seconds(3 if options.quick else 21) if "import" in options.only else None
    peaks = []
    if "memory" in options.only:
        for gradient in (False, True):
            peaks += [memory.peak(job, size, gradient=gradient) for job in memory.JOBS]

    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    text = page(Results(command, size, floor, outcomes, seconds, peaks))
    if options.output is None:
        print(text)
    else:
        options.output.write_text(text)


def _cases(only: tuple[str, ...], size: int, floor: Floor, quick: bool) -> Iterator[Case]:
    if "calls" in only:  # first, while the machine is as it was found
        yield from calls.cases(20 if quick else 300)
    if "crossentropy" in only:
        yield from crossentropy.cases(64 if quick else 1, floor)
    if "pointwise" in only:
        yield from pointwise.cases(size, floor)
    if "pytorch" in only:
        yield from pytorch.cases(size, 64 if quick else 1, 20 if quick else 200)


def _line(outcome: Outcome) -> str:
    """How far the run has come."""
    labels = ", ".join(outcome.labels.values())
    times = ", ".join(f"{name} {1e3 * outcome.seconds[name]:.3f}" for name in outcome.seconds)
    figure = "" if outcome.limit is None else f"{outcome.limit.figure(outcome.seconds):6.2f}"
    return f"{figure} {labels}: {times} ms" if OURS in outcome.seconds else labels


if __name__ == "__main__":
    main()
