"""Losses under a `tf.distribute` strategy of two replicas, which needs a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("tensorflow")

START = """
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras
import numpy as np
import omniloss
from omniloss import losses, nn
from omniloss.losses import Reduction

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


class Own(losses.Loss):
    def call(self, y_true, y_pred):
        return tf.reduce_mean((y_true - y_pred) ** 2, -1)

"""

CUSTOM_LOOP = """
assert strategy.num_replicas_in_sync == 2
rng = np.random.default_rng(0)
y, p = rng.random((2, 5, 3))
weights = rng.random(5)
shards = slice(0, 3), slice(3, 5)


def spread(x):
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(x[shards[context.replica_id_in_sync_group]])
    )


batch = spread(y), spread(p), spread(weights)


def gradient(loss, y, p, weights):
    with tf.GradientTape() as tape:
        tape.watch(p)
        value = loss(y, p, weights)
    return tape.gradient(value, p)


def near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def step(loss, *batch):
    total = strategy.reduce("SUM", strategy.run(loss, batch), axis=None)
    slopes = strategy.run(lambda *batch: gradient(loss, *batch), batch)
    return total, strategy.experimental_local_results(slopes)


def of_all(loss, *batch):
    parts = strategy.run(lambda *batch: omniloss.partial(loss, *batch), batch)
    return sum(strategy.experimental_local_results(parts))


for run, run_all in ((step, of_all), (tf.function(step), tf.function(of_all))):
    # The default and plain strings: Keras 3's number
    for reduction in ("sum_over_batch_size", "mean", "sum"):
        ours = run(losses.MeanSquaredError(reduction=reduction), *batch)
        theirs = run(keras.losses.MeanSquaredError(reduction=reduction, dtype="float64"), *batch)
        near(ours[0], theirs[0])
        for mine, other in zip(ours[1], theirs[1]):
            near(mine, other)
        near(run(Own(reduction=reduction), *batch)[0], ours[0])
    # The members of Reduction: tf.keras's rule
    for member in (Reduction.AUTO, Reduction.SUM_OVER_BATCH_SIZE):
        for loss in (losses.MeanSquaredError(reduction=member), Own(reduction=member)):
            try:
                run(loss, *batch)
            except ValueError as error:
                assert "Reduction.SUM or Reduction.NONE" in str(error)
            else:
                raise AssertionError(member)
        loss._allow_sum_over_batch_size = True  # as tf.keras's own loop says
        run(loss, *batch)
    whole = losses.MeanSquaredError(reduction=Reduction.SUM)
    near(run(whole, *batch)[0], whole(y, p, weights))
    # The whole batch's mean, of shards of different sizes
    loss = losses.MeanSquaredError()
    total = run_all(loss, *batch)
    near(total.result(), loss(y, p, weights))
    near(total.weight, 5.0)
    near(run(lambda y, p, _: losses.Dice()(y, p), *batch)[0], sum(losses.Dice()(y[s], p[s]) for s in shards) / 2)
    near(run(lambda y, p, _: nn.MSELoss()(p, y), *batch)[0], sum(nn.MSELoss()(p[s], y[s]) for s in shards))

with strategy.scope():  # outside of the replicas
    near(losses.MeanSquaredError()(tf.constant(y), tf.constant(p)), losses.MeanSquaredError()(y, p))
    try:
        losses.MeanSquaredError(reduction=Reduction.AUTO)(tf.constant(y), tf.constant(p))
    except ValueError:
        pass
    else:
        raise AssertionError
near(losses.MeanSquaredError(reduction=Reduction.AUTO)(tf.constant(y), tf.constant(p)), losses.MeanSquaredError()(y, p))
"""


# A model with an output for each pair of losses of which one is Keras's: the same training with all of ours.
FIT = """
from omniloss.integrations.KERAS import as_keras

theirs = KERAS.losses
of_classes = dict(from_logits=True, ignore_class=1)
pairs = [
    (losses.MeanSquaredError(), theirs.MeanSquaredError()),
    (losses.MeanSquaredError(reduction="sum"), theirs.MeanSquaredError(reduction="sum")),
    (losses.MeanSquaredError(reduction=Reduction.AUTO), theirs.MeanSquaredError()),
    (losses.LogCosh(reduction=Reduction.SUM_OVER_BATCH_SIZE), theirs.LogCosh()),
    (Own(reduction=Reduction.AUTO), theirs.MeanSquaredError()),
    (losses.SparseCategoricalCrossentropy(**of_classes), theirs.SparseCategoricalCrossentropy(**of_classes)),
    (losses.huber, theirs.huber),
    (nn.MSELoss(), theirs.MeanSquaredError()),
    (nn.functional.l1_loss, theirs.MeanAbsoluteError()),
    (nn.CrossEntropyLoss(ignore_index=1), theirs.SparseCategoricalCrossentropy(**of_classes)),
]
if KERAS is keras:
    both = [loss(reduction="mean_with_sample_weight") for loss in (losses.Poisson, theirs.Poisson)]
    pairs += [both, (losses.Tversky(axis=1), theirs.Tversky(axis=1))]
rng = np.random.default_rng(0)
x = rng.normal(size=(21, 6)).astype("float32")
real, labels = (x[:, :3] ** 2 + 0.1).astype("float32"), rng.integers(0, 3, 21)
y = [labels if isinstance(pair[1], theirs.SparseCategoricalCrossentropy) else real for pair in pairs]
# In batches of 8 the last is of 5: 3 for one replica and 2 for the other. They are added up in another order.
weights = rng.uniform(0.0, 3.0, 21).astype("float32")


def trained(losses, sample_weight):
    KERAS.utils.set_random_seed(0)
    with strategy.scope():
        entry = KERAS.Input((6,))
        outputs = [KERAS.layers.Dense(3, "softplus", name=f"o{i}")(entry) for i in range(len(pairs))]
        model = KERAS.Model(entry, outputs)
        model.compile(KERAS.optimizers.SGD(0.02), losses)
    options = dict(sample_weight=sample_weight, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return model.fit(x, y, **options).history, model.get_weights()


for sample_weight in (None, weights):
    found = trained([as_keras(ours) for ours, _ in pairs], sample_weight)
    expected = trained([loss for _, loss in pairs], sample_weight)
    assert len(expected[0]) == 1 + len(pairs)
    for name in expected[0]:
        np.testing.assert_allclose(found[0][name], expected[0][name], rtol=2e-5, err_msg=name)
    for mine, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)
"""


def run(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START + script],
        env={
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "PYTHONPATH": ":".join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_loop_of_ones_own() -> None:
    run(CUSTOM_LOOP)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_compile_and_fit(library: str) -> None:
    pytest.importorskip(library)
    run(f"import {library}\n" + FIT.replace("KERAS", library))
