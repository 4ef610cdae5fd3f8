"""The life of a service on Ray: deploy, wait until it answers, hand over or drain on a signal."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longform.bundle import load_bundle
from longform.errors import InputError, LongformError
from longform.inference.cache import CacheSettings
from longform.reporting import Reporter
from longform.scale.cluster import ClusterNode, connected
from longform.scale.serve_options import RayServeOptions, check_fit
from longform.scale.serve_replica import ReplicaPlan, build_application
from longform.serving.server import bind_to
from longform.serving.settings import ServerSettings

_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0
"""After which a service that waits for the cluster says so."""
_OUR_ERROR = re.compile(r"longform\.[\w.]*(?:Error|Exception): (?P<message>.+)")


@dataclass(frozen=True)
class _Deployed:
    """A service as this command deployed it.

    Attributes:
        name: Of the service.
        token: Its own: another one in the cluster tells that another command replaced it.
    """

    name: str
    token: str

    def claim(self) -> None:
        """Leave the token in the cluster; what Ray Serve tells has no trace of a replacement."""
        from ray.experimental.internal_kv import _internal_kv_put

        _internal_kv_put(self._key, self.token.encode(), overwrite=True)

    def is_claimed(self) -> bool:
        """Tell whether no other command has left its token since."""
        from ray.experimental.internal_kv import _internal_kv_get

        return bool(_internal_kv_get(self._key) == self.token.encode())

    @property
    def _key(self) -> bytes:
        return f"longform/service/{self.name}".encode()


def run_on_ray(
    folders: dict[str, Path],
    backend: str,
    settings: ServerSettings,
    options: RayServeOptions,
    reporter: Reporter,
    cache: CacheSettings | None = None,
) -> int:
    """Serve bundles from replicas on a Ray cluster until a signal comes.

    A service of the same name on the same cluster is replaced, one replica after the other: each is
    ended when the new one answers, and answers first what it took.

    Args:
        folders: The bundle of each model, by the model's name, as the nodes see it.
        backend: What they run on.
        settings: Address and limits, as of the plain server.
        options: Where the replicas run, and how many.
        reporter: Told where the service is.
        cache: Memory for segment vectors, of each model.

    Returns:
        The exit status: 0 after SIGTERM or when another command took over, else 128 and the number
        of the signal.

    Raises:
        InputError: Settings do not go with Ray, or the cluster cannot be reached.
        LongformError: The replicas could not be started; what was served before still is.
    """
    check_fit(settings)
    if options.address is None:
        for folder in folders.values():
            # A bad bundle is refused before a cluster is started for it.
            load_bundle(folder)
    seen = {name: str(Path(folder).absolute()) for name, folder in folders.items()}
    plan = ReplicaPlan.of(seen, backend, settings, options, cache)
    is_own = options.address is None
    # One line for each request, and none for what Ray's own processes go through.
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    with (
        connected(
            options.address, "Serving on Ray", serves=True, dashboard=options.dashboard
        ) as nodes,
        _caught_signals() as received,
    ):
        if is_own:
            _require_room(nodes, settings, options)
        address = open_proxies(settings, is_own=is_own)
        deployed = deploy(plan, options, reporter, received)
        if deployed is not None:
            named = ", ".join(f"'{name}' from {folder}" for name, folder in folders.items())
            reporter.say(f"Serving {named} on {address}  (page at /, API at /docs, Ctrl-C ends)")
            if is_own:
                reporter.say(f"The same command with --address {_own_address()} replaces it.")
            _wait(deployed, received, is_own=is_own)
        _end(options.service_name, deployed, reporter, is_own=is_own)
    return 128 + received[0] if received and received[0] != signal.SIGTERM else 0


def deploy(
    plan: ReplicaPlan,
    options: RayServeOptions,
    reporter: Reporter,
    received: list[int] | None = None,
) -> _Deployed | None:
    """Hand an application to the Ray Serve that runs, and wait until all its replicas answer.

    Args:
        plan: What is served.
        options: How many replicas, under which name.
        reporter: Told when it takes long.
        received: Signals; the first ends the waiting.

    Returns:
        What was deployed; None after a signal.

    Raises:
        LongformError: The replicas could not be started.
    """
    from ray import serve

    name = options.service_name
    is_replacement = name in serve.status().applications
    target = serve.RunTarget(build_application(plan, options), name=name)
    serve.run_many(
        [target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
    )
    began, has_said = time.monotonic(), False
    deployed = _Deployed(name, secrets.token_hex(8))
    deployed.claim()
    while not received:
        # From the call on, which has returned, it is the state of what was deployed now.
        status = serve.status().applications.get(name)
        state = status.status.value if status is not None else ""
        if state == "RUNNING":
            return deployed
        if state == "DEPLOY_FAILED":
            if not is_replacement:
                serve.delete(name)
            raise _failure(status, is_replacement=is_replacement)
        if not has_said and time.monotonic() - began > _PATIENCE_SECONDS:
            has_said = True
            reporter.say(f"Waiting for replicas: {_message(status) or 'models load'}")
        time.sleep(_LOOK_SECONDS)
    return None


def open_proxies(settings: ServerSettings, *, is_own: bool) -> str:
    """Start Ray Serve where it does not run, and return the address that it listens on.

    Raises:
        InputError: The port is taken, or Ray Serve of that cluster listens elsewhere.
    """
    from ray import serve

    port = settings.port
    if is_own:
        with contextlib.closing(bind_to(settings.host, port)) as listener:
            port = listener.getsockname()[1]
    elif not port:
        raise InputError(
            "On a cluster the port is the same on all nodes.",
            found="--port 0",
            fix="Name one with --port.",
        )
    serve.start(
        # On a cluster any node may be asked.
        proxy_location="HeadOnly" if is_own else "EveryNode",
        http_options={
            "host": settings.host,
            "port": port,
            "ssl_certfile": settings.tls_certificate,
            "ssl_keyfile": settings.tls_key,
        },
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    # Where it ran before, what it was told now counts for nothing, and nothing else tells so.
    from ray.serve.context import _get_global_client

    there = _get_global_client().http_config
    if (there.host, there.port, there.ssl_certfile) != (
        settings.host,
        port,
        settings.tls_certificate,
    ):
        raise InputError(
            "All services of a cluster share the address that Ray Serve was started with.",
            found=f"it listens on {there.host}:{there.port}, not on {settings.host}:{port}",
            fix=f"Give --host {there.host} --port {there.port} and the certificate used there.",
        )
    scheme = "http" if settings.tls_certificate is None else "https"
    return f"{scheme}://{settings.host}:{port}"


def _own_address() -> str:
    import ray

    return str(ray.get_runtime_context().gcs_address)


def _require_room(
    nodes: list[ClusterNode], settings: ServerSettings, options: RayServeOptions
) -> None:
    """Refuse at once what a cluster of this machine alone will never have.

    Raises:
        InputError: It has too few CPUs or devices for the most replicas.
    """
    most = options.fewest_and_most[1]
    needs = {
        "CPUs": (most * options.cpus_per_replica, sum(node.cpus for node in nodes)),
        "GPUs": (most * (settings.devices == "cuda"), sum(node.gpus for node in nodes)),
        "NPUs": (most * (settings.devices == "ascend"), sum(node.npus for node in nodes)),
    }
    for name, (needed, there) in needs.items():
        if there < needed:
            raise InputError(
                f"{most} replicas need {needed:g} {name} together.",
                found=f"{there:g} on this machine",
                fix="Ask for fewer with --replicas, or less with --cpus-per-replica.",
            )


def _failure(status: Any, *, is_replacement: bool) -> LongformError:
    """Say what kept the replicas from starting: our own words where a replica raised them."""
    said = _message(status)
    ours = _OUR_ERROR.findall(said)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return LongformError(
        "The replicas of the service must start.",
        found=ours[-1] if ours else (lines[-1] if lines else "they failed, without a reason"),
        fix="What was served before still is." if is_replacement else "",
    )


def _message(status: Any) -> str:
    if status is None:
        return ""
    parts = [each.message for each in status.deployments.values()]
    return "\n".join(part for part in [status.message, *parts] if part)


def _wait(deployed: _Deployed, received: list[int], *, is_own: bool) -> None:
    """Wait for a signal, or, on a cluster that goes on without us, for who takes over."""
    while not received:
        time.sleep(_LOOK_SECONDS)
        if not is_own and not _is_ours(deployed):
            return


def _is_ours(deployed: _Deployed) -> bool:
    """Tell whether the cluster still runs what this command deployed.

    Raises:
        LongformError: The cluster does not answer any more.
    """
    from ray import serve

    try:
        is_there = deployed.name in serve.status().applications
    except Exception as error:
        # Whatever the library raises: the connection, the controller or the node may be gone.
        raise LongformError(
            "The Ray cluster must go on while it serves.",
            found=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            fix="Look at the cluster with 'ray status', then run the command again.",
        ) from error
    return is_there and deployed.is_claimed()


def _end(name: str, deployed: _Deployed | None, reporter: Reporter, *, is_own: bool) -> None:
    """End what this command deployed, after it has answered what it took."""
    from ray import serve

    if is_own:
        serve.shutdown()
    elif deployed is None:
        reporter.say(f"Service '{name}' goes on starting in the cluster; this command ends.")
    elif _is_ours(deployed):
        serve.delete(name)
    else:
        reporter.say(f"Service '{name}' was replaced by another command; this one ends.")


@contextlib.contextmanager
def _caught_signals() -> Iterator[list[int]]:
    """Take note of SIGINT and SIGTERM; a second one ends the process as it would have."""
    received: list[int] = []

    def note(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
