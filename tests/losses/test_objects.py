"""Loss objects as objects: subclasses, attributes, copies, equality, printing and wrapped callables."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import omniloss
from omniloss import losses
from omniloss.losses import registry
from support.cases import Case, cases

DEFAULTS = [case for case in cases() if not case.options]
OPTIONS = [(case, name) for case in cases() for name in case.options]


def batch(case: Case, seed=0, dtype="float64"):
    return case.arrays(np.random.default_rng(seed), (6, 4), dtype)


# A subclass of Loss


class Squares(losses.Loss):
    """A user's loss with NumPy in its ``call``."""

    def call(self, y_true, y_pred):
        return np.mean((y_true - y_pred) ** 2, axis=-1)


@pytest.mark.parametrize("reduction", [*losses.Reduction, "mean", "mean_with_sample_weight", None])
@pytest.mark.parametrize("weights", [None, 0.5, [0.1, 0.0, 2.0, 1.0, 1.0, 3.0]])
@pytest.mark.parametrize("masked", [False, True])
def test_a_users_loss_is_reduced_as_a_built_in_one(reduction, weights, masked):
    rng = np.random.default_rng(4)
    y_true, y_pred, mask = rng.random((6, 3)), rng.random((6, 3)), rng.random(6) > 0.4
    kwargs = {"sample_weight": weights, "mask": mask if masked else None}
    ours, built_in = Squares(reduction=reduction), losses.MeanSquaredError(reduction=reduction)
    value = ours(y_true, y_pred, **kwargs)
    np.testing.assert_allclose(value, built_in(y_true, y_pred, **kwargs), rtol=1e-14)
    assert np.shape(value) == np.shape(built_in(y_true, y_pred, **kwargs))
    if reduction not in (None, "none"):
        ours, built_in = (omniloss.partial(x, y_true, y_pred, **kwargs) for x in (ours, built_in))
        assert ours.total == pytest.approx(built_in.total, rel=1e-14)
        assert ours.weight == pytest.approx(built_in.weight, rel=1e-14)


def test_a_users_call_gets_arrays_of_the_dtype():
    seen = []

    class Spy(Squares):
        def call(self, y_true, y_pred):
            seen.append((y_true.dtype.name, y_pred.dtype.name))
            return super().call(y_true, y_pred)

    Spy()([[0, 1]], [[1, 1]])
    Spy(dtype="float64")([[True, False]], np.ones((1, 2), np.float32))
    Spy()(np.zeros((1, 2)), np.ones((1, 2)))
    assert seen == [("float32", "float32"), ("float64", "float64"), ("float64", "float64")]
    assert Spy(dtype="float16")([[0, 1]], [[1, 1]]).dtype == np.float16


def test_a_loss_without_call_says_so():
    class Nothing(losses.Loss):
        pass

    with pytest.raises(NotImplementedError, match=r"Nothing must define call\(y_true, y_pred\)"):
        Nothing()([[0.0]], [[1.0]])
    assert Nothing().name == "nothing"
    assert losses.Loss(name="own").name == "own"


def test_default_names_are_in_snake_case():
    class KLDivergenceOfMine(Squares):
        pass

    assert KLDivergenceOfMine().name == "kl_divergence_of_mine"
    assert losses.LossFunctionWrapper(losses.huber).name == "loss_function_wrapper"


# Subclasses of built-in losses


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_an_overridden_call_is_obeyed(case):
    class Doubled(case.cls):
        def call(self, y_true, y_pred):
            return 2 * super().call(y_true, y_pred)

    y_true, y_pred = batch(case)
    weights, reductions = np.arange(6.0), ("mean", "sum", None)
    if case.plan.positive_only:  # of which a call of the user's says nothing
        weights, reductions = weights + 1, ("sum", None)
    for arguments in ((y_true, y_pred), (y_true, y_pred, weights)):
        for reduction in reductions:
            expected = 2 * case.loss(reduction=reduction)(*arguments)
            np.testing.assert_allclose(
                Doubled(reduction=reduction)(*arguments), expected, rtol=1e-13
            )


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_a_call_put_on_an_object_or_class_later_is_obeyed(case):
    class Mine(case.cls):
        pass

    loss, y = Mine(), batch(case)
    value = loss(*y)
    loss.call = lambda y_true, y_pred: np.full(len(y_pred), 7.0)
    assert loss(*y) == 7.0
    del loss.call
    assert loss(*y) == value
    fresh = Mine()
    assert fresh(*y) == value
    Mine.call = lambda self, y_true, y_pred: np.full(len(y_pred), 8.0)
    assert loss(*y) == fresh(*y) == 8.0


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_a_subclass_with_its_own_arguments(case):
    class Scaled(case.cls):
        def __init__(self, scale=3.0, **kwargs):
            super().__init__(**kwargs)
            self.scale = scale

        def call(self, y_true, y_pred):
            return self.scale * super().call(y_true, y_pred)

        def get_config(self):
            return {**super().get_config(), "scale": self.scale}

    loss, y = Scaled(scale=5.0, reduction="sum"), batch(case)
    np.testing.assert_allclose(loss(*y), 5.0 * case.loss(reduction="sum")(*y), rtol=1e-13)
    again = Scaled.from_config(loss.get_config())
    assert again == loss
    assert again.scale == 5.0


# Attributes


@pytest.mark.parametrize(("case", "name"), OPTIONS, ids=lambda x: str(x))
def test_options_set_later_count(case, name):
    y = batch(case)
    others = {key: value for key, value in case.options.items() if key != name}
    loss = case.cls(**others)
    if name not in ("from_logits", "labels", "ignore_class", "axis"):
        loss(*y)  # what a first call remembers must not stay
    setattr(loss, name, case.options[name])
    assert getattr(loss, name) == case.options[name]
    np.testing.assert_array_equal(loss(*y), case.loss()(*y))
    assert loss == case.loss()


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_the_reduction_set_later_counts(case):
    y = batch(case)
    loss = case.loss()
    for reduction in ("sum", "mean", None, "sum"):
        loss(*y)
        loss.reduction = reduction
        assert loss.reduction == reduction
        np.testing.assert_array_equal(loss(*y), case.loss(reduction=reduction)(*y))


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_epsilon_counts_at_the_time_of_the_call(case):
    y_true, y_pred = batch(case)
    if case.name == "cosine_similarity":
        y_true, y_pred = y_true / 50, y_pred / 50  # lengths that epsilon below exceeds
    loss = case.loss()
    before = loss(y_true, y_pred)
    with omniloss.config(epsilon=0.3):
        inside = loss(y_true, y_pred)
        assert inside == case.loss()(y_true, y_pred)
        follows = {"epsilon", "smooth"} & set(case.plan.formula.parameters)
        assert (inside == before) == (not follows)
    assert loss(y_true, y_pred) == before


def test_the_dtype_stays():
    loss = losses.Huber(dtype="float64")
    assert loss.dtype == "float64"
    with pytest.raises(AttributeError):
        loss.dtype = "float32"


def test_unknown_attributes():
    loss = losses.Huber()
    with pytest.raises(AttributeError, match="'Huber' object has no attribute 'gamma'"):
        loss.gamma  # noqa: B018
    loss.note = "mine"
    assert loss.note == "mine"
    assert loss == losses.Huber()


# Copies, equality, printing


@pytest.mark.parametrize("case", cases(), ids=str)
def test_copies_are_equal_and_apart(case):
    y = batch(case)
    loss = case.loss(reduction="sum", name="mine")
    value = loss(*y)
    copies = [
        pickle.loads(pickle.dumps(loss, protocol)) for protocol in (2, pickle.HIGHEST_PROTOCOL)
    ]
    copies += [copy.deepcopy(loss), copy.copy(loss), case.cls.from_config(loss.get_config())]
    for again in copies:
        assert type(again) is type(loss)
        assert again == loss
        assert hash(again) == hash(loss)
        assert repr(again) == repr(loss)
        assert again(*y) == value
    deep = copy.deepcopy(loss)
    deep.reduction = "mean"
    for name in case.options:
        setattr(deep, name, getattr(case.cls(), name))
    assert deep == case.cls(name="mine", reduction="mean")
    assert loss == case.loss(reduction="sum", name="mine")


@pytest.mark.parametrize("name", registry.FUNCTIONS)
def test_functions_pickle_as_themselves(name):
    function = registry.FUNCTIONS[name]
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function
    assert function.__name__ == name


def test_equality():
    assert losses.Huber() == losses.Huber(delta=1.0)
    assert losses.Huber(reduction=losses.Reduction.SUM) == losses.Huber(reduction="sum")
    different = [
        losses.Huber(),
        losses.Huber(delta=2.0),
        losses.Huber(reduction="sum"),
        losses.Huber(name="mine"),
        losses.Huber(dtype="float64"),
        losses.MeanSquaredError(name="huber_loss"),
        losses.LossFunctionWrapper(losses.huber, name="huber_loss"),
        "huber",
    ]
    for i, first in enumerate(different):
        for second in different[i + 1 :]:
            assert first != second
    assert len({losses.Huber(), losses.Huber(delta=1.0)}) == 1


def test_printing_shows_how_to_make_it():
    loss = losses.Huber(delta=2.0, reduction="sum")
    assert repr(loss) == "Huber(name='huber_loss', reduction='sum', delta=2.0)"
    assert eval(repr(loss), vars(losses)) == loss
    assert "dtype='float64'" in repr(losses.Poisson(dtype="float64"))
    loss = losses.MeanSquaredError(reduction=losses.Reduction.SUM)
    assert repr(loss) == "MeanSquaredError(name='mean_squared_error', reduction=Reduction.SUM)"
    assert eval(repr(loss), vars(losses)).reduction is losses.Reduction.SUM


# Wrapped callables


def quartic(y_true, y_pred, scale=1.0):
    """A user's loss function."""
    return scale * np.mean((np.asarray(y_pred) - y_true) ** 4, axis=-1)


class Callable:
    def __call__(self, y_true, y_pred):
        return quartic(y_true, y_pred)


@pytest.mark.parametrize(
    "function",
    [quartic, lambda y_true, y_pred: quartic(y_true, y_pred), Callable(), Callable().__call__],
    ids=["function", "lambda", "object", "method"],
)
def test_any_callable_can_be_wrapped(function):
    y_true, y_pred = np.zeros((2, 2)), np.array([[1.0, 1.0], [0.0, 2.0]])
    loss = losses.LossFunctionWrapper(function, reduction="sum", name="mine")
    assert loss(y_true, y_pred) == 9.0
    assert loss(y_true, y_pred, sample_weight=[1.0, 0.5]) == 5.0
    assert omniloss.partial(loss, y_true, y_pred).result() == 9.0
    assert loss == losses.LossFunctionWrapper(function, reduction="sum", name="mine")
    assert loss != losses.LossFunctionWrapper(losses.huber, reduction="sum", name="mine")
    assert "reduction='sum'" in repr(loss)
    with pytest.raises(TypeError, match="of which no derivative is known"):
        omniloss.value_and_grad(loss, y_true, y_pred)


def test_wrapped_options():
    loss = losses.LossFunctionWrapper(quartic, scale=3.0)
    assert loss([[0.0]], [[1.0]]) == 3.0
    loss.scale = 4.0
    assert loss([[0.0]], [[1.0]]) == 4.0
    assert loss.get_config()["scale"] == 4.0
    assert pickle.loads(pickle.dumps(loss)) == loss
    for not_callable in (None, "huber", 3):
        with pytest.raises(TypeError, match=r"`fn` must be callable with \(y_true, y_pred\); got"):
            losses.LossFunctionWrapper(not_callable)


def test_a_wrapped_loss_of_ours_is_as_the_class():
    loss = losses.LossFunctionWrapper(losses.huber, delta=2.0)
    y = np.zeros((3, 2)), np.arange(6.0).reshape(3, 2)
    assert loss(*y) == losses.Huber(delta=2.0)(*y)
    value, gradient = omniloss.value_and_grad(loss, *y)
    assert value == loss(*y)
    np.testing.assert_array_equal(gradient, omniloss.value_and_grad(losses.Huber(2.0), *y)[1])
    with pytest.raises(ValueError, match="`delta` must lie in"):
        losses.LossFunctionWrapper(losses.huber, delta=-1.0)


def test_a_wrapper_subclass_with_its_own_function():
    class Quartic(losses.LossFunctionWrapper):
        def __init__(self, scale=1.0, reduction="mean", name=None, dtype=None):
            super().__init__(quartic, reduction=reduction, name=name, dtype=dtype, scale=scale)

    loss = Quartic(scale=2.0)
    assert loss([[0.0]], [[1.0]]) == 2.0
    assert Quartic.from_config(loss.get_config()) == loss

    class Renamed(losses.LossFunctionWrapper):
        pass

    renamed = Renamed(losses.huber, delta=0.5)
    assert Renamed.from_config(renamed.get_config()) == renamed


# What keeps objects fit for use


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_inputs_are_neither_changed_nor_kept(case):
    y_true, y_pred = batch(case, dtype="float32")
    before = y_true.copy(), y_pred.copy()
    y_true.flags.writeable = y_pred.flags.writeable = False
    loss = case.loss()
    loss(y_true, y_pred)
    loss(y_true, y_pred, sample_weight=np.ones(6))
    np.testing.assert_array_equal(y_true, before[0])
    np.testing.assert_array_equal(y_pred, before[1])
    alive = weakref.ref(y_pred)
    del y_pred
    gc.collect()
    assert alive() is None


def test_one_object_in_many_threads():
    loss = losses.BinaryCrossentropy()
    rng = np.random.default_rng(0)
    batches = [(rng.random((50, 3)), rng.random((50, 3))) for _ in range(8)]
    expected = [loss(*y) for y in batches]
    wrong = []

    def work(i):
        for _ in range(50):
            if loss(*batches[i]) != expected[i]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# What users' own classes and functions may do


def test_losses_of_a_users_own_class_differ_by_their_attributes():
    class Scaled(losses.Loss):
        def __init__(self, factor, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, y_true, y_pred):
            return np.mean(self.factor * abs(y_true - y_pred), axis=-1)

    assert Scaled(2) != Scaled(3)
    assert Scaled(np.ones(3)) == Scaled(np.ones(3))
    assert len({Scaled(2), Scaled(3)}) == 2


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float16])
def test_weights_keep_their_digits_whatever_type_a_users_losses_have(dtype):
    def wrong(y_true, y_pred):
        return np.any(y_true != y_pred, axis=-1).astype(dtype)

    y_true, y_pred = np.zeros((3, 2)), np.ones((3, 2))
    loss = losses.LossFunctionWrapper(wrong)
    assert loss(y_true, y_pred, [0.5, 0.2, 0.0]) == pytest.approx(0.7 / 3, rel=1e-15)
    part = omniloss.partial(loss, y_true, y_pred, [0.5, 0.2, 0.0])
    assert part.total == pytest.approx(0.7, rel=1e-15)


def test_a_wrapped_loss_object_reduces_by_itself():
    y_true, y_pred = np.zeros((3, 2)), np.arange(6.0).reshape(3, 2)
    inner = losses.Huber(delta=0.1, reduction="sum")
    assert losses.LossFunctionWrapper(inner)(y_true, y_pred) == inner(y_true, y_pred)
    with pytest.raises(TypeError, match="no derivative is known"):
        omniloss.value_and_grad(losses.LossFunctionWrapper(inner), y_true, y_pred)


def test_a_shallow_copy_has_its_own_options():
    y_true, y_pred = np.zeros((3, 2), np.float32), np.full((3, 2), 9.0, np.float32)
    loss = losses.Huber(2.0)
    before = loss(y_true, y_pred)
    twin = copy.copy(loss)
    twin.delta = 9.0
    assert (loss.delta, twin.delta) == (2.0, 9.0)
    assert loss(y_true, y_pred) == before != twin(y_true, y_pred)


def test_an_overridden_call_operator_is_not_bypassed():
    class Doubled(losses.MeanSquaredError):
        def __call__(self, y_true, y_pred, sample_weight=None, **kwargs):
            return 2 * super().__call__(y_true, y_pred, sample_weight, **kwargs)

    arguments = np.zeros((3, 2)), np.ones((3, 2))
    assert Doubled()(*arguments) == 2.0
    for verb in (omniloss.value_and_grad, omniloss.partial):
        with pytest.raises(TypeError, match="overrides __call__; override call"):
            verb(Doubled(), *arguments)


def test_an_attached_mask_meets_an_explicit_one():
    class Carrier(np.ndarray):
        pass

    y_true = np.zeros((3, 1))
    y_pred = np.array([[1.0], [2.0], [3.0]]).view(Carrier)
    loss = losses.MeanSquaredError("sum")
    for attached in ([True, True, False], np.array([True, True, False]), np.array([[1], [1], [0]])):
        y_pred._keras_mask = attached
        assert loss(y_true, y_pred) == 5.0
        for mask in ([True, False, True], np.array([True, False, True]), [[1], [0], [1]]):
            assert loss(y_true, y_pred, mask=mask) == 1.0


def test_a_normalizer_divides_any_sum():
    y_true, y_pred = np.zeros((3, 1)), np.array([[1.0], [2.0], [3.0]])
    for loss in (losses.MeanSquaredError("sum"), losses.MeanSquaredError(), losses.mse):
        value, gradient = omniloss.value_and_grad(loss, y_true, y_pred, normalizer=10)
        assert value == pytest.approx(1.4, rel=1e-15)
        np.testing.assert_allclose(gradient, y_pred / 5, rtol=1e-15)
    with pytest.raises(ValueError, match="`normalizer` divides a sum, and the reduction"):
        omniloss.value_and_grad(losses.MeanSquaredError(None), y_true, y_pred, normalizer=10)


def test_verbs_want_an_object_not_its_class():
    for verb in (omniloss.value_and_grad, omniloss.partial):
        with pytest.raises(TypeError, match="a class: make an object of it"):
            verb(losses.Huber, [[0.0]], [[1.0]])


@pytest.mark.parametrize("mask", [[0.5, 1.0], [np.nan, 1.0], [2, 0]])
def test_a_mask_is_no_weight(mask):
    with pytest.raises(ValueError, match="`mask` must hold booleans, or 0 and 1"):
        losses.MeanAbsoluteError()([[0.0], [0.0]], [[2.0], [4.0]], mask=mask)
