"""What importing the package costs and changes."""

import os
import subprocess
import sys

import pytest

FRAMEWORKS = (
    "torch",
    "jax",
    "tensorflow",
    "keras",
    "array_api_compat",
    "pandas",
    "scipy",
    "ml_dtypes",
)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_import_brings_numpy_alone():
    code = f"""
import sys
import numpy
before = set(sys.modules)
import omniloss
from omniloss import losses
losses.Huber()([[0.0]], [[1.0]])
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
outside = {{name for name in new if name not in sys.stdlib_module_names and name not in ("numpy", "omniloss")}}
assert not outside, outside
assert not [name for name in {FRAMEWORKS!r} if name in sys.modules]
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_jax_arrays_bring_no_other_library():
    pytest.importorskip("jax")
    code = f"""
import sys
import jax, jax.numpy as jnp
before = set(sys.modules)
from omniloss import losses, nn
losses.Huber()([[0.0]], [[1.0]])
assert "omniloss.frameworks.jax" not in sys.modules  # before there are arrays of that library
p = jnp.ones((2, 2))
losses.Huber()(p, p), jax.jit(jax.grad(losses.Huber(), 1))(p, p), nn.MSELoss()(p, p)
assert not [name for name in {FRAMEWORKS!r} if name in sys.modules and name not in before]
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_subnormal_arithmetic_is_as_before():
    code = """
import numpy as np
tiny = np.full(64, np.finfo(np.float32).smallest_subnormal)
double = np.full(64, 5e-324)
import omniloss
from omniloss import losses
losses.BinaryCrossentropy(from_logits=True)(np.zeros((4000, 10)), np.ones((4000, 10)))
assert np.all(tiny * np.float32(3) > tiny), "float32 subnormals are flushed"
assert np.all(double * 2.0 > 0) and 5e-324 * 2 > 0, "float64 subnormals are flushed"
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_native_core_can_be_turned_off():
    code = "import omniloss; facts = omniloss.show_config(); assert facts['native'] is False"
    done = run(code, OMNILOSS_NATIVE="0")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["None", "types.ModuleType('torch')"])
def test_the_configuration_skips_modules_without_a_version(module):
    code = f"""
import sys, types
import omniloss
sys.modules["torch"] = {module}
assert list(omniloss.show_config()["frameworks"]) == ["numpy"]
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_native_core_is_there_when_it_is_asked_for():
    if os.environ.get("OMNILOSS_NATIVE") == "0":
        pytest.skip("OMNILOSS_NATIVE=0 asks for the formulas alone")
    done = run("import omniloss; assert omniloss.show_config()['native']", OMNILOSS_NATIVE="1")
    assert done.returncode == 0, done.stderr


def test_a_missing_core_is_an_error_when_it_is_asked_for():
    code = """
import sys
sys.modules["omniloss._core"] = None  # as if it had never been built
import omniloss
"""
    done = run(code, OMNILOSS_NATIVE="1")
    assert done.returncode != 0
    assert "installed without its native core" in done.stderr


def test_an_unknown_wish_is_refused():
    done = run("import omniloss", OMNILOSS_NATIVE="yes")
    assert "OMNILOSS_NATIVE must be 0, 1 or unset; got 'yes'" in done.stderr
