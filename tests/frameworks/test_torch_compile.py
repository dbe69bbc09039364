"""torch.compile and torch.export: no graph break, no needless recompilation, the numbers of the plain call."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import losses
from support.cases import Case, cases
from support.tensor_losses import TensorLoss, batches

torch = pytest.importorskip("torch")

pytestmark = [
    # Torch's own use of what it has deprecated
    pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning"),
    # What kl_div says of its own default, as torch's does
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning"),
]

SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(autouse=True)
def fresh_compiler() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Counter:
    """A backend that runs the graphs as they are and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return graph


def check_compiled_equals_eager(case: Case, backend: str, reduction: str | None) -> None:
    rng = np.random.default_rng(90)
    y, p = (torch.from_numpy(x) for x in case.arrays(rng, (4, 3, 3)))
    rows = case.rows(tuple(p.shape))
    weights = torch.from_numpy(np.where(rng.random(rows) < 0.3, 0, rng.random(rows)))
    mask = torch.from_numpy(np.asarray(rng.random(rows) < 0.7))
    loss = case.loss(reduction=reduction)

    def both(y: Any, p: Any, weights: Any, mask: Any) -> Any:
        return loss(y, p, weights, mask=mask), loss(y, p)

    compiled = torch.compile(both, fullgraph=True, backend=backend)
    outcomes = []
    for function in (both, compiled):
        leaf = p.clone().requires_grad_()
        values = function(y, leaf, weights, mask)
        sum(value.sum() for value in values).backward()
        outcomes.append((*values, leaf.grad))
    torch.testing.assert_close(*outcomes, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["mean_squared_error", "sparse_categorical_crossentropy"])
def test_compiled_by_inductor_equals_eager(name: str) -> None:
    case = next(case for case in cases() if case.name == name)
    check_compiled_equals_eager(case, "inductor", "mean_with_sample_weight")


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["mean_with_sample_weight", None])
@pytest.mark.parametrize("case", cases(), ids=str)
def test_compiled_equals_eager(case: Case, reduction: str | None) -> None:
    check_compiled_equals_eager(case, "aot_eager", reduction)


class Together(torch.nn.Module):
    """Several losses of the same tensors."""

    def __init__(self, losses: tuple[TensorLoss, ...]) -> None:
        super().__init__()
        self.losses = [loss.loss for loss in losses]

    def forward(self, *tensors: Any) -> Any:
        return [loss(*tensors) for loss in self.losses]

    def on_leaves(self, loss: TensorLoss) -> tuple[Any, ...]:
        """The values and the gradients by all that can be differentiated by."""
        inputs = list(loss.tensors)
        leaves = [inputs[i].clone().requires_grad_() for i in loss.by]
        for place, leaf in zip(loss.by, leaves, strict=True):
            inputs[place] = leaf
        values = self(*inputs)
        total = sum((i + 1) * value.sum() for i, value in enumerate(values))
        return (*values, *torch.autograd.grad(total, leaves))


@pytest.mark.slow
@pytest.mark.parametrize("batch", batches())
def test_compiled_and_exported_losses_of_torch_equal_eager_ones(batch: str) -> None:
    """And are compiled once, whatever other arrays the same objects see meanwhile."""
    mine = batches()[batch][: 1 if "ctc_loss" in batch else None]  # whose graphs are large
    together, first = Together(mine), mine[0]
    expected = together.on_leaves(first)

    together.compile(fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(together.on_leaves(first), expected, rtol=1e-10, atol=1e-12)
    with torch.compiler.set_stance("fail_on_recompile"):
        arrays = [x.numpy() for x in first.tensors]
        if "ctc_loss" not in batch:  # which has a log_softmax of torch in front
            together.forward(*arrays)
        together.forward(*first.tensors)
        torch.testing.assert_close(together.on_leaves(first), expected, rtol=1e-10, atol=1e-12)

    exported = torch.export.export(Together(mine), first.others, strict=False)
    values = exported.module()(*first.tensors)
    torch.testing.assert_close(tuple(values), expected[: len(values)], rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["nn.cross_entropy[(6, 4)]", "nn.huber_loss[(4, 3)]"])
def test_losses_of_torch_compiled_by_inductor_equal_eager_ones(batch: str) -> None:
    together, first = Together(batches()[batch][:1]), batches()[batch][0]
    expected = together.on_leaves(first)
    together.compile(fullgraph=True)
    torch.testing.assert_close(together.on_leaves(first), expected, rtol=1e-10, atol=1e-12)


def test_no_recompilation_by_other_arrays() -> None:
    """Nor by other batch sizes, where they are dynamic."""
    counter = Counter()
    loss = losses.BinaryCrossentropy(label_smoothing=0.1)
    compiled = torch.compile(lambda y, p: loss(y, p), fullgraph=True, backend=counter)
    y, p = torch.rand(4, 3), torch.rand(4, 3)
    expected = loss(y, p)
    for _ in range(2):
        torch.testing.assert_close(compiled(y, p), expected)
        loss(y.numpy(), p.numpy())
        loss([[1.0]], [[0.5]])
        loss(y, p)
        omniloss.value_and_grad(loss, y.numpy(), p.numpy())
        with omniloss.config(epsilon=1e-3):
            loss(y.numpy(), p.numpy())
    assert counter.graphs == 1

    counter = Counter()
    compiled = torch.compile(
        lambda y, p, w: loss(y, p, w), fullgraph=True, backend=counter, dynamic=True
    )
    for size in (4, 5, 9):
        y, p, w = torch.rand(size, 3), torch.rand(size, 3), torch.rand(size)
        torch.testing.assert_close(compiled(y, p, w), loss(y, p, w))
    assert counter.graphs == 1


def test_settings_and_options_are_not_frozen() -> None:
    y, p = torch.ones(1, 1, dtype=torch.float64), torch.full((1, 1), 1e-12, dtype=torch.float64)
    loss = losses.BinaryCrossentropy()
    compiled = torch.compile(lambda: loss(y, p), fullgraph=True, backend="eager")

    def settings() -> list[float]:
        found = [compiled().item()]
        for epsilon in (0.0, 0.1):
            with omniloss.config(epsilon=epsilon):
                found += [compiled().item()]
        return found

    expected = [-np.log(1e-7), -np.log(1e-12), -np.log(0.1)]
    for _ in range(2):
        np.testing.assert_allclose(settings(), expected, rtol=1e-12)
    try:
        for epsilon in (1e-3, 1e-4, 1e-5):
            omniloss.config.set_epsilon(epsilon)
            assert compiled().item() == pytest.approx(-np.log(epsilon))
    finally:
        omniloss.config.set_epsilon(1e-7)
    loss.from_logits = True
    assert compiled().item() == pytest.approx(np.log(2))
    loss.reduction = None
    assert compiled().shape == (1,)


def test_options_may_change_between_calls() -> None:
    y, p = torch.zeros(1, 1), torch.full((1, 1), 10.0)
    loss = losses.Huber()
    compiled = torch.compile(lambda: loss(y, p), fullgraph=True, backend="eager")
    for delta in (1.0, 2.0, 3.0, 4.0):
        loss.delta = delta
        assert compiled().item() == delta * (10 - delta / 2)


def test_wrong_elements_give_nan() -> None:
    half = torch.full((3, 2), 0.5)
    wrong = half.clone()
    wrong[1, 0] = -1
    for loss, y, p in (
        (SPARSE, torch.tensor([0, 2, 1]), half),
        (losses.BinaryCrossentropy(), half, wrong),
        (losses.BinaryCrossentropy(), wrong, half),
    ):
        leaf = p.clone().requires_grad_()
        value = torch.compile(
            lambda y, p, loss=loss: loss(y, p), fullgraph=True, backend="aot_eager"
        )(y, leaf)
        value.backward()
        assert value.isnan()
        assert leaf.grad.isnan().all(1).tolist() == [False, True, False]


def test_export_with_a_dynamic_batch() -> None:
    class Module(torch.nn.Module):
        def forward(self, y: Any, p: Any) -> Any:
            return SPARSE(y, p)

    y, p = torch.tensor([0, 2, 1, 1]), torch.rand(4, 3)
    batch = torch.export.Dim("batch", min=2)
    for strict in (False, True):
        exported = torch.export.export(
            Module(), (y, p), dynamic_shapes=({0: batch}, {0: batch}), strict=strict
        )
        for size in (4, 3):
            torch.testing.assert_close(
                exported.module()(y[:size], p[:size]), SPARSE(y[:size], p[:size])
            )


def test_compiled_autograd() -> None:
    from torch._dynamo import compiled_autograd

    y, p = torch.rand(4, 3), torch.rand(4, 3, requires_grad=True)
    value = losses.MeanSquaredError()(y, p)
    with compiled_autograd._enable(torch.compile(backend="eager", fullgraph=True)):
        value.backward()
    torch.testing.assert_close(p.grad, 2 * (p.detach() - y) / 12)


def test_cold_and_with_keras() -> None:
    """The first call of all is a compiled one; Keras, which brings settings, arrives between two."""
    script = """
import torch
from omniloss import losses
loss = losses.BinaryCrossentropy()
y, p = torch.ones(1, 1), torch.full((1, 1), 1e-12)
graphs = []
def backend(graph, inputs):
    graphs.append(graph)
    return graph
compiled = torch.compile(lambda y, p: loss(y, p), fullgraph=True, backend=backend)
assert abs(float(compiled(y, p)) - 16.118) < 1e-3
assert len(graphs) == 1
import keras
keras.config.set_epsilon(1e-3)
assert abs(float(compiled(y, p)) - 6.9078) < 1e-3
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "KERAS_BACKEND": "numpy"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
