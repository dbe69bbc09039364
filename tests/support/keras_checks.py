"""Training, evaluating and saving with Keras, for one backend: run with the backend's name and a folder.

Prints a line for each check that has passed. What is compared runs twice, with our losses and with Keras's own.
"""

# ruff: noqa: E402 - the backend is chosen, and a loss made, before Keras is imported
from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

BACKEND, FOLDER = sys.argv[1], Path(sys.argv[2])
os.environ["KERAS_BACKEND"] = BACKEND

from omniloss import losses, nn

MADE_BEFORE_KERAS = losses.Huber(delta=0.5)

import keras
import numpy as np
import pytest

from omniloss.integrations.keras import as_keras
from omniloss.losses import registry

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype("float32")
LABELS = RNG.integers(0, 3, size=48)
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
REAL = (X[:, :3] ** 2 + 0.1).astype("float32")
WEIGHTS = RNG.uniform(0.0, 3.0, size=48).astype("float32")


@keras.saving.register_keras_serializable("checks")
class Fourth(losses.Loss):
    """A user's own subclass."""

    def call(self, y_true, y_pred):
        return keras.ops.mean((y_true - y_pred) ** 4, axis=-1)


class KerasFourth(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.mean((y_true - y_pred) ** 4, axis=-1)


def small_model(outputs=3, activation=None):
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(8, activation="tanh"),
        keras.layers.Dense(outputs, activation=activation),
    ]
    return keras.Sequential([keras.Input((6,)), *layers])


def many_headed_model(names):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(8, activation="tanh")(inputs)
    return keras.Model(inputs, {name: keras.layers.Dense(3, name=name)(hidden) for name in names})


def trained(model, loss, x, y, loss_weights=None, **options):
    """What training and evaluating report."""
    model.compile(loss=loss, loss_weights=loss_weights, optimizer=keras.optimizers.SGD(0.01))
    history = model.fit(x, y, epochs=2, batch_size=16, shuffle=False, verbose=0, **options).history
    options.pop("class_weight", None)
    numbers = model.evaluate(x, y, batch_size=16, verbose=0, return_dict=True, **options)
    return {**history, **{f"evaluated {name}": value for name, value in numbers.items()}}


def same(ours, theirs, tolerance=2e-5):
    assert ours.keys() == theirs.keys(), (ours.keys(), theirs.keys())
    for name, value in ours.items():
        assert np.all(np.isfinite(value)), name
        np.testing.assert_allclose(value, theirs[name], rtol=tolerance, err_msg=name)


OURS = {
    "before": MADE_BEFORE_KERAS,
    "cosine": losses.CosineSimilarity(axis=1),
    "labels": losses.SparseCategoricalCrossentropy(from_logits=True),
    "plain": losses.huber,
    "own": Fourth(),
    "wrapped": losses.LossFunctionWrapper(losses.log_cosh, reduction="sum", name="wrapped"),
    "torch": as_keras(nn.MSELoss()),
    "torch_labels": as_keras(nn.CrossEntropyLoss(label_smoothing=0.0)),
}
THEIRS = {
    "before": keras.losses.Huber(delta=0.5),
    "cosine": keras.losses.CosineSimilarity(axis=1),
    "labels": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "plain": keras.losses.huber,
    "own": KerasFourth(),
    "wrapped": keras.losses.LogCosh(reduction="sum"),
    "torch": keras.losses.MeanSquaredError(),
    "torch_labels": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
}
TARGETS = {name: LABELS if "labels" in name else REAL for name in OURS}
LOSS_WEIGHTS = {name: 0.5 + 0.25 * place for place, name in enumerate(OURS)}
HEADS = list(OURS)

LOADING = """
import sys
import keras
import numpy as np
import omniloss.integrations.keras

def call(self, y_true, y_pred):
    return keras.ops.mean((y_true - y_pred) ** 4, axis=-1)

Fourth = type("Fourth", (sys.modules["omniloss"].losses.Loss,), {"call": call})
keras.saving.register_keras_serializable("checks")(Fourth)
model = keras.saving.load_model(sys.argv[1] + "/heads.keras")
data = dict(np.load(sys.argv[1] + "/data.npz"))
x, weights = data.pop("x"), data.pop("weights")
weights = dict.fromkeys(data, weights)
numbers = model.evaluate(x, data, batch_size=16, verbose=0, sample_weight=weights, return_dict=True)
print(numbers["loss"])
loss = model.loss
assert loss["plain"].__module__.startswith("omniloss.")
print(repr(loss["before"]) + loss["plain"].__qualname__ + repr(loss["torch"]))
"""


def check_many_outputs_and_saving():
    model = many_headed_model(HEADS)
    weights = dict.fromkeys(HEADS, WEIGHTS)
    found = trained(model, OURS, X, TARGETS, LOSS_WEIGHTS, sample_weight=weights)
    twin = many_headed_model(HEADS)
    same(found, trained(twin, THEIRS, X, TARGETS, LOSS_WEIGHTS, sample_weight=weights))
    model.save(FOLDER / "heads.keras")
    np.savez(FOLDER / "data.npz", x=X, weights=WEIGHTS, **TARGETS)
    # A process that imports nothing but Keras and the integration
    done = subprocess.run(
        [sys.executable, "-c", LOADING, str(FOLDER)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *_, number, said = done.stdout.strip().splitlines()
    np.testing.assert_allclose(float(number), found["evaluated loss"], rtol=2e-5)
    assert said == repr(MADE_BEFORE_KERAS) + OURS["plain"].__qualname__ + repr(OURS["torch"])


def check_class_weights():
    options = {"class_weight": {0: 0.5, 1: 2.0, 2: 4.0}, "sample_weight": None}
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = trained(small_model(), theirs, X, LABELS, **options)
    same(
        trained(
            small_model(),
            losses.SparseCategoricalCrossentropy(from_logits=True),
            X,
            LABELS,
            **options,
        ),
        expected,
    )
    same(trained(small_model(), as_keras(nn.CrossEntropyLoss()), X, LABELS, **options), expected)


def check_masks():
    tokens = RNG.integers(0, 5, size=(32, 7))
    targets = RNG.integers(0, 3, size=(32, 7))
    targets[tokens == 0] = 2

    def model():
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Embedding(5, 4, mask_zero=True), keras.layers.Dense(3)]
        return keras.Sequential([keras.Input((7,)), *layers])

    weights = RNG.uniform(0.0, 3.0, size=(32, 7)).astype("float32")
    for options in ({}, {"sample_weight": weights}):
        theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        ours = losses.SparseCategoricalCrossentropy(from_logits=True)
        same(
            trained(model(), ours, tokens, targets, **options),
            trained(model(), theirs, tokens, targets, **options),
        )


def check_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        ours = trained(
            small_model(),
            losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
            X,
            ONE_HOT,
        )
        theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
        same(ours, trained(small_model(), theirs, X, ONE_HOT), tolerance=1e-3)
    finally:
        keras.config.set_dtype_policy("float32")


def check_every_class_and_function():
    """Evaluated without training, with weights."""
    models = {
        activation: small_model(activation=activation) for activation in ("sigmoid", "softmax")
    }
    for name, thing in {**registry.CLASSES, **registry.FUNCTIONS}.items():
        theirs = getattr(keras.losses, name)
        try:
            loss = thing() if isinstance(thing, type) else losses.LossFunctionWrapper(thing)
            formula = loss.describe(None, None).plan.formula
        except TypeError:  # it needs an option, and so is no loss by itself
            continue
        if formula.kind not in ("pointwise", "rowwise"):
            continue  # it takes other data than this model's
        activation = "sigmoid" if name.lower().startswith("binary") else "softmax"
        numbers = []
        for loss in (thing, theirs):
            model = models[activation]
            model.compile(loss=loss() if isinstance(loss, type) else loss, run_eagerly=True)
            y = LABELS if formula.labels else ONE_HOT
            numbers.append(model.evaluate(X, y, verbose=0, sample_weight=WEIGHTS))
        np.testing.assert_allclose(*numbers, rtol=1e-5, err_msg=name)


def check_saturated_probabilities():
    """Of which TensorFlow's backend knows the logits, and the others do not."""
    for activation, name, y in (
        ("sigmoid", "BinaryCrossentropy", 1 - ONE_HOT),
        ("softmax", "CategoricalCrossentropy", ONE_HOT),
        ("softmax", "SparseCategoricalCrossentropy", LABELS),
    ):
        model = small_model(activation=activation)
        model.layers[-1].set_weights([40.0 * w for w in model.layers[-1].get_weights()])
        for eager in (True, name != "BinaryCrossentropy"):
            numbers = []
            for library in (losses, keras.losses):
                model.compile(loss=getattr(library, name)(), run_eagerly=eager)
                numbers.append(model.evaluate(X, y, verbose=0))
            np.testing.assert_allclose(*numbers, rtol=1e-5, err_msg=f"{name}, {eager}")


def check_refusals():
    hidden = (nn.MSELoss().forward, functools.partial(nn.MSELoss()))
    for loss in (
        nn.MSELoss(),
        nn.CrossEntropyLoss(),
        nn.functional.mse_loss,
        *hidden,
        losses.compile("mse"),
    ):
        model = small_model()
        model.compile(loss=loss, run_eagerly=True)
        for run in (model.fit, model.evaluate):
            with pytest.raises(TypeError, match="for a plain function of"):
                run(X, LABELS, verbose=0)
    model = small_model()
    for metric in (nn.MSELoss(), functools.partial(nn.functional.huber_loss, delta=0.5)):
        model.compile(loss="mse", weighted_metrics=[metric])
        with pytest.raises(TypeError, match=r"for a metric pass a function of omniloss.losses"):
            model.evaluate(X, REAL, verbose=0)
    model.compile(loss=functools.partial(losses.MeanSquaredError()))
    with pytest.raises(TypeError, match="pass the object itself"):
        model.evaluate(X, REAL, verbose=0)


for name, check in list(globals().items()):
    if name.startswith("check_"):
        check()
        print(name, flush=True)
