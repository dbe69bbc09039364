"""The same bits for every number of threads, from many Python threads at once, and after fork."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import omniloss
from omniloss import native
from omniloss.formulas import Formula
from support import samples
from support.cases import Case, cases
from support.kernel_calls import KERNELS, call, threads, usual

core: Any = native.core
# Short rows and long ones, both for more than 8 blocks.
SHAPES = [(14_000, 10), (4, 34_000)]


def needs_openmp() -> None:
    if not core.openmp():
        pytest.skip("the core was built without OpenMP")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("formula", KERNELS, ids=[formula.name for formula in KERNELS])
def test_kernels_give_the_same_bits_for_every_number_of_threads(
    formula: Formula, dtype: type
) -> None:
    rng = np.random.default_rng(20)
    parameters = usual(formula)
    for rows, classes in SHAPES:
        if formula.kind == "pointwise":
            inputs = samples.draw(formula, rng, "moderate", dtype, rows * classes)
            y, p = (x.reshape(rows, classes) for x in inputs)
        else:
            y, p = samples.draw(formula, rng, "moderate", dtype, rows, classes)
        per_row = rng.random(rows).astype(dtype)
        weights = np.broadcast_to(per_row[:, None], p.shape)
        for w in (None, per_row if formula.kind == "rowwise" else weights):
            outcomes = []
            for count in (1, 2, 3, 8):
                with threads(count):
                    outcomes.append(call(formula, y, p, parameters, w))
            for outcome in outcomes[1:]:
                outcome.assert_same_bits(outcomes[0])


@pytest.mark.parametrize("case", cases(), ids=str)
def test_losses_give_the_same_bits_for_every_number_of_threads(case: Case) -> None:
    needs_openmp()
    rng = np.random.default_rng(21)
    rows, classes = 520, 290  # more than 8 blocks, of whole rows too
    shape = (classes, rows) if case.axis == 0 else (rows, classes)
    y_true, y_pred = case.arrays(rng, shape)
    weights = rng.random(case.rows(y_pred.shape))
    found = set()
    for count in (1, 2, 3, 8):
        with threads(count):
            results = [case.loss()(y_true, y_pred), case.function(y_true, y_pred, **case.options)]
            if count > 1:
                assert core.team_size() == count
            for reduction in ("sum", "mean_with_sample_weight", None):
                loss = case.loss(reduction=reduction)
                results += omniloss.value_and_grad(loss, y_true, y_pred, weights)
                if count > 1:
                    assert core.team_size() == count
        found.add(b"".join(np.asarray(result).tobytes() for result in results))
    assert len(found) == 1


def test_the_team_has_the_size_that_was_asked_for() -> None:
    needs_openmp()
    x = np.ones((400, 1000), np.float32)
    for count in (1, 2, 3, 8):
        with threads(count):
            omniloss.losses.MeanSquaredError()(x, x)
            assert core.team_size() == count
    with threads(8):
        omniloss.losses.MeanSquaredError()(x[:1, :10], x[:1, :10])
        assert core.team_size() == 1  # too little work for more


@pytest.mark.parametrize("count", [0, -1])
def test_there_is_at_least_one_thread(count: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        core.set_num_threads(count)


def test_many_python_threads_give_the_same_bits() -> None:
    rng = np.random.default_rng(22)
    jobs = []
    for case in cases():
        y_true, y_pred = case.arrays(rng, (64, 4000), "float32")  # long enough to overlap
        jobs.append((case.loss(), y_true, y_pred))

    def work(job: Any) -> bytes:
        value, gradient = omniloss.value_and_grad(*job)
        return (
            np.asarray(value).tobytes()
            + gradient.tobytes()
            + np.asarray(job[0](*job[1:])).tobytes()
        )

    alone = [work(job) for job in jobs]
    with threads(2), ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(work, jobs)) == alone


@pytest.mark.parametrize("formula", KERNELS, ids=[formula.name for formula in KERNELS])
def test_other_python_threads_run_meanwhile(formula: Formula) -> None:
    """Ticks of this thread fall into the middle of a call that another one makes."""
    run = core.pointwise if formula.kind == "pointwise" else core.rowwise
    rest = {"detect_binary": False} if formula.kind == "pointwise" else {}
    parameters = list(usual(formula).values())
    count = (4000, 10) if formula.kind == "rowwise" else (40_000,)
    once = samples.draw(formula, np.random.default_rng(23), "moderate", np.float64, *count)
    if formula.kind == "pointwise":
        once = once[0].reshape(4000, 10), once[1].reshape(4000, 10)

    def time_of(repeats: int) -> tuple[float, float]:
        """When a call on the arrays, so many times repeated, began and ended."""
        y, p = (np.broadcast_to(x, (repeats, *x.shape)) for x in once)
        start = time.perf_counter()
        run(
            formula.name,
            y,
            p,
            None,
            None,
            None,
            parameters,
            (1.0, 0.0),
            formula.targets,
            formula.predictions,
            scale=1.0,
            **rest,
        )
        return start, time.perf_counter()

    def ticks_in_the_middle(repeats: int) -> bool:
        ticks: list[float] = []
        spans: list[tuple[float, float]] = []
        worker = threading.Thread(target=lambda: spans.append(time_of(repeats)))
        worker.start()
        while worker.is_alive():
            ticks.append(time.perf_counter())
            time.sleep(0.0002)
        worker.join()
        ((start, end),) = spans
        quarter = (end - start) / 4
        return any(start + quarter < tick < end - quarter for tick in ticks)

    # A call that keeps the lock shows no tick, however long it is. A busy machine may show none
    # in a short call that does not, but not in ever longer ones.
    start, end = time_of(10)
    repeats = 10 + int(10 * 0.03 / (end - start))
    assert any(ticks_in_the_middle(repeats * 2**attempt) for attempt in range(6))


def run_python(script: str, **environment: str) -> str:
    """What a script prints in a fresh interpreter."""
    variables = {name: text for name, text in os.environ.items() if not name.startswith("OMP_")}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**variables, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_gives_the_same_bits() -> None:
    printed = run_python(
        """
        import os, signal
        import numpy as np
        import omniloss
        from omniloss import native
        from support.cases import cases

        omniloss.set_num_threads(3)
        rng = np.random.default_rng(0)
        jobs = [(case.loss(), *case.arrays(rng, (300, 500), "float32")) for case in cases()]

        def results():
            out = b""
            for loss, y_true, y_pred in jobs:
                value, gradient = omniloss.value_and_grad(loss, y_true, y_pred)
                out += np.asarray([value, loss(y_true, y_pred)]).tobytes() + gradient.tobytes()
            return out

        expected = results()
        if native.core.openmp():
            assert native.core.team_size() == 3
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # a hang ends here
            os._exit(0 if results() == expected and native.core.team_size() == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0, "the child differs"
        assert results() == expected  # the parent still works
        if native.core.openmp():
            assert native.core.team_size() == 3
        print("same")
        """
    )
    assert printed == "same"


COUNT = "import omniloss; print(omniloss.get_num_threads())"


@pytest.mark.parametrize(("wish", "count"), [("3", 3), ("1", 1), ("5,2", 5), (" 4 ", 4)])
def test_omp_num_threads_is_followed(wish: str, count: int) -> None:
    script = """
        import numpy as np, omniloss
        from omniloss import native
        x = np.ones((400, 1000), np.float32)
        omniloss.losses.MeanSquaredError()(x, x)
        print(omniloss.get_num_threads(), native.core.team_size() if native.core.openmp() else "")
        """
    printed = run_python(script, OMP_NUM_THREADS=wish).split()
    assert set(printed) == {str(count)}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity cannot be set here")
def test_affinity_is_followed() -> None:
    assert (
        run_python(f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}}); {COUNT}")
        == "1"
    )
    assert 1 <= int(run_python(COUNT)) <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("wish", ["", "many", "0", "-3", "1e3"])
def test_an_unusable_omp_num_threads_does_no_harm(wish: str) -> None:
    assert int(run_python(COUNT, OMP_NUM_THREADS=wish)) >= 1
