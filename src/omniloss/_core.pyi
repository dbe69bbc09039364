"""The native core (native/*.cpp): kernels over any strided arrays of numbers, found by a formula's name."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from omniloss.native import Weighting

_Pair = tuple[float, float]
_Outcome = tuple[float, tuple[Literal["targets", "predictions"], int] | None]

def pointwise(
    kernel: str,
    targets: np.ndarray,
    predictions: np.ndarray,
    weights: np.ndarray | None,
    values: np.ndarray | None,
    gradient: np.ndarray | None,
    parameters: Sequence[float],
    target_map: _Pair,
    target_range: _Pair,
    prediction_range: _Pair,
    scale: float,
    value_scale: float = 1.0,
    detect_binary: bool = False,
    masks: Sequence[tuple[np.ndarray, float]] = (),
    compute: Literal["", "float32", "float64"] = "",
    shrink: float = 1.0,
    other: np.ndarray | None = None,
) -> _Outcome: ...
def rowwise(
    kernel: str,
    targets: np.ndarray,
    predictions: np.ndarray,
    weights: np.ndarray | None,
    values: np.ndarray | None,
    gradient: np.ndarray | None,
    parameters: Sequence[float],
    target_map: _Pair,
    target_range: _Pair,
    prediction_range: _Pair,
    scale: float,
    class_factors: np.ndarray | None = None,
    masks: Sequence[tuple[np.ndarray, float]] = (),
    compute: Literal["", "float32", "float64"] = "",
    shrink: float = 1.0,
) -> _Outcome: ...

class Plan:
    def __init__(
        self,
        kernel: str,
        kind: Literal["pointwise", "rowwise"],
        parameters: Sequence[float],
        target_map: _Pair,
        target_range: _Pair,
        prediction_range: _Pair,
        detect_binary: bool,
        row_mean: bool,
        batch_mean: bool,
        several_classes: bool,
        exact: bool = False,
        by_element: bool = False,
        axis: int = -1,
        length_mean: bool = False,
        spread: float = 0.0,
        ignore: int | None = None,
        widen: bool = False,
        reduce: bool = True,
        weighting: Weighting = "",
        weighted_mean: bool = False,
        one_hot: bool = False,
    ) -> None: ...
    def __call__(
        self, targets: Any, predictions: Any, weight: Any = None, positive: Any = None
    ) -> Any: ...
    def on_tensors(
        self, targets: Any, predictions: Any, weight: Any = None, positive: Any = None
    ) -> Any: ...
    def gradient(
        self,
        targets: Any,
        predictions: Any,
        weight: Any,
        positive: Any,
        upstream: Any,
        factor: float = 1.0,
    ) -> Any: ...

def run_known(
    known: dict[Any, Any], first: Any, named: dict[str, Any], targets: Any, predictions: Any
) -> Any: ...
def look_at(upstream: Any) -> float | Literal[True] | None: ...
def adopt_tensors(
    exchange: Any,
    types: tuple[type, ...],
    idle: tuple[tuple[Callable[[], Any], Any], ...],
    names: dict[str, Any],
    level: str,
    is_watched: Callable[[], bool],
    is_recording: Callable[[], bool],
    is_autocast: Callable[[], bool],
    is_negative: Callable[[Any], bool],
) -> None: ...
def ctc(
    targets: np.ndarray,
    log_probs: np.ndarray,
    input_lengths: np.ndarray,
    target_lengths: np.ndarray,
    blank: int,
    zero_infinity: bool,
    losses: np.ndarray,
    gradient: np.ndarray | None,
    scales: np.ndarray | None,
    logits: bool = False,
) -> None: ...
def circle(
    cosines: np.ndarray,
    labels: np.ndarray,
    ref_labels: np.ndarray,
    counted: np.ndarray,
    first: int,
    remove_diagonal: bool,
    gamma: float,
    margin: float,
    losses: np.ndarray,
    factors: np.ndarray | None,
) -> None: ...
def new_memory(bytes: int) -> np.ndarray: ...
def kernels() -> dict[str, Literal["pointwise", "rowwise"]]: ...
def set_num_threads(threads: int) -> None: ...
def get_num_threads() -> int: ...
def team_size() -> int: ...
def instruction_set() -> str: ...
def instruction_sets() -> list[str]: ...
def set_instruction_set(name: str) -> None: ...
def openmp() -> bool: ...
def stream(array: np.ndarray) -> float: ...
