"""Train a small PyTorch network with a loss of torch's and then with ours: the same curves, and what each costs.

Two layers on scikit-learn's handwritten digits, once with `torch.nn.CrossEntropyLoss` and once with
`omniloss.nn.CrossEntropyLoss`, from the same seeds. Nothing but the module that the loss comes from differs.
The loss step, which is the loss and its gradient by the logits, is timed by itself, the two in turn: of a batch as
in the training, where the cost of a call counts, and of a large one, where that of an element does.

Prints two tables. Run it by ``python examples/torch_training.py``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from omniloss import nn

SEED = 0
BATCH = 128
LARGE = 65_536  # rows, as language models and segmentations have them

LOSSES: dict[str, Any] = {
    "torch.nn.CrossEntropyLoss": torch.nn.CrossEntropyLoss(),
    "omniloss.nn.CrossEntropyLoss": nn.CrossEntropyLoss(),
}


@dataclass(frozen=True)
class Digits:
    """The digits, split: pixels from 0 to 1, and labels."""

    x_train: torch.Tensor
    x_test: torch.Tensor
    y_train: torch.Tensor
    y_test: torch.Tensor


@dataclass(frozen=True)
class Training:
    """One trained network: the loss of every step, and the accuracy in the end."""

    name: str
    curve: list[float]
    accuracy: float


def load() -> Digits:
    """Split the digits into 1347 images to train on and 450 to test."""
    x, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        torch.tensor(x / 16.0, dtype=torch.float32),  # pixels from 0 to 16
        torch.tensor(labels),
        test_size=0.25,
        random_state=SEED,
        stratify=labels,
    )
    return Digits(x_train, x_test, y_train, y_test)


def train(name: str, loss: Any, digits: Digits, epochs: int) -> Training:
    """Train a network by stochastic gradient descent, all random numbers from the seed."""
    torch.manual_seed(SEED)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    curve = []
    for _ in range(epochs):
        for batch in torch.randperm(len(digits.y_train)).split(BATCH):
            value = loss(model(digits.x_train[batch]), digits.y_train[batch])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            curve.append(value.item())
    with torch.no_grad():
        right = model(digits.x_test).argmax(1) == digits.y_test
    return Training(name, curve, right.double().mean().item())


def time_loss_steps(rows: int, repeats: int) -> dict[str, float]:
    """The median seconds that each loss of so many rows and its gradient take, measured in turn."""
    generator = torch.Generator().manual_seed(SEED)
    logits = torch.randn(rows, 10, generator=generator)
    labels = torch.randint(10, (rows,), generator=generator)
    seconds: dict[str, list[float]] = {name: [] for name in LOSSES}
    for _ in range(repeats):
        for name, loss in LOSSES.items():
            leaf = logits.clone().requires_grad_()
            start = time.perf_counter()
            loss(leaf, labels).backward()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Train with each loss and print the tables."""
    parser = argparse.ArgumentParser(description="Train with torch's loss and with ours.")
    parser.add_argument("--epochs", type=int, default=30, help="how often the data is gone through")
    epochs = parser.parse_args().epochs
    if epochs < 1:
        parser.error("--epochs must be at least 1")

    digits = load()
    rows = [train(name, loss, digits, epochs) for name, loss in LOSSES.items()]
    print(f"Digits: two layers, {epochs} epochs, batches of {BATCH}")
    print(f"{'':32}{'first loss':>12}{'last loss':>12}{'accuracy':>12}")
    for row in rows:
        print(f"  {row.name:<30}{row.curve[0]:>12.4f}{row.curve[-1]:>12.4f}{row.accuracy:>12.1%}")
    theirs, ours = (row.curve for row in rows)
    difference = max(abs(a - b) for a, b in zip(theirs, ours, strict=True))
    print(f"  Largest difference between the curves, over {len(ours)} steps: {difference:.1e}")

    steps = [time_loss_steps(BATCH, 300), time_loss_steps(LARGE, 50)]
    print("\nLoss step: the loss and its gradient by the logits, median time")
    print(f"{'':32}{f'{BATCH} x 10':>12}{f'{LARGE:,} x 10':>15}")
    for name in LOSSES:
        small, large = (f"{seconds[name] * 1e6:,.0f} us" for seconds in steps)
        print(f"  {name:<30}{small:>12}{large:>15}")


if __name__ == "__main__":
    main()
