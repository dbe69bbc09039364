"""Memory above the inputs: next to nothing for a reduced value, the gradient's own size with it."""

from __future__ import annotations

import pytest

from support.peaks import needs_peaks, peaks

VALUES = [
    "plain",
    "double",
    "strided",
    "transposed",
    "weights:f4",
    "weights:f8",
    "mask:?",
    "targets:?",
    "targets:i1",
    "targets:i8",
    "targets:f2",
    "targets:f8",
    "targets:>f4",
    "predictions:f2",
    "predictions:bfloat16",
    "predictions:f8",
    "predictions:i4",
    "predictions:>f4",
    "predictions:>f8",
    "numbers:i1",
    "numbers:i8",
    "numbers:f4",
    "both:f4",
    "both:f8",
    "weighted-mean:f4",
    "weighted-mean:f8",
    "ignored",
    "ignored:both",
    "alphas",
]
# What depends on the number of rows: measured where they are many and short.
SHORT = [
    "mask:?",
    "numbers:i8",
    "both:f4",
    "weighted-mean:f8",
    "ignored",
    "ignored:both",
    "targets:i8",
]
RESULTS = ["function", "gradient", "weighted-gradient"]
MEGABYTE = 2**20


@needs_peaks
@pytest.mark.parametrize(
    ("variant", "width"),
    [(variant, 16) for variant in VALUES + RESULTS] + [(variant, 1) for variant in SHORT],
)
def test_less_than_a_megabyte_above_the_inputs_and_the_result(variant: str, width: int) -> None:
    measured = peaks("support.memory", variant, str(width))
    assert len(measured) >= (1 if variant.partition(":")[0] in ("ignored", "alphas") else 22)
    greedy = {loss: peak - own for loss, peak, own in measured if peak - own >= MEGABYTE}
    assert not greedy
    assert all((own > MEGABYTE // 2) == (variant in RESULTS) for _, _, own in measured)
