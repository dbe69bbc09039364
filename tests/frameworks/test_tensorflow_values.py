"""TensorFlow tensors give what NumPy arrays give, with the core and without it, and keep TensorFlow's manners."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import losses, native, nn
from support import torch_cases
from support.cases import Case, cases

tf = pytest.importorskip("tensorflow")

UNITS = {"float32": 1.2e-7, "float64": 2.3e-16}
MSE = losses.MeanSquaredError()
SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True)


def assert_near(actual: Any, expected: Any, units: float = 64) -> None:
    """Close to within units in the last place, of the largest number where terms may cancel."""
    assert tf.is_tensor(actual)
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    size = np.max(np.abs(expected[np.isfinite(expected)]), initial=0)
    tolerance = units * UNITS[str(expected.dtype)]
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * size)


@pytest.mark.parametrize(
    ("way", "dtype"), [("core", "float32"), ("core", "float64"), ("formula", "float32")]
)
@pytest.mark.parametrize("case", cases(), ids=str)
def test_values_and_gradients_are_numpys(
    case: Case, dtype: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the core and without it; NumPy gives the expected numbers before it is taken away."""
    if way == "core" and native.core is None:
        pytest.skip("the native core is not installed")
    rng = np.random.default_rng(70)
    shape = (6, 5, 4)
    y, p = case.arrays(rng, shape, dtype)
    rows = case.rows(p.shape)
    weights = np.where(rng.random(rows) < 0.3, 0, rng.random(rows)).astype(dtype)
    mask = np.asarray(rng.random(rows) < 0.7)
    choices = [("sum", 1, 1), ("mean_with_sample_weight", 1, 0), ("mean", 0, 1), (None, 1, 1)]
    expected = []
    for reduction, weighted, masked in choices:
        arguments = (y, p, *([weights] if weighted else []))
        options = {"mask": mask} if masked else {}
        expected.append(
            omniloss.value_and_grad(case.loss(reduction=reduction), *arguments, **options)
        )
    by_row = case.function(y, p, **case.options)
    if way == "formula":
        monkeypatch.setattr(native, "core", None)

    tensors = [tf.constant(x) for x in (y, p, weights, mask)]
    for (reduction, weighted, masked), (value, slope) in zip(choices, expected, strict=True):
        loss = case.loss(reduction=reduction)
        arguments = (*tensors[:2], *([tensors[2]] if weighted else []))
        options = {"mask": tensors[3]} if masked else {}
        assert_near(loss(*arguments, **options), value)
        for found, wanted in zip(
            omniloss.value_and_grad(loss, *arguments, **options), (value, slope), strict=True
        ):
            assert_near(found, wanted)
        with tf.GradientTape() as tape:
            tape.watch(tensors[1])
            found = loss(*arguments, **options)
        assert_near(found, value)
        assert_near(tape.gradient(found, tensors[1]), slope)
    assert_near(case.function(*tensors[:2], **case.options), by_row)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", torch_cases.small_cases(), ids=str)
def test_torchs_losses_are_numpys(case: torch_cases.Case, dtype: str) -> None:
    arrays = [x.astype(dtype) if x.dtype.kind == "f" else x for x in case.arguments.values()]
    expected = omniloss.value_and_grad(case.function, *arrays, wrt=case.by, **case.options)
    tensors = [tf.constant(x) for x in arrays]
    value, slopes = omniloss.value_and_grad(case.function, *tensors, wrt=case.by, **case.options)
    assert_near(value, expected[0])
    for found, wanted in zip(slopes, expected[1], strict=True):
        assert_near(found, wanted)
    assert_near(case.function(*tensors, **case.options), expected[0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", cases(), ids=str)
def test_half_precision_is_computed_in_float32(case: Case, dtype: str) -> None:
    """What the float32 upcast gives, rounded once; a loss object returns float32."""
    y, p = case.arrays(np.random.default_rng(72), (5, 4), "float32")
    half = getattr(tf, dtype)
    narrow = tf.cast(p, half)
    wide = tf.cast(narrow, tf.float32)
    expected, slope = omniloss.value_and_grad(case.loss(), y, wide)
    with tf.GradientTape() as tape:
        tape.watch(narrow)
        found = case.loss()(y, narrow)
    assert found.dtype == tf.float32
    assert found == expected
    gradient = tape.gradient(found, narrow)
    assert gradient.dtype == half
    assert tf.reduce_all(gradient == tf.cast(slope, half))
    assert omniloss.value_and_grad(case.loss(), y, narrow)[1].dtype == half
    by_row = case.function(y, narrow, **case.options)
    assert by_row.dtype == half
    assert tf.reduce_all(by_row == tf.cast(case.function(y, wide, **case.options), half))


def test_types() -> None:
    p = tf.ones((2, 2))
    for dtype in (tf.float32, tf.float64):
        for kind in (tf.bool, tf.uint16, tf.int64, tf.float64, tf.bfloat16):
            y = tf.cast(tf.zeros((2, 2)), kind)
            assert MSE(y, tf.cast(p, dtype), np.ones(2)).dtype == dtype
    assert MSE(p, tf.ones((2, 2), tf.int32)).dtype == tf.float32
    assert losses.MeanSquaredError(dtype="float16")(p, p).dtype == tf.float16
    assert losses.MeanSquaredError(dtype="float64")(p, p).dtype == tf.float64
    for kind in (tf.complex64, tf.string):
        with pytest.raises(TypeError, match="`y_pred` must hold real numbers; got a tensor of"):
            MSE(p, tf.constant([["a"] * 2] * 2) if kind == tf.string else tf.cast(p, kind))
    with pytest.raises(TypeError, match="`y_pred` must be a dense tensor here; got IndexedSlices"):
        MSE(p, tf.IndexedSlices(p, tf.constant([0, 1])))
    assert MSE(tf.sparse.from_dense([[0.0, 3.0]]), tf.zeros((1, 2))) == 4.5


def test_lists_and_numpy_arrays_follow() -> None:
    y, p = np.zeros((2, 2), np.float32), tf.ones((2, 2))
    for targets in (
        y,
        y.tolist(),
        y[::-1],
        y.astype(np.uint16),
        y.astype(bool),
        list(tf.zeros((2, 2))),
    ):
        assert MSE(targets, p) == 1
        assert tf.is_tensor(MSE(targets, p))
    for arguments in (
        (tf.zeros((2, 2)), np.ones((2, 2))),
        (y, p.numpy(), tf.ones(2)),
        (y.tolist(), p.numpy().tolist(), tf.ones(2)),
        (y, p, [1.0, 1.0]),
        (y, p, 1.0),
    ):
        value = MSE(*arguments)
        assert tf.is_tensor(value)
        assert value == 1
    assert MSE(y.tolist(), y.tolist(), mask=tf.constant([True, False])) == 0
    assert nn.MSELoss()([1.0], tf.constant([3.0])) == 4
    traced = tf.function(lambda x: MSE([[0.0], [x]], x * np.ones((2, 1)) - 2))
    assert traced(tf.constant(3.0)) == 2.5


def test_worked_values_of_tf_keras() -> None:
    """Lists as predictions, and a tensor of weights, which decides."""
    y, p = [[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]
    cosine = losses.CosineSimilarity(axis=1)
    assert_near(cosine(tf.constant(y), p), np.float32(-0.5))
    np.testing.assert_allclose(cosine(y, p, tf.constant([0.8, 0.2])), -0.1, rtol=1e-6)
    for reduction, expected in (("sum", 1.177 * 2), ("none", [0.0513, 2.303])):
        loss = losses.SparseCategoricalCrossentropy(reduction=reduction)
        value = loss(tf.constant([1, 2]), [[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
        np.testing.assert_allclose(value, expected, rtol=1e-3)
    loss = losses.SparseCategoricalCrossentropy()
    value = loss([1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]], tf.constant([0.3, 0.7]))
    np.testing.assert_allclose(value, 0.814, rtol=1e-3)


def test_unreduced_and_weighted_losses_are_the_same_every_time() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.random((4, 3), np.float32), np.array([0, 2, 1, 2])
    weight = np.array([0.5, 2.0, 1.0], np.float32)
    for options in ({"reduction": "none"}, {"weight": weight}, {"label_smoothing": 0.1}):
        expected = nn.functional.cross_entropy(x, y, **options)
        for _ in range(3):
            found = nn.functional.cross_entropy(tf.constant(x), tf.constant(y), **options)
            assert_near(found, expected)


def test_two_frameworks_are_refused_by_name() -> None:
    torch = pytest.importorskip("torch")
    for arguments in (
        (tf.ones((1, 1)), torch.ones(1, 1)),
        (torch.ones(1, 1), tf.ones((1, 1))),
        ([[1.0]], tf.ones((1, 1)), torch.ones(1)),
    ):
        with pytest.raises(TypeError, match=r"two frameworks in one call, .*(torch|tensorflow)"):
            MSE(*arguments)


@pytest.mark.parametrize("watched", [False, True])
def test_wrong_elements_are_refused_as_on_numpy(watched: bool) -> None:
    p = np.random.default_rng(1).random((4, 3))
    for loss, y, x in (
        (SPARSE, np.array([0, 1, 7, -1]), p),
        (SPARSE, np.array([0.0, 0.5, 1.0, 2.0]), p),
        (SPARSE, np.array([0, 1, 200, 2], np.uint8), p),
        (losses.BinaryCrossentropy(), np.round(p), 3 + p),
        (losses.BinaryCrossentropy(), 3 + p, p),
        (losses.Poisson(), p, -1 - p),
        (lambda y, x, *w: nn.functional.cross_entropy(x, y), np.array([0, 1, 3, 2]), p),
    ):
        with pytest.raises(ValueError) as expected:  # noqa: PT011
            loss(y, x)
        tensors = tf.constant(y), tf.constant(x)
        for weights in ((), (tf.ones(4),)):
            with tf.GradientTape() as tape:
                if watched:
                    tape.watch(tensors[1])
                with pytest.raises(ValueError) as found:  # noqa: PT011
                    loss(*tensors, *weights)
            assert str(found.value) == str(expected.value)


def test_wrong_elements_of_a_graph_spoil_their_rows() -> None:
    def run(loss: Any, y: Any, p: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(p)
            value = loss(y, p)
        return value, tape.gradient(value, p)

    p = tf.constant([[0.2, 0.5], [0.3, 0.4], [0.6, 0.4]])
    spoilt = tf.constant([[0.2, 0.5], [0.3, 1.4], [0.6, 0.4]])
    for loss, y, x in (
        (losses.SparseCategoricalCrossentropy(reduction=None), tf.constant([0, 2, 1]), p),
        (
            losses.SparseCategoricalCrossentropy(reduction=None),
            tf.constant([0, 250, 1], tf.uint8),
            p,
        ),
        (losses.BinaryCrossentropy(reduction=None), tf.round(p), spoilt),
    ):
        value, slope = tf.function(run)(loss, y, x)
        assert np.isnan(value).tolist() == [False, True, False]
        assert np.isnan(slope).all(axis=1).tolist() == [False, True, False]
        assert not np.isnan(np.asarray(slope)[[0, 2]]).any()


def test_losses_of_ones_own_and_masks() -> None:
    class FourthPower(losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            assert isinstance(y_pred, tf.Tensor)
            return tf.reduce_mean((y_pred - y_true) ** 4, -1)

    y, p = tf.zeros((2, 2)), tf.constant([[1.0, 1.0], [2.0, 2.0]])

    def run(y: Any, p: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(p)
            value = FourthPower()(y, p, tf.constant([1.0, 0.5]))
        return value, tape.gradient(value, p)

    open_rows = tf.function(run, input_signature=[tf.TensorSpec([None, 2])] * 2)
    for function in (run, tf.function(run), open_rows):
        value, slope = function(y, p)
        assert value == 4.5
        assert slope.numpy().tolist() == [[1.0, 1.0], [4.0, 4.0]]
    parts = [omniloss.partial(FourthPower(), y[i : i + 1], p[i : i + 1]) for i in range(2)]
    assert sum(parts).result() == 8.5
    p._keras_mask = tf.constant([True, False])
    assert MSE(y, p) == 1


def test_variables_and_gradients_by_weights() -> None:
    y, weights = tf.zeros((2, 2)), tf.Variable([1.0, 3.0])
    p = tf.Variable([[1.0, 1.0], [2.0, 2.0]])
    with tf.GradientTape() as tape:
        value = losses.MeanSquaredError(reduction="mean_with_sample_weight")(y, p, weights)
    by_weights, by_p = tape.gradient(value, [weights, p])
    assert value == 3.25
    np.testing.assert_allclose(by_weights, [(1 - 3.25) / 4, (4 - 3.25) / 4])
    np.testing.assert_allclose(by_p, [[0.25, 0.25], [1.5, 1.5]])


def test_what_tensorflow_converts_keeps_its_gradient() -> None:
    """As Keras's variables do on its TensorFlow backend."""

    class Holder:
        def __init__(self, value: Any) -> None:
            self.value = tf.Variable(value)

        def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Any:
            return tf.convert_to_tensor(self.value, dtype, name=name)

    p = Holder([[1.0, 1.0]])
    for y in (tf.zeros((1, 2)), [[0.0, 0.0]]):
        with tf.GradientTape() as tape:
            value = MSE(y, p)
        assert tape.gradient(value, p.value).numpy().tolist() == [[1.0, 1.0]]


def test_a_mask_of_other_numbers_is_refused_as_on_numpy() -> None:
    y, mask = np.zeros((4, 2)), np.array([1, 0, 2, 1])
    with pytest.raises(ValueError, match="mask") as expected:
        MSE(y, y, mask=mask)
    with pytest.raises(ValueError, match="mask") as found:
        MSE(tf.constant(y), tf.constant(y), mask=tf.constant(mask))
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight"])
def test_partial_sums(reduction: str) -> None:
    case = next(case for case in cases() if case.name == "huber")
    rng = np.random.default_rng(71)
    y, p = (tf.constant(x) for x in case.arrays(rng, (7, 3), "float32"))
    weights = tf.constant(rng.random(7), tf.float32)
    loss = case.loss(reduction=reduction)

    def total(y: Any, p: Any, weights: Any) -> Any:
        pieces = slice(2), slice(2, None)
        return sum(omniloss.partial(loss, *(x[i] for x in (y, p, weights))) for i in pieces)

    signature = [tf.TensorSpec([None, 3])] * 2 + [tf.TensorSpec([None])]
    for function in (total, tf.function(total), tf.function(total, input_signature=signature)):
        with tf.GradientTape() as tape:
            tape.watch(p)
            result = function(y, p, weights).result()
        assert result.dtype == tf.float64
        value, slope = omniloss.value_and_grad(loss, y, p, weights)
        np.testing.assert_allclose(result, value, rtol=1e-6)
        np.testing.assert_allclose(tape.gradient(result, p), slope, rtol=1e-5, atol=1e-7)


def test_large_arrays_are_neither_copied_nor_kept() -> None:
    p = tf.random.stateless_normal((1 << 18, 4), (1, 2))
    y = tf.zeros_like(p)
    value, slope = omniloss.value_and_grad(MSE, y, p)
    np.testing.assert_allclose(slope, 2 * p.numpy() / p.numpy().size, rtol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(p)
        found = 3 * MSE(y, p)
    np.testing.assert_allclose(found, 3 * value, rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(found, p), 3 * slope.numpy(), rtol=1e-6)


@pytest.mark.parametrize("empty", [(0, 3), (0,)])
def test_empty_batches(empty: tuple[int, ...]) -> None:
    p = tf.zeros(empty)
    expected = MSE(p.numpy(), p.numpy())
    with tf.GradientTape() as tape:
        tape.watch(p)
        value = MSE(p, p)
    np.testing.assert_array_equal(value, expected)
    assert tape.gradient(value, p).shape == empty
    if len(empty) == 1:  # one row of no elements
        return
    signature = [tf.TensorSpec([None, 3])] * 2
    np.testing.assert_array_equal(tf.function(MSE, input_signature=signature)(p, p), expected)
    weighted = tf.function(
        lambda y, p: MSE(y, p, tf.ones(tf.shape(p)[:1])), input_signature=signature
    )
    np.testing.assert_array_equal(weighted(p, p), expected)


def test_targets_of_another_size_never_broadcast_in_a_graph() -> None:
    signature = [tf.TensorSpec([None, None])] * 2
    loss = tf.function(MSE, input_signature=signature)
    with pytest.raises(tf.errors.InvalidArgumentError, match="y_true"):
        loss(tf.ones((1, 3)), tf.ones((4, 3)))


def run(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(native.core is None, reason="the native core is not installed")
def test_a_first_call_in_a_graph_does_not_keep_later_ones_from_the_core() -> None:
    script = """
import tensorflow as tf
from omniloss import frameworks, losses
loss = losses.MeanSquaredError()
y, p = tf.ones((2, 2)), tf.zeros((2, 2))
assert tf.function(loss)(y, p) == 1
assert loss(y, p) == 1
_, plan, prepare, rule = loss._fast
assert frameworks.run_plan(plan, prepare, rule, y, p) == 1
"""
    run(script)


def test_tensorflow_is_imported_by_the_user_alone() -> None:
    script = """
import sys
import numpy as np
from omniloss import losses
losses.MeanSquaredError()(np.ones((2, 2)), np.ones((2, 2)))
assert "tensorflow" not in sys.modules
import tensorflow as tf
assert losses.MeanSquaredError()(tf.ones((2, 2)), tf.zeros((2, 2))) == 1
foreign = {"array_api_compat", "torch", "tf_keras"} & set(sys.modules)
assert not foreign, foreign
"""
    run(script)


def test_integers_beyond_those_of_int64() -> None:
    loss, zeros = losses.MeanAbsoluteError(), tf.zeros((2, 1))
    y = np.array([[2**64 - 1], [3]], np.uint64)
    expected = loss(y, np.zeros((2, 1), "float32"))
    assert loss(tf.constant(y), zeros) == expected
    assert loss(y, zeros) == expected
    ones = tf.ones((2, 1))
    assert loss(ones, zeros, tf.constant(y[:, 0])) == expected
    assert loss(ones, zeros, y[:, 0]) == expected
    compiled = tf.function(loss)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`y_true` of dtype uint64"):
        compiled(tf.constant(y), zeros)
    assert compiled(tf.constant(y[1:]), zeros[1:]) == 3.0
    labels = losses.SparseCategoricalCrossentropy()
    with pytest.raises(ValueError, match=r"y_true\[0\] = "):
        labels(tf.constant(y[:, 0]), tf.fill((2, 4), 0.25))
    wrong = tf.function(labels, jit_compile=True)(tf.constant(y[:, 0]), tf.fill((2, 4), 0.25))
    assert np.isnan(wrong)
