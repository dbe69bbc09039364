"""Losses of several outputs as one, beside Keras's own compiled loss."""

from __future__ import annotations

import copy
import pickle
from collections import namedtuple

import keras
import numpy as np
import pytest
from keras.src.trainers.compile_utils import CompileLoss

import omniloss
from omniloss import losses, nn

RNG = np.random.default_rng(7)
REAL, LABELS = RNG.normal(size=(6, 2)), RNG.integers(0, 3, size=6)
PREDICTED, LOGITS = RNG.normal(size=(6, 2)), RNG.normal(size=(6, 3))
WEIGHTS = RNG.uniform(size=6)
Pair = namedtuple("Pair", "left right")
Y_TRUE, Y_PRED = {"left": REAL, "right": LABELS}, {"left": PREDICTED, "right": LOGITS}
BOTH = {"left": "mse", "right": losses.SparseCategoricalCrossentropy(from_logits=True)}
MSE = losses.MeanSquaredError()
CE = losses.SparseCategoricalCrossentropy(from_logits=True)


def parts(sample_weight=None):
    return float(MSE(REAL, PREDICTED, sample_weight)), float(CE(LABELS, LOGITS, sample_weight))


# The losses, their factors, targets, predictions, weights, the total, and the names of the parts
LEFT, RIGHT = parts()
CASES = {
    "one": (MSE, None, REAL, PREDICTED, LEFT, ["mean_squared_error_loss"]),
    "one with a factor": (MSE, 0.5, REAL, PREDICTED, LEFT / 2, ["mean_squared_error_loss"]),
    "a dict": (BOTH, None, Y_TRUE, Y_PRED, LEFT + RIGHT, ["left_loss", "right_loss"]),
    "with factors": (
        BOTH,
        {"left": 0.5, "right": 2.0},
        Y_TRUE,
        Y_PRED,
        LEFT / 2 + 2 * RIGHT,
        ["left_loss", "right_loss"],
    ),
    "a list": (
        [MSE, CE],
        [0.5, 2.0],
        [REAL, LABELS],
        (PREDICTED, LOGITS),
        LEFT / 2 + 2 * RIGHT,
        ["0_loss", "1_loss"],
    ),
    "one for all": (
        "mae",
        None,
        {"a": REAL, "b": [PREDICTED]},
        {"a": PREDICTED, "b": [REAL]},
        2 * np.mean(np.abs(REAL - PREDICTED)),
        ["a_loss", "b/0_loss"],
    ),
    "nested": (
        {"deep": {"left": MSE, "right": [CE, None]}, "none": None},
        {"deep": {"left": 3.0, "right": [0.1, 9.0]}, "none": 1.0},
        {"deep": {"left": REAL, "right": [LABELS, None]}, "none": None},
        {"deep": {"left": PREDICTED, "right": [LOGITS, REAL]}, "none": REAL},
        3 * LEFT + 0.1 * RIGHT,
        ["deep/left_loss", "deep/right/0_loss"],
    ),
    "two of one output": (
        [MSE, losses.MeanSquaredError(name="twin")],
        [1.0, 0.5],
        REAL,
        PREDICTED,
        1.5 * LEFT,
        ["mean_squared_error_loss", "twin_loss"],
    ),
    "named tuple": (
        [MSE, CE],
        None,
        Pair(REAL, LABELS),
        Pair(PREDICTED, LOGITS),
        LEFT + RIGHT,
        ["0_loss", "1_loss"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_totals_names_and_partials(case):
    loss, factors, y_true, y_pred, expected, names = CASES[case]
    compiled = losses.compile(loss, factors)
    assert float(compiled(y_true, y_pred)) == pytest.approx(expected, rel=1e-14)
    results = compiled.results(y_true, y_pred)
    assert list(results) == ["loss", *names]
    assert results["loss"] == compiled(y_true, y_pred)
    whole = omniloss.partial(compiled, y_true, y_pred)
    assert whole.results() == pytest.approx(results, rel=1e-14)
    assert whole.result() == pytest.approx(expected, rel=1e-14)
    assert (whole + whole).result() == pytest.approx(expected, rel=1e-14)
    for again in (pickle.loads(pickle.dumps(compiled)), copy.deepcopy(compiled)):
        assert again == compiled
        assert again(y_true, y_pred) == compiled(y_true, y_pred)


def structures(x):
    """What Keras and we are both given: its dicts and lists, arrays of float32."""
    if isinstance(x, dict):
        return {key: structures(item) for key, item in x.items()}
    return [structures(item) for item in x] if isinstance(x, (list, tuple)) else x


@pytest.mark.parametrize("case", ["one", "one with a factor", "a dict", "with factors", "a list"])
@pytest.mark.parametrize("weighted", [False, True])
def test_totals_are_those_of_keras(case, weighted):
    loss, factors, y_true, y_pred, _, _ = CASES[case]
    y_true, y_pred = structures(y_true), structures(y_pred)
    theirs = CompileLoss(loss, factors)
    weight = WEIGHTS if weighted else None
    expected = theirs(y_true, y_pred, weight)
    found = losses.compile(loss, factors)(y_true, y_pred, weight)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_weights_and_masks_for_all_outputs_or_for_each():
    compiled = losses.compile(BOTH)
    left, right = parts(WEIGHTS)
    assert compiled(Y_TRUE, Y_PRED, WEIGHTS) == pytest.approx(left + right)
    assert compiled(Y_TRUE, Y_PRED, WEIGHTS.tolist()) == pytest.approx(left + right)
    only = compiled(Y_TRUE, Y_PRED, sample_weight={"left": WEIGHTS, "right": None})
    assert only == pytest.approx(left + RIGHT)
    assert compiled(Y_TRUE, Y_PRED, {"left": WEIGHTS}) == pytest.approx(left + RIGHT)
    listed = losses.compile([MSE, CE])
    pairs = [REAL, LABELS], [PREDICTED, LOGITS]
    assert listed(*pairs, [None, WEIGHTS]) == pytest.approx(LEFT + right)
    assert listed(*pairs, sample_weight=WEIGHTS) == pytest.approx(left + right)
    kept = np.arange(6) < 4
    expected = MSE(REAL[kept], PREDICTED[kept]) + CE(LABELS, LOGITS)
    assert compiled(Y_TRUE, Y_PRED, mask={"left": kept}) == pytest.approx(expected)


def test_partials_of_batches_add_up():
    compiled = losses.compile(BOTH, {"left": 0.5, "right": 2.0})

    def batch(place):
        arrays = ({key: x[place] for key, x in y.items()} for y in (Y_TRUE, Y_PRED))
        return omniloss.partial(compiled, *arrays, sample_weight=WEIGHTS[place])

    total = sum(batch(place) for place in (slice(0, 1), slice(1, 5), slice(5, 6)))
    expected = compiled.results(Y_TRUE, Y_PRED, WEIGHTS)
    assert total.results() == pytest.approx(expected, rel=1e-14)
    other = omniloss.partial(losses.compile(BOTH), Y_TRUE, Y_PRED)
    with pytest.raises(ValueError, match="partials of different losses do not add up"):
        _ = total + other


@pytest.mark.parametrize("case", CASES)
def test_gradients_in_the_structure_of_the_predictions(case):
    loss, factors, y_true, y_pred, expected, _ = CASES[case]
    compiled = losses.compile(loss, factors)
    value, gradients = omniloss.value_and_grad(compiled, y_true, y_pred)
    assert value == pytest.approx(expected, rel=1e-14)
    steps = keras.tree.map_structure(lambda x: np.sin(np.arange(x.size)).reshape(x.shape), y_pred)
    keras.tree.assert_same_structure(gradients, y_pred)
    slope = sum(
        float(np.sum(g * s))
        for g, s in zip(keras.tree.flatten(gradients), keras.tree.flatten(steps), strict=True)
    )
    ends = [
        compiled(y_true, keras.tree.map_structure(lambda x, s, h=h: x + h * s, y_pred, steps))
        for h in (1e-6, -1e-6)
    ]
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_gradients_flow_through_torch():
    torch = pytest.importorskip("torch")
    compiled = losses.compile(BOTH, {"left": 0.5, "right": 2.0})
    y_true = {key: torch.asarray(x) for key, x in Y_TRUE.items()}
    y_pred = {key: torch.tensor(x, requires_grad=True) for key, x in Y_PRED.items()}
    compiled(y_true, y_pred).backward()
    _, expected = omniloss.value_and_grad(compiled, Y_TRUE, Y_PRED)
    for key, gradient in expected.items():
        np.testing.assert_allclose(y_pred[key].grad, gradient, rtol=1e-12)


def test_what_may_be_a_loss():
    def mine(y_true, y_pred):
        return np.mean((y_true - y_pred) ** 4, axis=-1)

    for loss in (mine, losses.LossFunctionWrapper(mine)):
        compiled = losses.compile({"left": loss})
        assert compiled(Y_TRUE, Y_PRED) == pytest.approx(np.mean((REAL - PREDICTED) ** 4))
        assert list(compiled.results(Y_TRUE, Y_PRED)) == ["loss", "left_loss"]
        with pytest.raises(TypeError, match="no derivative is known"):
            omniloss.value_and_grad(compiled, Y_TRUE, Y_PRED)
    written = losses.serialize(losses.Huber(delta=0.5))
    assert losses.compile({"left": written}) == losses.compile({"left": losses.Huber(delta=0.5)})
    assert repr(losses.compile(MSE, 0.5)) == f"compile({MSE!r}, loss_weights=0.5)"
    assert losses.compile(MSE, 0.5) != losses.compile(MSE)


@pytest.mark.parametrize(
    ("loss", "factors", "kind", "message"),
    [
        (nn.MSELoss(), None, TypeError, r"loss takes .*MSELoss\(\), of the PyTorch dialect"),
        ({"a": nn.functional.mse_loss}, None, TypeError, r"loss\['a'\] takes .* PyTorch dialect"),
        ([3], None, TypeError, r"loss\[0\] must be a loss"),
        (keras.losses.Huber(), None, TypeError, "must be a loss of omniloss.losses"),
        ("hubber", None, ValueError, "unknown loss 'hubber'; did you mean 'huber'"),
        ([losses.Huber(reduction="none")], None, ValueError, r"loss\[0\] must have a reduction"),
        ({"a": None}, None, ValueError, "must name a loss for one output at least"),
        ({"left": MSE}, {"lefd": 1.0}, ValueError, "'lefd', which .*; did you mean 'left'"),
        ({"a": MSE, "b": MSE}, {"a": 1.0}, ValueError, r"lacks \['b'\]"),
        ([MSE, CE], [1.0], ValueError, "must have the structure of `loss`"),
        ([MSE, CE], {"a": 1.0}, ValueError, "is a dict, but `loss` a list"),
        (MSE, "1", TypeError, "`loss_weights` must be a number"),
        ([MSE], [np.inf], ValueError, r"`loss_weights\[0\]` must lie in"),
    ],
)
def test_what_is_refused_when_it_is_made(loss, factors, kind, message):
    with pytest.raises(kind, match=message):
        losses.compile(loss, factors)


@pytest.mark.parametrize(
    ("loss", "y_true", "y_pred", "message"),
    [
        ({"a": MSE}, {"a": REAL}, PREDICTED, r"outputs \['a'\] at the top, `y_pred` an array"),
        ({"lefd": MSE}, Y_TRUE, Y_PRED, "'lefd' at the top, .*; did you mean 'left'"),
        (
            [MSE, MSE, MSE],
            [REAL] * 3,
            [PREDICTED] * 2,
            r"3 losses at the top, `y_pred` has \[0, 1\]",
        ),
        ([MSE, CE], Y_TRUE, Y_PRED, r"2 losses at the top, `y_pred` has \['left', 'right'\]"),
        (BOTH, {"left": REAL}, Y_PRED, "`y_true` has nothing for the output right"),
        ({"d": [MSE]}, {"d": REAL[0, 0]}, {"d": [PREDICTED]}, "nothing for the output d/0"),
    ],
)
def test_structures_that_do_not_fit_are_refused(loss, y_true, y_pred, message):
    with pytest.raises(ValueError, match=message):
        losses.compile(loss)(y_true, y_pred)


def test_factors_for_outputs_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"`loss_weights` has \[1.0, 2.0\] at the top"):
        losses.compile(MSE, [1.0, 2.0])(REAL, PREDICTED)
    for option in ({"wrt": "y_pred"}, {"normalizer": 3.0}):
        with pytest.raises(ValueError, match="leave out `wrt` and `normalizer`"):
            omniloss.value_and_grad(losses.compile(MSE), REAL, PREDICTED, **option)


def test_an_unknown_name_is_told_with_its_place():
    with pytest.raises(ValueError, match=r"^loss\['kind'\]\[1\]: unknown loss 'hubber'; did you"):
        losses.compile({"size": "mse", "kind": ["mae", "hubber"]})
