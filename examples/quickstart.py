"""Quick start: train on real data with SciPy's L-BFGS, and see why robust losses hold.

1. Softmax regression on scikit-learn's handwritten digits. `omniloss.value_and_grad` gives the loss and
   its gradient by the logits in one pass; the chain rule to the weights is one matrix product.
   scikit-learn's own LogisticRegression minimises the same objective beside it.
2. Linear regression on scikit-learn's diabetes data under four losses, with clean training targets and
   with gross outliers among them: in one of ten targets the decimal point has slipped, so that it
   is ten times too large. The test targets are always clean.

Prints two tables and saves a picture. Run it by ``python examples/quickstart.py``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # a picture in a file; no window, no display

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from scipy.optimize import minimize
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

import omniloss
from omniloss import losses

SEED = 0
L2 = 1e-3  # weight of the penalty, l2 / 2 * |weights|^2, of the softmax regression
OUTLIER_SHARE = 0.1
SLIP = 10.0  # what a slipped decimal point multiplies a target by

REGRESSION_LOSSES = {
    "MSE": losses.MeanSquaredError(),
    "MAE": losses.MeanAbsoluteError(),
    "Huber": losses.Huber(delta=1.0),
    "log-cosh": losses.LogCosh(),
}


# Softmax regression on digits


@dataclass(frozen=True)
class Classification:
    """One trained classifier: a row of the first table."""

    name: str
    train_loss: float
    test_loss: float
    accuracy: float
    seconds: float


def softmax_regression(x: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Weights and, as the last row, biases that minimise mean cross-entropy + l2 / 2 * |weights|^2."""
    crossentropy = losses.SparseCategoricalCrossentropy(from_logits=True)
    shape = (x.shape[1] + 1, classes)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        theta = flat.reshape(shape)
        weights, biases = theta[:-1], theta[-1]
        loss, by_logits = omniloss.value_and_grad(crossentropy, labels, x @ weights + biases)
        gradient = np.vstack([x.T @ by_logits + L2 * weights, by_logits.sum(axis=0)])
        return loss + L2 / 2 * np.sum(weights**2), gradient.ravel()

    start = np.zeros(shape).ravel()
    options = {"maxiter": 1000, "gtol": 1e-4}
    result = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    return result.x.reshape(shape)


def classify_digits() -> list[Classification]:
    """Train softmax regression and scikit-learn's LogisticRegression on the same objective."""
    x, labels = load_digits(return_X_y=True)
    x = x / 16.0  # pixels from 0 to 16
    x_train, x_test, y_train, y_test = train_test_split(
        x, labels, test_size=0.25, random_state=SEED, stratify=labels
    )
    crossentropy = losses.SparseCategoricalCrossentropy(from_logits=True)

    def row(name: str, weights: np.ndarray, biases: np.ndarray, seconds: float) -> Classification:
        test_logits = x_test @ weights + biases
        return Classification(
            name,
            float(crossentropy(y_train, x_train @ weights + biases)),
            float(crossentropy(y_test, test_logits)),
            float(np.mean(test_logits.argmax(axis=1) == y_test)),
            seconds,
        )

    start = time.perf_counter()
    theta = softmax_regression(x_train, y_train, classes=10)
    ours = row("omniloss + SciPy L-BFGS", theta[:-1], theta[-1], time.perf_counter() - start)

    # scikit-learn minimises C * sum of the losses + |weights|^2 / 2: the same, times C * n.
    peer = LogisticRegression(C=1 / (L2 * len(x_train)), tol=1e-4, max_iter=1000)
    start = time.perf_counter()
    peer.fit(x_train, y_train)
    seconds = time.perf_counter() - start
    return [ours, row("scikit-learn LogisticRegression", peer.coef_.T, peer.intercept_, seconds)]


# Linear regression on diabetes


@dataclass(frozen=True)
class Patients:
    """The diabetes data, split, with standardised features.

    ``outliers`` marks the training targets that ``y_slipped`` has wrong. Residuals are measured around
    ``location`` in units of ``scale``.
    """

    x_train: np.ndarray
    x_test: np.ndarray
    y_train: np.ndarray
    y_slipped: np.ndarray
    y_test: np.ndarray
    outliers: np.ndarray
    bmi: int
    location: float
    scale: float

    def standardise(self, y: np.ndarray) -> np.ndarray:
        """Targets as the losses see them."""
        return (y - self.location) / self.scale


@dataclass(frozen=True)
class Regression:
    """One trained linear model: a row of the second table. The errors are in the targets' own units."""

    loss: str
    contaminated: bool
    train_loss: float
    test_loss: float
    test_error: float
    seconds: float


def load_patients() -> Patients:
    """Split the diabetes data and let the decimal point slip in one of ten training targets."""
    data = load_diabetes(scaled=False)
    x_train, x_test, y_train, y_test = train_test_split(
        data.data, data.target, test_size=0.25, random_state=SEED
    )
    mean, deviation = x_train.mean(axis=0), x_train.std(axis=0)
    rng = np.random.default_rng(SEED)
    outliers = np.zeros(len(y_train), dtype=bool)
    chosen = rng.choice(len(y_train), size=round(OUTLIER_SHARE * len(y_train)), replace=False)
    outliers[chosen] = True
    y_slipped = np.where(outliers, SLIP * y_train, y_train)
    # Median and median absolute deviation (made comparable to a standard deviation) can be had from
    # targets with outliers among them; mean and standard deviation could not.
    location = float(np.median(y_slipped))
    scale = 1.4826 * float(np.median(np.abs(y_slipped - location)))
    return Patients(
        (x_train - mean) / deviation,
        (x_test - mean) / deviation,
        y_train,
        y_slipped,
        y_test,
        outliers,
        data.feature_names.index("bmi"),
        location,
        scale,
    )


def linear_regression(loss: losses.Loss, x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Weights and, as the last entry, the bias that minimise a loss."""

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, by_predictions = omniloss.value_and_grad(loss, targets, predict(theta, x))
        return value, np.append(x.T @ by_predictions, by_predictions.sum())

    start = np.zeros(x.shape[1] + 1)
    return minimize(objective, start, jac=True, method="L-BFGS-B").x


def predict(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The linear model's predictions."""
    return x @ theta[:-1] + theta[-1]


def regress_diabetes(patients: Patients) -> list[Regression]:
    """Train under each loss, with clean and with contaminated targets; test on clean ones."""
    x_train, x_test, y_test = (
        patients.x_train,
        patients.x_test,
        patients.standardise(patients.y_test),
    )
    rows = []
    for contaminated in (False, True):
        y_train = patients.standardise(patients.y_slipped if contaminated else patients.y_train)
        for name, loss in REGRESSION_LOSSES.items():
            start = time.perf_counter()
            theta = linear_regression(loss, x_train, y_train)
            seconds = time.perf_counter() - start
            tested = predict(theta, x_test)
            rows.append(
                Regression(
                    name,
                    contaminated,
                    float(loss(y_train, predict(theta, x_train))),
                    float(loss(y_test, tested)),
                    float(patients.scale * np.mean(np.abs(y_test - tested))),
                    seconds,
                )
            )
    return rows


# Tables


def print_classifications(rows: list[Classification]) -> None:
    """Print the first table."""
    print("Digits: softmax regression, 64 pixels, 10 classes, 1347 images to train on, 450 to test")
    print(f"{'':34}{'train loss':>12}{'test loss':>12}{'accuracy':>12}{'time':>10}")
    for row in rows:
        print(
            f"  {row.name:<32}{row.train_loss:>12.4f}{row.test_loss:>12.4f}"
            f"{row.accuracy:>12.1%}{row.seconds * 1e3:>7.0f} ms"
        )


def print_regressions(rows: list[Regression], scale: float) -> None:
    """Print the second table."""
    print("\nDiabetes: linear regression, 10 features, 331 patients to train on, 111 to test")
    print(f"{'':34}{'train loss':>12}{'test loss':>12}{'test error':>12}{'time':>10}")
    for contaminated in (False, True):
        print(
            "  a tenth of the targets ten times too large:"
            if contaminated
            else "  clean training targets:"
        )
        for row in rows:
            if row.contaminated == contaminated:
                print(
                    f"    {row.loss:<30}{row.train_loss:>12.4f}{row.test_loss:>12.4f}"
                    f"{row.test_error:>12.1f}{row.seconds * 1e3:>7.0f} ms"
                )
    print(
        f"  Losses: of residuals in units of {scale:.1f} points, the training targets' robust scale.\n"
        "  Error: mean absolute, in points of disease progression, on clean test targets."
    )


# The picture

# Colours of Okabe and Ito, which colour-blind readers tell apart too.
COLOURS = {"MSE": "#D55E00", "MAE": "#0072B2", "Huber": "#009E73", "log-cosh": "#CC79A7"}
STYLES: dict[str, dict[str, Any]] = {name: {"color": COLOURS[name]} for name in COLOURS}
STYLES["Huber"] |= {"dashes": (3, 2), "zorder": 3}  # drawn last, over log-cosh, which shows between
GREY = "#6E6E6E"
RESIDUAL = "residual, prediction minus target, in units of the targets' robust scale"


def draw(patients: Patients, rows: list[Regression], path: Path) -> None:
    """Save the picture: the losses, their gradients, fits on one feature, and test errors."""
    style = {
        "font.size": 10.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.titlesize": 11.5,
        "axes.titlepad": 10,
    }
    with plt.rc_context(style):
        figure, axes = plt.subplots(2, 2, figsize=(12.5, 9.2), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.18, h_pad=0.18)
        draw_losses(axes[0, 0])
        draw_gradients(axes[0, 1])
        draw_fits(axes[1, 0], patients)
        draw_errors(axes[1, 1], rows)
        figure.savefig(path, dpi=130)
        plt.close(figure)


def curves(residuals: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Value and derivative of each loss at each residual."""
    zeros, column = np.zeros((residuals.size, 1)), residuals[:, None]
    result = {}
    for name, loss in REGRESSION_LOSSES.items():
        each = type(loss).from_config({**loss.get_config(), "reduction": "none"})
        values, gradient = omniloss.value_and_grad(each, zeros, column)
        result[name] = values, gradient[:, 0]
    return result


def draw_losses(axes: Axes) -> None:
    """What each loss charges for a residual."""
    residuals = np.linspace(-4, 4, 401)
    places = {"MSE": (2.5, 5.6), "MAE": (4.1, 4.0), "Huber": (4.1, 3.55), "log-cosh": (4.1, 3.2)}
    for name, (values, _) in curves(residuals).items():
        axes.plot(residuals, values, lw=2.2, **STYLES[name])
        axes.text(*places[name], name, color=COLOURS[name], va="center", weight="bold")
    axes.set(
        title="A   Loss of one residual",
        xlabel=RESIDUAL,
        ylabel="loss",
        xlim=(-4, 5.5),
        ylim=(0, 6),
        xticks=range(-4, 5),
    )


def draw_gradients(axes: Axes) -> None:
    """How hard one residual pulls at the fit: no harder than 1 under the robust losses."""
    residuals = np.linspace(-4, 4, 801)
    axes.axhspan(-1, 1, color=GREY, alpha=0.12, lw=0)
    axes.axhline(0, color=GREY, lw=0.8)
    for name, (_, gradient) in curves(residuals).items():
        axes.plot(residuals, gradient, lw=2.2, **STYLES[name])
    axes.text(2.2, 3.5, "MSE", color=COLOURS["MSE"], weight="bold")
    axes.text(2.2, 2.6, "has no bound: 40 at\na residual of 20", color=COLOURS["MSE"])
    places = {"MAE": (4.1, 1.3), "Huber": (4.1, 0.85), "log-cosh": (4.1, 0.4)}
    for name, place in places.items():
        axes.text(*place, name, color=COLOURS[name], weight="bold")
    axes.text(0.5, -0.75, "the others stay between -1 and 1,\nhowever far off the target is")
    axes.set(
        title="B   Its gradient: how hard it pulls at the fit",
        xlabel=RESIDUAL,
        ylabel="derivative of the loss by the prediction",
        xlim=(-4, 5.5),
        ylim=(-4.2, 4.2),
        xticks=range(-4, 5),
    )


def draw_fits(axes: Axes, patients: Patients) -> None:
    """Linear fits on one feature, with the outliers among the targets."""
    x, y, outliers = patients.x_train[:, [patients.bmi]], patients.y_slipped, patients.outliers
    top = 800.0
    inside, above = outliers & (y < top), outliers & (y >= top)
    axes.scatter(x[~outliers], y[~outliers], s=15, color="#BDBDBD", lw=0)
    axes.scatter(x[inside], y[inside], s=26, marker="x", color="black", lw=1.2)
    axes.scatter(x[above], np.full(above.sum(), top - 12), s=30, marker="^", color="black", lw=0)

    ends = np.array([[x.min()], [x.max()]])

    def fit(loss: losses.Loss, y: np.ndarray) -> np.ndarray:
        theta = linear_regression(loss, x, patients.standardise(y))
        return patients.location + patients.scale * predict(theta, ends)

    for name, loss in REGRESSION_LOSSES.items():
        axes.plot(ends, fit(loss, y), lw=2.4, **STYLES[name])
    clean = fit(REGRESSION_LOSSES["MSE"], patients.y_train)
    axes.plot(ends, clean, ":", color="black", lw=2, zorder=4)

    right = x.max() + 0.08
    axes.text(
        right,
        fit(REGRESSION_LOSSES["MSE"], y)[1],
        "MSE",
        color=COLOURS["MSE"],
        weight="bold",
        va="center",
    )
    for name, height in {"MAE": 398, "Huber": 360, "log-cosh": 322}.items():
        axes.text(right, height, name, color=COLOURS[name], weight="bold", va="center")
    share = 0.88  # where on the line its label points to
    on_line = (ends[0, 0] + share * np.ptp(ends), float(clean[0] + share * np.diff(clean)[0]))
    leader = {"arrowstyle": "-", "color": GREY}
    axes.annotate("MSE without the outliers", on_line, (2.25, 150), arrowprops=leader)
    count, highest = above.sum(), y[above].max()
    axes.text(
        x.max() + 1.15,
        top - 12,
        f"{count} more outliers above,\nup to {highest:,.0f} points",
        ha="right",
        va="top",
    )
    axes.annotate("outliers", (-0.45, 708), (0.02, 640), arrowprops=leader)
    axes.set(
        title="C   Linear fits with a tenth of the targets wrong",
        xlabel="body mass index, in standard deviations from its mean",
        ylabel="disease progression, points",
        xlim=(x.min() - 0.1, x.max() + 1.2),
        ylim=(0, top),
    )


def draw_errors(axes: Axes, rows: list[Regression]) -> None:
    """Test error of each loss, trained on clean and on contaminated targets."""
    for position, name in enumerate(reversed(REGRESSION_LOSSES)):
        clean, dirty = (row.test_error for row in rows if row.loss == name)
        colour = COLOURS[name]
        axes.plot([clean, dirty], [position, position], color=colour, lw=2.4, zorder=1)
        axes.scatter(clean, position, s=80, facecolor="white", edgecolor=colour, lw=2.2, zorder=2)
        axes.scatter(dirty, position, s=90, color=colour, zorder=3)
        axes.text(clean - 3.5, position, f"{clean:.0f}", color=colour, ha="right", va="center")
        axes.text(dirty + 3.5, position, f"{dirty:.0f}", color=colour, va="center")
        if name == "MSE":
            axes.text(clean, position + 0.22, "trained on\nclean targets", ha="center")
            axes.text(dirty, position + 0.22, "on contaminated\ntargets", ha="center")
    axes.set(
        title="D   Error on clean test data",
        xlabel="mean absolute test error, points of disease progression",
        xlim=(0, 180),
        ylim=(-0.6, 3.9),
    )
    axes.set_yticks(range(4), list(reversed(REGRESSION_LOSSES)), weight="bold")
    axes.tick_params(axis="y", length=0)


def main() -> None:
    """Train, print the tables, save the picture."""
    parser = argparse.ArgumentParser(description="Train on digits and diabetes; save a picture.")
    parser.add_argument("--output", type=Path, default=Path("quickstart.png"), help="the picture")
    output = parser.parse_args().output

    print_classifications(classify_digits())
    patients = load_patients()
    rows = regress_diabetes(patients)
    print_regressions(rows, patients.scale)
    draw(patients, rows, output)
    print(f"\nSaved {output}")


if __name__ == "__main__":
    main()
