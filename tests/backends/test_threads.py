import os
from pathlib import Path

import pytest

from backends import threads
from backends.threads import available_cores, is_user_choice, set_wait_policy, thread_count

UNIFIED = "0::/app/lineup"
SEPARATE = "11:memory:/app\n4:cpu,cpuacct:/app/lineup\n0::/"


def group(folder: Path, files: dict[str, str], membership: str) -> dict[str, Path]:
    """Write the files of control groups below `folder`; return the arguments that name them."""
    for name, text in files.items():
        file = folder / "mounts" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    (folder / "membership").write_text(membership)
    return {"membership": folder / "membership", "mounts": folder / "mounts"}


@pytest.mark.parametrize(
    ("files", "membership", "cores"),
    [
        ({}, UNIFIED, 8),
        ({"app/lineup/cpu.max": "max 100000"}, UNIFIED, 8),
        ({"app/lineup/cpu.max": "400000 100000"}, UNIFIED, 4),
        ({"app/lineup/cpu.max": "1600000 100000"}, UNIFIED, 8),
        ({"app/lineup/cpu.max": "250000 100000"}, UNIFIED, 2),
        ({"app/lineup/cpu.max": "50000 100000"}, UNIFIED, 1),
        ({"app/lineup/cpu.max": "max 100000", "app/cpu.max": "300000 100000"}, UNIFIED, 3),
        ({"cpu.max": "200000 100000"}, "0::/the/path/of/the/host", 2),
        ({"cpu.max": "200000 100000"}, "0::/", 2),
        ({"cpu.max": "nonsense"}, "0::/", 8),
    ],
)
def test_a_quota_of_version_2_bounds_the_cores(
    files: dict[str, str], membership: str, cores: int, tmp_path: Path
) -> None:
    assert available_cores(8, **group(tmp_path, files, membership)) == cores


@pytest.mark.parametrize(
    ("folder", "quota", "cores"),
    [
        ("cpu,cpuacct/app/lineup", "300000", 3),
        ("cpu/app/lineup", "300000", 3),
        ("cpu,cpuacct/app", "300000", 3),
        ("cpu,cpuacct", "300000", 3),
        ("cpu/app/lineup", "-1", 8),
        ("memory/app/lineup", "300000", 8),
    ],
)
def test_a_quota_of_version_1_bounds_the_cores(
    folder: str, quota: str, cores: int, tmp_path: Path
) -> None:
    files = {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": "100000"}
    assert available_cores(8, **group(tmp_path, files, SEPARATE)) == cores


def test_without_control_groups_all_cores_of_the_affinity_mask_count(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    assert available_cores(6, nothing, nothing) == 6
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_waiting_threads_sleep_unless_the_user_says_otherwise() -> None:
    for given in ({"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "1000"}):
        environment = dict(given)
        set_wait_policy(environment)
        assert environment == given
    environment = {}
    set_wait_policy(environment)
    assert environment == {"OMP_WAIT_POLICY": "passive"}


def test_small_models_get_one_thread_and_large_ones_every_core() -> None:
    miniatures, stable_diffusion = 10_000_000, 860_000_000
    assert thread_count(miniatures, 8) == 1
    assert thread_count(stable_diffusion, 8) == 8
    assert thread_count(threads.THREADED_PARAMETERS, 8) == 8
    assert thread_count(stable_diffusion, 1) == 1


def test_the_users_own_number_is_told_from_torchs() -> None:
    allowed = available_cores(mounts=Path("nothing"))
    assert not is_user_choice(allowed, {})
    assert not is_user_choice(allowed, {"OMP_NUM_THREADS": ""})
    assert is_user_choice(allowed, {"OMP_NUM_THREADS": "4"})
    assert is_user_choice(allowed, {"MKL_NUM_THREADS": "4"})
    assert is_user_choice((os.cpu_count() or 1) + 1, {})
