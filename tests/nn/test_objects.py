"""The loss objects and functions as Python objects: signatures, warnings, attributes, copies, subclasses."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import omniloss
from omniloss import nn
from support.torch_cases import CLASSES, FUNCTIONS, cases, function_of, reductions

DEFAULTS = {
    name: next(
        case
        for case in cases()
        if case.name == name and case.options == {"reduction": "mean"} and case.label != "()"
    )
    for name in FUNCTIONS
}
ABSENT = {"LinearCrossEntropyLoss", "AdaptiveLogSoftmaxWithLoss"}


def quietly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def parameters(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in found]


def test_every_loss_of_torch_is_there() -> None:
    theirs = {name for name in dir(torch.nn) if "Loss" in name}
    assert set(CLASSES) == theirs - ABSENT
    module = torch.nn.functional
    ends = ("_loss", "cross_entropy", "kl_div", "cross_entropy_with_logits")
    named = {name for name in dir(module) if name.endswith(ends) and not name.startswith("_")}
    assert set(FUNCTIONS) == named - {"linear_cross_entropy"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_torchs_signatures(name: str) -> None:
    assert parameters(FUNCTIONS[name]) == parameters(getattr(torch.nn.functional, name))


@pytest.mark.parametrize("name", CLASSES)
def test_classes_have_torchs_signatures(name: str) -> None:
    # torch's deprecated name has the signature of the decorator that warns.
    theirs = getattr(torch.nn, name.removesuffix("2d"))
    mine = CLASSES[name]
    assert parameters(mine) == parameters(theirs)
    assert parameters(mine.forward) == parameters(theirs.forward)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CLASSES)
def test_objects_print_and_keep_attributes_as_torchs(name: str) -> None:
    mine, theirs = quietly(CLASSES[name]), quietly(getattr(torch.nn, name))
    if name != "TripletMarginWithDistanceLoss":  # torch's has a module inside
        assert repr(mine) == repr(theirs)
    for key, value in vars(mine).items():
        if key != "distance_function":
            assert getattr(theirs, key) == value


@pytest.mark.parametrize("name", CLASSES)
def test_an_object_is_its_function(name: str) -> None:
    loss = quietly(CLASSES[name])
    case = DEFAULTS[function_of(CLASSES[name])]
    positional = tuple(case.arguments.values())
    expected = quietly(case.function, *positional)
    for same in (loss, copy.deepcopy(loss), copy.copy(loss), pickle.loads(pickle.dumps(loss))):
        np.testing.assert_array_equal(quietly(same, *positional), expected)
        np.testing.assert_array_equal(quietly(same.forward, *positional), expected)
    value, gradient = quietly(omniloss.value_and_grad, loss, *positional)
    np.testing.assert_allclose(value, expected, rtol=1e-15)
    assert gradient.shape == positional[0].shape


@pytest.mark.parametrize("name", CLASSES)
def test_an_attribute_set_later_is_obeyed(name: str) -> None:
    loss = quietly(CLASSES[name])
    case = DEFAULTS[function_of(CLASSES[name])]
    positional = tuple(case.arguments.values())
    for reduction in reductions(case.name):
        loss.reduction = reduction
        expected = quietly(case.function, *positional, reduction=reduction)
        np.testing.assert_array_equal(quietly(loss, *positional), expected)
    changed = {"margin": 0.25, "beta": 0.25, "delta": 0.25, "full": True, "label_smoothing": 0.5}
    loss.reduction = "sum"
    before = quietly(loss, *positional)
    for key in changed.keys() & vars(loss).keys():
        setattr(loss, key, changed[key])
        expected = quietly(case.function, *positional, reduction="sum", **{key: changed[key]})
        np.testing.assert_array_equal(quietly(loss, *positional), expected)
        assert loss(*positional) != before
    if "weight" in vars(loss):
        loss.weight = np.full(case.arguments["input"].shape[-1], 2.0)
        assert loss(*positional) != before


@pytest.mark.parametrize("size_average", [None, True, False])
@pytest.mark.parametrize("reduce", [None, True, False])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_deprecated_arguments(name: str, size_average: bool | None, reduce: bool | None) -> None:
    if "reduce" not in inspect.signature(FUNCTIONS[name]).parameters:
        pytest.skip("torch has no such arguments there")
    arguments = DEFAULTS[name].arguments
    theirs = getattr(torch.nn.functional, name)
    old = {"size_average": size_average, "reduce": reduce}
    tensors = {key: torch.tensor(array) for key, array in arguments.items()}
    with warnings.catch_warnings(record=True) as wanted:
        warnings.simplefilter("always")
        expected = theirs(**tensors, **old)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        value = FUNCTIONS[name](**arguments, **old)
    assert [str(w.message) for w in found] == [str(w.message) for w in wanted]
    assert all(w.category is UserWarning and w.filename == __file__ for w in found)
    np.testing.assert_allclose(value, expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", CLASSES)
def test_deprecated_arguments_of_classes(name: str) -> None:
    if "reduce" not in inspect.signature(CLASSES[name]).parameters:
        pytest.skip("torch has no such arguments there")
    for old, reduction in (
        ({"size_average": False}, "sum"),
        ({"reduce": False}, "none"),
        ({"size_average": True, "reduce": True}, "mean"),
    ):
        message = f"please use reduction='{reduction}' instead"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            with pytest.warns(UserWarning, match=message):
                loss = CLASSES[name](**old)
        assert loss.reduction == reduction


def test_the_oldest_name_of_the_mean() -> None:
    with pytest.warns(UserWarning, match="'elementwise_mean' is deprecated"):
        assert nn.functional.mse_loss([1.0, 3.0], [0.0, 0.0], reduction="elementwise_mean") == 5


def test_the_old_name_of_nll_loss_warns() -> None:
    with pytest.warns(FutureWarning, match="`NLLLoss2d` has been deprecated"):
        nn.NLLLoss2d()


class Doubled(nn.MSELoss):
    def forward(self, input: Any, target: Any) -> Any:
        return 2 * super().forward(input, target)


class Called(nn.MSELoss):
    def __call__(self, input: Any, target: Any) -> Any:
        return 3 * super().__call__(input, target)


def test_a_subclass_is_obeyed() -> None:
    assert Doubled()([1.0], [0.0]) == 2
    assert Called()([1.0], [0.0]) == 3
    replaced = nn.MSELoss()
    replaced.forward = lambda input, target: 4.0
    assert replaced([1.0], [0.0]) == 4
    for loss in (Doubled(), Called(), replaced):
        for verb in (omniloss.value_and_grad, omniloss.partial):
            with pytest.raises(TypeError, match="not this library's"):
                verb(loss, [1.0], [0.0])

    class Named(nn.MSELoss):
        pass

    assert omniloss.value_and_grad(Named(), [1.0], [0.0])[0] == 1


@pytest.mark.parametrize("name", CLASSES)
def test_partials_add_up(name: str) -> None:
    """Two unequal parts of a batch give the whole batch's loss, weights and ignored rows included."""
    if name == "NLLLoss2d":
        pytest.skip("an alias")
    rng = np.random.default_rng(3)
    for case in cases():
        arrays = case.arguments
        batch = max(x.ndim for x in arrays.values()) > 1 and all(x.ndim for x in arrays.values())
        if case.name != function_of(CLASSES[name]) or not batch:
            continue
        reduction = case.options["reduction"]
        if reduction not in ("mean", "batchmean"):
            continue
        weights = [value for value in case.options.values() if isinstance(value, np.ndarray)]
        sizes = {x.shape[0] for x in arrays.values()}
        if weights or len(sizes) > 1:  # weights of elements would have to be split too
            continue
        cut = int(rng.integers(1, sizes.pop()))
        parts = [
            quietly(
                omniloss.partial,
                case.function,
                **{key: array[place] for key, array in arrays.items()},
                **case.options,
            )
            for place in (slice(None, cut), slice(cut, None))
        ]
        expected = quietly(case.function, **arrays, **case.options)
        np.testing.assert_allclose(sum(parts).result(), expected, rtol=1e-12)


def test_what_is_not_reduced_has_no_partial() -> None:
    for loss in (nn.MSELoss(reduction="none"), nn.CrossEntropyLoss(reduction="none")):
        with pytest.raises(ValueError, match="a partial needs a reduction"):
            omniloss.partial(loss, [[1.0, 2.0]], [[1.0, 0.0]])
    with pytest.raises(ValueError, match="a partial needs a reduction"):
        omniloss.partial(nn.functional.mse_loss, [1.0], [0.0], reduction="none")


def test_normalizer() -> None:
    x, y = np.array([1.0, 3.0]), np.zeros(2)
    for loss in (nn.MSELoss(), nn.functional.mse_loss):
        value, gradient = omniloss.value_and_grad(loss, x, y, normalizer=20)
        assert value == 0.5
        np.testing.assert_allclose(gradient, 2 * x / 20)


def test_wrt_names_what_can_be_differentiated() -> None:
    a, b, c = np.zeros((2, 3)), np.ones((2, 3)), np.full((2, 3), 0.5)
    with pytest.raises(ValueError, match="'anchor' or 'positive' or 'negative'; got 'input'"):
        omniloss.value_and_grad(nn.TripletMarginLoss(), a, b, c, wrt="input")
    with pytest.raises(ValueError, match="of the loss, 'input'; got 'target'"):
        omniloss.value_and_grad(nn.CrossEntropyLoss(), a, [0, 1], wrt="target")
    loss = nn.TripletMarginWithDistanceLoss(distance_function=lambda x, y: (x - y)[:, 0])
    with pytest.raises(TypeError, match="distance function of its own"):
        omniloss.value_and_grad(loss, a, b, c)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_distance_of_ones_own(swap: bool, reduction: str) -> None:
    rng = np.random.default_rng(4)
    arrays = rng.standard_normal((3, 6, 2))

    def distance(x: Any, y: Any) -> Any:
        return ((x - y) ** 2).sum(-1)

    options = {"margin": 0.5, "swap": swap, "reduction": reduction}
    theirs = torch.nn.TripletMarginWithDistanceLoss(distance_function=distance, **options)
    mine = nn.TripletMarginWithDistanceLoss(distance_function=distance, **options)
    np.testing.assert_allclose(mine(*arrays), theirs(*torch.tensor(arrays)).numpy(), rtol=1e-12)
