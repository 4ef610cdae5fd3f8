"""How many threads the machine grants this process."""

from __future__ import annotations

import math
import os
from pathlib import Path

from longform.errors import InputError

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_CGROUP_V1_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def granted_threads() -> int:
    """Return the CPUs that this process may use: its affinity, bounded by the cgroup's quota.

    A container with a quota of two CPUs on a machine of 64 gets 2: more threads would only be
    throttled. `LONGFORM_THREADS` overrides the answer.

    Raises:
        InputError: `LONGFORM_THREADS` is no positive number.
    """
    forced = os.environ.get("LONGFORM_THREADS")
    if forced:
        if not forced.isdecimal() or int(forced) < 1:
            raise InputError(
                "LONGFORM_THREADS must be a positive whole number.",
                found=f"'{forced}'",
                fix="Set it to the number of threads, or unset it to use all CPUs granted.",
            )
        return int(forced)
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _cgroup_quota()
    return max(1, min(affinity or 1, math.ceil(quota) if quota is not None else affinity or 1))


def _cgroup_quota() -> float | None:
    """Return the CPUs of the cgroup's quota; None when there is no limit."""
    if _CGROUP_V2.is_file():
        quota, period = _CGROUP_V2.read_text().split()[:2]
        return None if quota == "max" else int(quota) / int(period)
    if _CGROUP_V1_QUOTA.is_file() and _CGROUP_V1_PERIOD.is_file():
        microseconds = int(_CGROUP_V1_QUOTA.read_text())
        return None if microseconds <= 0 else microseconds / int(_CGROUP_V1_PERIOD.read_text())
    return None
