"""The loss modules' samples that torch itself ships, with `torch.nn` replaced by `omniloss.nn`, on NumPy arrays."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing._internal.common_modules import module_db

import omniloss
from omniloss import nn
from support.torch_cases import CLASSES

SAMPLED = {
    info.module_cls.__name__: info
    for info in module_db
    if info.name.startswith("nn.") and info.module_cls.__name__ in CLASSES
}


def as_numpy(x: Any) -> Any:
    return x.detach().numpy() if isinstance(x, torch.Tensor) else x


def samples(name: str, dtype: torch.dtype) -> Any:
    info = SAMPLED[name]
    torch.manual_seed(0)
    return info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=True, training=False
    )


def test_torch_has_samples_of_nearly_every_loss() -> None:
    unsampled = {"NLLLoss2d", "TripletMarginLoss", "TripletMarginWithDistanceLoss"}
    assert set(CLASSES) - set(SAMPLED) == unsampled


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", SAMPLED)
def test_nothing_changes(name: str, dtype: torch.dtype) -> None:
    rtol = 1e-10 if dtype == torch.float64 else 2e-5
    if name == "CTCLoss" and dtype == torch.float32:
        rtol = 5e-4  # torch's own rounding: it keeps logarithms of whole sequences in float32
    count = 0
    for sample in samples(name, dtype):
        made, given = sample.constructor_input, sample.forward_input
        theirs = getattr(torch.nn, name)(*made.args, **made.kwargs)
        arguments = (
            [as_numpy(x) for x in made.args],
            {key: as_numpy(x) for key, x in made.kwargs.items()},
        )
        loss = getattr(nn, name)(*arguments[0], **arguments[1])
        expected = theirs(*given.args, **given.kwargs)
        arrays = [as_numpy(x) for x in given.args]
        keywords = {key: as_numpy(x) for key, x in given.kwargs.items()}
        if name == "KLDivLoss" and not made.kwargs.get("log_target") and (arrays[1] < 0).any():
            # torch's own samples have negative probabilities, of which it makes NaN.
            assert np.isnan(as_numpy(expected)).any()
            with pytest.raises(RuntimeError, match=r"`target` must lie in \[0, inf\)"):
                loss(*arrays)
            continue
        actual = loss(*arrays, **keywords)
        assert actual.dtype == expected.detach().numpy().dtype
        assert actual.shape == tuple(expected.shape), sample.desc
        np.testing.assert_allclose(actual, as_numpy(expected), rtol, rtol, err_msg=sample.desc)

        (slope,) = torch.autograd.grad(expected.sum(), given.args[0])
        slope = slope.numpy()
        if given.args[1] is given.args[0]:  # one tensor in both places has both gradients
            both = ("input", "target")
            _, gradient = omniloss.value_and_grad(loss, *arrays, **keywords, wrt=both)
            gradient = np.add(*gradient)
        else:
            _, gradient = omniloss.value_and_grad(loss, *arrays, **keywords)
        assert gradient.dtype == slope.dtype
        # NaN in, NaN out, also where torch's derivative does not look at the input.
        slope = np.where(np.isnan(arrays[0]), np.nan, slope)
        np.testing.assert_allclose(gradient, slope, rtol, rtol, err_msg=sample.desc)
        count += 1
    assert count >= (1 if name == "KLDivLoss" else 3)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", SAMPLED)
def test_nothing_changes_on_tensors(name: str, dtype: torch.dtype) -> None:
    rtol = 1e-10 if dtype == torch.float64 else 5e-4 if name == "CTCLoss" else 2e-5
    count = 0
    for sample in samples(name, dtype):
        made, given = sample.constructor_input, sample.forward_input
        theirs = getattr(torch.nn, name)(*made.args, **made.kwargs)
        loss = getattr(nn, name)(*made.args, **made.kwargs)
        expected = theirs(*given.args, **given.kwargs)
        if name == "KLDivLoss" and not made.kwargs.get("log_target") and (given.args[1] < 0).any():
            with pytest.raises(RuntimeError, match=r"`target` must lie in \[0, inf\)"):
                loss(*given.args, **given.kwargs)
            continue
        actual = loss(*given.args, **given.kwargs)
        assert actual.dtype == expected.dtype
        (slope,) = torch.autograd.grad(expected.sum(), given.args[0])
        (gradient,) = torch.autograd.grad(actual.sum(), given.args[0])
        message = str(sample.desc)
        torch.testing.assert_close(
            actual, expected, rtol=rtol, atol=rtol, equal_nan=True, msg=message
        )
        known = ~given.args[0].isnan()  # where it is NaN, torch's derivative may not look at it
        gradient, slope = gradient[known], slope[known]
        torch.testing.assert_close(
            gradient, slope, rtol=rtol, atol=rtol, equal_nan=True, msg=message
        )
        count += 1
    assert count >= (1 if name == "KLDivLoss" else 3)


def test_warnings_are_torchs() -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        nn.KLDivLoss()([[0.0]], [[1.0]])
        torch.nn.KLDivLoss()(torch.zeros(1, 1), torch.ones(1, 1))
    assert [w.category for w in found] == [UserWarning] * 2
    assert str(found[0].message) == str(found[1].message)
    assert found[0].filename == __file__
