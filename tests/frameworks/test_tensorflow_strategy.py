"""Losses under a `tf.distribute` strategy of two replicas, which needs a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("tensorflow")

SCRIPT = """
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras
import numpy as np
import omniloss
from omniloss import losses, nn
from omniloss.losses import Reduction

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
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


class Own(losses.Loss):
    def call(self, y_true, y_pred):
        return tf.reduce_mean((y_true - y_pred) ** 2, -1)


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


def test_two_replicas() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
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
