"""Weights beyond float32's range, and sums beyond float64's whose mean is not."""

import array_api_strict
import mpmath
import numpy as np
import pytest

import omniloss
from omniloss import losses, native
from support.cases import Case, row_cases

DEFAULTS = row_cases()
# Within float64's range and, but for the last, beyond float32's
WEIGHTS = [
    [1e-300, 3e-300, 2e-300, 0.0, 1e-301],
    [1e300, 3e299, 2e300, 0.0, 1e301],
    [1e-310, 1e-45, 3e-50, 0.0, 1e-46],
    [0.3, 0.1, 2.0, 0.0, 1.0],
]


def batch(case: Case) -> tuple[np.ndarray, np.ndarray]:
    return case.arrays(np.random.default_rng(5), (5, 4), "float32")


def weighted_sums(each, weights) -> tuple[mpmath.mpf, mpmath.mpf]:
    exact = [mpmath.mpf(float(weight)) for weight in weights]
    terms = [weight * mpmath.mpf(loss) for weight, loss in zip(exact, each, strict=True)]
    return mpmath.fsum(terms), mpmath.fsum(exact)


@pytest.mark.parametrize("convert", [np.array, lambda w: np.array(w, ">f8"), list])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_float64_weights_keep_their_range_beside_float32_predictions(case, weights, convert):
    y_true, y_pred = batch(case)
    total, weight = weighted_sums(
        case.loss(reduction="none")(y_true, y_pred).astype(float), weights
    )
    loss = case.loss(reduction="mean_with_sample_weight")
    arguments = (y_true, y_pred, convert(weights))
    value, gradient = omniloss.value_and_grad(loss, *arguments)
    assert value == loss(*arguments)
    assert value.dtype == gradient.dtype == np.float32
    np.testing.assert_allclose(float(value), float(total / weight), rtol=4e-7)
    relative = np.array(weights) / max(weights)
    expected = omniloss.value_and_grad(loss, y_true, y_pred, relative)[1]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-45)
    if case.options.get("labels", case.plan.labels) == "signed":
        part = omniloss.partial(loss, *arguments)
        np.testing.assert_allclose(part.total, float(total), rtol=4e-7)
        np.testing.assert_allclose(part.weight, float(weight), rtol=1e-14)


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_masks_count_beside_wide_weights(case):
    y_true, y_pred = batch(case)
    weights = np.array([1e300, np.nan, 1e299, 3e300, np.inf])
    kept = np.array([True, False, True, True, False])
    loss = case.loss(reduction="mean_with_sample_weight")
    value, gradient = omniloss.value_and_grad(loss, y_true, y_pred, weights, mask=kept)
    expected, expected_gradient = omniloss.value_and_grad(
        loss, y_true[kept], y_pred[kept], weights[kept] / 1e300
    )
    np.testing.assert_allclose(value, expected, rtol=4e-7)
    np.testing.assert_allclose(gradient[kept], expected_gradient, rtol=1e-5, atol=1e-45)
    assert not gradient[~kept].any()


def test_unreduced_losses_have_their_weight_in_float64():
    y_pred = np.float32(
        [[1e-19], [2e-19]]
    )  # the squares 1e-38 and 4e-38, the weights beyond float32
    loss = losses.MeanSquaredError(reduction="none")
    found = loss(np.zeros_like(y_pred), y_pred, np.array([1e39, 1e40]))
    np.testing.assert_allclose(found, [10.0, 400.0], rtol=3e-7)
    assert found.dtype == np.float32


def test_wide_weights_on_other_libraries():
    torch = pytest.importorskip("torch")
    y_true, y_pred = np.zeros((2, 2), np.float32), np.float32([[1.0, 1.0], [2.0, 2.0]])
    weights = np.array([1e300, 3e300])
    loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    predictions = torch.tensor(y_pred, requires_grad=True)
    value = loss(torch.tensor(y_true), predictions, torch.tensor(weights))
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(3.25, rel=1e-6)
    np.testing.assert_allclose(predictions.grad, [[0.25, 0.25], [1.5, 1.5]], rtol=1e-6)
    xp = array_api_strict
    arrays = (xp.asarray(y_true), xp.asarray(y_pred), xp.asarray(weights))
    assert float(loss(*arrays)) == pytest.approx(3.25, rel=1e-6)


def test_weights_whose_sum_is_beyond_float64_are_refused():
    loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    with pytest.raises(
        ValueError, match="`sample_weight` must add up to a number in float64's range"
    ):
        loss(np.zeros((2, 1)), np.ones((2, 1)), np.array([1.5e308, 1.5e308]))


class OwnLoss(losses.Loss):
    """The mean absolute error in a user's own way."""

    def call(self, y_true, y_pred):
        return abs(y_pred[:, 0] - y_true[:, 0])


@pytest.mark.parametrize("rows", [3, 40_000])
@pytest.mark.parametrize("weights", [None, 0.5, "varied", "masked"])
@pytest.mark.parametrize("reduction", ["mean", "mean_with_sample_weight"])
@pytest.mark.parametrize(
    "loss", [losses.MeanAbsoluteError, losses.Huber, losses.CategoricalHinge, OwnLoss]
)
def test_a_mean_of_float64_is_finite_where_its_sum_is_not(loss, reduction, weights, rows):
    loss = loss(reduction=reduction)
    y_true, y_pred = np.zeros((rows, 1)), np.full((rows, 1), 1.5e308)
    y_pred[::2] = 1e308
    mask = None
    if isinstance(weights, str):
        mask = None if weights == "varied" else np.arange(rows) % 3 != 1
        weights = np.linspace(0.25, 1.15, rows)
    losses_of_rows = y_pred[:, 0] - (0.5 if isinstance(loss, losses.Huber) else 0.0)
    factors = np.broadcast_to(1.0 if weights is None else weights, rows)
    if mask is not None:
        losses_of_rows, factors = losses_of_rows[mask], factors[mask]
    total, weight = weighted_sums(losses_of_rows, factors)
    expected = total / (len(factors) if reduction == "mean" else weight)
    found = loss(y_true, y_pred, weights, mask=mask)
    np.testing.assert_allclose(found, float(expected), rtol=1e-13)
    if not isinstance(loss, OwnLoss):
        value, _ = omniloss.value_and_grad(loss, y_true, y_pred, weights, mask=mask)
        assert value == found


def test_float32_is_finite_wherever_the_result_is():
    y_pred = np.float32([[3e19, 1e3, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])  # 9e38 is beyond float32
    y_true = np.zeros_like(y_pred)
    largest = mpmath.mpf(float(y_pred[0, 0])) ** 2
    expected = [float(largest / 4), 0.0]
    loss = losses.MeanSquaredError()
    np.testing.assert_allclose(losses.mse(y_true, y_pred), expected, rtol=2e-7)
    np.testing.assert_allclose(loss(y_true, y_pred), expected[0] / 2, rtol=2e-7)
    np.testing.assert_allclose(
        omniloss.value_and_grad(loss, y_true, y_pred)[0], expected[0] / 2, rtol=2e-7
    )
    # A part is summed in float64, so that parts add up to the whole.
    assert omniloss.partial(loss, y_true, y_pred).total == pytest.approx(expected[0], rel=1e-14)


@pytest.mark.skipif(native.core is None, reason="formulas look at targets of float64")
def test_what_float32_rounds_into_its_interval_is_no_offence():
    y_true = np.array([[-1e-300, 3e38], [1.0, 3e38]])
    y_pred = np.full((2, 2), 1e-3, np.float32)
    with np.errstate(over="ignore"):
        assert losses.Poisson()(y_true, y_pred) == np.inf


def test_the_mean_of_a_row_is_finite_where_its_sum_is_not():
    y_pred = np.array([[1.5e308, 1.5e308], [1.0, 2.0], [np.inf, 0.0], [1e-300, 0.0]])
    found = losses.mae(np.zeros_like(y_pred), y_pred)
    np.testing.assert_allclose(found, [1.5e308, 1.5, np.inf, 5e-301], rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("residual", [np.inf, np.nan])
def test_what_is_infinite_or_nan_stays_so(dtype, residual):
    y_pred = np.array([[1.0], [residual]], dtype)
    found = losses.MeanAbsoluteError()(np.zeros_like(y_pred), y_pred)
    np.testing.assert_equal(found, dtype(residual))


@pytest.mark.skipif(native.core is None, reason="torch's own sum is what it is")
def test_a_mean_of_tensors_is_finite_where_its_sum_is_not():
    torch = pytest.importorskip("torch")
    y_pred = torch.full((3, 2), 1.5e308, dtype=torch.float64)
    for predictions in (y_pred, y_pred.clone().requires_grad_()):
        for weights in (None, [1.0, 1.0, 1.0]):
            value = losses.MeanAbsoluteError()(torch.zeros_like(y_pred), predictions, weights)
            assert value.item() == pytest.approx(1.5e308, rel=1e-14)


@pytest.mark.parametrize("shape", [(3, 1), (3, 4), (3, 200)])
@pytest.mark.parametrize("case", DEFAULTS, ids=str)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_gradients_of_huge_weights_are_infinite_or_right(case, shape):
    y_true, y_pred = case.arrays(np.random.default_rng(6), shape, "float32")
    loss = case.loss(reduction="sum")
    wide = y_true if case.plan.formula.labels else y_true.astype(np.float64)
    _, expected = omniloss.value_and_grad(loss, wide, y_pred.astype(np.float64), 1e200)
    _, gradient = omniloss.value_and_grad(loss, y_true, y_pred, 1e200)
    large = abs(expected) > 1e190  # 0 but for rounding, otherwise
    np.testing.assert_array_equal(gradient[large], np.copysign(np.inf, expected[large]))
    assert not np.isnan(gradient).any()


def test_the_mean_of_tiny_losses_under_tiny_weights():
    y_pred = np.array([[1e-11], [3e-11]])  # the squares times the weights are subnormal
    loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    for dtype in (np.float32, np.float64):
        predictions = y_pred.astype(dtype)
        squares = [mpmath.mpf(float(p)) ** 2 for p in predictions[:, 0]]
        for weights in (1e-300, np.array([1e-300, 3e-300])):
            factors = np.broadcast_to(weights, 2)
            total, weight = weighted_sums(squares, factors)
            found = loss(np.zeros_like(predictions), predictions, weights)
            rtol = 3e-7 if dtype is np.float32 else 1e-14
            np.testing.assert_allclose(float(found), float(total / weight), rtol=rtol)
    # Where such weights meet huge losses there is nothing to mend.
    y_pred = np.full((2, 1), 1e145)
    found = loss(np.zeros_like(y_pred), y_pred, 1e-300)
    assert found == pytest.approx(1e290, rel=1e-14)


def test_tiny_float32_weights_keep_their_digits():
    y_true, y_pred = np.float32([[0.0, 1.0], [1.0, 0.0]]), np.float32([[0.3, 0.6], [0.2, 0.1]])
    weights = np.float32([1e-42, 3e-42])
    loss = losses.BinaryCrossentropy(reduction="mean_with_sample_weight")
    each = losses.binary_crossentropy(y_true, y_pred).astype(float)
    total, weight = weighted_sums(each, weights)
    found = loss(y_true, y_pred, weights)
    np.testing.assert_allclose(float(found), float(total / weight), rtol=4e-7)


def test_weights_that_enlarge_the_losses_are_added_up_in_float64():
    y_true, y_pred = np.zeros((1, 2), np.float32), np.full((1, 2), 0.5, np.float32)
    weights = np.full(4, 3e38, np.float32)
    loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    value, gradient = omniloss.value_and_grad(loss, y_true, y_pred, weights)
    assert value == 0.25
    np.testing.assert_allclose(gradient, [[0.5, 0.5]], rtol=1e-6)
