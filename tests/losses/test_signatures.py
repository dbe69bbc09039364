"""Names, arguments, their order and defaults are Keras 3's."""

import inspect

import keras
import pytest

import omniloss
from omniloss import losses
from omniloss.losses import registry

# What takes more than Keras's arguments, by keyword alone.
EXTRAS = {
    "hinge": {"labels"},
    "squared_hinge": {"labels"},
    "Hinge": {"labels"},
    "SquaredHinge": {"labels"},
}
# Keras 3's losses that are not ours yet, and what it puts there that is no loss.
LATER: set[str] = set()


def parameters(function):
    return [
        (name, parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]


def keyword_only(function):
    return {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


@pytest.mark.parametrize("name", [*registry.FUNCTIONS, *registry.CLASSES])
def test_arguments_are_those_of_keras(name):
    ours, reference = getattr(losses, name), getattr(keras.losses, name)
    assert parameters(ours) == parameters(reference)
    assert keyword_only(ours) == EXTRAS.get(name, set())


def test_base_class():
    theirs = dict(parameters(keras.losses.Loss))
    assert dict(parameters(losses.Loss)) == theirs
    assert list(theirs) == [name for name, _ in parameters(losses.Loss)]
    assert parameters(losses.Loss.__call__) == parameters(keras.losses.Loss.__call__)
    assert keyword_only(losses.Loss.__call__) == {"mask"}
    wrapper = keras.src.losses.losses.LossFunctionWrapper
    assert parameters(losses.LossFunctionWrapper) == parameters(wrapper)


@pytest.mark.parametrize("name", registry.CLASSES)
def test_default_names_and_configuration_are_those_of_keras(name):
    ours, theirs = getattr(losses, name)(), getattr(keras.losses, name)()
    assert ours.name == theirs.name
    # Keras 3.15.1 drops these two.
    dropped = {"Huber": {"delta": 1.0}, "CosineSimilarity": {"axis": -1}}
    dropped["SparseCategoricalCrossentropy"] = {"axis": -1}
    assert ours.get_config() == {**theirs.get_config(), **dropped.get(name, {})}


@pytest.mark.parametrize("name", registry.CLASSES)
def test_class_and_function_share_their_options(name):
    cls = registry.CLASSES[name]
    options = dict(parameters(cls)) | dict.fromkeys(keyword_only(cls))
    own = set(options) - {"reduction", "name", "dtype"}
    function = cls().fn
    taken = set(dict(parameters(function))) | keyword_only(function)
    # Circle's references are arrays of the function alone, as in Keras.
    assert own == taken - {"y_true", "y_pred", "ref_labels", "ref_embeddings"}
    assert registry.FUNCTIONS[function.__name__] is function


def test_every_loss_of_keras_is_there():
    public = {name for name in dir(keras.losses) if not name.startswith("_")}
    missing = public - set(losses.__all__)
    assert missing == LATER


def test_aliases():
    legacy = keras.src.losses
    for name, function in registry.ALIASES.items():
        assert getattr(losses, name) is function
        known = legacy.ALL_OBJECTS_DICT.get(name)
        if known is not None:
            assert known.__name__ == function.__name__
    assert set(legacy.ALL_OBJECTS_DICT) <= set(registry.NAMES) | set(registry.BASES) | LATER
    keras_2 = [
        "mse",
        "MSE",
        "mae",
        "MAE",
        "mape",
        "MAPE",
        "msle",
        "MSLE",
        "kld",
        "KLD",
        "cosine",
        "logcosh",
        "cosine_proximity",
    ]
    assert set(keras_2) | {"kullback_leibler_divergence", "bce", "BCE"} == set(registry.ALIASES)


def test_everything_public_is_exported_and_documented():
    assert losses.__all__ == sorted(
        losses.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    for name in losses.__all__:
        assert inspect.getdoc(getattr(losses, name)), name
    for name in (*registry.NAMES, *registry.BASES):
        assert name in losses.__all__
    for name in omniloss.__all__:
        assert hasattr(omniloss, name)
