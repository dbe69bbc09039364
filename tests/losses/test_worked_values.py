"""Values worked out in the documentation of the systems that are followed, and by hand."""

import warnings

import numpy as np
import pytest

import omniloss
from omniloss import losses
from omniloss.losses import Reduction

COSINE = [[0, 1], [1, 1]], [[1, 0], [1, 1]]
SPARSE = [1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]


def near(value, expected, digits=4):
    np.testing.assert_allclose(value, expected, rtol=10.0**-digits, atol=10.0**-digits)
    assert np.asarray(value).dtype == np.float32


@pytest.mark.parametrize(
    ("reduction", "weights", "expected"),
    [
        (Reduction.AUTO, None, -0.5),
        (Reduction.AUTO, [0.8, 0.2], -0.1),
        (Reduction.SUM, None, -1.0),
        (Reduction.NONE, None, [0.0, -1.0]),
    ],
)
def test_cosine_similarity_of_the_tensorflow_documentation(reduction, weights, expected):
    loss = losses.CosineSimilarity(axis=1, reduction=reduction)
    near(loss(*COSINE, sample_weight=weights), expected)


def test_cosine_similarity_lies_between_minus_one_and_one():
    y_true = [[1.0, 0.0]] * 5
    y_pred = [[3.0, 0.0], [-2.0, 0.0], [0.0, 7.0], [0.0, 0.0], [1.0, 1.0]]
    near(losses.cosine_similarity(y_true, y_pred), [-1.0, 1.0, 0.0, 0.0, -np.sqrt(0.5)])
    near(losses.cosine_similarity(np.zeros((5, 2)), y_pred), np.zeros(5))
    with omniloss.config(epsilon=0.0):
        near(losses.cosine_similarity(y_true, y_pred), [-1.0, 1.0, 0.0, 0.0, -np.sqrt(0.5)])


@pytest.mark.parametrize(
    ("reduction", "weights", "expected"),
    [
        (Reduction.AUTO, None, 1.177),
        (Reduction.AUTO, [0.3, 0.7], 0.814),
        (Reduction.SUM, None, 2.354),
        (Reduction.NONE, None, [0.0513, 2.303]),
    ],
)
def test_sparse_categorical_crossentropy_of_the_tensorflow_documentation(
    reduction, weights, expected
):
    loss = losses.SparseCategoricalCrossentropy(reduction=reduction)
    near(loss(*SPARSE, sample_weight=weights), expected, digits=3)
    as_floats = [float(label) for label in SPARSE[0]]
    near(loss(as_floats, SPARSE[1], sample_weight=weights), expected, digits=3)


def test_a_wrong_certain_prediction_is_clipped_at_epsilon_as_in_keras_3():
    """TensorFlow 2 had 15.38 and Keras 2's extra epsilon 16.03; without clipping it is infinite."""
    certain = np.array([[1.0]]), np.array([[0.0]])
    assert losses.binary_crossentropy(*certain)[0] == pytest.approx(-np.log(1e-7), rel=1e-12)
    with omniloss.config(epsilon=0.0):
        assert losses.binary_crossentropy(*certain)[0] == np.inf
        assert losses.binary_crossentropy([[1.0, 0.0]], [[1.0, 0.0]])[0] == 0.0


def test_wrong_certain_answers_cost_what_they_cost_in_keras():
    """The float32 bound 1 - 1e-7 is 1 - 2**-23, so that a wrong 1 costs 23 log 2 = 15.94."""
    y_pred = np.array([[0.0], [1.0]], np.float32)
    near(losses.binary_crossentropy([[1], [0]], y_pred), [16.118096, 15.942385])
    near(losses.binary_crossentropy([[0, 1]], [[1, 0]]), 16.03024)
    near(losses.BinaryCrossentropy()([[1, 0], [1, 0]], [[1, 1], [1, 0]]), 3.985596)
    doubles = losses.binary_crossentropy([[1], [0]], y_pred.astype(float))
    np.testing.assert_allclose(doubles, [16.118096, 16.118096], rtol=1e-6)


def test_probabilities_below_epsilon_at_epsilon_zero():
    """TensorFlow issue 39411: the clipped loss is 16.118, that of the numbers themselves 26.127."""
    logits = np.array([[-26.127]])
    probability = 1 / (1 + np.exp(-logits))
    with omniloss.config(epsilon=0.0):
        assert losses.bce([[1]], probability)[0] == pytest.approx(26.127, rel=1e-12)
    assert losses.bce([[1]], probability)[0] == pytest.approx(16.118, abs=1e-3)
    assert losses.bce([[1]], logits, from_logits=True)[0] == pytest.approx(26.127, rel=1e-12)


def test_errors_by_hand():
    y_true, y_pred = [[2.0, -4.0, 8.0]], [[1.0, -2.0, 16.0]]  # errors -1, 2, 8
    near(losses.mean_squared_error(y_true, y_pred), [23.0])
    near(losses.mean_absolute_error(y_true, y_pred), [11 / 3])
    near(losses.mean_absolute_percentage_error(y_true, y_pred), [(50 + 50 + 100) / 3])
    near(losses.huber(y_true, y_pred, delta=2.0), [(0.5 + 2.0 + 14.0) / 3])
    near(losses.log_cosh(y_true, y_pred), [np.mean(np.log(np.cosh([1.0, 2.0, 8.0])))])
    # Negative numbers count as epsilon on both sides.
    near(
        losses.mean_squared_logarithmic_error(y_true, y_pred),
        [(np.log(1.5) ** 2 + np.log(17 / 9) ** 2) / 3],
    )


def test_distributions_by_hand():
    near(losses.kl_divergence([[0.5, 0.5]], [[0.25, 0.75]]), [0.5 * np.log(4 / 3)])
    near(losses.kl_divergence([[0.3, 0.7]], [[0.3, 0.7]]), [0.0])
    near(losses.poisson([[2.0, 0.0]], [[np.e, 3.0]]), [(np.e - 2 + 3) / 2])


def test_margins_by_hand():
    near(losses.hinge([[1, -1, 1]], [[0.25, 0.5, 3.0]]), [(0.75 + 1.5) / 3])
    near(losses.hinge([[True, False, True]], [[0.25, 0.5, 3.0]]), [(0.75 + 1.5) / 3])
    near(losses.squared_hinge([[1, 0, 1]], [[0.25, 0.5, 3.0]]), [(0.75**2 + 1.5**2) / 3])
    near(losses.categorical_hinge([[0, 1, 0]], [[0.25, 0.5, 1.0]]), [1.5])
    # The right class takes part in the maximum with a 0.
    near(losses.categorical_hinge([[0, 1]], [[-3.0, 0.5]]), [0.5])


def test_entropies_by_hand():
    half, quarter = np.log(2), np.log(4)
    near(losses.binary_crossentropy([[1, 0]], [[0.5, 0.75]]), [(half + quarter) / 2])
    near(
        losses.binary_crossentropy([[1]], [[0.75]], label_smoothing=0.5),
        [0.75 * np.log(4 / 3) + 0.25 * quarter],
    )
    near(
        losses.binary_focal_crossentropy([[1, 0]], [[0.5, 0.75]]),
        [(0.25 * half + 0.5625 * quarter) / 2],
    )
    balanced = losses.binary_focal_crossentropy([[1, 0]], [[0.5, 0.5]], True, alpha=0.25, gamma=0.0)
    near(balanced, [(0.25 + 0.75) * half / 2])
    # Probabilities are divided by their sum.
    near(losses.categorical_crossentropy([[0, 1, 0]], [[1.0, 2.0, 1.0]]), [half])
    near(losses.categorical_crossentropy([[0, 1]], [[1.0, 1.0]], label_smoothing=0.3), [half])
    near(losses.categorical_focal_crossentropy([[0, 1]], [[1.0, 1.0]]), [0.25 * 0.25 * half])
    near(losses.sparse_categorical_crossentropy([2], [[1.0, 2.0, 1.0]]), [quarter])
    near(losses.sparse_categorical_crossentropy([1], [[0.0, 0.0]], from_logits=True), [half])


def test_small_errors_and_confident_answers_keep_their_digits():
    """In float32 Keras returns noise or 0 for each of these."""
    small = np.float32(1e-5)
    assert losses.log_cosh([0.0], np.array([small]))[()] == pytest.approx(0.5e-10, rel=1e-6)
    logit = np.array([[30.0]], np.float32)
    bce = losses.binary_crossentropy([[1]], logit, from_logits=True)
    assert bce[0] == pytest.approx(np.exp(-30.0), rel=1e-6)
    row = np.array([[0.0, 30.0, 0.0]], np.float32)
    for entropy in (
        losses.categorical_crossentropy([[0, 1, 0]], row, from_logits=True),
        losses.sparse_categorical_crossentropy([1], row, from_logits=True),
    ):
        assert entropy[0] == pytest.approx(2 * np.exp(-30.0), rel=1e-6)


def test_logits_of_minus_infinity_for_other_classes_are_fine():
    row = [[3.0, -np.inf, -np.inf]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert losses.sparse_categorical_crossentropy([0], row, from_logits=True)[0] == 0.0
        assert losses.categorical_crossentropy([[1, 0, 0]], row, from_logits=True)[0] == 0.0
        assert losses.bce([[1, 0]], [[np.inf, -np.inf]], from_logits=True)[0] == 0.0


def test_ignored_rows_count_neither_above_nor_below():
    labels, rows = [1, -1, 0], [[0.5, 0.5], [0.9, 0.1], [0.25, 0.75]]
    loss = losses.SparseCategoricalCrossentropy(ignore_class=-1)
    near(loss(labels, rows), (np.log(2) + np.log(4)) / 2)
    near(loss(labels, rows, sample_weight=[1.0, 5.0, 3.0]), (np.log(2) + 3 * np.log(4)) / 2)
    unreduced = losses.SparseCategoricalCrossentropy(ignore_class=-1, reduction=None)
    near(unreduced(labels, rows), [np.log(2), 0.0, np.log(4)])


def test_to_categorical():
    one_hot = omniloss.utils.to_categorical([[1], [0], [3]])
    np.testing.assert_array_equal(one_hot, [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    assert one_hot.dtype == np.float64
    assert omniloss.utils.to_categorical([0.0, 2.0], num_classes=5).shape == (2, 5)
    assert omniloss.utils.to_categorical(np.zeros((2, 3, 1), np.uint8), 4).shape == (2, 3, 4)
    assert omniloss.utils.to_categorical(2).tolist() == [0.0, 0.0, 1.0]
    assert omniloss.utils.to_categorical([1]).shape == (1, 2)
    assert omniloss.utils.to_categorical([], 3).shape == (0, 3)
    assert omniloss.utils.to_categorical([True, False]).tolist() == [[0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, -1], None, r"`int_labels` must hold integers >= 0; got int_labels\[1\] = -1"),
        ([[0, 1], [2, 3]], 3, r"integers in \[0, 3\); got int_labels\[1, 1\] = 3"),
        ([0.5], 2, r"got int_labels\[0\] = 0.5"),
        ([float("nan")], None, r"got int_labels\[0\] = nan"),
        (7, 7, r"got int_labels = 7"),
        ([], None, r"`num_classes` must be given"),
        ([0], 0, r"`num_classes` must be at least 1; got 0"),
    ],
)
def test_to_categorical_refuses_other_labels(labels, classes, message):
    with pytest.raises(ValueError, match=message):
        omniloss.utils.to_categorical(labels, classes)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(["a"], None), ([0], 2.5), ([0], True), ([0j], 2), (np.ma.array([0]), 2)],
)
def test_to_categorical_refuses_other_types(labels, classes):
    with pytest.raises(TypeError, match=r"integer|masked array"):
        omniloss.utils.to_categorical(labels, classes)


def test_to_categorical_against_keras():
    import keras

    rng = np.random.default_rng(0)
    for shape in ((5,), (5, 1), (2, 3), (2, 3, 1), (1, 1), (1,)):
        labels = rng.integers(0, 4, shape)
        ours = omniloss.utils.to_categorical(labels, 4)
        np.testing.assert_array_equal(ours, keras.utils.to_categorical(labels.tolist(), 4))


@pytest.mark.parametrize("labels", [[2**62], [0, 2**62], [1e300]])
def test_to_categorical_names_labels_too_large_for_an_array(labels):
    with pytest.raises(
        ValueError, match=r"`int_labels` holds .*: more classes than an array can hold"
    ):
        omniloss.utils.to_categorical(labels)
    with pytest.raises(
        ValueError, match=r"`num_classes` is 4611686018427387904: more classes than"
    ):
        omniloss.utils.to_categorical([0], 2**62)


def test_to_categorical_has_no_mask_to_point_to():
    labels = np.ma.array([1, 0], mask=[False, True])
    with pytest.raises(TypeError, match=r"whose mask would be lost; pass its compressed\(\)"):
        omniloss.utils.to_categorical(labels)
