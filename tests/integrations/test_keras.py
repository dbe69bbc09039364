"""Losses as Keras's own: training on each backend, and objects, names and numbers without training."""

from __future__ import annotations

import copy
import functools
import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import omniloss
from omniloss import losses, nn
from omniloss.losses import registry

keras = pytest.importorskip("keras")
as_keras = pytest.importorskip("omniloss.integrations.keras").as_keras

SUPPORT = Path(__file__).parents[1] / "support"
OBJECTS = {name: cls() for name, cls in registry.CLASSES.items()}
LOGITS = np.sin(np.arange(40.0)).reshape(8, 5).astype("float32")
REAL = np.cos(np.arange(40.0)).reshape(8, 5).astype("float32")
POSITIVE = REAL**2
LABELS = np.arange(8) % 5
WEIGHTS = np.linspace(0.0, 3.0, 8)


def through_keras(loss: object) -> object:
    written = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    return keras.saving.deserialize_keras_object(written)


def run_checks(script: str, library: str, *arguments: str) -> None:
    """Run a script that prints each check that has passed, in a process of its own."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    done = subprocess.run(
        [sys.executable, str(SUPPORT / script), *arguments],
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    defined = re.findall(r"^def (check_\w+)", (SUPPORT / script).read_text(), re.MULTILINE)
    assert done.stdout.split() == defined


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_training_and_saving(backend: str, tmp_path: Path) -> None:
    run_checks("keras_checks.py", backend, backend, str(tmp_path))


@pytest.mark.slow
def test_training_and_saving_with_tf_keras(tmp_path: Path) -> None:
    run_checks("tf_keras_checks.py", "tf_keras", str(tmp_path))


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_is_both_a_loss_of_keras_and_what_it_was(name: str) -> None:
    loss = OBJECTS[name]
    assert isinstance(loss, keras.losses.Loss)
    assert isinstance(loss, registry.CLASSES[name])
    assert type(loss) is registry.CLASSES[name]
    assert loss.__class__.__name__ == name
    assert issubclass(loss.__class__, (keras.losses.Loss, type(loss)))
    assert as_keras(loss) is loss
    again = (
        pickle.loads(pickle.dumps(loss)),
        copy.copy(loss),
        copy.deepcopy(loss),
        loss.__class__(**loss.get_config()),
        loss.__class__.from_config(loss.get_config()),
        through_keras(loss),
    )
    for other in again:
        assert type(other) is type(loss)
        assert other == loss
        assert other is not loss


@pytest.mark.parametrize("name", registry.FUNCTIONS)
def test_a_function_comes_back_as_ours(name: str) -> None:
    function = registry.FUNCTIONS[name]
    assert through_keras(function) is function
    options = next(loss._fn_kwargs for loss in OBJECTS.values() if loss.fn is function)
    wrapped = losses.LossFunctionWrapper(function, name="mine", **options)
    assert through_keras(wrapped) == wrapped
    assert losses.deserialize(keras.saving.serialize_keras_object(function)) is function


def test_options_come_back() -> None:
    for loss in (
        losses.Huber(delta=0.25, reduction=losses.Reduction.SUM, name="mine", dtype="float64"),
        losses.CosineSimilarity(axis=1),
        losses.CategoricalFocalCrossentropy(alpha=[0.1, 0.2, 0.7]),
    ):
        assert through_keras(loss) == loss
        assert losses.deserialize(keras.saving.serialize_keras_object(loss)) == loss


class Mine(losses.Huber):
    """Not registered with Keras."""


@keras.saving.register_keras_serializable("tests", "Registered")
class Yours(losses.Loss):
    """Registered with Keras, by another name."""

    def __init_subclass__(cls) -> None:
        raise AssertionError("showing an object to Keras runs nothing of its class")

    def call(self, y_true: object, y_pred: object) -> object:
        return y_pred


def test_subclasses_come_back_as_keras_s_would() -> None:
    assert isinstance(Mine(), keras.losses.Loss)
    with pytest.raises(TypeError, match="Could not locate class 'Mine'"):
        through_keras(Mine())
    with keras.saving.custom_object_scope({"Mine": Mine}):
        assert through_keras(Mine(delta=3.0)) == Mine(delta=3.0)
    assert keras.saving.serialize_keras_object(Yours())["registered_name"] == "tests>Registered"
    assert type(through_keras(Yours())) is Yours


def test_a_training_loop_leaves_a_loss_what_it_was() -> None:
    loss = Mine()
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    model.compile(loss=loss)
    model.evaluate(REAL, LOGITS, verbose=0)
    assert loss == Mine()


@keras.saving.register_keras_serializable("tests")
def registered(y_true: object, y_pred: object) -> object:
    return y_pred


def plain(y_true: object, y_pred: object) -> object:
    return y_pred


def test_a_users_function_comes_back_in_its_wrapper() -> None:
    wrapped = losses.LossFunctionWrapper(registered)
    assert through_keras(wrapped) == wrapped
    wrapped = losses.LossFunctionWrapper(plain)
    with pytest.raises(ValueError, match="unknown loss 'plain'"):
        through_keras(wrapped)
    with keras.saving.custom_object_scope({"plain": plain}):
        assert through_keras(wrapped) == wrapped


def test_the_settings_of_keras_hold_until_there_are_own_ones() -> None:
    keras.config.set_floatx("float64")
    keras.config.set_epsilon(1e-3)
    try:
        assert losses.mean_squared_error([[1.0]], [[2.0]]).dtype == "float64"
        assert losses.BinaryCrossentropy()([[1.0]], [[0.0]]) == pytest.approx(-np.log(1e-3))
        with omniloss.config(floatx="float32", epsilon=1e-2):
            found = losses.BinaryCrossentropy()([[1.0]], [[0.0]])
        assert found.dtype == "float32"
        assert found == pytest.approx(-np.log(1e-2))
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_epsilon(1e-7)


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_objects_and_functions_made_before_keras_was_imported() -> None:
    run("""
from omniloss import losses, nn
loss, function = losses.Huber(delta=0.5), losses.huber
assert loss.__class__ is losses.Huber
import pickle
pickled = pickle.dumps(loss)
import keras
function([[1.0]], [[2.0]])  # as in training, before any object has been looked at
assert keras.saving.serialize_keras_object(function)["config"] == "omniloss>huber"
assert isinstance(loss, keras.losses.Loss) and isinstance(losses.Huber(), keras.losses.Loss)
assert pickle.loads(pickled) == loss == pickle.loads(pickle.dumps(loss))
written = keras.saving.serialize_keras_object({"object": loss, "function": function})
assert keras.saving.deserialize_keras_object(written) == {"object": loss, "function": function}
assert keras.saving.serialize_keras_object(keras.losses.huber)["config"] == "huber"
""")


def test_a_process_that_imports_the_integration_alone_knows_the_names() -> None:
    run("""
import json, keras, omniloss.integrations.keras
from keras import saving
for written in (
    {"module": "builtins", "class_name": "function", "config": "omniloss>huber", "registered_name": "function"},
    {"module": "omniloss.losses.regression", "class_name": "Huber", "config": {}, "registered_name": "omniloss>Huber"},
):
    assert "omniloss" in repr(type(saving.deserialize_keras_object(written))) + saving.deserialize_keras_object(written).__module__
""")


NLL = functools.partial(nn.functional.nll_loss, weight=[1.0, 2.0, 3.0, 4.0, 5.0])
PROBABILITIES = POSITIVE / POSITIVE.sum(axis=1, keepdims=True)
TORCH_DIALECT = [
    (nn.MSELoss(), keras.losses.MeanSquaredError(), REAL),
    (nn.MSELoss(reduction="sum"), keras.losses.MeanSquaredError(reduction="sum"), REAL),
    (nn.HuberLoss(delta=0.5), keras.losses.Huber(delta=0.5), REAL),
    (nn.functional.l1_loss, keras.losses.MeanAbsoluteError(), REAL),
    (
        nn.CrossEntropyLoss(),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        LABELS,
    ),
    (
        nn.CrossEntropyLoss(ignore_index=2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2),
        LABELS,
    ),
    (
        nn.CrossEntropyLoss(),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        PROBABILITIES,
    ),
    (nn.BCEWithLogitsLoss(), keras.losses.BinaryCrossentropy(from_logits=True), PROBABILITIES),
    (nn.CrossEntropyLoss(weight=[1, 2, 3, 4, 5], ignore_index=2), None, LABELS),
    (NLL, None, LABELS),
    (nn.MultiMarginLoss(), None, LABELS),
    (nn.KLDivLoss(reduction="batchmean"), None, POSITIVE),
    (nn.NLLLoss(reduction="sum"), None, LABELS),
]


@pytest.mark.parametrize(("loss", "twin", "target"), TORCH_DIALECT)
def test_losses_of_the_torch_dialect(loss: object, twin: object, target: np.ndarray) -> None:
    ours = as_keras(loss)
    assert isinstance(ours, keras.losses.Loss)
    assert as_keras(ours) is ours
    np.testing.assert_allclose(ours(target, LOGITS), loss(LOGITS, target), rtol=2e-6)
    if twin is not None and getattr(loss, "reduction", "mean") != "sum":
        np.testing.assert_allclose(ours(target, LOGITS), twin(target, LOGITS), rtol=2e-6)
        theirs = np.float32(twin(target, LOGITS, sample_weight=WEIGHTS))
        np.testing.assert_allclose(ours(target, LOGITS, WEIGHTS), theirs, rtol=2e-6)
    kept = np.arange(8) % 2 == 0
    np.testing.assert_allclose(
        ours(target, LOGITS, mask=kept), loss(LOGITS[kept], target[kept]), rtol=2e-6
    )
    parts = [omniloss.partial(ours, target[s], LOGITS[s]) for s in (slice(3), slice(3, None))]
    np.testing.assert_allclose(sum(parts).result(), ours(target, LOGITS), rtol=2e-6)
    # Sums are added up from the samples' losses; a call does most losses in one pass.
    for options in ({"sample_weight": WEIGHTS}, {"sample_weight": WEIGHTS, "mask": kept}):
        summed = omniloss.partial(ours, target, LOGITS, **options).result()
        np.testing.assert_allclose(summed, ours(target, LOGITS, **options), rtol=2e-6)
    again = through_keras(ours)
    assert type(again) is type(ours)
    assert again == ours
    assert again(target, LOGITS, WEIGHTS) == ours(target, LOGITS, WEIGHTS)


def test_class_weights_divide_whatever_the_sample_weights() -> None:
    weight = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    loss = nn.CrossEntropyLoss(weight=weight)
    single = nn.CrossEntropyLoss(weight=weight, reduction="none")(LOGITS, LABELS)
    expected = np.sum(WEIGHTS * single) / np.sum(weight[LABELS])
    np.testing.assert_allclose(as_keras(loss)(LABELS, LOGITS, WEIGHTS), expected, rtol=1e-6)
    zero = as_keras(nn.CrossEntropyLoss(ignore_index=1))(np.ones(8, int), LOGITS)
    assert zero == 0.0  # as in Keras; torch gives NaN


def test_labels_and_targets_in_the_shapes_that_keras_s_data_has() -> None:
    loss = as_keras(nn.CrossEntropyLoss())
    expected = loss(LABELS, LOGITS)
    assert loss(LABELS[:, None].astype("float32"), LOGITS) == expected
    assert as_keras(nn.MSELoss())(REAL[:, 0], LOGITS[:, :1]) == as_keras(nn.MSELoss())(
        REAL[:, :1], LOGITS[:, :1]
    )
    half = as_keras(nn.MSELoss(reduction="sum"))(np.zeros(300), np.full(300, 16.0, "float16"))
    assert half == np.float32(300 * 256)  # not infinite


def test_modules_of_torch() -> None:
    torch = pytest.importorskip("torch")
    as_module = pytest.importorskip("omniloss.integrations.torch").as_module
    plain = nn.CrossEntropyLoss(weight=[1.0, 2.0, 3.0, 4.0, 5.0])
    arrays = torch.asarray(LABELS), torch.asarray(LOGITS), torch.asarray(WEIGHTS)
    np.testing.assert_allclose(
        as_keras(as_module(plain))(*arrays), as_keras(plain)(*arrays), rtol=1e-6
    )
    assert as_keras(as_module(losses.Huber(delta=0.5))) == losses.Huber(delta=0.5)


def test_what_as_keras_takes_besides() -> None:
    theirs = keras.losses.Huber()
    assert as_keras(theirs) is theirs
    wrapped = as_keras(losses.huber)
    assert wrapped == losses.LossFunctionWrapper(losses.huber, name="huber")
    assert as_keras(functools.partial(losses.huber, delta=0.5))(REAL, LOGITS) == losses.Huber(
        delta=0.5
    )(REAL, LOGITS)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (nn.MSELoss, "must be a loss object or a function"),
        ("mse", "must be a loss object or a function"),
        (nn.TripletMarginLoss(), "but .* takes anchor, positive, negative"),
        (nn.functional.ctc_loss, "takes log_probs, targets, input_lengths, target_lengths"),
        (nn.MSELoss().forward, "of the PyTorch dialect: take its twin"),
        (losses.compile("mse"), "reduces several losses by itself: pass its own `loss`"),
    ],
)
def test_what_as_keras_refuses(wrong: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        as_keras(wrong)


HIDDEN = [
    nn.functional.mse_loss,
    nn.MSELoss().forward,
    functools.partial(nn.MSELoss()),
    losses.compile("mse"),
]


@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
@pytest.mark.parametrize(
    "wrong", [*HIDDEN, nn.L1Loss()], ids=["function", "forward", "partial", "compiled", "object"]
)
def test_what_reduces_by_itself_is_no_metric(wrong: object, argument: str) -> None:
    """Keras would average the means of its batches, and hand over targets and predictions the other way round."""
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    model.compile(loss="mse", **{argument: [wrong]})
    with pytest.raises(TypeError, match=r"for a metric pass a function of omniloss.losses"):
        model.evaluate(REAL, LOGITS, verbose=0)


@pytest.mark.parametrize("name", ["huber", "mean_absolute_error", "log_cosh"])
def test_metrics_are_functions_of_the_keras_dialect(name: str) -> None:
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    numbers = []
    for library in (losses, keras.losses):
        functions = [getattr(library, name)]
        model.compile(loss="mse", metrics=functions, weighted_metrics=functions)
        numbers.append(model.evaluate(REAL, LOGITS, sample_weight=WEIGHTS, batch_size=3, verbose=0))
    np.testing.assert_allclose(*numbers, rtol=1e-6)


@pytest.mark.parametrize(
    "hidden",
    [
        losses.MeanSquaredError().__call__,
        functools.partial(losses.MeanSquaredError()),
        functools.partial(functools.partial(as_keras(nn.MSELoss()))),
        functools.partial(losses.compile("mse")),
    ],
    ids=["bound", "partial", "adapted", "compiled"],
)
def test_a_loss_object_that_is_hidden_from_keras(hidden: object) -> None:
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    model.compile(loss=hidden)
    with pytest.raises(TypeError, match=r"pass (the object itself|its own `loss`)"):
        model.evaluate(REAL, LOGITS, sample_weight=WEIGHTS, verbose=0)


@pytest.mark.parametrize("native", [True, False], ids=["core", "formulas"])
@pytest.mark.parametrize("wrong", HIDDEN, ids=["function", "forward", "partial", "compiled"])
def test_what_reduces_by_itself_is_no_function(
    wrong: object, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras's `compile` would weigh the mean again: with weights the number would be another one."""
    if not native:
        monkeypatch.setattr("omniloss.native.core", None)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    model.compile(loss=wrong)
    with pytest.raises(TypeError, match="for a plain function of"):
        model.evaluate(REAL, LOGITS, sample_weight=WEIGHTS, verbose=0)
    with pytest.raises(TypeError, match="`fn` takes"):
        losses.LossFunctionWrapper(wrong)


class Own(nn.MSELoss):
    """A user's own loss of the PyTorch dialect, which reduces whatever it is told."""

    def forward(self, input: object, target: object) -> object:
        return ((input - target) ** 2).mean()


def test_a_loss_that_reduces_whatever_it_is_told_takes_no_weights() -> None:
    loss = as_keras(Own())
    assert loss(REAL, LOGITS) == pytest.approx(np.mean((REAL - LOGITS) ** 2))
    with pytest.raises(TypeError, match="cannot be weighed or masked"):
        loss(REAL, LOGITS, WEIGHTS)
    with pytest.raises(TypeError, match="unknown loss 'Own'; register your own class"):
        through_keras(loss)
