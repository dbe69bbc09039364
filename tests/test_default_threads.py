"""How many threads are taken when nobody says: what the control group leaves."""

import builtins
import io

import pytest

from omniloss import native


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"/sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"/sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        (
            {
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ({}, None),
    ],
)
def test_control_group_limits(monkeypatch, files, expected):
    def fake(path, *args, **kwargs):
        if path not in files:
            raise FileNotFoundError(path)
        return io.StringIO(files[path])

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", fake)
        found = native._cgroup_quota()
    assert found == expected


def test_the_environment_has_the_last_word(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7,2")
    assert native._default_threads() == 7
    monkeypatch.setenv("OMP_NUM_THREADS", "0")
    assert native._default_threads() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(native, "_cgroup_quota", lambda: 1)
    assert native._default_threads() == 1
