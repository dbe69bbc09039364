"""Training, evaluating and saving with tf_keras: run with a folder, prints a line for each check that has passed."""

# ruff: noqa: E402 - a loss is made before tf_keras is imported
from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

from omniloss import losses, nn

MADE_BEFORE = losses.Huber(delta=0.5)

import numpy as np
import pytest
import tf_keras

from omniloss.integrations.tf_keras import as_keras

FOLDER = Path(sys.argv[1])
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype("float32")
LABELS = RNG.integers(0, 3, size=48)
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
REAL = (X[:, :3] ** 2 + 0.1).astype("float32")
WEIGHTS = RNG.uniform(0.0, 3.0, size=48).astype("float32")
SEQUENCES = RNG.normal(size=(8, 8, 3)).astype("float32")


def model(*shape):
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([tf_keras.Input(shape), tf_keras.layers.Dense(3)])


def trained(loss, x, y, made=None, **options):
    made = made or model(*x.shape[1:])
    made.compile(tf_keras.optimizers.legacy.SGD(0.01), loss, weighted_metrics=[])
    curve = made.fit(x, y, epochs=2, batch_size=16, shuffle=False, verbose=0, **options)
    options.pop("class_weight", None)
    return [*curve.history["loss"], made.evaluate(x, y, verbose=0, **options)]


PAIRS = [
    (MADE_BEFORE, tf_keras.losses.Huber(delta=0.5), REAL),
    (losses.MeanSquaredError(reduction="sum"), tf_keras.losses.MeanSquaredError("sum"), REAL),
    (losses.CosineSimilarity(axis=1), tf_keras.losses.CosineSimilarity(axis=1), REAL),
    (losses.LogCosh(reduction="mean"), tf_keras.losses.LogCosh(), REAL),
    (
        losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1),
        LABELS,
    ),
    (nn.MSELoss(), tf_keras.losses.MeanSquaredError(), REAL),
    (nn.functional.l1_loss, tf_keras.losses.MeanAbsoluteError(), REAL),
    (
        nn.CrossEntropyLoss(ignore_index=1),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1),
        LABELS,
    ),
]


def check_weights():
    for ours, theirs, y in PAIRS:
        found = trained(as_keras(ours), X, y, sample_weight=WEIGHTS)
        np.testing.assert_allclose(found, trained(theirs, X, y, sample_weight=WEIGHTS), rtol=2e-5)


def check_class_weights_and_plain_functions():
    options = {"class_weight": {0: 0.5, 1: 2.0, 2: 4.0}}
    theirs = trained(
        tf_keras.losses.CategoricalCrossentropy(from_logits=True), X, ONE_HOT, **options
    )
    ours = as_keras(losses.CategoricalCrossentropy(from_logits=True))
    np.testing.assert_allclose(trained(ours, X, ONE_HOT, **options), theirs, rtol=2e-5)
    theirs = trained(tf_keras.losses.huber, X, REAL, sample_weight=WEIGHTS)
    found = trained(losses.huber, X, REAL, sample_weight=WEIGHTS)
    np.testing.assert_allclose(found, theirs, rtol=2e-5)


def check_sequences_are_weighed_by_sample():
    """As many steps as samples: Keras 3 would weigh the steps."""
    y, weights = np.abs(SEQUENCES), WEIGHTS[:8]
    theirs = trained(tf_keras.losses.MeanAbsoluteError(), SEQUENCES, y, sample_weight=weights)
    ours = as_keras(losses.MeanAbsoluteError())
    np.testing.assert_allclose(
        trained(ours, SEQUENCES, y, sample_weight=weights), theirs, rtol=2e-5
    )


def check_saving():
    script = (
        "import sys, numpy as np, tf_keras, omniloss.integrations.tf_keras\n"
        "model = tf_keras.models.load_model(sys.argv[1])\n"
        "x, y = np.load(sys.argv[2])\n"
        "print(model.loss)\n"
        "print(model.evaluate(x, y, verbose=0))\n"
    )
    y = np.abs(X)
    np.save(FOLDER / "data.npy", np.stack([X, y]))
    for place, loss in enumerate(
        [as_keras(losses.Huber(delta=0.5)), as_keras(nn.SmoothL1Loss(beta=0.5)), losses.log_cosh]
    ):
        made = tf_keras.Sequential([tf_keras.Input((6,)), tf_keras.layers.Dense(6)])
        expected = trained(loss, X, y, made=made)[-1]
        file = FOLDER / f"{place}.keras"
        made.save(file)
        done = subprocess.run(
            [sys.executable, "-c", script, str(file), str(FOLDER / "data.npy")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        *_, said, number = done.stdout.strip().splitlines()
        np.testing.assert_allclose(float(number), expected, rtol=1e-6)
        assert "AdaptedLoss" in said or "log_cosh" in said, said


def check_refusals():
    for loss in (losses.Huber(), MADE_BEFORE, nn.MSELoss(), nn.functional.mse_loss):
        with pytest.raises(TypeError, match=r"omniloss.integrations.tf_keras.as_keras\(loss\)"):
            trained(loss, X, REAL)
    with pytest.raises(ValueError, match="no reduction 'mean_with_sample_weight'"):
        as_keras(losses.Huber(reduction="mean_with_sample_weight"))


def check_metrics():
    made = model(*X.shape[1:])
    for argument in ("metrics", "weighted_metrics"):
        for wrong in (
            nn.L1Loss(),
            nn.functional.mse_loss,
            functools.partial(nn.functional.huber_loss, delta=0.5),
        ):
            made.compile(loss="mse", **{argument: [wrong]})
            with pytest.raises(TypeError, match=r"for a metric pass a function of omniloss.losses"):
                made.evaluate(X, REAL, verbose=0)
        numbers = []
        for library in (losses, tf_keras.losses):
            made.compile(loss="mse", **{argument: [library.huber]})
            numbers.append(made.evaluate(X, REAL, sample_weight=WEIGHTS, verbose=0))
        np.testing.assert_allclose(*numbers, rtol=1e-5)


def check_hidden_losses():
    for hidden in (
        functools.partial(nn.functional.mse_loss),
        functools.partial(losses.Huber()),
        losses.Huber().__call__,
    ):
        with pytest.raises(TypeError, match=r"omniloss.integrations.tf_keras.as_keras\(loss\)"):
            trained(hidden, X, REAL)


for name, check in list(globals().items()):
    if name.startswith("check_"):
        check()
        print(name, flush=True)
