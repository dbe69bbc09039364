"""The PyTorch dialect on tensors in every state: torch's own loss of the same tensors is the truth."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from omniloss import native, nn
from omniloss.integrations.torch import as_module
from support.tensor_losses import objects, tensors_of
from support.torch_cases import CLASSES, FUNCTIONS, Case, function_of, small_cases

F = nn.functional
CASES = small_cases()
DEFAULTS = [case for case in CASES if case.options == {"reduction": "mean"}]
WEIGHTED = [c for c in CASES if any(isinstance(x, np.ndarray) for x in c.options.values())]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_loss = pytest.mark.parametrize("case", DEFAULTS, ids=str)

pytestmark = [
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning"),
    # Torch's own use of what it has deprecated
    pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning"),
]


def tensors(case: Case, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    found = tensors_of(case.arguments)
    return {key: x.to(dtype) if x.is_floating_point() else x for key, x in found.items()}


def tracked(case: Case, names: tuple[str, ...], dtype: torch.dtype = torch.float64) -> Any:
    """The arguments, those of the names as leaves that require a gradient."""
    given = tensors(case, dtype)
    return {key: x.requires_grad_() if key in names else x for key, x in given.items()}


def assert_equal(found: Any, expected: Any, rtol: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol / 100, equal_nan=True)


def outcome(loss: Callable[..., Any], given: dict[str, Any], names: tuple[str, ...]) -> Any:
    """Value and gradients, 0 of what does not count; or that there was an error."""
    try:
        value = loss(*given.values())
        total = value.sum()
        if not total.requires_grad:
            return value, None
        wanted = [given[name] for name in names]
        found = torch.autograd.grad(total, wanted, allow_unused=True)
    except RuntimeError:
        return "an error"
    return value.detach(), *(
        torch.zeros_like(x) if gradient is None else gradient
        for x, gradient in zip(wanted, found, strict=True)
    )


@every_case
def test_values_and_gradients(case: Case) -> None:
    """By the first argument alone, which is the core's work, and by all together, which is the formula's."""
    ours, theirs = objects(case)
    for names in (case.by[:1], case.by):
        expected = outcome(theirs, tracked(case, names), names)
        assert expected != "an error"
        assert_equal(outcome(ours, tracked(case, names), names), expected)


@every_case
def test_gradients_by_targets_and_weights(case: Case) -> None:
    """By every argument of floats and by every weight alone and beside the input, or torch's error."""
    first = next(iter(case.arguments))
    for name, array in {**case.arguments, **case.options}.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            continue
        for names in {(name,), (first, name)} - {(first, first)}:
            outcomes = []
            for which in (0, 1):
                given = tracked(case, names)
                weights = {
                    key: x.requires_grad_()
                    for key, x in tensors_of(case.options).items()
                    if key in names
                }
                loss = objects(case, **weights)[which]
                positional = len(given)
                call = functools.partial(_with_weights, loss, positional)
                outcomes.append(outcome(call, {**given, **weights}, names))
            if outcomes[1] == "an error":
                assert outcomes[0] == "an error", name
            else:
                assert_equal(*outcomes)


@pytest.mark.parametrize("transformed", [False, True])
def test_gradients_by_targets_of_0(transformed: bool) -> None:
    """One-hot rows and counts of 0: such a target has a derivative as any other has."""
    logits = torch.tensor([[0.5, -1.0, 2.0], [0.1, 0.2, -0.3]], dtype=torch.float64)
    rates = logits.exp()
    for name, given, target, options in (
        ("cross_entropy", logits, torch.eye(3, dtype=torch.float64)[:2], {}),
        ("cross_entropy", logits, torch.eye(3, dtype=torch.float64)[:2], {"label_smoothing": 0.1}),
        ("poisson_nll_loss", rates, torch.zeros_like(rates), {"log_input": False}),
    ):
        found = []
        for functional in (F, torch.nn.functional):
            loss = functools.partial(getattr(functional, name), given, **options)
            if transformed:
                found.append(torch.func.grad(loss)(target))
            else:
                asked = target.clone().requires_grad_()
                found.extend(torch.autograd.grad(loss(asked), asked))
        assert_equal(*found)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradients_of_empty_batches_by_each_argument(reduction: str) -> None:
    for name, shapes in (
        ("mse_loss", [(0, 3)] * 2),
        ("kl_div", [(0, 3)] * 2),
        ("cosine_embedding_loss", [(0, 3), (0, 3), (0,)]),
        ("margin_ranking_loss", [(0,)] * 3),
        ("triplet_margin_loss", [(0, 3)] * 3),
        ("gaussian_nll_loss", [(0, 3), (0, 3), (0, 1)]),
        ("gaussian_nll_loss", [(2, 0), (2, 0), (2, 1)]),
    ):
        for place in range(2 if name.startswith("cos") else len(shapes)):
            found = []
            for functional in (F, torch.nn.functional):
                given = [torch.ones(shape, dtype=torch.float64) for shape in shapes]
                given[place].requires_grad_()
                value = getattr(functional, name)(*given, reduction=reduction)
                found.append((value.detach(), *torch.autograd.grad(value.sum(), given[place])))
            assert_equal(*found)


def test_gradient_of_a_divergence_by_a_target_of_0() -> None:
    """It is infinite, where torch has NaN; what autodiff finds is large, and spoils nothing else."""
    x = torch.tensor([-1.0, -0.5, -float("inf")], requires_grad=True)
    y = torch.tensor([0.0, 0.5, 0.0], requires_grad=True)
    value = F.kl_div(x, y, reduction="sum")
    by_input, by_target = torch.autograd.grad(value, (x, y))
    torch.testing.assert_close(value, 0.5 * (y[1].log() + 0.5))
    torch.testing.assert_close(by_input, -y)
    torch.testing.assert_close(by_target[1], y[1].log() + 1.5)
    assert -torch.inf < by_target[0] < -80


def _with_weights(loss: Callable[..., Any], positional: int, *given: Any) -> Any:
    """The loss has its weights already; they are only here to be differentiated by."""
    return loss(*given[:positional])


@pytest.mark.parametrize("by", [(True, True), (False, True), (True, False)])
def test_gradients_of_a_divergence_of_equal_logarithms(by: tuple[bool, bool]) -> None:
    x = torch.tensor([-1.0, -2.0, 0.5, -100.0], dtype=torch.float64)
    found: list[Any] = []
    for function in (F.kl_div, torch.nn.functional.kl_div):
        pair = [x.clone().requires_grad_(needed) for needed in by]
        leaves = [leaf for leaf in pair if leaf.requires_grad]
        loss = function(*pair, reduction="sum", log_target=True)
        slopes = torch.autograd.grad(loss, leaves, create_graph=by[1])
        found.append(list(slopes))
        if by[1]:
            found[-1] += torch.autograd.grad(slopes[-1].exp().sum(), leaves)
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_slopes_where_they_are_not_the_values() -> None:
    """A variance below eps, a probability of 0 or 1: whoever differentiates, torch's slopes come out."""
    ends = torch.tensor([0.0, 1e-14, 1e-8, 0.3, 1.0, 1 - 1e-14], dtype=torch.float64)
    zeros = torch.zeros(6, dtype=torch.float64)
    for function, place, given in (
        (F.binary_cross_entropy, 0, (ends, zeros)),
        (F.binary_cross_entropy, 0, (ends, zeros + 1)),
        (F.binary_cross_entropy, 0, (ends, zeros + 0.25)),
        (functools.partial(F.gaussian_nll_loss, eps=0.1), 2, (ends, zeros, ends)),
    ):
        name, options = getattr(function, "func", function).__name__, {}
        if isinstance(function, functools.partial):
            options = function.keywords
        leaves = [x.clone().requires_grad_() for x in given]
        theirs = getattr(torch.nn.functional, name)(*leaves, **options)
        (expected,) = torch.autograd.grad(theirs, leaves[place])
        ours = function(*leaves)  # by the formula, since all of them require a gradient
        (found,) = torch.autograd.grad(ours, leaves[place], create_graph=True)
        assert_equal(found.detach(), expected)
        assert_equal(torch.func.grad(function, place)(*given), expected)
        tangents = tuple(
            torch.ones_like(x) if i == place else torch.zeros_like(x) for i, x in enumerate(given)
        )
        assert_equal(torch.func.jvp(function, given, tangents)[1], expected.sum())
        (second,) = torch.autograd.grad(found.sum(), leaves[place])
        (other,) = torch.autograd.grad(
            torch.func.grad(function, place)(*leaves).sum(), leaves[place]
        )
        assert_equal(second, other)
        assert (second != 0).all()


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_slopes_of_sequences_without_an_alignment(zero_infinity: bool) -> None:
    """Of the log-probabilities themselves, with no `log_softmax` behind them."""
    log_probs = torch.rand(2, 2, 3, dtype=torch.float64).log_softmax(-1)
    rest = torch.tensor([[1, 1, 2], [1, 2, 0]]), torch.tensor([2, 2]), torch.tensor([3, 2])
    options = {"reduction": "sum", "zero_infinity": zero_infinity}
    leaf = log_probs.clone().requires_grad_()
    expected = torch.nn.functional.ctc_loss(leaf, *rest, **options)
    (slope,) = torch.autograd.grad(expected, leaf)
    found, value = torch.func.grad_and_value(lambda x: F.ctc_loss(x, *rest, **options))(log_probs)
    assert_equal((value, found), (expected.detach(), slope))


@pytest.mark.parametrize("case", WEIGHTED, ids=str)
def test_weights_follow_the_input(case: Case) -> None:
    """To its device, of which "meta" is one that every machine has, and in its dtype."""
    ours = objects(case)[0]
    far = {key: x.to("meta") for key, x in tensors(case, torch.float32).items()}
    value = ours(*far.values())
    assert value.is_meta
    assert value.dtype == torch.float32
    assert value.shape == ours(*tensors(case).values()).shape

    single = objects(
        case,
        **{key: x.float() for key, x in tensors_of(case.options).items() if hasattr(x, "float")},
    )[1]
    near = tensors(case, torch.float32)
    assert_equal(ours(*near.values()), single(*near.values()), 1e-4)
    if hasattr(ours, "reduction"):
        module = as_module(ours).to("meta")
        assert module(*far.values()).is_meta


@every_loss
def test_autocast(case: Case) -> None:
    """A loss of half precision is computed in float32, and is float32 where torch's is."""
    ours, theirs = objects(case)
    names = case.by[:1]
    for dtype in (torch.bfloat16, torch.float32):
        given = [tracked(case, names, dtype) for _ in range(2)]
        wide = tracked(case, names, dtype)
        wide = {key: x.float() if x.is_floating_point() else x for key, x in wide.items()}
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = outcome(ours, given[0], names)
            expected = outcome(theirs, given[1], names)
        assert found[0].dtype == torch.float32
        assert found[1].dtype == expected[1].dtype == dtype
        assert_equal(found[0], ours(*wide.values()).detach(), 1e-6)
        if expected[0].dtype == torch.float32 and case.name != "multilabel_soft_margin_loss":
            assert_equal(found[0], expected[0], 1e-2 if case.name == "ctc_loss" else 1e-5)


@every_loss
def test_default_dtype_and_device_do_not_matter(case: Case) -> None:
    loss = objects(case)[0]
    expected = outcome(loss, tracked(case, case.by, torch.float32), case.by)
    given = [tracked(case, names, torch.float32) for names in (case.by[:1], case.by)]
    plain = tensors(case, torch.float32).values()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = outcome(loss, given[0], case.by[:1])  # by the core
            formula = outcome(loss, given[1], case.by)
            if case.name in ("cross_entropy", "nll_loss"):
                listed = type(loss)(weight=[1.0] * 4)(*plain)
                assert_equal(listed, expected[0], 1e-6)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_equal(found, expected[:2], 1e-5)
    assert_equal(formula, expected, 1e-5)


@every_loss
def test_inference_mode(case: Case) -> None:
    ours, theirs = objects(case)
    expected = theirs(*tensors(case).values())
    with torch.inference_mode():
        inside, theirs_inside = ours(*tensors(case).values()), theirs(*tensors(case).values())
        assert inside.is_inference() == theirs_inside.is_inference()
        assert_equal(inside.clone(), expected)
    with torch.no_grad():
        assert not ours(*tracked(case, case.by).values()).requires_grad


@every_case
def test_arguments_made_in_inference_mode(case: Case) -> None:
    """Beside one that requires a gradient; torch's own losses of some of them raise."""
    loss = objects(case)[0]
    for wanted in case.by:
        expected = outcome(loss, tracked(case, (wanted,)), (wanted,))
        with torch.inference_mode():
            made = tensors(case)
        for keys in (made.keys() - {wanted}, *({key} for key in made if key != wanted)):
            given = tracked(case, (wanted,))
            given |= {key: made[key] for key in keys}
            for _ in range(2):
                assert_equal(outcome(loss, given, (wanted,)), expected)


def _strided(x: Any) -> Any:
    return x.new_zeros(*(3 * size for size in x.shape))[(slice(1, None, 3),) * x.ndim].copy_(x)


VIEWS: dict[str, Callable[[Any], Any]] = {
    "transposed": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "strided": _strided,
    "negative": lambda x: torch.complex(x, -x).conj().imag if x.is_floating_point() else x,
    "part of complex": lambda x: torch.complex(x, x).real if x.is_floating_point() else x,
    "sparse": lambda x: x.to_sparse() if x.is_floating_point() else x,
}


@pytest.mark.parametrize("view", VIEWS)
@every_loss
def test_views(case: Case, view: str) -> None:
    """Whatever the memory looks like, the numbers count; torch has few losses of sparse tensors."""
    ours, theirs = objects(case)
    expected = outcome(theirs, tracked(case, case.by[:1]), case.by[:1])
    given = {key: VIEWS[view](x) for key, x in tensors(case).items()}
    given[case.by[0]] = given[case.by[0]].detach().requires_grad_()
    value, gradient = outcome(ours, given, case.by[:1])
    assert_equal(value, expected[0])
    assert_equal(gradient.to_dense() if view == "sparse" else gradient, expected[1])


@every_loss
def test_inputs_that_share_memory(case: Case) -> None:
    """One tensor as two arguments has the sum of both gradients; overlapping rows have their own."""
    ours, theirs = objects(case)
    outcomes = []
    for loss in (ours, theirs):
        given = tracked(case, case.by[:1])
        leaf = given[case.by[0]]
        if len(case.by) > 1:  # probabilities are right for all of them
            leaf.detach().copy_(torch.linspace(0.1, 0.9, leaf.numel()).reshape(leaf.shape))
        given |= dict.fromkeys(case.by, leaf)
        rows = leaf[:1].expand(leaf.shape)
        apart = {**tensors(case), case.by[0]: rows}
        outcomes.append([*outcome(loss, given, case.by[:1])])
        value = loss(*apart.values())
        outcomes[-1] += [value.detach(), *torch.autograd.grad(value.sum(), leaf)]
    assert_equal(*outcomes)


@pytest.mark.skipif(native.core is None, reason="the formula keeps what torch's autograd does")
@every_case
def test_a_change_in_place_afterwards_makes_nothing_wrong(case: Case) -> None:
    """The gradient of a reduced loss is there already; others may refuse, as torch's do, but never err."""
    ours = objects(case)[0]
    first = case.by[0]
    expected = outcome(ours, tracked(case, (first,)), (first,))[1]
    for key in case.arguments:
        leaf = tensors(case)[first].requires_grad_()
        given = {**tensors(case), first: leaf * 1}
        value = ours(*given.values())
        changed = given[key].detach() if given[key].is_floating_point() else given[key]
        changed.zero_()
        try:
            (found,) = torch.autograd.grad(value.sum(), leaf)
        except RuntimeError as error:
            assert case.options["reduction"] == "none"
            assert "modified by an inplace operation" in str(error)  # noqa: PT017
            continue
        assert_equal(found, expected)


@pytest.mark.filterwarnings("ignore:`NLLLoss2d`:FutureWarning")
@pytest.mark.parametrize("name", CLASSES)
def test_training_lowers_every_loss(name: str) -> None:
    """A linear layer, trained for a few steps on one batch; torch's own loss of it goes the same way."""
    case = next(case for case in DEFAULTS if case.name == function_of(CLASSES[name]))
    curves = []
    for loss in (CLASSES[name](), getattr(torch.nn, name)()):
        torch.manual_seed(3)
        given = tensors(case, torch.float32)
        if "var" in given:  # a tiny one makes steps that are too long
            given["var"] += 1
        layer = torch.nn.Linear(given[case.by[0]].shape[-1], given[case.by[0]].shape[-1])
        end = ENDS.get(name, torch.nn.Identity())
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.02)
        curve = []
        for _ in range(12):
            outputs = {key: end(layer(given[key])) for key in LEARNT.get(name, case.by[:1])}
            value = loss(*{**given, **outputs}.values())
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            curve.append(value.item())
        curves.append(curve)
    assert all(later < earlier for earlier, later in zip(curves[0], curves[0][1:], strict=False))
    np.testing.assert_allclose(*curves, rtol=1e-4)


# What makes a layer's output what the loss takes, and which of its arguments come from the layer
ENDS: dict[str, torch.nn.Module] = {
    "BCELoss": torch.nn.Sigmoid(),
    "KLDivLoss": torch.nn.LogSoftmax(-1),
    "CTCLoss": torch.nn.LogSoftmax(-1),
    "NLLLoss": torch.nn.LogSoftmax(-1),
    "NLLLoss2d": torch.nn.LogSoftmax(-1),
}
LEARNT = {
    "CosineEmbeddingLoss": ("input1", "input2"),
    "TripletMarginLoss": ("anchor", "positive", "negative"),
    "TripletMarginWithDistanceLoss": ("anchor", "positive", "negative"),
}


def _manhattan(x: Any, y: Any) -> Any:
    return (x - y).abs().sum(-1)


@pytest.mark.parametrize("distance", [_manhattan, torch.nn.CosineSimilarity(), "its own"])
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_distance_of_ones_own(distance: Any, swap: bool, reduction: str) -> None:
    """Torch's autograd goes through the user's function, and learns what is in it."""
    case = next(case for case in DEFAULTS if case.name == "triplet_margin_with_distance_loss")
    torch.manual_seed(5)
    weights = torch.rand(3, dtype=torch.float64, requires_grad=True)

    def weighted(x: Any, y: Any) -> Any:
        return ((x - y) ** 2 * weights).sum(-1)

    options = {"margin": 0.7, "swap": swap, "reduction": reduction}
    options["distance_function"] = weighted if distance == "its own" else distance
    outcomes = []
    for module in (nn, torch.nn):
        loss = module.TripletMarginWithDistanceLoss(**options)
        given = tracked(case, case.by)
        value = loss(*given.values())
        leaves = (*given.values(), *([weights] if distance == "its own" else []))
        gradients = torch.autograd.grad(value.sum(), leaves, create_graph=True)
        outcomes.append([value, *gradients])
        if distance == "its own":
            outcomes[-1] += torch.autograd.grad(sum(g.square().sum() for g in gradients), leaves)
    assert_equal(*outcomes)


def test_every_function_and_class_is_here() -> None:
    assert {case.name for case in DEFAULTS} == set(FUNCTIONS)


@pytest.mark.parametrize(("kind", "classes"), [("uint8", 256), ("uint8", 300), ("int8", 128)])
def test_labels_of_types_that_do_not_hold_the_number_of_classes(kind: str, classes: int) -> None:
    x, weight = torch.randn(4, classes), torch.rand(classes) + 0.5
    target = torch.tensor([torch.iinfo(getattr(torch, kind)).max, 7, 100, 44])
    narrow = target.to(getattr(torch, kind))
    for options in ({}, {"weight": weight}, {"label_smoothing": 0.1}):
        ours = functools.partial(F.cross_entropy, **options)
        theirs = functools.partial(torch.nn.functional.cross_entropy, **options)
        expected = theirs(x, target)
        for shape in ((4, classes), (4, classes, 1)):  # by the core's quick way and by another
            found = ours(x.reshape(shape), narrow.reshape(4, *shape[2:]))
            torch.testing.assert_close(found, expected)
        slope = torch.func.grad(ours)(x, narrow)
        torch.testing.assert_close(slope, torch.func.grad(theirs)(x, target))
    found = F.multi_margin_loss(x, narrow, weight=weight)
    expected = torch.nn.functional.multi_margin_loss(x, target, weight=weight)
    torch.testing.assert_close(found, expected)
    steps = torch.randn(20, 1, classes).log_softmax(-1)
    lengths = torch.tensor([20]), torch.tensor([4])
    expected = torch.nn.functional.ctc_loss(steps, target[None], *lengths)
    torch.testing.assert_close(F.ctc_loss(steps, narrow[None], *lengths), expected)


def test_label_sets_of_unsigned_integers() -> None:
    x, target = torch.rand(2, 3), torch.tensor([[1, 0, 2], [0, 1, 2]], dtype=torch.uint8)
    value = F.multilabel_margin_loss(x, target)
    assert value == F.multilabel_margin_loss(x, target.long()) == 0
