"""Processor threads: how they wait for each other, and how many of them a model gets.

torch splits an operation over OpenMP threads. By default a thread that has finished its part keeps
its core busy ("spins") until the others have finished too. That saves microseconds where cores are
idle, and costs most of the time where they are not: every slice of time that a waiting thread
spins is one that a working thread does not get. `set_wait_policy` makes waiting threads sleep.

Small models do not gain from threads at all (see `THREADED_PARAMETERS`), so they get one.

Sources: OMP_WAIT_POLICY and GOMP_SPINCOUNT,
https://gcc.gnu.org/onlinedocs/libgomp/Environment-Variables.html; limits of a container,
https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files and
https://docs.kernel.org/scheduler/sched-bwc.html (version 1).
"""

import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path, PurePosixPath
from typing import Final

WAIT_POLICY: Final = "OMP_WAIT_POLICY"
USER_SETTINGS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which a user chooses the number of threads."""
THREADED_PARAMETERS: Final = 50_000_000
"""Parameters from which a model gets all cores.

Measured on two cores: the miniatures, of 5 to 10 million parameters, took 0.4 to 1.5 s a picture
with one thread and no less with two. On a busy machine a second thread cost four of the five 20 to
50 % more processor time (the autoregressive one 5 % less). Nothing between these and the hundreds
of millions of the smallest models that are published for diffusers was measured.
"""


def set_wait_policy(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting OpenMP threads sleep, unless the user has chosen how they wait.

    OpenMP reads the variable once, when torch is imported: call this before.
    """
    if "GOMP_SPINCOUNT" not in environment:
        environment.setdefault(WAIT_POLICY, "passive")


def available_cores(
    affinity: int | None = None,
    membership: Path = Path("/proc/self/cgroup"),
    mounts: Path = Path("/sys/fs/cgroup"),
) -> int:
    """Return the number of cores that this process may keep busy, at least 1.

    That is the smallest of the cores of the machine, those of the scheduler's affinity mask and
    the processor time that control groups allow: 150 ms in each 100 ms are 1.5 cores, rounded down.

    Args:
        affinity: The number of cores that the process may run on; None asks the system.
        membership: The file that names the control groups of this process.
        mounts: The folder with the file system of control groups: version 2, or one folder for
            each controller of version 1.
    """
    cores = _affinity() if affinity is None else affinity
    return max(1, min([cores, *map(int, _quotas(membership, mounts))]))


def is_user_choice(initial: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether the user chose torch's number of threads, which was `initial` at first.

    That is by a variable of `USER_SETTINGS` or by `torch.set_num_threads`: torch itself begins with
    all cores, with those of the affinity mask, or with one thread for each physical core of these.
    """
    import psutil

    if any(environment.get(name) for name in USER_SETTINGS):
        return True
    allowed, logical = _affinity(), os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    return initial not in (logical, physical, allowed, -(-allowed * physical // logical))


def thread_count(parameters: int, cores: int) -> int:
    """Return the number of threads for a model with so many parameters on `cores` cores."""
    return cores if parameters >= THREADED_PARAMETERS else 1


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(membership: Path, mounts: Path) -> Iterator[float]:
    """Yield the quotas in cores of the control groups of this process and of all above them."""
    for line in _read(membership).splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:  # version 2
            yield from _quotas_of(mounts, group)
        elif "cpu" in controllers.split(","):
            for name in dict.fromkeys((controllers, "cpu")):
                yield from _quotas_of(mounts / name, group)


def _quotas_of(mount: Path, group: str) -> Iterator[float]:
    # In a container the path may be the host's, of which only the topmost folder is visible.
    path = PurePosixPath(group.lstrip("/"))
    for folder in (mount / each for each in (path, *path.parents)):
        limit = _read(folder / "cpu.max").split()  # "150000 100000", or "max 100000"
        if len(limit) != 2:
            limit = [_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
        quota, period = limit
        if quota.isdecimal() and period.isdecimal() and int(period):  # "max" and "-1": no limit
            yield int(quota) / int(period)


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError):
        return ""
