"""Measure Omniloss beside its peers and write the page of results."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "numpy")  # before Keras is imported

import torch

import omniloss
from benchmarks import calls, memory
from benchmarks.floor import Floor
from benchmarks.report import Results, page
from benchmarks.sections import measure_apart

SECTIONS = (
    "calls",
    "crossentropy",
    "pointwise",
    "pytorch",
    "jax",
    "tensorflow",
    "import",
    "memory",
)


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
    floor = Floor(size)

    outcomes = []
    for section in SECTIONS:
        if section in options.only:
            outcomes += measure_apart(section, size, floor, quick=options.quick)
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


if __name__ == "__main__":
    main()
