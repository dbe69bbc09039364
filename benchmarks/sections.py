"""Sections of the benchmark, each measured in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import torch

import omniloss
from benchmarks import calls, crossentropy, pointwise, pytorch, tensorflow
from benchmarks.floor import Floor
from benchmarks.harness import OURS, Case, Effort, Outcome, measure_all

__all__ = ["measure_apart"]


def measure_apart(section: str, size: int, floor: Floor, *, quick: bool) -> list[Outcome]:
    """Measure a section where no other has left memory behind, which new arrays would be made of.

    Fresh memory costs page faults, which are a good part of what torch takes for arrays of some tens of megabytes.
    """
    backend = os.environ.get("KERAS_BACKEND", "numpy")
    os.environ["KERAS_BACKEND"] = section if section in ("jax", "tensorflow") else backend
    try:  # Keras reads it in the new process
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            return process.submit(_measure, section, size, floor, quick).result()
    finally:
        os.environ["KERAS_BACKEND"] = backend


def _measure(section: str, size: int, floor: Floor, quick: bool) -> list[Outcome]:
    torch.set_num_threads(omniloss.get_num_threads())
    outcomes = []
    effort = Effort(rounds=3) if quick else Effort()
    for outcome in measure_all(_cases(section, size, floor, quick), effort):
        print(_line(outcome), file=sys.stderr, flush=True)
        outcomes.append(outcome)
    return outcomes


def _cases(section: str, size: int, floor: Floor, quick: bool) -> Iterator[Case]:
    if section == "calls":
        yield from calls.cases(20 if quick else 300)
    if section == "crossentropy":
        yield from crossentropy.cases(64 if quick else 1, floor)
    if section == "pointwise":
        yield from pointwise.cases(size, floor)
    if section == "jax":  # is imported where it is measured alone
        from benchmarks import jax

        yield from jax.cases(size, 20 if quick else 200)
    if section == "pytorch":
        yield from pytorch.cases(size, 64 if quick else 1, 20 if quick else 200)
    if section == "tensorflow":
        yield from tensorflow.cases(size, 20 if quick else 100)


def _line(outcome: Outcome) -> str:
    """How far the run has come."""
    labels = ", ".join(outcome.labels.values())
    times = ", ".join(f"{name} {1e3 * outcome.seconds[name]:.3f}" for name in outcome.seconds)
    figure = "" if outcome.limit is None else f"{outcome.limit.figure(outcome.seconds):6.2f}"
    return f"{figure} {labels}: {times} ms" if OURS in outcome.seconds else labels
