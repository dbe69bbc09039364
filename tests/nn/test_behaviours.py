"""What the dialect promises besides torch's values: errors, empty and ignored batches, NaN, dtypes, shapes."""

from __future__ import annotations

import re
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import omniloss
from omniloss import native, nn
from support.torch_cases import FUNCTIONS, Case, cases

F = nn.functional
CASES = cases()
PLAIN = {
    name: next(
        case
        for case in CASES
        if case.name == name and case.options == {"reduction": "mean"} and case.label != "()"
    )
    for name in FUNCTIONS
}
BATCHED = {
    name: next(
        case
        for case in CASES
        if case.name == name
        and case.options == {"reduction": "mean"}
        and max(array.ndim for array in case.arguments.values()) == 2
    )
    for name in FUNCTIONS
}

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lists_are_arrays(name: str) -> None:
    case = PLAIN[name]
    lists = {key: array.tolist() for key, array in case.arguments.items()}
    value = case.function(**lists)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, case.function(**case.arguments), rtol=1e-5)
    with omniloss.config(floatx="float64"):
        assert case.function(**lists).dtype == np.float64


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", ">f4"])
def test_weighted_class_probabilities_of_every_type(dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    rng = np.random.default_rng(7)
    arrays = [x.astype(kind) for x in (rng.standard_normal((4, 3)), np.eye(3)[[0, 1, 2, 1]])]
    weight = np.array([0.5, 1.0, 2.0]).astype(kind)
    wide = [x.astype(np.float32) for x in (*arrays, weight)]
    found = omniloss.nn.functional.cross_entropy(*arrays, weight=weight)
    expected = omniloss.nn.functional.cross_entropy(wide[0], wide[1], weight=wide[2])
    assert found == expected.astype(found.dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_inputs_dtype_decides_and_half_precision_is_rounded_once(name: str, dtype: str) -> None:
    import ml_dtypes

    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    case = PLAIN[name]
    rounded = {
        key: array.astype(kind) if array.dtype.kind == "f" else array
        for key, array in case.arguments.items()
    }
    wide = {
        key: array if array.dtype.kind == "i" else array.astype(np.float32)
        for key, array in rounded.items()
    }
    first = next(iter(rounded))
    for reduction in ("mean", "none"):
        value, slope = omniloss.value_and_grad(case.function, **rounded, reduction=reduction)
        assert value.dtype == kind
        assert slope.dtype == kind
        expected, wide_slope = omniloss.value_and_grad(case.function, **wide, reduction=reduction)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(value, expected.astype(kind))
            np.testing.assert_array_equal(slope, wide_slope.astype(kind))
    # Other arrays never promote.
    others = {**wide, first: rounded[first]}
    assert case.function(**others).dtype == kind


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_input_of_integers_is_refused(name: str) -> None:
    case = PLAIN[name]
    first = next(iter(case.arguments))
    arguments = {**case.arguments, first: case.arguments[first].astype(np.int64)}
    for kind in (TypeError, RuntimeError):
        with pytest.raises(kind, match=f"`{first}` must be of a floating point dtype"):
            case.function(**arguments)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shapes_that_do_not_fit_are_refused_by_name(name: str) -> None:
    """(N,) against (N, 1) above all, which torch would broadcast to (N, N)."""
    case = BATCHED[name]
    names = list(case.arguments)
    for key in names[1:]:
        array = case.arguments[key]
        for wrong in (array[..., None], array[:-1]):
            if key == "var" and wrong.shape == case.arguments["input"].shape[:-1]:
                continue
            with pytest.raises(ValueError, match=r"`.*shape") as raised:
                case.function(**{**case.arguments, key: wrong})
            assert isinstance(raised.value, RuntimeError)
            assert str(wrong.shape) in str(raised.value)
            assert str(case.arguments[names[0]].shape) in str(raised.value)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_wrong_reduction(name: str) -> None:
    case = PLAIN[name]
    wrong = ("Mean", "", None) if name == "kl_div" else ("Mean", "", None, "batchmean")
    for reduction in wrong:
        with pytest.raises(ValueError, match="is not a valid value for reduction"):
            case.function(**case.arguments, reduction=reduction)


BAD = [
    (lambda: F.cross_entropy(np.zeros((3, 4)), [0, 1, 4]), r"\[0, 4\); got target\[2\] = 4"),
    (lambda: F.cross_entropy(np.zeros((3, 4)), [0, -1, 4]), r"\[0, 4\); got target\[1\] = -1"),
    (
        lambda: F.cross_entropy(np.zeros((3, 4)), [0, 1, 4], label_smoothing=0.1),
        r"\[0, 4\); got target\[2\] = 4",
    ),
    (
        lambda: F.cross_entropy(np.zeros((3, 4)), [0, 1, 9], weight=np.zeros(4)),
        r"got target\[2\] = 9",
    ),
    (lambda: F.nll_loss(np.zeros(4), 7), r"integers in \[0, 4\); got target = 7"),
    (lambda: F.multi_margin_loss(np.zeros((2, 3)), [0, 3]), r"\[0, 3\); got target\[1\] = 3"),
    (
        lambda: F.multilabel_margin_loss(np.zeros((2, 3)), [[0, -1, 9], [1, 3, -1]]),
        r"\[-1, 3\); got target\[1, 1\] = 3",
    ),
    (
        lambda: F.multilabel_margin_loss(np.zeros((2, 3)), [[0, 1, -1], [-2, 0, -1]]),
        r"\[-1, 3\); got target\[1, 0\] = -2",
    ),
    (
        lambda: F.binary_cross_entropy(np.array([0.5, 1.5]), [0.0, 1.0]),
        r"`input` must lie in \[0, 1\] \(BCEWithLogitsLoss takes logits\); got input\[1\] = 1.5",
    ),
    (
        lambda: F.binary_cross_entropy([0.5], [2.0]),
        r"`target` must lie in \[0, 1\]; got target\[0\] = 2",
    ),
    (lambda: F.binary_cross_entropy(np.array(0.5), 2.0), r"got target = 2.0"),
    (lambda: F.binary_cross_entropy_with_logits([[0.5]], [[-1.0]]), r"got target\[0, 0\] = -1.0"),
    (lambda: F.multilabel_soft_margin_loss([[0.5]], [[-1.0]]), r"got target\[0, 0\] = -1.0"),
    (lambda: F.kl_div([-1.0], [-0.5], reduction="sum"), r"\[0, inf\); got target\[0\] = -0.5"),
    (lambda: F.poisson_nll_loss([1.0], [-0.5]), r"got target\[0\] = -0.5"),
    (lambda: F.poisson_nll_loss([-1.0], [0.5], log_input=False), r"got input\[0\] = -1"),
    (
        lambda: F.gaussian_nll_loss([1.0], [0.0], [-0.5]),
        r"`var` must lie in \[0, inf\); got var\[0\] = -0.5",
    ),
    (
        lambda: F.gaussian_nll_loss(np.zeros((2, 2)), np.zeros((2, 2)), np.array([1.0, -1.0])),
        r"got var\[1, 0\] = -1",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_numbers_out_of_range(call: Any, message: str) -> None:
    for kind in (ValueError, IndexError, RuntimeError):
        with pytest.raises(kind, match=message):
            call()


OPTIONS = [
    (lambda: F.cross_entropy([[0.0]], [0], label_smoothing=1.5), RuntimeError, "label_smoothing"),
    (lambda: F.cross_entropy([[0.0]], [[1.0]], ignore_index=0), RuntimeError, "ignore_index"),
    (lambda: F.cross_entropy([[0.0]], [0.0]), RuntimeError, "`target` must hold integers"),
    (lambda: F.cross_entropy([[0.0]], [[0]]), RuntimeError, "class probabilities, floats"),
    (
        lambda: F.cross_entropy([[0.0]], [0], weight=[1.0, 2.0]),
        RuntimeError,
        "each of the 1 classes",
    ),
    (
        lambda: F.cross_entropy([[0.0]], [[1.0]], weight=[1.0, 2.0]),
        RuntimeError,
        "each of the 1 classes",
    ),
    (lambda: F.cross_entropy(0.0, 0), RuntimeError, "class"),
    (lambda: F.cross_entropy(np.zeros((2, 0)), [0, 0]), RuntimeError, "at least one class"),
    (lambda: F.huber_loss([0.0], [0.0], delta=0.0), RuntimeError, "non-positive values for delta"),
    (lambda: F.smooth_l1_loss([0.0], [0.0], beta=-1.0), RuntimeError, "negative values for beta"),
    (lambda: F.mse_loss([0.0], [0.0], weight=[[1.0]]), ValueError, "must have the same size"),
    (
        lambda: F.binary_cross_entropy([0.0], [0.0], weight=[[1.0]]),
        RuntimeError,
        "broadcast to `input`",
    ),
    (lambda: F.multi_margin_loss([0.0], 0, p=3), ValueError, "only p == 1 and p == 2"),
    (lambda: nn.MultiMarginLoss(p=3), ValueError, "only p == 1 and p == 2"),
    (lambda: nn.MultiMarginLoss(weight=[[1.0]]), ValueError, "expected weight to be None or 1D"),
    (lambda: nn.HuberLoss(delta="1"), TypeError, "delta must be a float or int"),
    (lambda: nn.TripletMarginLoss(margin=0), ValueError, "margin to be greater than 0"),
    (lambda: nn.TripletMarginWithDistanceLoss(margin=0), ValueError, "margin to be greater than 0"),
    (lambda: F.triplet_margin_loss([0.0], [0.0], [0.0], margin=0), ValueError, "greater than 0"),
    (
        lambda: F.triplet_margin_loss([0.0], [0.0], [0.0], p=-1),
        RuntimeError,
        "p must be greater than 0",
    ),
    (lambda: F.gaussian_nll_loss([0.0], [0.0], [0.0], eps=0), RuntimeError, "eps must be greater"),
    (
        lambda: F.cross_entropy(np.zeros((2, 3)), np.ones((2, 4))),
        RuntimeError,
        "integers (class indices), or floats (class probabilities) in the shape of `input`; got dtype "
        "float64 and shape (2, 4)",
    ),
    (lambda: F.multi_margin_loss([0.0], 0, p=3), ValueError, "supported; got 3"),
    (lambda: F.mse_loss([0.0], [0.0], reduction="avg"), ValueError, "'none', 'mean', 'sum'"),
    (
        lambda: F.kl_div([0.0], [0.0], reduction="avg"),
        ValueError,
        "'none', 'mean', 'sum', 'batchmean'",
    ),
    (
        lambda: F.triplet_margin_with_distance_loss([0.0], [0.0], [0.0], distance_function=3),
        TypeError,
        "`distance_function` must be a function of two batches, or None; got 3",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), OPTIONS, ids=[o[2] for o in OPTIONS])
def test_wrong_options(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        call()


ROW = [[0.5, 0.5]]
NO_NUMBERS = [
    (lambda x: F.cross_entropy(ROW, [0], label_smoothing=x), "label_smoothing"),
    (lambda x: F.cross_entropy(ROW, [0], ignore_index=x), "ignore_index"),
    (lambda x: F.cross_entropy(ROW, [0], ignore_index=x, label_smoothing=0.1), "ignore_index"),
    (lambda x: F.nll_loss(ROW, [0], ignore_index=x), "ignore_index"),
    (lambda x: F.smooth_l1_loss(ROW, ROW, beta=x), "beta"),
    (lambda x: F.huber_loss(ROW, ROW, delta=x), "delta"),
    (lambda x: F.multi_margin_loss(ROW, [0], margin=x), "margin"),
    (lambda x: F.hinge_embedding_loss(ROW, ROW, margin=x), "margin"),
    (lambda x: F.cosine_embedding_loss(ROW, ROW, [1], margin=x), "margin"),
    (lambda x: F.margin_ranking_loss(ROW, ROW, ROW, margin=x), "margin"),
    (lambda x: F.triplet_margin_loss(ROW, ROW, ROW, margin=x), "margin"),
    (lambda x: F.triplet_margin_loss(ROW, ROW, ROW, p=x), "p"),
    (lambda x: F.triplet_margin_loss(ROW, ROW, ROW, eps=x), "eps"),
    (lambda x: F.triplet_margin_with_distance_loss(ROW, ROW, ROW, margin=x), "margin"),
    (lambda x: nn.TripletMarginLoss(margin=x), "margin"),
    (lambda x: nn.TripletMarginWithDistanceLoss(margin=x), "margin"),
    (lambda x: F.poisson_nll_loss(ROW, ROW, log_input=False, eps=x), "eps"),
    (lambda x: F.gaussian_nll_loss(ROW, ROW, ROW, eps=x), "eps"),
]


@pytest.mark.parametrize("value", ["0.5", None, [1.0], 1j])
@pytest.mark.parametrize(("call", "name"), NO_NUMBERS)
def test_options_that_are_no_numbers(call: Any, name: str, value: Any) -> None:
    kind = "an integer" if name == "ignore_index" else "a number"
    message = re.escape(f"`{name}` must be {kind}; got {value!r}")
    for error in (TypeError, RuntimeError):
        with pytest.raises(error, match=message):
            call(value)


def test_an_ignored_index_is_an_integer() -> None:
    for index in (0.0, 1.5):
        with pytest.raises(TypeError, match=f"`ignore_index` must be an integer; got {index}"):
            nn.CrossEntropyLoss(ignore_index=index)(ROW, [0])
    for index in (np.int64(1), np.uint8(1), torch.tensor(1)):
        assert F.cross_entropy([[0.0, 0.0], [9.0, 0.0]], [0, 1], ignore_index=index) == F.nll_loss(
            np.log([[0.5, 0.5], [0.1, 0.9]]).astype(np.float32), [0, 1], ignore_index=index
        )


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"ctc_loss"}))
def test_an_empty_batch(name: str) -> None:
    case = BATCHED[name]
    empty = {
        key: array[:0] if key != "var" or len(array) > 1 else array
        for key, array in case.arguments.items()
    }
    tensors = {key: torch.tensor(array) for key, array in empty.items()}
    for reduction in ("mean", "sum", "none"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = getattr(torch.nn.functional, name)(**tensors, reduction=reduction).numpy()
        value, gradient = omniloss.value_and_grad(case.function, **empty, reduction=reduction)
        if name in ("multi_margin_loss", "multilabel_margin_loss") and reduction != "none":
            # torch returns memory that it has not written
            expected = np.array(np.nan if reduction == "mean" else 0.0)
        np.testing.assert_array_equal(value, expected)
        assert value.shape == expected.shape
        assert gradient.shape == case.arguments[case.by[0]][:0].shape


def test_no_sequences() -> None:
    nothing = np.zeros((3, 0, 2)), np.zeros((0, 1), int), np.zeros(0, int), np.zeros(0, int)
    with pytest.raises(RuntimeError, match="must not be empty"):
        torch.nn.functional.ctc_loss(*map(torch.tensor, nothing))
    with pytest.raises(RuntimeError, match="`log_probs` must have the shape"):
        FUNCTIONS["ctc_loss"](*nothing)


@pytest.mark.parametrize("soft", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_everything_ignored(soft: float, weight: Any, reduction: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 3))
    target = np.full(4, -100)
    options = {"reduction": reduction, "label_smoothing": soft}
    tensor = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        tensor,
        torch.tensor(target),
        weight=None if weight is None else torch.tensor(weight, dtype=torch.float64),
        **options,
    )
    value, gradient = omniloss.value_and_grad(F.cross_entropy, x, target, weight=weight, **options)
    np.testing.assert_array_equal(value, expected.detach().numpy())
    np.testing.assert_array_equal(gradient, np.zeros_like(x))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"weight": [0.5, 2.0, 1.0]}])
def test_ignoring_rows_is_deleting_them(reduction: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((5, 3)), np.array([0, 1, 2, 1, 0])
    kept = np.array([True, False, True, True, False])
    spoiled = np.where(kept[:, None], x, np.nan)
    for function in (F.cross_entropy, F.nll_loss):
        if function is F.nll_loss and "label_smoothing" in options:
            continue
        for index in (-100, 1):
            marked = np.where(kept, np.where(target == index, 0, target), index)
            given = {"ignore_index": index, "reduction": reduction, **options}
            value, gradient = omniloss.value_and_grad(function, spoiled, marked, **given)
            expected, slope = omniloss.value_and_grad(function, x[kept], marked[kept], **given)
            if reduction == "none":
                np.testing.assert_array_equal(value[~kept], 0)
                value = value[kept]
            np.testing.assert_allclose(value, expected, rtol=1e-14)
            np.testing.assert_allclose(gradient[kept], slope, rtol=1e-14)
            np.testing.assert_array_equal(gradient[~kept], 0)


WEIGHTED = ("l1_loss", "mse_loss", "huber_loss", "binary_cross_entropy")
WEIGHTED += ("binary_cross_entropy_with_logits", "multilabel_soft_margin_loss")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", WEIGHTED)
def test_nothing_of_weight_zero_counts(name: str, reduction: str) -> None:
    case = BATCHED[name]
    weight = np.ones(case.arguments["input"].shape)
    weight[1, 1] = 0
    spoiled = {key: np.where(weight == 0, np.nan, x) for key, x in case.arguments.items()}
    for wrt in ("input", "target"):
        given = {"weight": weight, "reduction": reduction, "wrt": wrt}
        value, gradient = omniloss.value_and_grad(case.function, **spoiled, **given)
        expected, slope = omniloss.value_and_grad(case.function, **case.arguments, **given)
        np.testing.assert_array_equal(value, expected)
        np.testing.assert_array_equal(gradient, slope)
        assert gradient[1, 1] == 0


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", "multi_margin_loss"])
def test_a_class_of_weight_zero(name: str) -> None:
    x, target = np.array([[1.0, 2.0], [np.nan, 0.5]]), np.array([0, 1])
    value, gradient = omniloss.value_and_grad(FUNCTIONS[name], x, target, weight=[1.0, 0.0])
    mean = 2 if name == "multi_margin_loss" else 1
    np.testing.assert_allclose(value, FUNCTIONS[name](x[:1], target[:1]) / mean)
    assert (gradient[1] == 0).all()


def test_reduction_none_has_the_shape_that_torch_gives() -> None:
    for case in CASES:
        if case.options["reduction"] != "none":
            continue
        value = FUNCTIONS[case.name](**case.arguments, **case.options)
        assert value.shape == _shape_of_losses(case)


def _shape_of_losses(case: Case) -> tuple[int, ...]:
    shape = next(iter(case.arguments.values())).shape
    if case.name == "ctc_loss":
        return shape[1:-1]
    if case.name in ("cross_entropy", "nll_loss"):
        return shape[:1] + shape[2:] if len(shape) > 1 else ()
    rows = ("multi", "cosine", "triplet")
    return shape[:-1] if case.name.startswith(rows) else shape


def test_epsilon_zero_gives_the_exact_cross_entropy() -> None:
    """-log of 1e-200, and what torch's -100 hides."""
    assert F.binary_cross_entropy(np.array([1e-200]), [1.0]) == 100
    with omniloss.config(epsilon=0.0):
        value, gradient = omniloss.value_and_grad(F.binary_cross_entropy, np.array([1e-200]), [1.0])
    np.testing.assert_allclose(value, 200 * np.log(10), rtol=1e-14)
    np.testing.assert_allclose(gradient, [-1e200], rtol=1e-14)


def test_values_that_overflow_in_torch() -> None:
    value, gradient = omniloss.value_and_grad(F.soft_margin_loss, np.array([-1e4]), [1.0])
    assert (value, gradient) == (1e4, -1)
    value = F.cosine_embedding_loss(np.full((1, 2), 1e200), np.full((1, 2), 1e200), [1])
    assert value == pytest.approx(0, abs=1e-15)
    value, gradient = omniloss.value_and_grad(
        F.triplet_margin_loss, *(np.full((1, 2), x) for x in (0.0, 1e200, 1e200)), margin=0.5
    )
    assert value == pytest.approx(0.5)
    assert np.isfinite(gradient).all()
    assert F.kl_div(np.array([-np.inf]), [0.0], reduction="sum") == 0
    assert F.kl_div(*np.full((2, 1), -np.inf), reduction="sum", log_target=True) == 0


def test_ties_have_torchs_gradient() -> None:
    def check(name: str, *arrays: Any, by: int = 0, **options: Any) -> None:
        tensors = [torch.tensor(np.asarray(x, dtype=float)) for x in arrays]
        tensors[by].requires_grad_()
        getattr(torch.nn.functional, name)(*tensors, **options).sum().backward()
        names = list(FUNCTIONS[name].__wrapped__.__code__.co_varnames)  # type: ignore[attr-defined]
        arrays = tuple(np.asarray(x, dtype=float) for x in arrays)
        _, gradient = omniloss.value_and_grad(FUNCTIONS[name], *arrays, wrt=names[by], **options)
        np.testing.assert_allclose(gradient, tensors[by].grad.numpy(), rtol=1e-9, atol=1e-12)

    check("l1_loss", [1.0, 2.0], [1.0, 1.0])
    check("huber_loss", [1.0, -1.0, 0.0], [0.0, 0.0, 0.0])
    check("smooth_l1_loss", [1.0, -1.0, 0.0], [0.0, 0.0, 0.0])
    check("hinge_embedding_loss", [1.0, 1.0, 1.0], [-1.0, 0.0, 1.0])
    for by in range(3):
        check("margin_ranking_loss", [1.0, 1.0], [1.0, 1.0], [1.0, -1.0], by=by)
        for p in (1, 2, 3, 0.5, float("inf")):
            same = [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]
            check("triplet_margin_loss", *same, by=by, eps=0.0, p=p)
            isosceles = [0.0, 0.0], [0.0, 2.0], [2.0, 1.0]
            check("triplet_margin_loss", *isosceles, by=by, eps=0.0, p=p, swap=True)
            check("triplet_margin_loss", [0.0, 0.0], [2.0, 2.0], [1.0, 0.0], by=by, eps=0.0, p=p)
    for by in range(2):
        check("cosine_embedding_loss", [[1.0, 0.0]], [[0.0, 1.0]], [-1.0], by=by)
        check("cosine_embedding_loss", [[0.0, 0.0]], [[0.0, 1.0]], [1.0], by=by)
        check("cosine_embedding_loss", [[1.0, 0.0]], [[0.0, 1.0]], [0.0], by=by)
    for x in ([1.0, 0.0, 2.0], [1.0, 1.0, 1.0]):
        _, gradient = omniloss.value_and_grad(F.multi_margin_loss, x, 0)
        tensor = torch.tensor(x, requires_grad=True)
        torch.nn.functional.multi_margin_loss(tensor, torch.tensor(0)).backward()
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-6)
    for by in range(2):
        at_bounds = [0.0, 0.0, 1.0, 1e-14, 1.0], [0.0, 1.0, 0.3, 1.0, 1.0]
        if by == 0:
            check("binary_cross_entropy", *at_bounds, reduction="sum")
    check("binary_cross_entropy", [1e-60, 0.5, 1e-14], [1.0, 0.0, 0.3], by=1)


@pytest.mark.skipif(native.core is None, reason="the formula makes arrays of its own")
@pytest.mark.parametrize("loss", ["cross_entropy", "nll_loss"])
def test_weights_of_classes_take_little_memory(loss: str) -> None:
    """A weight for each row and nothing else of many bytes, where all labels are classes."""
    rows = 100_000
    x, y = np.zeros((rows, 3), np.float32), np.arange(rows) % 3
    weight = np.array([1.0, 2.0, 0.5], np.float32)
    getattr(F, loss)(x, y, weight)
    tracemalloc.start()
    try:
        getattr(F, loss)(x, y, weight)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * rows + 2**17
