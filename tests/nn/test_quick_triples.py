"""Calls of losses of three arrays that go straight to the core: same numbers, derivatives and errors."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from omniloss import execution, frameworks, native
from omniloss.nn import functional
from support.torch_cases import Case, cases

pytestmark = pytest.mark.skipif(native.core is None, reason="the native core is not installed")

CASES = [case for case in cases() if len(case.arguments) == 3]
NAMES = sorted({case.name for case in CASES})


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_quick(case: Case) -> bool:
    """Whether the arrays are what the core takes: of one shape, or with a label for each row."""
    first, *others = (array.shape for array in case.arguments.values())
    labelled = case.name == "cosine_embedding_loss"
    return bool(first) and others == [first, first[:-1] if labelled else first]


def quick_cases(name: str) -> list[Case]:
    found = [case for case in CASES if case.name == name and is_quick(case)]
    assert found
    return found


def general(function: Any, *args: Any, **options: Any) -> Any:
    """The value by the general way, and without the core."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(native, "core", None)
        return execution.evaluate(function.describe(*args, **options))


def refuse(*args: Any, **options: Any) -> Any:
    raise AssertionError("the general way was taken")


def tensors_of(case: Case, dtype: torch.dtype) -> list[torch.Tensor]:
    return [torch.from_numpy(array).to(dtype) for array in case.arguments.values()]


def wide(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    return [x.detach().double() for x in tensors]


def within_budget(
    found: torch.Tensor, plain: torch.Tensor, exact: torch.Tensor, largest: float
) -> None:
    """The error against float64 is at most that of plain operations, and a little more.

    Terms that cancel are as large as the arrays' ``largest`` number.
    """
    assert found.dtype == plain.dtype
    assert found.shape == plain.shape
    little = 8 * torch.finfo(found.dtype).eps * (exact.abs() + 1 + largest)
    allowed = (plain.double() - exact).abs() + little
    assert bool(((found.double() - exact).abs() <= allowed).all()), (found, plain, exact)


Way = Callable[..., torch.Tensor]


def slopes(
    way: Way, tensors: list[torch.Tensor], leaves: tuple[int, ...], case: Case
) -> list[torch.Tensor]:
    """Value, first derivatives, those of the retained graph, those that can be differentiated, and second ones."""
    arrays = [x.clone().requires_grad_(i in leaves) for i, x in enumerate(tensors)]
    by = [arrays[i] for i in leaves]
    value = way(*arrays, **case.options)
    above = torch.linspace(0.5, 2.0, value.numel(), dtype=value.dtype).reshape(value.shape)
    results = [value.detach()]
    for create in (False, False, True):
        found = torch.autograd.grad(value, by, above, retain_graph=True, create_graph=create)
        results += found
    total = sum(slope.sum() for slope in found) + 0 * sum(x.sum() for x in by)
    results += torch.autograd.grad(total, by, allow_unused=True, materialize_grads=True)
    return [x.detach() for x in results]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_a_second_call_gives_what_the_general_way_gives(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    for case in quick_cases(name):
        tensors = tensors_of(case, dtype)
        arrays = [x.numpy() for x in tensors]

        def run(
            *arrays: Any,
            monkeypatch: pytest.MonkeyPatch = monkeypatch,
            case: Case = case,
            **options: Any,
        ) -> Any:
            with monkeypatch.context() as patched:
                patched.setattr(execution, "evaluate", refuse)
                return case.function(*arrays, **options)

        def slow(*arrays: Any, case: Case = case, **options: Any) -> Any:
            return general(case.function, *arrays, **options)

        largest = max(float(x.abs().max()) for x in tensors)
        case.function(*tensors, **case.options)
        plain, exact = slow(*tensors, **case.options), slow(*wide(tensors), **case.options)
        within_budget(run(*tensors, **case.options), plain, exact, largest)
        if case.options["reduction"] != "none":
            found = run(*arrays, **case.options)
            assert type(found) is type(slow(*arrays, **case.options))
            within_budget(torch.as_tensor(found), plain, exact, largest)
        places = [list(case.arguments).index(argument) for argument in case.by]
        sets = [tuple(places), *((place,) for place in places)]
        for leaves in sets if dtype is torch.float64 else sets[:1]:
            results = (
                slopes(run, tensors, leaves, case),
                slopes(slow, tensors, leaves, case),
                slopes(slow, wide(tensors), leaves, case),
            )
            for triple in zip(*results, strict=True):
                within_budget(*triple, largest)


SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 3e-39, 1e30, 1e200, np.inf, -np.inf, np.nan)


@pytest.mark.parametrize("reduction", ["none", "sum"])
@pytest.mark.parametrize("name", NAMES)
def test_special_numbers(name: str, reduction: str) -> None:
    """Ties, subnormal numbers, those whose squares leave the range, infinities, and NaN in every place.

    The truth are the closed forms: what autodiff makes of the formulas is not, at infinity.
    """
    options = {"reduction": reduction}
    values = np.array(list(itertools.product(SPECIAL, repeat=3)))
    if name == "gaussian_nll_loss":
        values = values[~(values[:, 2] < 0)]
    columns = [torch.from_numpy(values[:, i].copy()) for i in range(3)]
    if "triplet" in name or name == "cosine_embedding_loss":  # beside ordinary numbers
        columns = [
            torch.stack([column, torch.full_like(column, 0.25 * (i + 1))], 1)
            for i, column in enumerate(columns)
        ]
    if name == "cosine_embedding_loss":
        columns[2] = columns[2][:, 0]
    by = (0, 1) if name == "cosine_embedding_loss" else (0, 1, 2)
    function = getattr(functional, name)
    for dtype in (torch.float64, torch.float32):
        arrays = [column.to(dtype) for column in columns]
        function(*arrays, **options)

        given = [x.clone().requires_grad_(i in by) for i, x in enumerate(arrays)]
        value = function(*given, **options)
        leaves = [given[i] for i in by]
        found = [value.detach(), *torch.autograd.grad(value, leaves, torch.ones_like(value))]
        call = function.describe(*(x.numpy() for x in arrays), **options)
        names = list(inspect.signature(function).parameters)
        wanted = tuple(call.plan.differentiable()[names[i]] for i in by)
        by_core = execution.differentiate(call)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(native, "core", None)
            total, gradients = execution.differentiate(call, wrt=wanted)
        eps = 8 * torch.finfo(dtype).eps
        found += map(torch.as_tensor, (by_core[0], by_core[1][0]))
        for one, other in zip(found, (total, *gradients, total, gradients[0]), strict=True):
            other = torch.as_tensor(np.asarray(other))
            torch.testing.assert_close(one, other, rtol=eps, atol=eps, equal_nan=True)


BAD: dict[str, Callable[[torch.Tensor], tuple[Any, ...]]] = {
    "shapes": lambda x: (x, x[:1], x),
    "last shape": lambda x: (x, x, x[:, :2]),
    "integers": lambda x: (x.long(), x, x),
    "negative": lambda x: (x, x, -x - 1),
    "complex": lambda x: (x, x, x.to(torch.complex64)),
    "nothing": lambda x: (x, x, None),
    "scalars": lambda x: (x[0, 0], x[0, 0], x[0, 0]),
    "empty": lambda x: (x[:0], x[:0], x[:0]),
    "columns": lambda x: (x[:, :0], x[:, :0], x[:, :0]),
    "other axes": lambda x: (x.T, x.T, x.T),
    "types": lambda x: (x, x.double(), x.half()),
    "target of integers": lambda x: (x, x, torch.ones(x.shape, dtype=torch.int64)),
    "row": lambda x: (x, x, x[:, 0]),
    "column": lambda x: (x, x, x[:, :1]),
    "negated": lambda x: (x, torch._neg_view(x), x),
    "half": lambda x: (x.half(), x.half(), x.half()),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_unusual_gives_what_the_general_way_gives(name: str, bad: str) -> None:
    """The same number, or the same error, with the same words."""
    function = getattr(functional, name)
    x = torch.rand(4, 3) + 0.5
    function(x, x + 1, x[:, 0] if name == "cosine_embedding_loss" else x)
    arrays = BAD[bad](x)

    def outcome(way: Any) -> Any:
        given = [
            x.clone().requires_grad_()
            if isinstance(x, torch.Tensor) and x.is_floating_point()
            else x
            for x in arrays
        ]
        try:
            value = way(*given)
            value.sum().backward()
        except Exception as error:
            return type(error), str(error)
        return [value.detach(), *(x.grad for x in given if isinstance(x, torch.Tensor))]

    expected = outcome(lambda *arrays: general(function, *arrays))
    for _ in range(2):
        found = outcome(function)
        if isinstance(expected, tuple):
            assert found == expected
            continue
        for one, other in zip(found, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert one.dtype == other.dtype
                torch.testing.assert_close(one, other, equal_nan=True)


def test_options_that_are_wrong_are_refused_every_time() -> None:
    x = torch.rand(4, 3)
    margin = torch.tensor(0.25)
    for _ in range(2):
        margin.add_(0.25)
        with pytest.raises(ValueError, match="margin must be greater than 0"):
            functional.triplet_margin_loss(x, x, x, margin=-1.0)
        with pytest.raises(ValueError, match="eps must be greater than 0"):
            functional.gaussian_nll_loss(x, x, x, eps=0)
        with pytest.raises(ValueError, match="not a valid value for reduction"):
            functional.margin_ranking_loss(x, x, x, reduction="total")
        with pytest.raises(TypeError):
            functional.margin_ranking_loss(x, x, x, 0.0, margin=1.0)
        with pytest.warns(UserWarning, match="deprecated"):
            functional.margin_ranking_loss(x, x, x, size_average=False)
        expected = torch.nn.functional.margin_ranking_loss(x, -x, x, margin=float(margin))
        torch.testing.assert_close(
            functional.margin_ranking_loss(x, -x, x, margin=margin), expected
        )


@pytest.mark.parametrize("name", NAMES)
def test_many_elements_are_the_cores_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a block, on several threads, whose number changes no bit."""
    function = getattr(functional, name)
    arrays = [torch.rand(3000, 33) + 0.1 for _ in range(3)]
    if name == "cosine_embedding_loss":
        arrays[2] = torch.sign(arrays[2][:, 0] - 0.6)
    count = 2 if name == "cosine_embedding_loss" else 3

    def both() -> list[torch.Tensor]:
        given = [x.clone().requires_grad_(i < count) for i, x in enumerate(arrays)]
        value = function(*given)
        value.backward()
        return [value.detach(), *(x.grad for x in given[:count])]

    expected = function(*wide(arrays))
    before = native.get_num_threads()
    function(*arrays)
    monkeypatch.setattr(execution, "evaluate", refuse)
    try:
        native.set_num_threads(1)
        first = both()
        native.set_num_threads(2)
        second = both()
    finally:
        native.set_num_threads(before)
    torch.testing.assert_close(first[0].double(), expected, rtol=1e-6, atol=0)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_a_change_in_place_afterwards_is_seen() -> None:
    for _ in range(2):
        for place in range(3):
            leaves = [torch.rand(2, 3, requires_grad=True) for _ in range(3)]
            arrays = [x * 1 for x in leaves]
            loss = functional.triplet_margin_loss(*arrays)
            arrays[place].detach().add_(1)
            torch.autograd.grad(loss, leaves, retain_graph=True)
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                torch.autograd.grad(loss, leaves)


def test_arrays_that_depend_on_each_other() -> None:
    """Each has the derivative by itself, in the second order too."""
    x = torch.rand(4, 3, dtype=torch.float64) + 0.1

    def total(function: Any, x: torch.Tensor) -> torch.Tensor:
        return function(x, x**2, x + 0.5)

    for name in ("gaussian_nll_loss", "triplet_margin_loss", "margin_ranking_loss"):
        ours, theirs = getattr(functional, name), getattr(torch.nn.functional, name)
        for _ in range(2):
            assert torch.autograd.gradgradcheck(
                lambda x, ours=ours: total(ours, x), (x.clone().requires_grad_(),)
            )
            for function in (ours, theirs):
                leaf = x.clone().requires_grad_()
                (slope,) = torch.autograd.grad(total(function, leaf), leaf, create_graph=True)
                second = torch.zeros_like(x)
                if slope.requires_grad:
                    (second,) = torch.autograd.grad(slope.sum(), leaf)
                if function is ours:
                    found = slope, second
            torch.testing.assert_close(found, (slope, second))


def test_labels_have_no_derivative() -> None:
    x, y, label = torch.rand(4, 3), torch.rand(4, 3), torch.ones(4, requires_grad=True)
    for _ in range(2):
        assert not functional.cosine_embedding_loss(x, y, label).requires_grad
        leaf = x.clone().requires_grad_()
        functional.cosine_embedding_loss(leaf, y, label).backward()
        assert leaf.grad is not None
        assert label.grad is None


def test_the_way_is_known_to_the_framework() -> None:
    """A first call by NumPy arrays makes the plan, which torch's tensors then use."""
    x = np.random.default_rng(3).random((4, 3))
    functional.margin_ranking_loss(x, -x, x, 0.125)
    functional.margin_ranking_loss(*map(torch.from_numpy, (x, -x, x)))
    leaf = torch.from_numpy(x).requires_grad_()
    loss = functional.margin_ranking_loss(leaf, -leaf.detach(), leaf.detach(), 0.125)
    assert type(loss.grad_fn).__name__ == "_TripleBackward"
    assert frameworks.of(loss).name == "torch"


@pytest.mark.parametrize("name", ["triplet_margin_loss", "cosine_embedding_loss"])
def test_a_first_call_rounds_as_later_ones(name: str) -> None:
    """By which argument ever there is a derivative."""
    case = quick_cases(name)[0]
    for place, margin in ((0, 0.3125), (1, 0.328125)):  # with which nobody has called it yet
        tensors = tensors_of(case, torch.float32)
        tensors[place].requires_grad_()
        first, later = (
            getattr(functional, name)(*tensors, margin=margin, reduction="none") for _ in range(2)
        )
        assert first.detach().numpy().tobytes() == later.detach().numpy().tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_arrays_that_are_not_aligned(name: str) -> None:
    case = quick_cases(name)[0]
    arrays = list(case.arguments.values())
    shifted = []
    for array in arrays:
        memory = np.zeros(array.nbytes + 1, np.uint8)
        view = memory[1:].view(array.dtype).reshape(array.shape)
        view[...] = array
        assert array.size == 0 or not view.flags.aligned
        shifted.append(view)
    function = getattr(functional, name)
    assert function(*shifted) == function(*arrays)


@pytest.mark.parametrize("p", [20, 70, 2000, 1e5])
def test_high_norms_stay_in_range(p: float) -> None:
    """The largest difference is all that counts in the end."""
    arrays = [np.array([row]) for row in ([1.9, 0.1], [0.0, 0.0], [0.5, 0.3])]
    with mp.workdps(30):
        a, positive, negative = ([mpf(x) for x in array[0]] for array in arrays)
        near, far = (
            mp.root(
                mp.fsum(abs(x - y + mpf(1e-6)) ** int(p) for x, y in zip(a, b, strict=True)), int(p)
            )
            for b in (positive, negative)
        )
        exact = float(1 + near - far)
    tensors = [torch.from_numpy(array)[None] for array in arrays]
    found = functional.triplet_margin_loss(*arrays, p=p)
    formula = torch.func.vmap(lambda *rows: functional.triplet_margin_loss(*rows, p=p))(*tensors)
    np.testing.assert_allclose([found, formula[0]], exact, rtol=1e-13)
