"""JAX arrays give NumPy's numbers, outside of `jit` and inside: values, gradients, types, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import frameworks, losses, native, nn
from omniloss.formulas import FORMULAS, Formula
from support import samples, torch_cases
from support.cases import Case, cases

jax = pytest.importorskip("jax")
jnp = jax.numpy

# What kl_div says of its own default, as torch's does
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")

MSE = losses.MeanSquaredError()
SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True)
UNITS = {"float32": 1.2e-7, "float64": 2.3e-16}
every_case = pytest.mark.parametrize("case", cases(), ids=str)
# A few of each function, once with each kind of targets
TORCH_CASES = [case for case in torch_cases.small_cases() if case.options["reduction"] != "sum"]


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[str]:
    """The type to compute in: float64 is one of JAX's where `jax_enable_x64` is set, and float32 all there is else."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.fixture
def _doubles() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def arrays(case: Case, dtype: str, seed: int) -> list[np.ndarray]:
    """Targets and predictions, and weights and a mask for their rows."""
    rng = np.random.default_rng(seed)
    y, p = case.arrays(rng, (6, 4, 3), dtype)
    rows = case.rows(p.shape)
    weights = np.where(rng.random(rows) < 0.3, 0, rng.random(rows)).astype(dtype)
    return [y, p, weights, np.asarray(rng.random(rows) < 0.7)]


def assert_near(actual: Any, expected: Any, units: float = 64) -> None:
    """Close to within units in the last place, of the largest number where terms may cancel."""
    assert isinstance(actual, jax.Array)
    assert not actual.weak_type
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    size = np.max(np.abs(expected[np.isfinite(expected)]), initial=0)
    tolerance = units * UNITS[str(expected.dtype)]
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * size)


@pytest.mark.parametrize("with_core", [True, False])
@every_case
def test_values_and_gradients_outside_of_jit(
    case: Case, with_core: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = arrays(case, dtype, 100)
    theirs = [jnp.asarray(x) for x in given]
    if not with_core:
        monkeypatch.setattr(native, "core", None)
    for reduction, weighted, masked in (
        ("sum", 0, 0),
        ("sum_over_batch_size", 0, 1),
        ("mean_with_sample_weight", 1, 1),
        (None, 1, 0),
    ):
        loss = case.loss(reduction=reduction)
        both = []
        for y, p, weights, mask in (given, theirs):
            arguments = (y, p, *([weights] if weighted else []))
            options = {"mask": mask} if masked else {}
            both.append(
                (
                    loss(*arguments, **options),
                    *omniloss.value_and_grad(loss, *arguments, **options),
                    case.function(y, p, **case.options),
                )
            )
        for expected, found in zip(*both, strict=True):
            assert_near(found, expected)


@pytest.mark.parametrize("case", TORCH_CASES, ids=str)
def test_the_pytorch_dialect_outside_of_jit(case: torch_cases.Case, dtype: str) -> None:
    both = []
    for made in (np.asarray, jnp.asarray):
        options, arguments = (
            {
                key: made(x.astype(dtype) if x.dtype.kind == "f" else x)
                if isinstance(x, np.ndarray)
                else x
                for key, x in values.items()
            }
            for values in (case.options, case.arguments)
        )
        value, gradients = omniloss.value_and_grad(
            case.function, *arguments.values(), wrt=case.by, **options
        )
        both.append((case.function(*arguments.values(), **options), value, *gradients))
    for expected, found in zip(*both, strict=True):
        assert_near(found, expected)


@every_case
@pytest.mark.usefixtures("_doubles")
def test_values_and_gradients_inside_of_jit(case: Case) -> None:
    """To 1e-12, by autodiff and by the verb, of weighted and masked losses."""
    loss = case.loss(reduction="mean_with_sample_weight")
    y, p, weights, mask = arrays(case, "float64", 101)

    @jax.jit
    def compiled(y: Any, p: Any, weights: Any, mask: Any) -> Any:
        by_autodiff = jax.value_and_grad(lambda p: loss(y, p, weights, mask=mask))(p)
        return by_autodiff, omniloss.value_and_grad(loss, y, p, weights, mask=mask)

    expected = omniloss.value_and_grad(loss, y, p, weights, mask=mask)
    for found in compiled(y, p, weights, mask):
        for a, b in zip(found, expected, strict=True):
            assert_near(a, b, 4000)


@pytest.mark.parametrize("case", TORCH_CASES, ids=str)
@pytest.mark.usefixtures("_doubles")
def test_the_pytorch_dialect_inside_of_jit(case: torch_cases.Case) -> None:
    arguments, places = list(case.arguments.values()), range(len(case.arguments))
    by = tuple(place for place in places if list(case.arguments)[place] in case.by)
    if case.label.endswith("joined"):
        pytest.skip("joined labels need lengths that are known")

    def total(*arrays: Any) -> Any:
        value = case.function(*arrays, **case.options)
        return value.sum(), value

    (_, value), gradients = jax.jit(jax.value_and_grad(total, by, has_aux=True))(*arguments)
    expected = omniloss.value_and_grad(
        case.function, *arguments, wrt=tuple(list(case.arguments)[i] for i in by), **case.options
    )
    for a, b in zip((value, *gradients), (expected[0], *expected[1]), strict=True):
        assert_near(a, b, 4000)


def _formulas() -> list[Formula]:
    known = [f for f in FORMULAS.values() if f.kind != "sequence" and not f.others]
    return sorted(known, key=lambda formula: formula.name)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@every_case
def test_half_precision_is_computed_in_float32(case: Case, dtype: str) -> None:
    """What the float32 upcast gives, rounded once; a loss object returns float32."""
    y, p, weights, _ = map(jnp.asarray, arrays(case, "float32", 102))
    p = p.astype(dtype)
    wide = p.astype(jnp.float32)
    value, gradient = omniloss.value_and_grad(case.loss(), y, wide, weights)
    found, narrow = omniloss.value_and_grad(case.loss(), y, p, weights)
    assert found.dtype == jnp.float32
    assert found == value
    assert narrow.dtype == p.dtype
    assert jnp.array_equal(narrow, gradient.astype(dtype))
    rows = case.function(y, p, **case.options)
    assert rows.dtype == p.dtype
    assert jnp.array_equal(rows, case.function(y, wide, **case.options).astype(dtype))


def test_half_precision_inside_of_jit() -> None:
    y, p = np.random.default_rng(103).random((2, 6, 4)).astype(np.float32)
    loss = losses.LogCosh()
    for dtype in (jnp.float16, jnp.bfloat16):
        half = jnp.asarray(p, dtype)
        value, gradient = jax.jit(jax.value_and_grad(loss, 1))(y, half)
        assert value.dtype == jnp.float32
        assert gradient.dtype == dtype
        wide = jax.grad(loss, 1)(jnp.asarray(y), half.astype(jnp.float32))
        np.testing.assert_allclose(
            gradient.astype(jnp.float32), wide.astype(dtype).astype(jnp.float32), rtol=1e-2
        )
        assert jax.jit(losses.log_cosh)(y, half).dtype == dtype


@pytest.mark.parametrize("compiled", [False, True])
def test_types(compiled: bool) -> None:
    def call(loss: Any, *arguments: Any) -> Any:
        return (jax.jit(loss) if compiled else loss)(*arguments)

    y, p = np.zeros((2, 2)), np.ones((2, 2))
    for doubles in (False, True):
        with jax.enable_x64(doubles):
            wide = jnp.float64 if doubles else jnp.float32
            single = jnp.ones((2, 2), jnp.float32)
            for targets in (y, y.astype(bool), y.astype(int), jnp.asarray(y, jnp.int8)):
                assert call(MSE, targets, single, np.ones(2)).dtype == jnp.float32
                assert call(MSE, targets, jnp.asarray(p)).dtype == wide
            assert call(MSE, single, jnp.ones((2, 2), jnp.int32)).dtype == jnp.float32
            assert call(MSE, single, p).dtype == wide
            assert call(losses.MeanSquaredError(dtype="float64"), y, single).dtype == wide
            assert call(losses.MeanSquaredError(dtype="float16"), y, single).dtype == jnp.float16
            weak = jnp.full((2, 2), 1.0)
            assert weak.weak_type
            for value in (call(MSE, y, weak), call(losses.mean_squared_error, y, weak)):
                assert not value.weak_type
                assert value.dtype == weak.dtype


def test_lists_and_numpy_arrays_follow() -> None:
    y, p = np.zeros((2, 2), np.float32), jnp.ones((2, 2))
    for targets in (y, y.tolist(), y[::-1], y.astype(np.uint16), y.astype(bool)):
        for value in (MSE(targets, p), jax.jit(lambda p, y=targets: MSE(y, p))(p)):
            assert isinstance(value, jax.Array)
            assert value == 1
    for arguments in (
        (jnp.zeros((2, 2)), np.asarray(p)),
        (jnp.zeros((2, 2)), p.tolist()),
        (y, np.asarray(p), jnp.ones(2)),
        (y, p, [1.0, 1.0]),
        (y, p, 1.0),
    ):
        value = MSE(*arguments)
        assert isinstance(value, jax.Array)
        assert value == 1
    assert MSE(p.tolist(), p.tolist(), mask=jnp.asarray([True, False])) == 0
    assert isinstance(nn.functional.multi_margin_loss(jnp.asarray(1.0), 0), jax.Array)


def test_two_frameworks_are_refused_by_name() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="two frameworks in one call, jax and torch"):
        MSE(torch.ones(1, 1), jnp.ones((1, 1)))


def test_what_are_no_real_numbers_is_refused() -> None:
    y = jnp.ones((2, 2))
    for wrong in (
        y.astype(jnp.complex64),
        jax.random.split(jax.random.key(0), (2, 2)),
        y.astype(jnp.float8_e5m2),
    ):
        with pytest.raises(TypeError, match="`y_pred` must hold real numbers"):
            MSE(y, wrong)
        with pytest.raises(TypeError, match="`y_true` must hold real numbers"):
            jax.jit(lambda p, y=wrong: MSE(y, p))(y)
        with pytest.raises(TypeError, match="`y_pred` must hold real numbers"):
            jax.jit(lambda p: MSE(y, p))(wrong)


def test_wrong_elements_are_refused_as_on_numpy() -> None:
    p = np.random.default_rng(104).random((4, 3)).astype(np.float32)
    for loss, y, x in (
        (SPARSE, np.array([0, 1, 7, -1]), p),
        (SPARSE, np.array([0.0, 0.5, 1.0, 2.0], np.float32), p),
        (losses.BinaryCrossentropy(), np.round(p), 3 + p),
        (losses.BinaryCrossentropy(), 3 + p, p),
        (losses.Poisson(), p, -1 - p),
    ):
        with pytest.raises(ValueError) as expected:  # noqa: PT011
            loss(y, x)
        for weights in ((), (jnp.ones(4),)):
            with pytest.raises(ValueError) as found:  # noqa: PT011
                loss(jnp.asarray(y), jnp.asarray(x), *weights)
            assert str(found.value) == str(expected.value)


def test_empty_and_uncounted_batches() -> None:
    for transform in (lambda f: f, jax.jit):
        for shape, mask in (((0, 3), None), ((2, 3), np.zeros(2, bool))):
            y, p = jnp.zeros(shape), jnp.ones(shape)
            value, gradient = transform(
                jax.value_and_grad(lambda p, y=y, m=mask: MSE(y, p, mask=m))
            )(p)
            assert value == 0
            assert gradient.shape == shape
            assert not gradient.any()
            assert transform(lambda y, p, m=mask: MSE(y, p, mask=m))(y, p) == 0
    assert np.isnan(jax.jit(nn.functional.mse_loss)(jnp.ones((0, 2)), jnp.ones((0, 2))))


def test_partial_sums() -> None:
    """Numbers in double precision outside of jit, whatever JAX's types are."""
    y, p, w = np.random.default_rng(105).random((3, 6)).astype(np.float32)
    for reduction in ("sum", "mean", "mean_with_sample_weight"):
        loss = losses.Huber(reduction=reduction)
        expected = omniloss.partial(loss, y[:, None], p[:, None], w)
        arrays = [jnp.asarray(x) for x in (y[:, None], p[:, None], w)]
        assert omniloss.partial(loss, *arrays) == expected
        compiled = jax.jit(lambda *x, f=loss: omniloss.partial(f, *x))(*arrays)
        np.testing.assert_allclose(compiled.result(), expected.result(), rtol=1e-6)
        assert compiled.rule == expected.rule


def test_a_call_of_the_users_own_gets_jax_arrays() -> None:
    seen = []

    class Own(losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            seen.extend((y_true, y_pred))
            return jnp.mean(jnp.abs(y_true - y_pred), -1)

    y, p = jnp.zeros((2, 3)), jnp.ones((2, 3))
    for value in (Own()(y, p), jax.jit(Own())(y, p), Own()(np.zeros((2, 3)), p, [1.0, 1.0])):
        assert isinstance(value, jax.Array)
        assert value == 1
    assert all(isinstance(x, jax.Array) for x in seen)
    np.testing.assert_array_equal(jax.grad(Own(), 1)(y, p), np.full((2, 3), 1 / 6, np.float32))


def test_a_distance_of_the_users_own_gets_jax_arrays() -> None:
    a, b, c = jnp.asarray([[0.0]]), jnp.asarray([[1.0]]), jnp.asarray([[3.0]])

    def distance(x: Any, y: Any) -> Any:
        return jnp.abs(x - y)[:, 0]

    loss = nn.TripletMarginWithDistanceLoss(distance_function=distance, margin=5.0)
    for value in (loss(a, b, c), jax.jit(loss)(a, b, c)):
        assert value == 3
    assert jax.grad(loss)(a, b, c).shape == (1, 1)


def test_results_do_not_change_with_what_they_were_made_of() -> None:
    """Whatever memory a result shares is nobody else's."""

    class Own(losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return kept

    kept = np.zeros(64, np.float32)
    y = np.zeros((64, 2), np.float32)
    p = jnp.ones((64, 2))
    values = [
        Own(reduction=None)(y, p),
        losses.MeanSquaredError(reduction=None)(y, p),
        omniloss.value_and_grad(MSE, y, p)[1],
    ]
    before = [np.array(x) for x in values]
    kept += 1
    y += 1
    losses.MeanSquaredError(reduction=None)(y, p)
    omniloss.value_and_grad(MSE, y, p)
    for x, expected in zip(values, before, strict=True):
        np.testing.assert_array_equal(x, expected)


def test_without_compilation() -> None:
    y, p = jnp.zeros((2, 3)), jnp.ones((2, 3))
    with jax.disable_jit():
        for _ in range(2):
            assert isinstance(MSE(y, p), jax.Array)
        assert jax.grad(MSE, 1)(y, p).shape == (2, 3)


@pytest.mark.parametrize("formula", _formulas(), ids=lambda formula: formula.name)
def test_float32_inside_of_jit(formula: Formula) -> None:
    """An error budget: no element is farther from the truth than thrice what NumPy's float32 comes to, and 4 units."""
    rng = np.random.default_rng(106)
    parameters = next(samples.parameter_sets(formula))
    targets, predictions = samples.draw(formula, rng, "moderate", np.float32, 256)
    wide = [x if x.dtype.kind == "i" else x.astype(np.float64) for x in (targets, predictions)]

    @jax.jit
    def both(y: Any, p: Any) -> Any:
        framework = frameworks.of(p)

        def total(p: Any) -> Any:
            losses = framework.losses(formula, (y, p), parameters)
            return losses.sum(), losses

        return jax.grad(total, has_aux=True)(p)

    gradient, value = both(targets, predictions)
    for found, function in ((value, formula.value), (gradient, formula.derivative)):
        truth = function(np, *wide, **parameters)
        plain = function(np, targets, predictions, **parameters)
        unit = np.spacing(np.abs(truth).astype(np.float32))
        assert found.dtype == jnp.float32
        error, usual = (np.abs(np.asarray(x, np.float64) - truth) / unit for x in (found, plain))
        assert np.nanmax(error) <= 4 + 3 * np.nanmax(usual)


def _summed() -> list[tuple[str, str, Any, Any]]:
    """Losses whose sums over many elements have ways of their own, with targets and predictions to draw."""

    def normal(rng: Any, scale: float) -> np.ndarray:
        return np.asarray(scale * rng.standard_normal((256, 512)))

    def near(rng: Any, p: np.ndarray) -> np.ndarray:
        return p + 1e-3 * rng.standard_normal(p.shape)

    def any_(rng: Any, p: np.ndarray) -> np.ndarray:
        return np.asarray(rng.standard_normal(p.shape))

    def unit(rng: Any, p: np.ndarray) -> np.ndarray:
        return np.asarray(rng.random(p.shape))

    def signs(rng: Any, p: np.ndarray) -> np.ndarray:
        return np.sign(rng.standard_normal(p.shape))

    def shares(rng: Any, p: np.ndarray) -> np.ndarray:
        return np.asarray(rng.dirichlet(np.full(p.shape[1], 0.1), p.shape[0]))

    def labels(rng: Any, p: np.ndarray) -> np.ndarray:
        return np.asarray(rng.integers(0, p.shape[1], p.shape[0]))

    def right(rng: Any, p: np.ndarray) -> np.ndarray:
        p[np.arange(len(p)), 3] += 12 * np.std(p)
        return np.full(len(p), 3)

    def right_share(rng: Any, p: np.ndarray) -> np.ndarray:
        return np.eye(p.shape[1])[right(rng, p)]

    logits = {"from_logits": True}
    return [
        (name, how, losses.get({"class_name": name, "config": options}), (targets, scale, normal))
        for name, options, ways in (
            ("MeanSquaredError", {}, {"far": (any_, 1.0), "near": (near, 1.0)}),
            ("MeanAbsoluteError", {}, {"far": (any_, 1.0)}),
            ("Huber", {}, {"far": (any_, 1.0), "near": (near, 1.0)}),
            ("LogCosh", {}, {"far": (any_, 1.0), "near": (near, 1.0), "wide": (any_, 50.0)}),
            ("Hinge", {"labels": "signed"}, {"signs": (signs, 1.0)}),
            ("BinaryCrossentropy", logits, {"soft": (unit, 3.0)}),
            ("BinaryCrossentropy", {**logits, "label_smoothing": 0.2}, {"smooth": (unit, 3.0)}),
            (
                "CategoricalCrossentropy",
                logits,
                {"soft": (shares, 2.0), "right": (right_share, 1.0)},
            ),
            (
                "SparseCategoricalCrossentropy",
                logits,
                {"any": (labels, 2.0), "right": (right, 1.0)},
            ),
            ("CosineSimilarity", {}, {"any": (any_, 1.0)}),
        )
        for how, (targets, scale) in ways.items()
    ]


@pytest.mark.parametrize(
    ("loss", "draw"), [x[2:] for x in _summed()], ids=["-".join(x[:2]) for x in _summed()]
)
def test_many_losses_inside_of_jit(loss: Any, draw: Any) -> None:
    """Within 4 units of the true mean; gradients within as many, but for what cancels, of the largest in the row."""
    targets, scale, normal = draw
    rng = np.random.default_rng(107)
    p = normal(rng, scale).astype(np.float32)
    y = targets(rng, p)
    y = y if y.dtype.kind == "i" else y.astype(np.float32)
    found, slope = jax.jit(jax.value_and_grad(loss, 1))(y, p)
    wide = (y if y.dtype.kind == "i" else y.astype(np.float64)), p.astype(np.float64)
    value, gradient = omniloss.value_and_grad(loss, *wide)
    assert abs(float(found) - value) <= 4 * np.spacing(np.float32(abs(value)))
    verb, by_verb = jax.jit(lambda y, p: omniloss.value_and_grad(loss, y, p))(y, p)
    assert abs(float(verb) - value) <= 4 * np.spacing(np.float32(abs(value)))
    for each in (slope, by_verb):
        error = np.abs(np.asarray(each, np.float64) - gradient)
        size = np.max(np.abs(gradient), axis=-1, keepdims=True)
        assert np.max(error / (np.abs(gradient) + size / 8)) < 8e-7


@pytest.mark.parametrize(
    "loss", [x[2] for x in _summed() if x[1] in ("far", "soft", "any")], ids=repr
)
def test_many_losses_with_numbers_that_are_not_ordinary(loss: Any) -> None:
    """Where the quick way gives up, the formula has the word."""
    rng = np.random.default_rng(108)
    p = rng.standard_normal((256, 512)).astype(np.float32)
    sparse = isinstance(loss, losses.SparseCategoricalCrossentropy)
    y = rng.integers(0, 512, 256) if sparse else rng.random(p.shape).astype(np.float32)
    compiled, row = jax.jit(jax.value_and_grad(loss, 1)), slice(7, 8)
    of_row = jax.jit(jax.grad(lambda p: loss(y[row], p) / 256))
    for what in (np.nan, np.inf, -np.inf, 1e30):
        p[7, 9] = what
        value, gradient = compiled(y, p)
        expected = loss(y, p)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        np.testing.assert_allclose(gradient[row], of_row(p[row]), rtol=1e-5, atol=1e-9)


def test_many_losses_with_labels_out_of_range() -> None:
    p = np.zeros((256, 512), np.float32)
    y = np.full(p.shape, 0.5, np.float32)
    y[3, 4] = 1.5
    bce = losses.BinaryCrossentropy(from_logits=True)
    labels = np.zeros(256, int)
    labels[3] = 512
    between = np.zeros(256, np.float32)
    between[3] = 1.5
    unknown = np.where(between == 1.5, np.float32(np.nan), between)
    for loss, targets in ((bce, y), (SPARSE, labels), (SPARSE, between), (SPARSE, unknown)):
        value, gradient = jax.jit(jax.value_and_grad(loss, 1))(targets, p)
        assert np.isnan(value)
        assert np.isnan(gradient[3]).any()
        assert not np.isnan(np.delete(gradient, 3, 0)).any()


def test_the_gradient_of_many_losses_at_the_ends_of_their_type() -> None:
    p = np.zeros((256, 512), np.float32)
    p[1], p[2] = np.finfo(np.float32).min, -2e38
    p[3, :2] = np.inf  # the shares of both are unknown
    labels = np.arange(256)
    expected = np.where(np.arange(512) == labels[:, None], 1 / 512 - 1, 1 / 512) / 256
    for loss, y in (
        (SPARSE, labels),
        (losses.CategoricalCrossentropy(from_logits=True), np.eye(512, dtype=np.float32)[labels]),
    ):
        gradient = jax.jit(jax.grad(loss, 1))(y, p)
        assert np.isnan(gradient[3]).any()
        rest = np.arange(256) != 3
        np.testing.assert_allclose(gradient[rest], expected[rest], rtol=1e-5)


def test_the_gradient_of_many_losses_of_logits_far_apart() -> None:
    """Differences of logits lose digits, which count in their exponentials and in the sum of those."""
    p = (6 * np.random.default_rng(110).standard_normal((256, 512))).astype(np.float32)
    p[:, 3] += 72
    y = np.eye(512, dtype=np.float32)[np.full(256, 3)]
    loss = losses.CategoricalCrossentropy(from_logits=True)
    _, expected = omniloss.value_and_grad(loss, y, p.astype(np.float64))
    gradient = np.asarray(jax.jit(jax.grad(loss, 1))(y, p), np.float64)
    seen = np.abs(expected) > 1e-31  # what is much less is flushed to 0, and lacks in the sum
    assert seen[:, 3].any()
    np.testing.assert_allclose(gradient[seen], expected[seen], rtol=1e-6)


@pytest.mark.parametrize("length", [16, 512])
def test_many_cosines_of_vectors_of_any_length(length: int) -> None:
    """Vectors of length 0, shorter than epsilon and too long to be squared are the formula's, others quick."""
    rng = np.random.default_rng(111)
    y, p = rng.standard_normal((2, 2**17 // length, length)).astype(np.float32)
    p += y
    loss = losses.CosineSimilarity()
    compiled = jax.jit(jax.value_and_grad(lambda y, p: 3 * loss(y, p), 1))
    for size in (1.0, 0.0, 1e-9, 1e-18, 1e18):
        x, vectors = np.array(y), np.array(p)
        vectors[5] *= size
        x[6] *= size
        value, gradient = compiled(x, vectors)
        expected, slope = omniloss.value_and_grad(loss, x.astype(float), vectors.astype(float))
        assert abs(float(value) - 3 * expected) <= 4 * np.spacing(np.float32(3 * abs(expected)))
        largest = np.max(np.abs(slope), axis=-1, keepdims=True)
        assert np.all(np.abs(gradient / 3 - slope) <= 8e-7 * (np.abs(slope) + largest))


@pytest.mark.parametrize("classes", [10, 512])
@pytest.mark.parametrize("how", ["any", "right", "far", "high", "low", "masked", "hidden"])
def test_many_losses_of_class_indices(classes: int, how: str) -> None:
    """Where exponentials fit the type and where not: the value, alone and with its gradient, as exact as the gradient."""
    rng = np.random.default_rng(112)
    p = 2 * rng.standard_normal((2**17 // classes, classes)).astype(np.float32)
    labels = rng.integers(0, classes, len(p))
    rows = np.arange(len(p))
    p[rows, labels] += {"right": 9, "far": 50}.get(how, 0)
    p[7:] += {"high": 82, "low": -84}.get(how, 0)
    if how == "masked":
        p[rows, (labels + 1) % classes] = -np.inf
    if how == "hidden":
        p[5, labels[5]] = -85
    expected, slope = omniloss.value_and_grad(SPARSE, labels, p.astype(np.float64))
    for doubles in (False, True)[: 1 + (how == "any")]:
        with jax.enable_x64(doubles):
            value = jax.jit(SPARSE)(labels, p)
            found = [
                jax.jit(jax.value_and_grad(SPARSE, 1))(labels, p),
                jax.jit(lambda y, p: omniloss.value_and_grad(SPARSE, y, p))(labels, p),
            ]
        assert value.dtype == found[0][0].dtype == np.float32
        np.testing.assert_allclose(value, expected, rtol=2e-5 if how == "far" else 5e-7)
        for both, gradient in found:
            np.testing.assert_allclose(both, expected, rtol=5e-7)
            seen = (np.abs(slope) > 1e-31) | (slope == 0)
            np.testing.assert_allclose(gradient[seen], slope[seen], rtol=1e-6)


@pytest.mark.parametrize("how", ["any", "right", "large", "tied", "high", "low"])
def test_many_losses_of_long_rows(how: str) -> None:
    rng = np.random.default_rng(113)
    p = rng.standard_normal((16, 5000)).astype(np.float32)
    y = rng.dirichlet(np.ones(5000), 16).astype(np.float32)
    p[7:] += {"high": 82, "low": -84}.get(how, 0)
    if how == "tied":
        p[:, 7:9] = 40
    if how in ("right", "large"):
        p[:, 3] += 20
        y = np.zeros_like(y)
        y[:, 3] = 1e6 if how == "large" else 1
    loss = losses.CategoricalCrossentropy(from_logits=True)
    value, slope = omniloss.value_and_grad(loss, y.astype(np.float64), p.astype(np.float64))
    found, gradient = jax.jit(jax.value_and_grad(loss, 1))(y, p)
    np.testing.assert_allclose(found, value, rtol=5e-7)
    largest = np.max(np.abs(slope), axis=-1, keepdims=True)
    assert np.max(np.abs(gradient - slope) / (np.abs(slope) + largest / 8)) < 8e-7


def test_many_losses_of_targets_that_are_no_shares() -> None:
    """A mean that is large since the targets are does not hide what its logarithms lose."""
    p = np.zeros((256, 512), np.float32)
    p[:, 3] = 20
    y = np.zeros(p.shape, np.float32)
    y[:, 3] = 1e6
    loss = losses.CategoricalCrossentropy(from_logits=True)
    expected = loss(y.astype(np.float64), p.astype(np.float64))
    np.testing.assert_allclose(jax.jit(loss)(y, p), expected, rtol=5e-7)


def test_the_second_derivative_of_many_losses_at_equal_logits() -> None:
    """The largest of a row has no derivative where there are several; the loss has all of them."""
    p, d = np.zeros((256, 512), np.float32), np.linspace(-1, 1, 512, dtype=np.float32)
    labels = np.arange(256)
    for loss, y in (
        (SPARSE, labels),
        (losses.CategoricalCrossentropy(from_logits=True), np.eye(512, dtype=np.float32)[labels]),
    ):
        gradient = jax.grad(lambda p, f=loss, y=y: f(y, p))
        _, second = jax.jit(lambda p, g=gradient: jax.jvp(g, (p,), (np.tile(d, (256, 1)),)))(p)
        np.testing.assert_allclose(second[0], d / 512 / 256, rtol=1e-5, atol=1e-10)


def test_the_second_derivative_of_many_losses() -> None:
    rng = np.random.default_rng(109)
    y, p, d = rng.random((3, 256, 512)).astype(np.float32)
    rows = slice(0, 2)  # which go the formula's way
    for loss in (
        losses.LogCosh(),
        losses.BinaryCrossentropy(from_logits=True),
        losses.CosineSimilarity(),
    ):
        gradient = jax.grad(lambda p, f=loss: f(y, p))
        _, second = jax.jit(lambda p, g=gradient: jax.jvp(g, (p,), (d,)))(p)
        few = jax.grad(lambda p, f=loss: f(y[rows], p) / 128)
        _, expected = jax.jvp(few, (p[rows],), (d[rows],))
        np.testing.assert_allclose(second[rows], expected, rtol=1e-4, atol=1e-10)
        by_targets = jax.jit(jax.grad(loss))(y, p)
        np.testing.assert_allclose(
            by_targets[rows],
            jax.grad(lambda y, f=loss: f(y, p[rows]) / 128)(y[rows]),
            rtol=1e-4,
            atol=1e-9,
        )
