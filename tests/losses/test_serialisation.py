"""Losses to names and JSON and back, by `get`, `serialize` and `deserialize`."""

import functools
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from omniloss import losses
from omniloss.losses import registry
from support.cases import cases

REDUCTIONS = [*losses.Reduction, "mean", "mean_with_sample_weight", None]


def through_json(loss):
    return losses.deserialize(json.loads(json.dumps(losses.serialize(loss))))


@pytest.mark.parametrize("case", cases(), ids=str)
def test_objects_come_back_equal(case):
    for reduction in REDUCTIONS:
        loss = case.loss(reduction=reduction, name="mine", dtype="float64")
        again = through_json(loss)
        assert type(again) is type(loss)
        assert again == loss
        assert again.get_config() == loss.get_config()
        assert losses.get(losses.serialize(loss)) == loss


@pytest.mark.parametrize("name", registry.NAMES)
def test_names(name):
    found = losses.get(name)
    named = registry.NAMES[name]
    if isinstance(named, type):
        assert type(found) is named
        assert found == named() == losses.deserialize(name)
    else:
        assert found is named
        assert losses.deserialize(name) is named
        assert losses.serialize(found) == found.__name__
        assert losses.deserialize(losses.serialize(found)) is found


def test_get():
    assert losses.get(None) is None
    loss = losses.Huber(delta=3.0)
    assert losses.get(loss) is loss
    assert losses.get(losses.mse) is losses.mean_squared_error
    assert losses.get(losses.Huber) == losses.Huber()

    def mine(y_true, y_pred):
        return y_pred

    assert losses.get(mine) is mine
    config = {"class_name": "CategoricalCrossentropy", "config": {"from_logits": True}}
    assert losses.get(config) == losses.CategoricalCrossentropy(from_logits=True)
    assert losses.get({"class_name": "Poisson"}) == losses.Poisson()


@pytest.mark.parametrize("wrong", [3, 2.5, ["mse"], b"mse", np.zeros(2)])
def test_get_refuses_what_is_no_loss(wrong):
    with pytest.raises(
        ValueError, match="a loss is given by its name, a configuration, a callable"
    ):
        losses.get(wrong)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mean_square_error", "'mean_squared_error'"),
        ("MeanSquareError", "'MeanSquaredError'"),
        ("Hubber", "'Huber'"),
        ("binary_cross_entropy", "'binary_crossentropy'"),
        ("mze", "'mse'"),
    ],
)
def test_unknown_names_name_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"unknown loss '{name}'; did you mean .*{near}"):
        losses.get(name)
    if name[0].isupper():
        with pytest.raises(ValueError, match=f"unknown loss '{name}'; did you mean .*{near}"):
            losses.deserialize({"class_name": name, "config": {}})
    with pytest.raises(ValueError, match=r"unknown loss 'xyzzy'$"):
        losses.get("xyzzy")


def test_a_class_is_not_a_function_and_a_function_not_a_class():
    with pytest.raises(ValueError, match="unknown loss 'huber'; did you mean 'Huber'"):
        losses.deserialize({"class_name": "huber", "config": {}})
    with pytest.raises(ValueError, match="unknown loss 'Huber'; did you mean 'huber'"):
        losses.deserialize({"class_name": "function", "config": "Huber", "module": "builtins"})


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"config": {}},
        {"class_name": 3, "config": {}},
        {"class_name": "Huber", "config": "x"},
        7,
        [],
    ],
)
def test_other_forms_are_refused(wrong):
    with pytest.raises(
        ValueError, match="a serialised loss is a name or a dict with a 'class_name'"
    ):
        losses.deserialize(wrong)


@pytest.mark.parametrize("wrong", [[losses.Huber], "mine", losses.Huber, 3])
def test_custom_objects_are_a_dict(wrong):
    with pytest.raises(
        TypeError, match="`custom_objects` must be a dict of your own losses by their names"
    ):
        losses.deserialize("mine", custom_objects=wrong)


@pytest.mark.parametrize("name", registry.CLASSES)
def test_a_class_may_be_said_to_be_from_the_file_that_defines_it(name):
    module = registry.CLASSES[name].__module__
    loss = losses.deserialize({"module": module, "class_name": name, "config": {}})
    assert loss == registry.CLASSES[name]()
    for other in ("omniloss.losses.checks", f"{module}.more", "numpy"):
        with pytest.raises(ValueError, match=f"unknown loss '{name}' of the module '{other}'"):
            losses.deserialize({"module": other, "class_name": name, "config": {}})


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="deltaa"):
        losses.deserialize({"class_name": "Huber", "config": {"deltaa": 1.0}})
    with pytest.raises(ValueError, match="`delta` must lie in"):
        losses.deserialize({"class_name": "Huber", "config": {"delta": -1.0}})


def test_numpy_scalars_and_arrays_become_json():
    loss = losses.CategoricalFocalCrossentropy(
        alpha=np.array([0.25, 0.5], np.float32),
        gamma=np.float32(1.5),
        from_logits=np.True_,
        axis=np.int64(-1),
        reduction=losses.Reduction.SUM,
    )
    written = json.dumps(losses.serialize(loss))
    config = json.loads(written)["config"]
    assert config["alpha"] == [0.25, 0.5]
    assert config["gamma"] == 1.5
    assert config["from_logits"] is True
    assert config["reduction"] == "sum"
    again = losses.deserialize(json.loads(written))
    assert again == loss
    arrays = [[0.0, 1.0]], [[0.5, -0.5]]
    assert again(*arrays) == loss(*arrays)


def fourth_power(y_true, y_pred, scale=1.0):
    return scale * np.mean((y_pred - y_true) ** 4, axis=-1)


class FourthPower(losses.Loss):
    def __init__(self, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, y_true, y_pred):
        return fourth_power(y_true, y_pred, self.scale)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


class HalfHuber(losses.Huber):
    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred) / 2


@pytest.mark.parametrize(
    "loss", [FourthPower(scale=2.0, reduction="sum"), HalfHuber(delta=0.5)], ids=repr
)
def test_users_classes_need_custom_objects(loss):
    written = json.loads(json.dumps(losses.serialize(loss)))
    cls = type(loss)
    assert written["module"] == cls.__module__
    with pytest.raises(ValueError, match=f"unknown loss '{cls.__name__}' of the module"):
        losses.deserialize(written)
    again = losses.deserialize(written, custom_objects={cls.__name__: cls})
    assert type(again) is cls
    assert again == loss


def test_numpy_options_of_a_users_class_become_json():
    for scale in (np.float32(1.5), np.float64(1.5), np.array(1.5)):
        written = json.loads(json.dumps(losses.serialize(FourthPower(scale=scale))))
        assert written["config"]["scale"] == 1.5
    written = losses.serialize(FourthPower(scale={"a": (np.int64(2), losses.mse)}))
    assert json.loads(json.dumps(written))["config"]["scale"] == {"a": [2, "mean_squared_error"]}


def test_users_functions():
    assert losses.serialize(fourth_power) == "fourth_power"
    with pytest.raises(ValueError, match="unknown loss 'fourth_power'"):
        losses.deserialize("fourth_power")
    assert losses.deserialize("fourth_power", {"fourth_power": fourth_power}) is fourth_power
    for nameless in (lambda y_true, y_pred: y_pred, functools.partial(fourth_power, scale=2.0)):
        with pytest.raises(ValueError, match="has no name by which it could be found again"):
            losses.serialize(nameless)
    with pytest.raises(TypeError, match="a loss is a loss object or a function; got 3"):
        losses.serialize(3)


def test_custom_objects_come_first():
    custom = {"huber": fourth_power, "Huber": FourthPower}
    assert losses.deserialize("huber", custom) is fourth_power
    assert type(losses.deserialize("Huber", custom)) is FourthPower
    again = losses.deserialize({"class_name": "Huber", "config": {"scale": 3.0}}, custom)
    assert again == FourthPower(scale=3.0)
    with pytest.raises(ValueError, match="did you mean 'fourth_power'"):
        losses.deserialize("forth_power", {"fourth_power": fourth_power})


def test_wrapped_functions():
    ours = losses.LossFunctionWrapper(losses.huber, delta=2.0, reduction="sum", name="h")
    assert losses.serialize(ours)["config"]["fn"] == "huber"
    assert through_json(ours) == ours
    users = losses.LossFunctionWrapper(fourth_power, scale=2.0)
    written = json.loads(json.dumps(losses.serialize(users)))
    again = losses.deserialize(written, {"fourth_power": fourth_power})
    assert again == users
    assert again([[1.0]], [[2.0]]) == 2.0
    with pytest.raises(ValueError, match="unknown loss 'fourth_power'"):
        losses.deserialize(written)


def test_what_json_cannot_hold_is_named():
    class Odd(losses.Loss):
        def get_config(self):
            return {"thing": object()}

    with pytest.raises(TypeError, match="configuration holds <object object"):
        losses.serialize(Odd())


@pytest.mark.parametrize(
    "case", [case for case in cases() if "labels" not in case.options], ids=str
)
def test_what_keras_wrote_is_read(case):
    theirs = getattr(keras.losses, case.cls.__name__)(**case.options, reduction="sum")
    ours = losses.deserialize(json.loads(json.dumps(keras.losses.serialize(theirs))))
    assert type(ours) is case.cls
    kept = {name: value for name, value in case.options.items() if name in theirs.get_config()}
    assert ours == case.cls(**kept, reduction="sum")
    function = getattr(keras.losses, case.name)
    assert losses.deserialize(keras.losses.serialize(function)) is case.function


def test_what_tensorflow_wrote_is_read():
    config = {"reduction": "auto", "name": "huber_loss", "delta": 2.5}
    loss = losses.deserialize({"class_name": "Huber", "config": config})
    assert loss.delta == 2.5
    assert loss.reduction == "auto"


def test_keras_wrapper_of_a_function_is_read():
    wrapper = keras.src.losses.losses.LossFunctionWrapper(keras.losses.huber, delta=2.0)
    written = {
        "module": "keras.losses",
        "class_name": "LossFunctionWrapper",
        "config": wrapper.get_config(),
        "registered_name": None,
    }
    ours = losses.deserialize(json.loads(json.dumps(written)))
    assert ours.fn is losses.huber
    assert ours.delta == 2.0


def test_nothing_is_imported_or_run():
    code = """
import difflib, sys  # difflib words the errors
from omniloss import losses
loss = {"module": "this", "class_name": "s", "config": {}, "registered_name": "this>s"}
lambda_ = {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}}
before = set(sys.modules)
for bad in (loss, lambda_, "os.system", "this", {"class_name": "function", "config": "eval",
            "module": "builtins"}, {"class_name": "eval", "config": {}, "module": "builtins"}):
    try:
        losses.deserialize(bad)
    except ValueError as error:
        assert "unknown loss" in str(error) or "a serialised loss is" in str(error), error
    else:
        raise SystemExit(f"{bad} was read")
assert set(sys.modules) == before, set(sys.modules) - before
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
