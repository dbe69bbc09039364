"""Train a small Keras network with a loss of Keras's and then with ours: the same curves, and a saved model.

Two layers on scikit-learn's handwritten digits, from the same seeds, with weights for the classes: with
`keras.losses.SparseCategoricalCrossentropy`, with ours of the same name, and with `omniloss.nn.CrossEntropyLoss`, PyTorch's, as
a loss of Keras's. Then the second model is saved with its loss, loaded and evaluated again.

Prints a table. Keras's backend is chosen as always, by the environment: ``KERAS_BACKEND=jax python examples/keras_training.py``,
or ``torch`` or ``tensorflow``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from omniloss import losses, nn
from omniloss.integrations.keras import as_keras

SEED = 0
BATCH = 64
# Fives, sixes and nines count more, as if they were the ones that matter.
CLASS_WEIGHT = {label: 3.0 if label in (5, 6, 9) else 1.0 for label in range(10)}

LOSSES: dict[str, Any] = {
    "keras.losses": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "omniloss.losses": losses.SparseCategoricalCrossentropy(from_logits=True),
    "omniloss.nn": as_keras(nn.CrossEntropyLoss()),
}


@dataclass(frozen=True)
class Digits:
    """The digits, split: pixels from 0 to 1, and labels."""

    x_train: np.ndarray
    x_test: np.ndarray
    y_train: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True)
class Training:
    """One trained network: its loss in every epoch, the accuracy in the end, and the seconds that it took."""

    model: Any
    curve: list[float]
    accuracy: float
    seconds: float


def load() -> Digits:
    """Split the digits into 1347 images to train on and 450 to test."""
    x, labels = load_digits(return_X_y=True)
    x = (x / 16.0).astype("float32")  # pixels from 0 to 16
    return Digits(*train_test_split(x, labels, test_size=0.25, random_state=SEED, stratify=labels))


def train(loss: Any, digits: Digits, epochs: int) -> Training:
    """Train a network, all random numbers from the seed."""
    keras.utils.set_random_seed(SEED)
    layers = [keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(loss=loss, optimizer=optimizer, metrics=["accuracy"])
    start = time.perf_counter()
    history = model.fit(
        digits.x_train,
        digits.y_train,
        batch_size=BATCH,
        epochs=epochs,
        class_weight=CLASS_WEIGHT,
        verbose=0,
    ).history
    seconds = time.perf_counter() - start
    tested = model.evaluate(digits.x_test, digits.y_test, verbose=0, return_dict=True)
    return Training(model, history["loss"], tested["accuracy"], seconds)


def saved_and_loaded(model: Any) -> Any:
    """The model as another process would load it, compiled with the loss that it was saved with."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "digits.keras"
        model.save(file)
        return keras.saving.load_model(file)


def main() -> None:
    """Train with each loss, print the table, and save and load a model."""
    parser = argparse.ArgumentParser(description="Train with Keras's loss and with ours.")
    parser.add_argument("--epochs", type=int, default=20, help="how often the data is gone through")
    epochs = parser.parse_args().epochs
    if epochs < 1:
        parser.error("--epochs must be at least 1")

    digits = load()
    found = {name: train(loss, digits, epochs) for name, loss in LOSSES.items()}
    print(f"Digits on Keras with {keras.backend.backend()}: two layers, {epochs} epochs")
    print(
        f"{'cross-entropy of':<24}{'first loss':>12}{'last loss':>12}{'accuracy':>12}{'time':>10}"
    )
    for name, row in found.items():
        print(
            f"  {name:<22}{row.curve[0]:>12.4f}{row.curve[-1]:>12.4f}{row.accuracy:>12.1%}{row.seconds:>8.1f} s"
        )
    theirs, *ours = (row.curve for row in found.values())
    difference = max(np.max(np.abs(np.subtract(theirs, curve))) for curve in ours)
    print(f"  Largest difference from Keras's curve: {difference:.1e}")

    model = found["omniloss.losses"].model
    again = saved_and_loaded(model)
    before, after = (m.evaluate(digits.x_test, digits.y_test, verbose=0)[0] for m in (model, again))
    print(f"\nTest loss of the model: {before:.4f}, saved and loaded: {after:.4f}")
    print(f"Its loss: {again.loss!r}")


if __name__ == "__main__":
    main()
