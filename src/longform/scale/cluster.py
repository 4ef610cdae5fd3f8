"""The connection to Ray: a cluster that is there, or one of this machine alone."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from longform.backends.threads import granted_threads
from longform.errors import InputError, LongformError
from longform.extras import require

_CONNECT_SECONDS = 10.0
_AUTO = "auto"


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A machine of the cluster.

    Attributes:
        cpus: That Ray may use.
        gpus: Likewise; NVIDIA's.
        npus: Likewise; Ascend's.
    """

    cpus: float
    gpus: float
    npus: float


@contextmanager
def connected(
    address: str | None, purpose: str, *, serves: bool = False, dashboard: bool = False
) -> Iterator[list[ClusterNode]]:
    """Be connected to a cluster.

    Args:
        address: `auto` for the one that runs on this machine, `HOST:PORT` of a cluster's head, or
            `ray://HOST:PORT` of its client server; None starts one of this machine alone, which
            ends with the context.
        purpose: What needs it, for messages.
        serves: Whether it is for a service, which is looked after, and not for a job, which ends: a
            cluster of this machine alone then collects metrics, and what its processes log is shown
            on standard error.
        dashboard: Also start Ray's dashboard, on a cluster of this machine alone.

    Yields:
        The machines of the cluster.

    Raises:
        InputError: No cluster answers there.
        MissingExtraError: Ray is not installed.
    """
    # Ray reports its use to its makers unless told not to; networks here may be closed.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What Ray logs of its own course goes to its log files; users are told what concerns them.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray = require("ray", purpose)
    _check_reachable(address)
    options: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "log_to_driver": serves and address is None,
    }
    if address is None:
        options |= {"num_cpus": granted_threads(), "include_dashboard": dashboard}
        if not serves:
            _measure_nothing()
    try:
        with _without_native_greetings():
            # Without an address Ray would look for a cluster that others run on this machine.
            ray.init(address=address or "local", **options)
    except Exception as error:  # Ray raises bare ones when it cannot start in time.
        raise _unreachable(address, error) from error
    try:
        with _output_kept_clean():
            yield [_describe(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


def _measure_nothing() -> None:
    """Spare a cluster that ends with its job what is collected for those who look after one.

    On two CPUs it costs some hundredths of what the workers get.
    """
    os.environ.setdefault("RAY_enable_metrics_collection", "0")
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")


@contextmanager
def _output_kept_clean() -> Iterator[None]:
    """Send what Ray tells of lost machines on standard output to standard error.

    The first is for what was asked for. Ray holds the stream itself, so that its file is exchanged.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def _without_native_greetings() -> Iterator[None]:
    """Keep what Ray's native code says at its start, past Python's streams, off the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _describe(resources: dict[str, float]) -> ClusterNode:
    return ClusterNode(*(resources.get(name, 0.0) for name in ("CPU", "GPU", "NPU")))


def _check_reachable(address: str | None) -> None:
    """Knock at a cluster's door: Ray itself waits for minutes."""
    if address in (None, _AUTO):
        return
    assert address is not None
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(
            "--address is auto, HOST:PORT or ray://HOST:PORT.",
            found=address,
            fix="Give the address that 'ray start --head' told, or leave it out.",
        )
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str | None, error: Exception) -> LongformError:
    told = " ".join(str(error).split())
    if address is None:
        return LongformError(
            "Ray must be able to start on this machine.",
            found=told[:400],
            fix="Leave --engine ray out to work without it.",
        )
    return InputError(
        "A Ray cluster must answer at --address.",
        found=f"{address}: {told[:400]}",
        fix="Start one with 'ray start --head' and give its address, or leave --address out for "
        "one of this machine alone.",
    )
