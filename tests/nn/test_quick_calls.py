"""Calls whose options have been seen before go straight to the core: same numbers, same errors, same manners."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import omniloss
from omniloss import execution, native, nn
from omniloss.nn import functional
from support.torch_cases import CLASSES, FUNCTIONS, Case, cases, function_of

pytestmark = pytest.mark.skipif(native.core is None, reason="the native core is not installed")

# What needs nothing of the core but its arrays, in some of its cases, and of these an input and a target alone
ALL_QUICK = sorted(set(FUNCTIONS) - {"ctc_loss"})
QUICK = sorted({case.name for case in cases() if len(case.arguments) == 2})
CASES = [
    case
    for case in cases()
    if case.name in ALL_QUICK
    and case.options["reduction"] != "none"
    and not any(isinstance(value, np.ndarray) for value in case.options.values())
]


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_quick(case: Case) -> bool:
    """Whether a case has no more than what the core takes as it stands."""
    shape, *others = (array.shape for array in case.arguments.values())
    if case.name == "gaussian_nll_loss" and others != [shape, shape]:
        return False
    stirling = case.options.get("full") and not case.options.get("log_input", True)
    return bool(shape) and not stirling


def general(function: Any, *args: Any, **options: Any) -> Any:
    """The value by the general way."""
    return execution.evaluate(function.describe(*args, **options))


def refuse(call: Any) -> Any:
    raise AssertionError("the general way was taken")


@pytest.fixture
def only_quick(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets the general way fail, once it is called."""
    return lambda: monkeypatch.setattr(execution, "evaluate", refuse)


def near(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    found, expected = (
        np.asarray(x.detach() if hasattr(x, "detach") else x) for x in (found, expected)
    )
    np.testing.assert_allclose(found, expected, rtol=4 * np.finfo(found.dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", QUICK)
def test_a_second_call_gives_what_the_general_way_gives(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0
    for case in (case for case in CASES if case.name == name and is_quick(case)):
        tried += 1
        x, y = (
            array.astype(dtype) if array.dtype.kind == "f" else array
            for array in (case.arguments["input"], case.arguments["target"])
        )
        tensors = torch.from_numpy(x), torch.from_numpy(y)
        for arguments in ((x, y), tensors):
            expected = general(case.function, *arguments, **case.options)
            near(case.function(*arguments, **case.options), expected)
            with monkeypatch.context() as patched:
                if not np.isnan(float(expected)):  # nothing counts
                    patched.setattr(execution, "evaluate", refuse)
                near(case.function(*arguments, **case.options), expected)
        gradients = []
        for way in (general, lambda function, *args, **options: function(*args, **options)):
            leaf = tensors[0].clone().requires_grad_()
            (3 * way(case.function, leaf, tensors[1], **case.options)).backward()
            gradients.append(leaf.grad)
        torch.testing.assert_close(*gradients, rtol=0, atol=0, equal_nan=True)
    assert tried


def weighted_cases(name: str) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Cases with weights, or unreduced, with a choice of targets for which these can be done quickly."""
    for case in cases():
        arrays = any(isinstance(value, np.ndarray) for value in case.options.values())
        unreduced = case.options["reduction"] == "none"
        if case.name != name or not is_quick(case) or not (arrays or unreduced):
            continue
        if name == "multilabel_soft_margin_loss" and arrays and unreduced:
            continue  # a weight within each of the losses
        given = dict(case.arguments)
        yield case, given


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", QUICK)
def test_weights_and_unreduced_losses_are_quick(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0
    for case, given in weighted_cases(name):
        tried += 1
        x, y, *weights = (
            torch.from_numpy(array).to(dtype)
            if array.dtype.kind == "f"
            else torch.from_numpy(array)
            for array in (*given.values(), *case.options.values())
            if isinstance(array, np.ndarray)
        )
        names = [key for key, value in case.options.items() if isinstance(value, np.ndarray)]
        options = {**case.options, **dict(zip(names, weights, strict=True))}

        def slopes(way: Any, x: torch.Tensor = x) -> tuple[torch.Tensor, ...]:
            leaf = x.clone().requires_grad_()
            value = way(leaf)
            upstream = torch.linspace(0.5, 2.0, value.numel(), dtype=dtype).reshape(value.shape)
            (first,) = torch.autograd.grad(value, leaf, upstream, retain_graph=True)
            (again,) = torch.autograd.grad(value, leaf, upstream, retain_graph=True)
            (watched,) = torch.autograd.grad(value, leaf, upstream, create_graph=True)
            return value.detach(), first, again, watched, *_second(watched, leaf)

        def quick(x: torch.Tensor, y: Any = y, case: Case = case, options: Any = options) -> Any:
            return case.function(x, y, **options)

        def slow(x: torch.Tensor, y: Any = y, case: Case = case, options: Any = options) -> Any:
            return general(case.function, x, y, **options)

        near(quick(x), slow(x))
        expected = slopes(slow)
        with monkeypatch.context() as patched:
            if not torch.isnan(expected[0]).any():  # nothing counts
                patched.setattr(execution, "evaluate", refuse)
            near(quick(x), slow_value := expected[0])
            found = slopes(quick)
            if weights:  # by its place
                place = list(inspect.signature(case.function).parameters).index(names[0])
                if place == 2:
                    rest = {key: value for key, value in options.items() if key != names[0]}
                    patched.undo()
                    near(case.function(x, y, weights[0], **rest), slow_value)
                    patched.setattr(execution, "evaluate", refuse)
                    near(case.function(x, y, weights[0], **rest), slow_value)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, equal_nan=True)
    assert tried


def _second(slope: torch.Tensor, leaf: torch.Tensor) -> tuple[torch.Tensor, ...]:
    if not slope.requires_grad:
        return ()
    return torch.autograd.grad(slope.sum(), leaf, allow_unused=True, materialize_grads=True)


def test_weights_that_the_core_cannot_take() -> None:
    """The general way has the word on whether they are wrong, and gives the same numbers if they are not."""
    x, y = torch.rand(4, 3), torch.tensor([0, 2, 1, 2])
    weight = torch.tensor([1.0, 2.0, 3.0])
    theirs = torch.nn.functional
    for _ in range(2):
        expected = theirs.cross_entropy(x, y, weight)
        torch.testing.assert_close(functional.cross_entropy(x, y, weight), expected)
        torch.testing.assert_close(functional.cross_entropy(x, y, weight.tolist()), expected)
        torch.testing.assert_close(functional.cross_entropy(x, y, weight.double()), expected)
        torch.testing.assert_close(
            functional.cross_entropy(x, y, torch._neg_view(-weight)), expected
        )
        torch.testing.assert_close(functional.cross_entropy(x, y, weight.numpy()), expected)
        assert torch.isnan(functional.cross_entropy(x, y, 0 * weight))
        assert functional.cross_entropy(x, y, 0 * weight, reduction="sum") == 0
        for loss in (functional.cross_entropy, functional.nll_loss, functional.multi_margin_loss):
            assert loss(x, y, weight=weight) > -1
            with pytest.raises(ValueError, match="each of the 3 classes"):
                loss(x, y, weight=torch.ones(1))
            with pytest.raises(RuntimeError, match="cannot require a gradient"):
                loss(x, y, weight=weight.clone().requires_grad_())
            with pytest.raises((IndexError, RuntimeError), match=r"target\[1\] = 3"):
                loss(x, torch.tensor([0, 3, 1, 2]), weight=weight)
        with pytest.raises(TypeError, match="multiple values"):
            functional.nll_loss(x, y, weight, weight=weight)
        with pytest.raises(ValueError, match="same size"):
            functional.mse_loss(x, x + 1, weight=weight)
        assert functional.mse_loss(x, x + 1, weight=torch.ones(4, 3)) == pytest.approx(1)
        positive = torch.tensor([0.5, 2.0, 4.0])
        for target in (torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.2, 1.0, 0.7])):
            torch.testing.assert_close(
                functional.binary_cross_entropy_with_logits(x[0], target, pos_weight=positive),
                theirs.binary_cross_entropy_with_logits(x[0], target, pos_weight=positive),
            )


BY_CLASS = torch.linspace(0.1, 1.1, 10)
LARGE = {
    "class weights": ("cross_entropy", {"weight": BY_CLASS}),
    "smoothing": ("cross_entropy", {"label_smoothing": 0.1}),
    "both": ("cross_entropy", {"weight": BY_CLASS, "label_smoothing": 0.1}),
    "ignored": ("cross_entropy", {"label_smoothing": 0.1, "ignore_index": 3}),
    "unreduced": ("cross_entropy", {"reduction": "none"}),
    "nll": ("nll_loss", {"weight": BY_CLASS}),
    "broadcast": ("binary_cross_entropy_with_logits", {"weight": BY_CLASS}),
    "positive": (
        "binary_cross_entropy_with_logits",
        {"weight": torch.linspace(0.5, 2, 7000)[:, None], "pos_weight": BY_CLASS + 0.5},
    ),
    "of labels": ("multilabel_soft_margin_loss", {"weight": BY_CLASS}),
}


@pytest.mark.parametrize("kind", LARGE)
def test_large_batches_with_options_go_straight_to_the_core(kind: str, only_quick: Any) -> None:
    name, given = LARGE[kind]
    x, labels = torch.randn(7000, 10), torch.arange(7000) % 10
    y = labels if name in ("cross_entropy", "nll_loss") else (torch.rand(7000, 10) < 0.5).float()
    expected_leaf = x.clone().requires_grad_()
    expected = getattr(torch.nn.functional, name)(expected_leaf, y, **given)
    expected.sum().backward()
    for turn in range(3):
        leaf = x.clone().requires_grad_()
        loss = getattr(functional, name)(leaf, y, **given)
        loss.sum().backward()
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(leaf.grad, expected_leaf.grad)
        torch.testing.assert_close(getattr(functional, name)(x, y, **given), expected)
        if turn == 0:
            only_quick()


def test_weights_of_many_elements_that_the_mean_is_divided_by_go_the_general_way(
    only_quick: Any,
) -> None:
    x, y, weight = torch.rand(3, 7000, 10)
    for _ in range(2):
        expected = torch.nn.functional.mse_loss(x, y, weight=weight)
        torch.testing.assert_close(functional.mse_loss(x, y, weight=weight), expected)
    only_quick()
    functional.mse_loss(x[:60], y[:60], weight=weight[:60])
    with pytest.raises(AssertionError, match="general way"):
        functional.mse_loss(x, y, weight=weight)


@pytest.mark.parametrize("kind", ["labels", "weights", "smoothing", "probabilities", "unreduced"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "expanded"])
def test_classes_on_the_second_axis_go_straight_to_the_core(
    kind: str, layout: str, only_quick: Any
) -> None:
    x, y = torch.randn(3, 5, 4, 6), torch.randint(0, 5, (3, 4, 6))
    if kind == "probabilities":
        y = torch.softmax(torch.randn(3, 5, 4, 6), 1)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    if layout == "expanded":
        x = x[:, :, :1].expand(3, 5, 4, 6)
    given: dict[str, Any] = {
        "weights": {"weight": torch.rand(5) + 0.1},
        "smoothing": {"label_smoothing": 0.1},
        "unreduced": {"reduction": "none"},
    }.get(kind, {})
    expected_leaf = x.detach().requires_grad_()
    expected = torch.nn.functional.cross_entropy(expected_leaf, y, **given)
    upstream = torch.rand(expected.shape)
    expected.backward(upstream)
    for turn in range(2):
        leaf = x.detach().requires_grad_()
        loss = functional.cross_entropy(leaf, y, **given)
        loss.backward(upstream)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(leaf.grad, expected_leaf.grad)
        if turn == 0:
            only_quick()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "batchmean"])
@pytest.mark.parametrize("layout", ["channels_last", "transposed"])
def test_elements_in_another_order_go_straight_to_the_core(
    reduction: str, layout: str, only_quick: Any
) -> None:
    name = "kl_div" if reduction == "batchmean" else "smooth_l1_loss"
    ours, theirs = getattr(functional, name), getattr(torch.nn.functional, name)
    x, y = torch.randn(2, 3, 5, 4, 6)
    if layout == "channels_last":
        x, y = (z.contiguous(memory_format=torch.channels_last) for z in (x, y))
    else:
        x, y = x.transpose(0, 2), y.transpose(0, 2)
    if reduction == "batchmean":
        y = y.abs()
    expected_leaf = x.detach().requires_grad_()
    expected = theirs(expected_leaf, y, reduction=reduction)
    upstream = torch.rand(expected.shape)
    expected.backward(upstream)
    assert expected_leaf.grad is not None
    for turn in range(2):
        leaf = x.detach().requires_grad_()
        loss = ours(leaf, y, reduction=reduction)
        loss.backward(upstream)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(leaf.grad, expected_leaf.grad)
        assert leaf.grad is not None
        if turn == 1:
            assert loss.stride() == expected.stride()
            assert leaf.grad.stride() == expected_leaf.grad.stride()
        torch.testing.assert_close(ours(x, y, reduction=reduction), expected)
        if turn == 0:
            mixed = ours(x, y.contiguous(), reduction=reduction)
            torch.testing.assert_close(mixed, expected)
            torch.testing.assert_close(
                torch.as_tensor(ours(x.numpy(), y.numpy(), reduction=reduction)), expected
            )
            only_quick()


def test_weights_that_change_after_the_loss_are_an_error_of_its_second_derivative() -> None:
    x, y, weight = torch.rand(4, 3), torch.tensor([0, 2, 1, 2]), torch.rand(3) + 0.1
    functional.cross_entropy(x, y, weight)  # the general way keeps weights of its own
    for _ in range(2):
        leaf = x.clone().requires_grad_()
        loss = functional.cross_entropy(leaf, y, weight)
        weight.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(loss, leaf, create_graph=True)


def test_an_objects_options_are_those_of_the_call_in_its_second_derivative() -> None:
    x, y = torch.rand(4, 3), torch.tensor([0, 2, 1, 2])
    loss = nn.CrossEntropyLoss(weight=torch.rand(3) + 0.1)
    for _ in range(2):
        leaf, theirs = (x.clone().requires_grad_() for _ in range(2))
        value = loss(leaf, y)
        expected = torch.nn.functional.cross_entropy(theirs, y, loss.weight)
        loss.reduction = "sum"
        (found,) = torch.autograd.grad(value, leaf, create_graph=True)
        (wanted,) = torch.autograd.grad(expected, theirs, create_graph=True)
        loss.reduction = "mean"
        torch.testing.assert_close(found, wanted)


def _strange_tensors(x: torch.Tensor) -> Iterator[torch.Tensor]:
    yield torch._neg_view(x)
    yield torch._efficientzerotensor(x.shape, dtype=x.dtype)
    yield torch._to_functional_tensor(x)
    yield x.to_sparse()
    yield x.to_sparse_csr()
    yield x.to_mkldnn()
    yield x.to("meta")
    yield torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)
    yield torch.nested.nested_tensor([x[0], x[1]])
    yield x.to(torch.complex64)
    yield x.as_subclass(Own)


def test_plans_leave_tensors_alone_that_are_not_plain() -> None:
    x = torch.rand(4, 3)
    assert functional.mse_loss(x, x) == 0
    plan = execution.fast_plan(functional.mse_loss.describe(x, x))  # type: ignore[attr-defined]
    assert plan(x, x) == 0
    assert plan(x, x.clone().requires_grad_()) is True
    for strange in _strange_tensors(x):
        assert plan(x, strange) is None
        assert plan(strange, x) is None
    emptied = torch.rand(4, 3)
    emptied.untyped_storage().resize_(0)
    assert plan(x, emptied) is None


@pytest.mark.parametrize(
    "name", [name for name in CLASSES if function_of(CLASSES[name]) in ALL_QUICK]
)
def test_objects_are_quick_and_obey_their_attributes(name: str, only_quick: Any) -> None:
    loss, other = CLASSES[name](), CLASSES[name](reduction="sum")
    function = FUNCTIONS[function_of(CLASSES[name])]
    case = next(case for case in CASES if case.function is function and is_quick(case))
    tensors = [torch.from_numpy(array) for array in case.arguments.values()]
    mean, total = loss(*tensors), other(*tensors)
    for quick in (copy.copy(loss), copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        near(quick(*tensors), mean)
    loss.own = "attribute"
    near(loss(*tensors), mean)
    only_quick()
    near(loss(*tensors), mean)
    del loss.own
    near(loss(*tensors), mean)
    loss.reduction = "sum"
    near(loss(*tensors), total)
    vars(loss)["reduction"] = "mean"
    near(loss(*tensors), mean)
    loss.own = "an attribute that no call has brought before"
    with pytest.raises(AssertionError, match="general way"):
        loss(*tensors)


def test_classes_of_ones_own_are_asked_every_time() -> None:
    class Alternating(nn.MSELoss):
        calls = 0

        @property
        def reduction(self) -> str:
            type(self).calls += 1
            return ("mean", "sum")[self.calls % 2]

        @reduction.setter
        def reduction(self, value: str) -> None: ...

    x, y = torch.zeros(3), torch.ones(3)
    loss = Alternating()
    assert [float(loss(x, y)) for _ in range(4)] == [3, 1, 3, 1]
    patched = nn.MSELoss()
    assert patched(x, y) == 1
    patched.forward = lambda input, target: "mine"
    assert patched(x, y) == "mine"


def test_arrays_among_the_options_are_never_remembered() -> None:
    x, y = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([0, 0])
    weight = torch.tensor([1.0, 1.0])
    loss = nn.CrossEntropyLoss(weight=weight, reduction="sum")
    before = [float(loss(x, y)), float(functional.cross_entropy(x, y, weight, reduction="sum"))]
    weight.mul_(2)
    after = [float(loss(x, y)), float(functional.cross_entropy(x, y, weight, reduction="sum"))]
    assert after == pytest.approx([2 * value for value in before], rel=1e-6)
    lists = functional.cross_entropy(x, y, [3.0, 3.0], reduction="sum")
    assert float(lists) == pytest.approx(3 * before[0], rel=1e-6)
    beta = torch.tensor(1.0)
    for _ in range(2):
        beta.add_(1)
        expected = torch.nn.functional.smooth_l1_loss(x, x + 9, beta=float(beta))
        torch.testing.assert_close(functional.smooth_l1_loss(x, x + 9, beta=beta), expected)
    for weight in (1.0, 2.0, 2.0):
        found = functional.binary_cross_entropy_with_logits(x, x * 0, weight, reduction="sum")
        expected = weight * torch.nn.functional.softplus(x).sum()
        torch.testing.assert_close(found, expected)


def test_one_set_of_options_serves_indices_and_probabilities() -> None:
    rng = np.random.default_rng(1)
    loss = nn.CrossEntropyLoss()
    for classes, rows in itertools.product((2, 5), (1, 4)):
        x = torch.from_numpy(rng.standard_normal((rows, classes)))
        labels = torch.from_numpy(rng.integers(0, classes, rows))
        one_hot = torch.nn.functional.one_hot(labels, classes).double()
        for _ in range(2):
            expected = torch.nn.functional.cross_entropy(x, labels)
            torch.testing.assert_close(loss(x, labels), expected)
            torch.testing.assert_close(loss(x, one_hot), expected)
            torch.testing.assert_close(
                loss(x[0], labels[0]), torch.nn.functional.cross_entropy(x[0], labels[0])
            )
            with pytest.raises(TypeError, match="class probabilities"):
                loss(x, one_hot.long())


def test_classes_on_another_axis_than_the_last() -> None:
    rng = np.random.default_rng(4)
    loss = nn.CrossEntropyLoss()
    for shape in ((3, 3), (3, 3, 3), (3, 3, 3, 3)):
        x = torch.from_numpy(rng.standard_normal(shape))
        y = torch.from_numpy(rng.integers(0, 3, shape[:1] + shape[2:]))
        for target in (y, x.softmax(dim=1)):
            for _ in range(2):
                expected = torch.nn.functional.cross_entropy(x, target)
                torch.testing.assert_close(loss(x, target), expected)


@pytest.mark.parametrize("ignore", [-100, 1, 3, 200, 2**53, 2**70])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.int16])
def test_ignored_rows(ignore: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(2)
    x = torch.from_numpy(rng.standard_normal((40, 3)))
    y = torch.from_numpy(rng.integers(0, 3, 40))
    if ignore in (-100, 200) and (dtype is torch.int64 or ignore > 0):
        y[::3] = ignore
    y = y.to(dtype)
    if dtype is torch.uint8 and ignore == -100:
        y[y == 2] = 156  # the same in 8 bits
        x = torch.from_numpy(rng.standard_normal((40, 160)))
    kept = torch.tensor([label != ignore for label in y.tolist()])
    x[~kept] = float("nan")
    for reduction in ("mean", "sum"):
        for _ in range(2):
            leaf = x.clone().requires_grad_()
            value = functional.cross_entropy(leaf, y, ignore_index=ignore, reduction=reduction)
            smoothed = functional.cross_entropy(
                x, y, ignore_index=ignore, reduction=reduction, label_smoothing=1e-14
            )
            torch.testing.assert_close(smoothed, value)
            value.backward()
            less = x[kept].clone().requires_grad_()
            expected = torch.nn.functional.cross_entropy(less, y[kept].long(), reduction=reduction)
            expected.backward()
            torch.testing.assert_close(value, expected)
            torch.testing.assert_close(leaf.grad[kept], less.grad)
            assert (leaf.grad[~kept] == 0).all()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int8, torch.uint8])
def test_weights_of_classes_of_any_integers(dtype: torch.dtype) -> None:
    x, y = torch.rand(4, 3), torch.tensor([0, 2, 1, 2])
    weight = torch.tensor([1.0, 2.0, 3.0])
    for name in ("cross_entropy", "nll_loss", "multi_margin_loss"):
        expected = getattr(torch.nn.functional, name)(x, y, weight=weight)
        found = getattr(functional, name)(x, y.to(dtype), weight=weight)
        torch.testing.assert_close(found, expected)


def test_an_ignored_index_is_an_integer() -> None:
    x, y = torch.rand(4, 3), torch.tensor([0, 2, 1, 2])
    for name in ("cross_entropy", "nll_loss"):
        function = getattr(functional, name)
        expected = function(x, y, ignore_index=2)
        for index in (np.int8(2), np.array(2), torch.tensor(2)):
            torch.testing.assert_close(function(x, y, ignore_index=index), expected)
            assert function(x.numpy(), y.numpy(), ignore_index=index) == expected
        for wrong in (1.0, 1.5, np.float64(0), None, "2"):
            for _ in range(2):
                with pytest.raises(TypeError, match="`ignore_index` must be an integer; got"):
                    function(x, y, ignore_index=wrong)


def test_nothing_but_ignored_rows() -> None:
    x = torch.ones(2, 3)
    for _ in range(2):
        for y, nothing in ((torch.tensor([0, 1]), False), (torch.tensor([-100, -100]), True)):
            leaf = x.clone().requires_grad_()
            value = functional.cross_entropy(leaf, y)
            value.backward()
            assert torch.isnan(value) == nothing
            assert (leaf.grad == 0).all() == nothing


def test_what_is_wrong_is_named_every_time() -> None:
    x = torch.rand(2, 3)
    for array in (lambda t: t, lambda t: t.numpy()):
        for _ in range(2):
            assert functional.binary_cross_entropy(array(x), array(x)) > 0
            with pytest.raises(RuntimeError, match=r"target\[1, 2\] = 2.0"):
                functional.binary_cross_entropy(
                    array(x), array(torch.tensor([[0.0, 1, 0], [1, 1, 2]]))
                )
            with pytest.raises(ValueError, match=r"input\[0, 1\] = 1.5"):
                functional.binary_cross_entropy(array(torch.tensor([[0.5, 1.5]])), array(x[:1, :2]))
            assert functional.nll_loss(array(-x), array(torch.tensor([0, 2]))) > 0
            with pytest.raises(IndexError, match=r"target\[1\] = 3"):
                functional.nll_loss(array(-x), array(torch.tensor([0, 3])))
            with pytest.raises(TypeError, match="must hold integers"):
                functional.nll_loss(array(-x), array(torch.tensor([0.0, 1.0])))
            with pytest.raises(ValueError, match="must have the shape"):
                functional.mse_loss(array(x), array(x[:1]))
            with pytest.raises(TypeError, match="floating point"):
                functional.soft_margin_loss(array(x.long()), array(x))


def test_epsilon_is_obeyed() -> None:
    x, y = torch.tensor([0.0, 0.5], dtype=torch.float64), torch.tensor([1e-200, 1.0]).double()
    x[0] = 1e-200
    loss = nn.BCELoss(reduction="sum")
    before = loss(x, y.clone().fill_(1.0))
    with omniloss.config(epsilon=0.0):
        for _ in range(2):
            assert float(loss(x, torch.ones_like(x))) == pytest.approx(460.517 + 0.693147, rel=1e-6)
    for _ in range(2):
        assert float(loss(x, torch.ones_like(x))) == float(before) == pytest.approx(100.693147)


@pytest.mark.filterwarnings("always")
def test_each_call_warns_at_the_callers_line() -> None:
    x = torch.log_softmax(torch.rand(2, 3), dim=1)
    for call in (nn.KLDivLoss(), functional.kl_div):
        for _ in range(3):
            with pytest.warns(UserWarning, match="batchmean") as found:
                call(x, x.exp())
            assert [w.filename for w in found] == [__file__]
    for options in ({"size_average": True}, {"reduce": True}, {"reduction": "elementwise_mean"}):
        for _ in range(3):
            with pytest.warns(UserWarning, match="deprecated"):
                functional.mse_loss(x, x, **options)
    for _ in range(3):
        with pytest.warns(UserWarning, match="deprecated"):
            assert functional.mse_loss(x, torch.zeros_like(x), False) > 1


def test_the_length_of_each_batch_divides_a_divergence() -> None:
    rng = np.random.default_rng(3)
    for shape in ((), (4, 3), (2, 3), (5,), (2, 3, 4), (1, 1)):
        x = torch.from_numpy(np.asarray(-rng.random(shape)))
        y = torch.from_numpy(np.asarray(rng.random(shape)))
        leaf, theirs = (x.clone().requires_grad_() for _ in range(2))
        found = functional.kl_div(leaf, y, reduction="batchmean")
        expected = torch.nn.functional.kl_div(theirs, y, reduction="batchmean")
        torch.testing.assert_close(found, expected)
        found.backward()
        expected.backward()
        torch.testing.assert_close(leaf.grad, theirs.grad)


class Own(torch.Tensor):
    pass


@pytest.mark.parametrize("name", ALL_QUICK)
def test_what_is_not_plain_goes_the_general_way(name: str) -> None:
    case = next(
        case
        for case in CASES
        if case.name == name and is_quick(case) and next(iter(case.arguments.values())).ndim == 2
    )
    function = case.function
    x, *rest = (torch.from_numpy(array) for array in case.arguments.values())

    def run(x: Any, *others: Any) -> Any:
        return function(x, *(others or rest), **case.options)

    value = run(x)
    slope = torch.func.grad(lambda x: general(function, x, *rest, **case.options))(x)
    run(x)
    near(run(x.T.contiguous().T), value)
    near(run(-torch._neg_view(x)), value)
    near(run(torch._neg_view(-x)), value)
    torch.testing.assert_close(run(x.as_subclass(Own)).as_subclass(torch.Tensor), value)
    torch.testing.assert_close(torch.func.grad(run)(x), slope)
    torch.testing.assert_close(
        torch.func.vmap(run)(torch.stack([x, x])), torch.stack([value, value])
    )
    primal, tangent = torch.func.jvp(run, (x,), (torch.ones_like(x),))
    torch.testing.assert_close((primal, tangent), (value, slope.sum()))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        tangent = torch.autograd.forward_ad.unpack_dual(run(dual)).tangent
        torch.testing.assert_close(tangent, slope.sum())
    graph = torch.fx.experimental.proxy_tensor.make_fx(lambda x: run(x))(x)
    torch.testing.assert_close(graph(x), value)
    assert len(list(graph.graph.nodes)) > 3
    with torch._subclasses.fake_tensor.FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert type(run(*map(mode.from_tensor, (x, *rest)))) is not torch.Tensor
    torch._dynamo.reset()
    compiled = torch.compile(run, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), value)
    assert run(*(x.to("meta") for x in (x, *rest))).device.type == "meta"
    with torch.inference_mode():
        near(run(x.clone()), value)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near(run(x), value)
    leaf = x.clone().requires_grad_()
    loss = run(leaf)
    for again in (True, True, False):
        torch.testing.assert_close(torch.autograd.grad(loss, leaf, retain_graph=again)[0], slope)
    assert torch.autograd.gradgradcheck(run, (leaf,), atol=1e-4)


def test_targets_that_require_a_gradient_get_one() -> None:
    x, y = torch.rand(2, 3), torch.rand(2, 3)
    functional.mse_loss(x, y)
    y.requires_grad_()
    functional.mse_loss(x, y).backward()
    torch.testing.assert_close(y.grad, 2 * (y.detach() - x) / 6)


def test_a_change_in_place_afterwards_changes_no_gradient() -> None:
    """The gradient is there with the loss; a second one needs the arrays, and is an error as in torch."""
    for _ in range(2):
        leaf = torch.rand(2, 3, requires_grad=True)
        x = leaf * 1
        loss = functional.mse_loss(x, torch.zeros(2, 3))
        x.detach().add_(1)
        (gradient,) = torch.autograd.grad(loss, leaf, retain_graph=True)
        torch.testing.assert_close(gradient, 2 * leaf.detach() / 6)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(loss, leaf)


def test_options_without_number_are_no_leak() -> None:
    x = torch.rand(2, 3)
    for i in range(500):
        expected = torch.nn.functional.smooth_l1_loss(x, x + 1, beta=1 + i)
        torch.testing.assert_close(functional.smooth_l1_loss(x, x + 1, beta=1 + i), expected)
    known = [
        cell.cell_contents
        for cell in functional.smooth_l1_loss.__closure__  # type: ignore[attr-defined]
        if isinstance(cell.cell_contents, dict)
    ]
    assert known
    assert all(0 < len(ways) <= 64 for ways in known)


def test_one_object_in_many_threads() -> None:
    loss = nn.MSELoss()
    x, y = torch.rand(4, 3), torch.rand(4, 3)
    expected = {"mean": float(((x - y) ** 2).mean()), "sum": float(((x - y) ** 2).sum())}
    wrong: list[Any] = []

    def work(reduction: str) -> None:
        own = copy.copy(loss)
        for _ in range(300):
            own.reduction = reduction
            value = float(own(x, y)), float(functional.mse_loss(x, y, reduction=reduction))
            if value != pytest.approx((expected[reduction],) * 2, rel=1e-5):
                wrong.append(value)

    threads = [
        threading.Thread(target=work, args=(reduction,)) for reduction in expected for _ in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
