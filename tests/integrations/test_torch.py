"""Losses as modules of torch: buffers, moves, state, copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from omniloss import losses, nn

torch = pytest.importorskip("torch")
as_module = pytest.importorskip("omniloss.integrations.torch").as_module

INPUT = torch.linspace(-2, 2, 15).sin().reshape(5, 3)
TARGET = torch.tensor([0, 1, 2, 1, 0])


def test_the_module_is_the_loss() -> None:
    plain = nn.CrossEntropyLoss(weight=[1.0, 2.0, 3.0], label_smoothing=0.1)
    module = as_module(plain)
    expected = torch.nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0]), label_smoothing=0.1)
    torch.testing.assert_close(module(INPUT, TARGET), expected(INPUT, TARGET))
    assert plain.weight == [1.0, 2.0, 3.0]  # untouched
    keras = as_module(losses.Huber(delta=0.5))
    assert keras(torch.zeros(2, 1), torch.ones(2, 1)) == 0.375


def test_weights_are_buffers_that_move_and_are_saved() -> None:
    module = as_module(nn.BCEWithLogitsLoss(pos_weight=np.array([2.0, 3.0], np.float32)))
    assert [name for name, _ in module.named_buffers()] == ["pos_weight"]
    parent = torch.nn.Sequential(module).double()
    assert module.pos_weight.dtype == torch.float64
    other = as_module(nn.BCEWithLogitsLoss(pos_weight=np.ones(2)))
    other.load_state_dict(parent[0].state_dict())
    assert other.pos_weight.tolist() == [2.0, 3.0]
    x, y = torch.randn(4, 2, dtype=torch.float64), torch.rand(4, 2, dtype=torch.float64)
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=other.pos_weight)(x, y)
    torch.testing.assert_close(other(x, y), expected, rtol=1e-14, atol=0)
    assert as_module(nn.MSELoss()).to("meta")(x.to("meta"), y.to("meta")).device.type == "meta"


def test_copies_pickles_and_print() -> None:
    module = as_module(nn.NLLLoss(weight=torch.tensor([1.0, 0.5, 2.0])))
    expected = module(INPUT, TARGET)
    for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert again(INPUT, TARGET) == expected
    assert "NLLLoss" in repr(module)
    assert "Huber" in repr(as_module(losses.Huber()))


def test_gradients_and_hooks() -> None:
    module, seen = as_module(nn.MSELoss()), []
    module.register_forward_hook(lambda *_: seen.append(1))
    x = torch.ones(3, requires_grad=True)
    module(x, torch.zeros(3)).backward()
    assert seen == [1]
    torch.testing.assert_close(x.grad, torch.full((3,), 2 / 3))


class Distance(torch.nn.Module):
    """A distance that is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (self.linear(a) - self.linear(b)).abs().sum(-1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "BCEWithLogitsLoss"])
def test_weights_in_compiled_modules(name: str) -> None:
    option = "pos_weight" if name == "BCEWithLogitsLoss" else "weight"
    weight = torch.tensor([0.5, 1.0, 2.0])
    module = as_module(getattr(nn, name)(**{option: weight}))
    theirs = getattr(torch.nn, name)(**{option: weight})
    x = torch.rand(4, 3)
    y = torch.rand(4, 3) if name == "BCEWithLogitsLoss" else torch.tensor([0, 2, 1, 2])
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for _ in range(2):  # before and after a call outside
        torch.testing.assert_close(compiled(x, y), theirs(x, y))
        torch.testing.assert_close(module(x, y), theirs(x, y))
        module.get_buffer(option).mul_(2)  # torch's own, too
        assert getattr(module.loss, option) is None


def test_a_distance_that_is_a_module_is_a_part() -> None:
    distance = Distance()
    plain = nn.TripletMarginWithDistanceLoss(distance_function=distance, margin=50.0)
    module = as_module(plain)
    theirs = torch.nn.TripletMarginWithDistanceLoss(distance_function=distance, margin=50.0)
    assert list(module.state_dict()) == list(theirs.state_dict())
    again = copy.deepcopy(module).double()
    assert again.distance_function is again.loss.distance_function is not distance
    vectors = [INPUT.double() + shift for shift in (0.0, 1.0, 2.5)]
    expected = theirs.double()(*vectors)
    torch.testing.assert_close(again(*vectors), expected)
    again(*vectors).backward()
    assert all(parameter.grad is not None for parameter in again.distance_function.parameters())


def test_the_error_tells_torchs_loss_from_ours() -> None:
    with pytest.raises(TypeError, match=r"got MSELoss\(\), of type torch.nn.modules.loss.MSELoss"):
        as_module(torch.nn.MSELoss())


@pytest.mark.parametrize("loss", [nn.MSELoss, nn.functional.mse_loss, torch.nn.MSELoss(), "mse"])
def test_only_loss_objects(loss: object) -> None:
    with pytest.raises(TypeError, match="`loss` must be a loss object"):
        as_module(loss)


def test_what_only_modules_have_is_answered_with_the_way_to_it() -> None:
    loss = nn.CrossEntropyLoss()
    for name in ("to", "cuda", "state_dict", "train", "register_forward_hook"):
        with pytest.raises(AttributeError, match=rf"no attribute '{name}'.*as_module\(loss\)"):
            getattr(loss, name)
        assert not hasattr(loss, name)
        assert hasattr(torch.nn.CrossEntropyLoss(), name)
    with pytest.raises(
        AttributeError, match=r"^'CrossEntropyLoss' object has no attribute 'wieght'$"
    ):
        loss.wieght  # noqa: B018


def test_options_are_read_as_from_torchs_modules() -> None:
    module = as_module(nn.CrossEntropyLoss(weight=[1.0, 2.0], ignore_index=1, reduction="sum"))
    assert (module.reduction, module.ignore_index) == ("sum", 1)
    assert module.weight.tolist() == [1.0, 2.0]
    assert not hasattr(module, "delta")
    assert as_module(nn.CrossEntropyLoss()).weight is None
    again = copy.deepcopy(module)
    assert again.ignore_index == 1
    assert pickle.loads(pickle.dumps(module)).reduction == "sum"
