"""Train a small network in JAX with a loss of optax's and then with ours: the same curves, and what each costs.

Two layers on scikit-learn's handwritten digits, once with `optax.softmax_cross_entropy_with_integer_labels` and once with
`omniloss.losses.SparseCategoricalCrossentropy`, from the same seeds, every step compiled by `jax.jit`. Nothing but the
loss differs. The loss step, which is the loss and its gradient by the logits, is timed by itself, the two in turn: of a
batch as in the training, and of a large one.

Prints two tables. Run it by ``python examples/jax_training.py``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from omniloss import losses

SEED = 0
BATCH = 128
LARGE = 65_536  # rows, as language models and segmentations have them

Loss = Callable[[Any, Any], Any]  # of labels and logits


def optax_loss(labels: Any, logits: Any) -> Any:
    """The mean cross-entropy by optax."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


LOSSES: dict[str, Loss] = {
    "optax": optax_loss,
    "omniloss": losses.SparseCategoricalCrossentropy(from_logits=True),
}


@dataclass(frozen=True)
class Digits:
    """The digits, split: pixels from 0 to 1, and labels."""

    x_train: Any
    x_test: Any
    y_train: Any
    y_test: Any


@dataclass(frozen=True)
class Training:
    """One trained network: the loss of every step, and the accuracy in the end."""

    name: str
    curve: list[float]
    accuracy: float


def load() -> Digits:
    """Split the digits into 1347 images to train on and 450 to test."""
    x, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        np.asarray(x / 16.0, np.float32),  # pixels from 0 to 16
        labels,
        test_size=0.25,
        random_state=SEED,
        stratify=labels,
    )
    return Digits(*map(jnp.asarray, parts))


def start() -> dict[str, Any]:
    """The weights of a network of two layers, from the seed."""
    first, second = jax.random.split(jax.random.key(SEED))
    return {
        "hidden": (jax.random.normal(first, (64, 64)) / 8, jnp.zeros(64)),
        "output": (jax.random.normal(second, (64, 10)) / 8, jnp.zeros(10)),
    }


def logits_of(network: dict[str, Any], x: Any) -> Any:
    """What the network says of images, for each digit."""
    (w1, b1), (w2, b2) = network["hidden"], network["output"]
    return jax.nn.relu(x @ w1 + b1) @ w2 + b2


def train(name: str, loss: Loss, digits: Digits, epochs: int) -> Training:
    """Train a network by stochastic gradient descent, all random numbers from the seed."""
    network, optimizer = start(), optax.sgd(0.1, momentum=0.9)
    state = optimizer.init(network)

    @jax.jit
    def step(network: Any, state: Any, x: Any, y: Any) -> Any:
        value, gradient = jax.value_and_grad(lambda network: loss(y, logits_of(network, x)))(
            network
        )
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(network, updates), state, value

    rng, curve = np.random.default_rng(SEED), []
    for _ in range(epochs):
        order = rng.permutation(len(digits.y_train))
        for place in range(0, len(order), BATCH):
            batch = order[place : place + BATCH]
            network, state, value = step(
                network, state, digits.x_train[batch], digits.y_train[batch]
            )
            curve.append(float(value))
    right = logits_of(network, digits.x_test).argmax(1) == digits.y_test
    return Training(name, curve, float(right.mean()))


def time_loss_steps(rows: int, repeats: int) -> dict[str, float]:
    """The median seconds that each loss of so many rows and its gradient take, measured in turn."""
    first, second = jax.random.split(jax.random.key(SEED))
    logits = jax.random.normal(first, (rows, 10))
    labels = jax.random.randint(second, (rows,), 0, 10)
    steps = {name: jax.jit(jax.value_and_grad(loss, 1)) for name, loss in LOSSES.items()}
    for step in steps.values():
        jax.block_until_ready(step(labels, logits))  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            begin = time.perf_counter()
            jax.block_until_ready(step(labels, logits))
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Train with each loss and print the tables."""
    parser = argparse.ArgumentParser(description="Train with optax's loss and with ours.")
    parser.add_argument("--epochs", type=int, default=30, help="how often the data is gone through")
    epochs = parser.parse_args().epochs
    if epochs < 1:
        parser.error("--epochs must be at least 1")

    digits = load()
    rows = [train(name, loss, digits, epochs) for name, loss in LOSSES.items()]
    print(f"Digits: two layers, {epochs} epochs, batches of {BATCH}")
    print(f"{'':12}{'first loss':>12}{'last loss':>12}{'accuracy':>12}")
    for row in rows:
        print(f"  {row.name:<10}{row.curve[0]:>12.4f}{row.curve[-1]:>12.4f}{row.accuracy:>12.1%}")
    theirs, ours = (row.curve for row in rows)
    difference = max(abs(a - b) for a, b in zip(theirs, ours, strict=True))
    print(f"  Largest difference between the curves, over {len(ours)} steps: {difference:.1e}")

    steps = [time_loss_steps(BATCH, 300), time_loss_steps(LARGE, 50)]
    print("\nCompiled loss step: the loss and its gradient by the logits, median time")
    print(f"{'':12}{f'{BATCH} x 10':>12}{f'{LARGE:,} x 10':>15}")
    for name in LOSSES:
        small, large = (f"{seconds[name] * 1e6:,.0f} us" for seconds in steps)
        print(f"  {name:<10}{small:>12}{large:>15}")


if __name__ == "__main__":
    main()
