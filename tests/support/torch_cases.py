"""Every loss of the PyTorch dialect with inputs and options, for tests to parametrise over.

`cases()` gives a `Case` for each function of `omniloss.nn.functional` and option set. The functions are
found through the dialect's public names; what a function takes, `INPUTS` says, and `OPTIONS` which options
multiply. A new loss without inputs fails the tests by its missing key.

A case's ``arguments`` are NumPy arrays in the function's order, ``by`` the names of those that torch differentiates by.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from omniloss import nn

__all__ = ["CLASSES", "FUNCTIONS", "Case", "cases", "class_of", "function_of", "small_cases"]

Arrays = dict[str, Any]

FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(nn.functional, name) for name in nn.functional.__all__
}
CLASSES: dict[str, type] = {
    name: getattr(nn, name)
    for name in nn.__all__
    if isinstance(getattr(nn, name), type) and name != "Loss"
}


def function_of(cls: type) -> str:
    """The name of the function that a class calls."""
    names = {
        "BCELoss": "binary_cross_entropy",
        "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
        "KLDivLoss": "kl_div",
        "NLLLoss2d": "nll_loss",
        "GaussianNLLLoss": "gaussian_nll_loss",
        "PoissonNLLLoss": "poisson_nll_loss",
        "CrossEntropyLoss": "cross_entropy",
        "CTCLoss": "ctc_loss",
        "MultiLabelMarginLoss": "multilabel_margin_loss",
        "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss",
    }
    if cls.__name__ in names:
        return names[cls.__name__]
    words = "".join("_" + c.lower() if c.isupper() else c for c in cls.__name__).strip("_")
    for short, joined in (("m_s_e", "mse"), ("n_l_l", "nll"), ("smooth_l1", "smooth_l1")):
        words = words.replace(short, joined)
    return words


def class_of(function: str) -> str:
    """The name of the class that calls a function."""
    return next(name for name, cls in CLASSES.items() if function_of(cls) == function)


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    label: str
    arguments: Arrays
    options: dict[str, Any]
    by: tuple[str, ...]

    def __str__(self) -> str:
        shown = ",".join(
            f"{key}={'array' if isinstance(value, np.ndarray) else value}"
            for key, value in self.options.items()
        )
        return f"{self.name}[{self.label}{',' if shown else ''}{shown}]"

    @property
    def function(self) -> Callable[..., Any]:
        return FUNCTIONS[self.name]


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.asarray(2 * rng.standard_normal(shape))


def _probabilities(rng: np.random.Generator, *shape: int) -> np.ndarray:
    scores = np.exp(rng.standard_normal(shape))
    axis = 1 if len(shape) > 1 else 0
    return np.asarray(scores / scores.sum(axis=axis, keepdims=True))


def _log_probabilities(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.log(_probabilities(rng, *shape))


def _unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.asarray(rng.uniform(0.02, 0.98, shape))


def _signs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.asarray(rng.choice([-1.0, 1.0], shape))


_DENSE: tuple[tuple[int, ...], ...] = ((), (5,), (4, 3), (2, 3, 4))
_CLASSES: tuple[tuple[int, ...], ...] = ((5,), (6, 4), (3, 4, 2), (2, 3, 2, 2))


def _pairs(
    inputs: Callable[..., np.ndarray],
    targets: Callable[..., np.ndarray],
    by: tuple[str, ...] = ("input", "target"),
    shapes: tuple[tuple[int, ...], ...] = _DENSE,
) -> Callable[[np.random.Generator], Iterator[tuple[str, Arrays, tuple[str, ...]]]]:
    def draw(rng: np.random.Generator) -> Iterator[tuple[str, Arrays, tuple[str, ...]]]:
        for shape in shapes:
            arrays = {"input": inputs(rng, *shape), "target": targets(rng, *shape)}
            yield str(shape), arrays, by

    return draw


def _indexed(
    inputs: Callable[..., np.ndarray],
    shapes: tuple[tuple[int, ...], ...] = _CLASSES,
    ignored: bool = True,
) -> Callable[[np.random.Generator], Iterator[tuple[str, Arrays, tuple[str, ...]]]]:
    def draw(rng: np.random.Generator) -> Iterator[tuple[str, Arrays, tuple[str, ...]]]:
        for shape in shapes:
            axis = 1 if len(shape) > 1 else 0
            rows = shape[:axis] + shape[axis + 1 :]
            target = np.asarray(rng.integers(0, shape[axis], rows))
            yield f"{shape}", {"input": inputs(rng, *shape), "target": target}, ("input",)
            if ignored and rows:
                some = np.where(rng.random(rows) < 0.3, -100, target)
                yield f"{shape} ignored", {"input": inputs(rng, *shape), "target": some}, ("input",)

    return draw


def _class_probabilities(
    rng: np.random.Generator,
) -> Iterator[tuple[str, Arrays, tuple[str, ...]]]:
    for shape in _CLASSES:
        arrays = {"input": _normal(rng, *shape), "target": _probabilities(rng, *shape)}
        yield f"{shape} soft", arrays, ("input", "target")


def _variances(rng: np.random.Generator) -> Iterator[tuple[str, Arrays, tuple[str, ...]]]:
    shapes = [((4, 3), s) for s in ((4, 3), (4, 1), (1, 3), (4,))] + [((2, 3, 4), (2, 1, 4))]
    for shape, var in shapes:
        arrays = {
            "input": _normal(rng, *shape),
            "target": _normal(rng, *shape),
            "var": rng.uniform(0.0, 3.0, var),
        }
        arrays["var"].ravel()[0] = 1e-9
        yield f"{shape} {var}", arrays, ("input", "target", "var")


def _two_inputs(
    shapes: tuple[tuple[int, ...], ...], rowwise: bool, by: tuple[str, ...]
) -> Callable[[np.random.Generator], Iterator[tuple[str, Arrays, tuple[str, ...]]]]:
    def draw(rng: np.random.Generator) -> Iterator[tuple[str, Arrays, tuple[str, ...]]]:
        for shape in shapes:
            rows = shape[:-1] if rowwise else shape
            arrays = {
                "input1": _normal(rng, *shape),
                "input2": _normal(rng, *shape),
                "target": _signs(rng, *rows),
            }
            yield str(shape), arrays, by

    return draw


def _triplets(rng: np.random.Generator) -> Iterator[tuple[str, Arrays, tuple[str, ...]]]:
    names = ("anchor", "positive", "negative")
    for shape in ((4,), (6, 3), (2, 3, 4)):
        yield str(shape), {name: _normal(rng, *shape) for name in names}, names


def _label_sets(rng: np.random.Generator) -> Iterator[tuple[str, Arrays, tuple[str, ...]]]:
    for shape in ((4,), (5, 4)):
        target = rng.permuted(np.broadcast_to(np.arange(shape[-1]), shape), axis=-1)
        target[..., 2:] = np.where(rng.random(target[..., 2:].shape) < 0.5, -1, target[..., 2:])
        target[..., -1] = rng.choice([-1, 0])
        target = np.ascontiguousarray(target)
        yield str(shape), {"input": _normal(rng, *shape), "target": target}, ("input",)


def _sequences(rng: np.random.Generator) -> Iterator[tuple[str, Arrays, tuple[str, ...]]]:
    """Some of the labels have no alignment; the blank is the class 0, and once the last."""
    for shape, longest in (((7, 3, 4), 3), ((5, 2, 3), 4), ((6, 4), 2)):
        samples = shape[1] if len(shape) == 3 else 1
        scores = _normal(rng, *shape)
        log_probs = scores - np.log(np.sum(np.exp(scores), axis=-1, keepdims=True))
        targets = rng.integers(1, shape[-1] - 1, (samples, longest))
        lengths = rng.integers(0, longest + 1, samples) if samples > 1 else np.array([longest])
        arrays = {
            "log_probs": log_probs,
            "targets": targets if len(shape) == 3 else targets[0],
            "input_lengths": rng.integers(shape[0] - 3, shape[0] + 1, samples),
            "target_lengths": lengths,
        }
        yield f"{shape}", arrays, ("log_probs",)
        if len(shape) == 3:
            joined = [row[:length] for row, length in zip(targets, lengths, strict=True)]
            yield f"{shape} joined", {**arrays, "targets": np.concatenate(joined)}, ("log_probs",)


_Draw = Callable[[np.random.Generator], Iterator[tuple[str, Arrays, tuple[str, ...]]]]

INPUTS: dict[str, tuple[_Draw, ...]] = {
    "l1_loss": (_pairs(_normal, _normal),),
    "mse_loss": (_pairs(_normal, _normal),),
    "smooth_l1_loss": (_pairs(_normal, _normal),),
    "huber_loss": (_pairs(_normal, _normal),),
    "binary_cross_entropy": (_pairs(_unit, _unit),),
    "binary_cross_entropy_with_logits": (_pairs(_normal, _unit),),
    "cross_entropy": (_indexed(_normal), _class_probabilities),
    "nll_loss": (_indexed(_log_probabilities),),
    "kl_div": (_pairs(_log_probabilities, _unit, shapes=_DENSE[1:]),),
    "poisson_nll_loss": (_pairs(_unit, lambda rng, *shape: np.asarray(4 * _unit(rng, *shape))),),
    "gaussian_nll_loss": (_variances,),
    "soft_margin_loss": (_pairs(_normal, _signs, ("input",)),),
    "hinge_embedding_loss": (_pairs(_normal, _signs, ("input",)),),
    "multi_margin_loss": (_indexed(_normal, _CLASSES[:2], ignored=False),),
    "multilabel_margin_loss": (_label_sets,),
    "multilabel_soft_margin_loss": (_pairs(_normal, _unit, shapes=_DENSE[1:]),),
    "cosine_embedding_loss": (_two_inputs(((3,), (6, 3)), True, ("input1", "input2")),),
    "margin_ranking_loss": (_two_inputs(_DENSE, False, ("input1", "input2", "target")),),
    "triplet_margin_loss": (_triplets,),
    "triplet_margin_with_distance_loss": (_triplets,),
    "ctc_loss": (_sequences,),
}

Choice = Callable[[np.random.Generator, Arrays], tuple[Any, ...]]


def _fixed(*values: Any) -> Choice:
    return lambda rng, arrays: values


def _class_weights(rng: np.random.Generator, arrays: Arrays) -> tuple[Any, ...]:
    shape = arrays["input"].shape
    weight = rng.uniform(0.2, 2.0, shape[1 if len(shape) > 1 else 0])
    return (weight,)


def _ignore(rng: np.random.Generator, arrays: Arrays) -> tuple[Any, ...]:
    return () if arrays["target"].dtype.kind == "f" else (1,)


def _last_class(rng: np.random.Generator, arrays: Arrays) -> tuple[Any, ...]:
    return (arrays["log_probs"].shape[-1] - 1,)


def _equal_weights(rng: np.random.Generator, arrays: Arrays) -> tuple[Any, ...]:
    return (rng.uniform(0.2, 2.0, arrays["input"].shape),)


def _fitting_weights(rng: np.random.Generator, arrays: Arrays) -> tuple[Any, ...]:
    shape = arrays["input"].shape
    return (rng.uniform(0.2, 2.0, shape), rng.uniform(0.2, 2.0, shape[-1:]))


# For each function its options besides `reduction`; those of one function are multiplied.
OPTIONS: dict[str, dict[str, Choice]] = {
    "l1_loss": {"weight": _equal_weights},
    "mse_loss": {"weight": _equal_weights},
    "smooth_l1_loss": {"beta": _fixed(0.0, 0.7)},
    "huber_loss": {"delta": _fixed(0.7), "weight": _equal_weights},
    "binary_cross_entropy": {"weight": _fitting_weights},
    "binary_cross_entropy_with_logits": {
        "weight": _fitting_weights,
        "pos_weight": _fitting_weights,
    },
    "cross_entropy": {
        "weight": _class_weights,
        "ignore_index": _ignore,
        "label_smoothing": _fixed(0.3, 1.0),
    },
    "nll_loss": {"weight": _class_weights, "ignore_index": _ignore},
    "kl_div": {"log_target": _fixed(True)},
    "poisson_nll_loss": {
        "log_input": _fixed(False),
        "full": _fixed(True),
        "eps": _fixed(0.01),
    },
    "gaussian_nll_loss": {"full": _fixed(True), "eps": _fixed(0.5)},
    "soft_margin_loss": {},
    "hinge_embedding_loss": {"margin": _fixed(0.3)},
    "multi_margin_loss": {
        "p": _fixed(2),
        "margin": _fixed(0.3),
        "weight": _class_weights,
    },
    "multilabel_margin_loss": {},
    "multilabel_soft_margin_loss": {"weight": _fitting_weights},
    "cosine_embedding_loss": {"margin": _fixed(0.3)},
    "margin_ranking_loss": {"margin": _fixed(0.3)},
    "triplet_margin_loss": {
        "margin": _fixed(0.3),
        "p": _fixed(0.5, 1, 1.7, 3, float("inf")),
        "eps": _fixed(0.1),
        "swap": _fixed(True),
    },
    "triplet_margin_with_distance_loss": {"margin": _fixed(0.3), "swap": _fixed(True)},
    "ctc_loss": {"blank": _last_class, "zero_infinity": _fixed(True)},
}


def reductions(name: str) -> tuple[str, ...]:
    """The reductions of a function."""
    return ("mean", "sum", "none", *(["batchmean"] if name == "kl_div" else []))


def cases() -> list[Case]:
    """Every function with all products of its options, for each of its inputs and reductions."""
    rng = np.random.default_rng(20)
    return list(itertools.chain.from_iterable(_cases(name, rng) for name in FUNCTIONS))


def _cases(name: str, rng: np.random.Generator) -> Iterator[Case]:
    known = OPTIONS[name]
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    for draw in INPUTS[name]:
        for label, arrays, by in draw(rng):
            missing = set(parameters) - set(known) - set(arrays)
            missing -= {"size_average", "reduce", "reduction", "distance_function"}
            assert not missing, f"{name}: no values for {missing}"
            choices = {key: (None, *choose(rng, arrays)) for key, choose in known.items()}
            for values in itertools.product(*choices.values()):
                options = {
                    key: value
                    for key, value in zip(choices, values, strict=True)
                    if value is not None
                }
                given = arrays
                if "ignore_index" in options:  # what was to be ignored has another index then
                    target = arrays["target"]
                    target = np.where(target == -100, options["ignore_index"], target)
                    given = {**arrays, "target": target}
                for reduction in reductions(name):
                    yield Case(name, label, given, {**options, "reduction": reduction}, by)


def small_cases() -> list[Case]:
    """A few for each function: one batch of each kind of target, with every option alone and with all together.

    The options' defaults come with every reduction, each option alone with the mean, all together with none.
    """
    batches: dict[tuple[str, ...], list[Case]] = {}
    for case in cases():
        arrays = case.arguments.values()
        if max(array.ndim for array in arrays) > 1:
            kinds = (case.name, *(array.dtype.kind for array in arrays))
            batches.setdefault(kinds, []).append(case)
    return list(itertools.chain.from_iterable(map(_few, batches.values())))


def _few(mine: list[Case]) -> Iterator[Case]:
    mine = [case for case in mine if case.label == mine[0].label]
    most = max(len(case.options) for case in mine)
    together = next(
        case for case in mine if len(case.options) == most and case.options["reduction"] == "none"
    )
    for case in mine:
        count = len(case.options) - 1  # besides the reduction
        if count == 0 or (count == 1 and case.options["reduction"] == "mean") or case is together:
            yield case
