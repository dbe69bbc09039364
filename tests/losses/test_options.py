"""Options of the losses: what they mean where Keras has none, and the error that each wrong value gives."""

import inspect

import numpy as np
import pytest

import omniloss
from omniloss import losses
from omniloss.losses import registry
from support.cases import OPTIONS

# For each option wrong values, with the error and its message.
FLAG = (TypeError, "must be True or False; got")
WRONG = {
    "alpha": [
        (-0.1, ValueError, r"`alpha` must lie in \[0, inf\); got -0.1"),
        (np.inf, ValueError, r"`alpha` must lie in"),
        (np.nan, ValueError, r"`alpha` must lie in"),
        (None, TypeError, r"`alpha` must be a number; got None"),
    ],
    "apply_class_balancing": [("yes", *FLAG), (2, *FLAG), (None, *FLAG)],
    "axis": [
        (
            True,
            ValueError,
            r"`axis` must be of type `int`. Received: axis=True of type <class 'bool'>",
        ),
        (1.0, ValueError, r"`axis` must be of type `int`"),
        (None, ValueError, r"`axis` must be of type `int`"),
        ((0, 1), ValueError, r"`axis` must be of type `int`"),
    ],
    "beta": [
        (-1, ValueError, r"`beta` must lie in \[0, inf\); got -1"),
        (None, TypeError, r"`beta` must be a number; got None"),
    ],
    "delta": [
        (0.0, ValueError, r"`delta` must lie in \(0, inf\); got 0.0"),
        (-1, ValueError, r"`delta` must lie in"),
        (np.inf, ValueError, r"`delta` must lie in"),
        ("1", TypeError, r"`delta` must be a number; got '1'"),
        (True, TypeError, r"`delta` must be a number; got True"),
        (1j, TypeError, r"`delta` must be a number"),
        ([1.0], TypeError, r"`delta` must be a number"),
    ],
    "from_logits": [("no", *FLAG), (0.5, *FLAG), (None, *FLAG)],
    "gamma": [
        (-2, ValueError, r"`gamma` must lie in \[0, inf\); got -2"),
        (np.inf, ValueError, r"`gamma` must lie in"),
        ("2", TypeError, r"`gamma` must be a number"),
    ],
    "ignore_class": [
        (1.0, TypeError, r"`ignore_class` must be an integer; got 1.0"),
        (True, TypeError, r"`ignore_class` must be an integer; got True"),
        ("1", TypeError, r"`ignore_class` must be an integer"),
    ],
    "label_smoothing": [
        (-0.1, ValueError, r"`label_smoothing` must lie in \[0, 1\]; got -0.1"),
        (1.5, ValueError, r"`label_smoothing` must lie in \[0, 1\]; got 1.5"),
        (np.nan, ValueError, r"`label_smoothing` must lie in"),
        ("a", TypeError, r"`label_smoothing` must be a number; got 'a'"),
    ],
    "labels": [
        ("hinge", ValueError, r"`labels` must be one of 'auto', 'binary', 'signed'; got 'hinge'"),
        (None, ValueError, r"`labels` must be one of"),
    ],
    "margin": [
        (np.inf, ValueError, r"`margin` must lie in \(-inf, inf\); got inf"),
        ("0", TypeError, r"`margin` must be a number; got '0'"),
    ],
    "q": [
        (0.0, ValueError, r"`q` must lie in \(0, 1\); got 0.0"),
        (1, ValueError, r"`q` must lie in \(0, 1\); got 1"),
        (np.nan, ValueError, r"`q` must lie in"),
        ("1", TypeError, r"`q` must be a number; got '1'"),
    ],
    "remove_diagonal": [("yes", *FLAG), (2, *FLAG), (None, *FLAG)],
}

SET_AXES = "`axis` must be None, an integer or a tuple of integers"
OF_FUNCTION = {
    (name, "axis"): [(wrong, ValueError, SET_AXES) for wrong in (True, 1.0, (), "all", (0, 1.5))]
    for name in ("dice", "tversky")
}
OF_FUNCTION["circle", "gamma"] = [
    (0, ValueError, r"`gamma` must lie in \(0, inf\); got 0"),
    (-1.0, ValueError, r"`gamma` must lie in \(0, inf\); got -1.0"),
    ("2", TypeError, r"`gamma` must be a number"),
]

PAIRS = [
    (cls, option)
    for cls in registry.CLASSES.values()
    for option in inspect.signature(cls().fn).parameters
    if not option.startswith(("y_", "ref_"))  # which are arrays
]
IDS = [f"{cls.__name__}-{option}" for cls, option in PAIRS]


def test_every_option_is_known_here():
    assert {option for _, option in PAIRS} == set(WRONG) == set(OPTIONS)


@pytest.mark.parametrize(("cls", "option"), PAIRS, ids=IDS)
def test_wrong_values(cls, option):
    loss = cls()
    before = loss.get_config()
    for value, error, message in OF_FUNCTION.get((loss.fn.__name__, option), WRONG[option]):
        if option == "alpha" and value is None and cls is losses.CategoricalFocalCrossentropy:
            message = "`alpha` must be a number"
        with pytest.raises(error, match=message):
            cls(**{option: value})
        with pytest.raises(error, match=message):
            loss.fn([[0.0]], [[0.5]], **{option: value})
        with pytest.raises(error, match=message):
            setattr(loss, option, value)
    assert loss.get_config() == before


POSITIONAL = [(cls, option) for cls, option in PAIRS if option != "labels"]


@pytest.mark.parametrize(("cls", "option"), POSITIONAL)
def test_a_reduction_in_another_arguments_place_is_named(cls, option):
    """TensorFlow 2.3 took the reduction before the options that Keras 3 has there."""
    for reduction in ("sum", "none", losses.Reduction.SUM, losses.Reduction.AUTO):
        name = str(reduction.value if isinstance(reduction, losses.Reduction) else reduction)
        with pytest.raises(
            (TypeError, ValueError), match=f"pass it by keyword, reduction='{name}'"
        ):
            cls(**{option: reduction})


REDUCTIONS = ["sum", "none", "auto", "mean", "sum_over_batch_size", "mean_with_sample_weight"]


@pytest.mark.parametrize("reduction", [*REDUCTIONS, *losses.Reduction])
def test_a_reduction_in_the_names_place_is_named(reduction):
    """tf.keras took the reduction first: ``Loss(reduction, name)``."""

    class Mine(losses.Loss):
        def __init__(self):
            super().__init__(reduction, "mine")

    message = f"pass it by keyword, reduction='{reduction}'"
    for make in (Mine, losses.Loss, *registry.CLASSES.values()):
        with pytest.raises(ValueError, match=f"`name` must be .*{message}"):
            make() if make is Mine else make(name=reduction)
    with pytest.raises(ValueError, match=message):
        losses.LossFunctionWrapper(losses.mse, "sum", reduction)
    with pytest.raises(ValueError, match=message):
        losses.deserialize({"class_name": "Huber", "config": {"name": reduction}})


@pytest.mark.parametrize("wrong", [3, 0, ["huber"], b"huber", False])
def test_wrong_names(wrong):
    for cls in (losses.Loss, losses.Huber):
        with pytest.raises(TypeError, match="`name` must be a string or None; got"):
            cls(name=wrong)


def test_a_class_may_be_called_as_a_reduction():
    class Sum(losses.Loss):
        pass

    loss = Sum(reduction="none")
    assert loss.name == "sum"
    assert Sum.from_config(loss.get_config()) == loss
    with pytest.raises(ValueError, match="reduction='sum'"):
        Sum(losses.Reduction.SUM)


@pytest.mark.parametrize("wrong", ["avg", "Sum", 1, True, ["sum"], 0.0])
def test_wrong_reductions(wrong):
    with pytest.raises(ValueError, match="Invalid value for argument `reduction`"):
        losses.MeanSquaredError(reduction=wrong)
    loss = losses.MeanSquaredError()
    with pytest.raises(ValueError, match="Invalid value for argument `reduction`"):
        loss.reduction = wrong
    assert loss.reduction == "sum_over_batch_size"


def test_a_wrong_reduction_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'mean_with_sample_weight'"):
        losses.Loss(reduction="mean_with_sample_weights")
    with pytest.raises(ValueError, match="did you mean 'float32' or"):
        losses.Loss(dtype="float23")


@pytest.mark.parametrize("wrong", ["int32", "double", np.int8, np.complex128, 32, "complex64"])
def test_wrong_dtypes(wrong):
    with pytest.raises(
        ValueError, match="`dtype` must name one of float16, bfloat16, float32, float64"
    ):
        losses.Huber(dtype=wrong)


def test_dtypes():
    class Policy:
        compute_dtype = "float16"

    for dtype, name in [
        ("float64", "float64"),
        (np.float32, "float32"),
        (np.dtype("float16"), "float16"),
        (Policy(), "float16"),
    ]:
        loss = losses.MeanSquaredError(dtype=dtype)
        assert loss.dtype == name
        assert loss([[0.0]], [[3.0]]).dtype == name


@pytest.mark.parametrize("axis", [-3, 2, 5])
def test_an_axis_that_the_arrays_lack(axis):
    row = [[0.2, 0.8]]
    for name in ("cosine_similarity", "binary_crossentropy", "categorical_focal_crossentropy"):
        with pytest.raises(ValueError, match=r"`axis` must lie in \[-2, 1\] for `y_pred` of shape"):
            getattr(losses, name)(row, row, axis=axis)


def test_numpy_scalars_are_numbers():
    loss = losses.CategoricalFocalCrossentropy(
        alpha=np.float32(0.5),
        gamma=np.int64(2),
        from_logits=np.bool_(True),
        label_smoothing=np.array(0.25),
        axis=np.int32(-1),
    )
    plain = losses.CategoricalFocalCrossentropy(0.5, 2, True, 0.25, -1)
    arrays = [[0.0, 1.0]], [[0.3, 0.9]]
    assert loss(*arrays) == plain(*arrays)
    assert loss == plain


def test_alpha_for_each_class_must_fit_the_classes():
    row = [[0.0, 1.0, 0.0]]
    with pytest.raises(ValueError, match="hold one for each of the 3 classes; got 2"):
        losses.categorical_focal_crossentropy(row, row, alpha=[0.5, 0.5])
    with pytest.raises(ValueError, match=r"`alpha\[1\]` must lie in \[0, inf\); got -1"):
        losses.CategoricalFocalCrossentropy(alpha=[0.5, -1, 0.5])
    with pytest.raises(ValueError, match="`alpha` must not be empty"):
        losses.CategoricalFocalCrossentropy(alpha=[])
    with pytest.raises(TypeError, match="`alpha` must be a number"):
        losses.BinaryFocalCrossentropy(alpha=[0.5, 0.5])


@pytest.mark.parametrize("name", ["hinge", "squared_hinge"])
def test_labels_of_hinges(name):
    function = getattr(losses, name)
    y_pred = np.array([[0.3, -0.4]])
    signed, binary = np.array([[1.0, -1.0]]), np.array([[1.0, 0.0]])
    expected = function(signed, y_pred)
    for labels, y_true in [("signed", signed), ("binary", binary), ("auto", binary)]:
        np.testing.assert_array_equal(function(y_true, y_pred, labels=labels), expected)
    # Told that they are signed, labels of 0 and 1 stay what they are.
    assert function(binary, y_pred, labels="signed") != expected
    with pytest.raises(
        ValueError, match=r"`y_true` must lie in \[0, 1\]; got y_true\[0, 1\] = -1.0"
    ):
        function(signed, y_pred, labels="binary")
    with pytest.raises(TypeError, match="positional"):
        function(signed, y_pred, "signed")


@pytest.mark.parametrize("cls", [losses.Hinge, losses.SquaredHinge])
def test_partials_of_hinges_must_be_told_the_labels(cls):
    y_true, y_pred = np.array([[1.0], [1.0], [0.0]]), np.array([[0.3], [0.2], [0.4]])
    with pytest.raises(
        ValueError, match="make the loss with labels='binary' for 0/1 or labels='signed' for -1/1"
    ):
        omniloss.partial(cls(), y_true, y_pred)
    loss = cls(labels="binary")
    parts = [omniloss.partial(loss, y_true[rows], y_pred[rows]) for rows in (slice(2), slice(2, 3))]
    assert sum(parts).result() == pytest.approx(cls()(y_true, y_pred), rel=1e-15)
    assert loss.get_config()["labels"] == "binary"
    assert "labels" not in cls().get_config()


def test_messages_about_data_hint_at_logits():
    logits = [[0.2, 3.5]]
    hint = r"\(probabilities; pass from_logits=True if these are logits\); got y_pred\[0, 1\] = 3.5"
    for name in (
        "binary_crossentropy",
        "binary_focal_crossentropy",
        "categorical_focal_crossentropy",
    ):
        with pytest.raises(ValueError, match=r"`y_pred` must lie in \[0, 1\] " + hint):
            getattr(losses, name)([[0.0, 1.0]], logits)
    negative = [[0.2, -3.5]]
    for name, labels in [
        ("categorical_crossentropy", [[0.0, 1.0]]),
        ("sparse_categorical_crossentropy", [1]),
    ]:
        with pytest.raises(
            ValueError, match=r"`y_pred` must lie in \[0, inf\) \(probabilities; pass"
        ):
            getattr(losses, name)(labels, negative)
    with pytest.raises(ValueError, match=r"`y_pred` must lie in \[0, inf\) \(rates; if these are"):
        losses.poisson([[0.0, 1.0]], negative)
