"""The settings: how they are read, set and set for a block."""

import threading

import numpy as np
import pytest

import omniloss
from omniloss import losses


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    monkeypatch.setattr(omniloss.config, "_floatx", omniloss.config._floatx)
    monkeypatch.setattr(omniloss.config, "_epsilon", omniloss.config._epsilon)


def test_lists_become_floatx():
    assert losses.mean_squared_error([[0.0]], [[1.0]]).dtype == np.float32
    with omniloss.config(floatx="float64"):
        assert losses.mean_squared_error([[0.0]], [[1]]).dtype == np.float64
    omniloss.config.set_floatx("float16")
    assert losses.mean_squared_error([[0.0]], [[1.0]]).dtype == np.float16


def test_epsilon_zero_gives_the_exact_value():
    p = np.array([[4.5e-12]])
    loss = losses.BinaryCrossentropy()
    clipped = loss([[1.0]], p)
    with omniloss.config(epsilon=0.0):
        assert loss([[1.0]], p) == pytest.approx(-np.log(4.5e-12), rel=1e-15)
    assert clipped == pytest.approx(-np.log(1e-7), rel=1e-9)
    assert loss([[1.0]], p) == clipped
    omniloss.config.set_epsilon(1e-3)
    assert loss([[1.0]], p) == pytest.approx(-np.log(1e-3), rel=1e-12)


def test_a_block_concerns_its_thread_only():
    seen = []
    with omniloss.config(epsilon=0.25):
        thread = threading.Thread(target=lambda: seen.append(omniloss.config.epsilon()))
        thread.start()
        thread.join()
        assert omniloss.config.epsilon() == 0.25
    assert seen == [1e-7]


def test_blocks_nest():
    with omniloss.config(epsilon=0.1):
        with omniloss.config(floatx="float64"):
            assert (omniloss.config.epsilon(), omniloss.config.floatx()) == (0.1, "float64")
        assert (omniloss.config.epsilon(), omniloss.config.floatx()) == (0.1, "float32")


def test_a_block_ends_with_an_error():
    with pytest.raises(KeyError), omniloss.config(epsilon=0.1):
        raise KeyError
    assert omniloss.config.epsilon() == 1e-7


def test_a_block_may_be_entered_again():
    block = omniloss.config(epsilon=0.1)
    with block, omniloss.config(epsilon=0.2, floatx="float64"), block:
        assert (omniloss.config.epsilon(), omniloss.config.floatx()) == (0.1, "float64")
    assert omniloss.config.epsilon() == 1e-7
    with block:
        assert omniloss.config.epsilon() == 0.1
        thread = threading.Thread(target=block(lambda: seen.append(omniloss.config.epsilon())))
        seen = []
        thread.start()
        thread.join()
        assert seen == [0.1]
        assert omniloss.config.epsilon() == 0.1
    assert (omniloss.config.epsilon(), omniloss.config._blocks) == (1e-7, ())


@pytest.mark.parametrize(("name", "value"), [("epsilon", 0.0), ("floatx", "float64")])
def test_settings_are_not_assigned(name, value):
    before = getattr(omniloss.config, name)()
    with pytest.raises(AttributeError, match=rf"config\.set_{name}\({value!r}\)"):
        setattr(omniloss.config, name, value)
    assert getattr(omniloss.config, name)() == before


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble, np.int64])
def test_epsilon_may_be_of_a_numpy_type(kind):
    for number in (0, 1e-6):
        omniloss.config.set_epsilon(kind(number))
        assert type(omniloss.config.epsilon()) is float
        assert omniloss.config.epsilon() == kind(number)


@pytest.mark.parametrize("wrong", ["int8", "double", None, 32])
def test_wrong_floatx(wrong):
    with pytest.raises(ValueError, match=r"`floatx` must be one of .*; got"):
        omniloss.config.set_floatx(wrong)


@pytest.mark.parametrize(
    "wrong", [-1e-9, 0.5, "small", None, True, np.True_, float("nan"), np.float32(0.5), 1j]
)
def test_wrong_epsilon(wrong):
    with pytest.raises(ValueError, match="`epsilon` must be a number in"):
        omniloss.config.set_epsilon(wrong)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "two", 2**40])
def test_wrong_number_of_threads(wrong):
    with pytest.raises(ValueError, match=r"`threads` must be an integer >= 1 .*; got"):
        omniloss.set_num_threads(wrong)
