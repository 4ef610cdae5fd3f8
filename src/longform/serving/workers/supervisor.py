"""One worker process: started, listened to, started again when it dies."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zmq

from longform.errors import BundleError, GateError, LongformError, ParityError
from longform.serving.failures import BackendFailureError, NotReadyError
from longform.serving.workers.devices import Device
from longform.serving.workers.frames import Array, pack, unpack

logger = logging.getLogger(__name__)

_LOOK_MILLISECONDS = 20
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 30.0
_GOOD_LIFE = 60.0
"""Seconds after which a worker that dies is started again without delay."""
_KINDS = {kind.__name__: kind for kind in (BundleError, GateError, ParityError)}


class WorkerLostError(NotReadyError):
    """A worker died while it had a batch."""


class Worker:
    """A worker process and the front's end of its socket.

    Args:
        device: What it runs on.
        settings: What it opens; see `process.main`.
        on_change: Called when it becomes ready, or is lost.
    """

    def __init__(
        self, device: Device, settings: dict[str, Any], on_change: Callable[[], None]
    ) -> None:
        self.device = device
        self.introduction: dict[str, Any] | None = None
        self.failure: LongformError | None = None
        self.restarts = 0
        self.is_ready = False
        self.memory: tuple[int, int] | None = None
        self._settings = settings
        self._on_change = on_change
        self._context = zmq.Context.instance()
        self._folder = tempfile.TemporaryDirectory(prefix="longform-")
        self._socket: zmq.Socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closing = threading.Event()
        self._talking = threading.Lock()
        self._thread = threading.Thread(
            target=self._supervise, name=f"longform-worker-{device.name}", daemon=True
        )

    @property
    def process_id(self) -> int | None:
        """Of the process that runs now."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process and what looks after it."""
        self._thread.start()

    def call(self, name: str, arrays: Sequence[Array]) -> list[Array]:
        """Have the worker do something and wait for the result.

        Raises:
            WorkerLostError: It died before it answered, or is not ready.
            BackendFailureError: It failed at it.
        """
        with self._talking:
            socket, process = self._socket, self._process
            if not self.is_ready or socket is None or process is None:
                raise self._lost()
            try:
                socket.send_multipart(pack({"call": name}, arrays), flags=zmq.NOBLOCK)
                while not socket.poll(_LOOK_MILLISECONDS):
                    if process.poll() is not None or self._is_closing.is_set():
                        # Said here already, so that what was lost is not tried on it again.
                        self.is_ready = False
                        raise self._lost()
                header, results = unpack(socket.recv_multipart())
            except zmq.ZMQError as error:
                raise self._lost() from error
        self._note_memory(header)
        if "failed" in header:
            raise BackendFailureError(
                "The model could not answer this request.", found=header["failed"]
            )
        return results

    def close(self) -> None:
        """End the process."""
        self._is_closing.set()
        with self._talking:
            if self._socket is not None:
                with contextlib.suppress(zmq.ZMQError):
                    self._socket.send_multipart(pack({"call": "stop"}), flags=zmq.NOBLOCK)
        process = self._process
        if process is not None:
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._thread.ident is not None:
            self._thread.join(5)
        with self._talking:
            if self._socket is not None:
                self._socket.close(linger=0)
                self._socket = None
        self._folder.cleanup()

    def _supervise(self) -> None:
        delay, generation = _FIRST_DELAY, 0
        while not self._is_closing.is_set():
            generation += 1
            self._spawn(generation)
            began = time.monotonic()
            is_introduced = self._await_introduction()
            if not is_introduced and self.introduction is None:
                # Never was ready: starting it again would not help.
                return
            assert self._process is not None
            if is_introduced:
                self._process.wait()
                self._become(ready=False)
            if self._is_closing.is_set():
                return
            if time.monotonic() - began > _GOOD_LIFE:
                delay = _FIRST_DELAY
            self.restarts += 1
            logger.warning(
                "The worker on %s ended with status %s; it is started again in %.1f s.",
                self.device.name,
                self._process.returncode,
                delay,
            )
            self._is_closing.wait(delay)
            delay = min(2 * delay, _LONGEST_DELAY)

    def _spawn(self, generation: int) -> None:
        # A socket of its own for each process: an answer of a dead one reaches nobody.
        address = f"ipc://{Path(self._folder.name) / f'worker-{generation}'}"
        with self._talking:
            if self._socket is not None:
                self._socket.close(linger=0)
            self._socket = self._context.socket(zmq.PAIR)
            self._socket.bind(address)
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "longform.serving.workers.process",
                address,
                json.dumps(self._settings),
            ],
            env={**os.environ, **self.device.environment},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if _has_number(sys.stderr) else subprocess.DEVNULL,
        )

    def _await_introduction(self) -> bool:
        socket, process = self._socket, self._process
        assert socket is not None
        assert process is not None
        while not socket.poll(_LOOK_MILLISECONDS):
            if self._is_closing.is_set():
                return False
            # One look more: what it said last may have come just before it ended.
            if process.poll() is not None and not socket.poll(_LOOK_MILLISECONDS):
                self.failure = BackendFailureError(
                    "A worker could not be started.",
                    found=f"it ended with status {process.returncode}; the log may say more",
                )
                self._on_change()
                return False
        header, _ = unpack(socket.recv_multipart())
        if header["state"] != "ready":
            kind = _KINDS.get(header["kind"], LongformError)
            self.failure = _rebuilt(kind, header["error"])
            process.wait()
            self._on_change()
            return False
        self.introduction = header
        self._note_memory(header)
        self._become(ready=True)
        return True

    def _note_memory(self, header: dict[str, Any]) -> None:
        told = header.get("memory")
        if told is not None:
            self.memory = (int(told[0]), int(told[1]))

    def _become(self, *, ready: bool) -> None:
        self.is_ready = ready
        self._on_change()

    def _lost(self) -> WorkerLostError:
        return WorkerLostError(
            "The device must answer.",
            found=f"the worker on {self.device.name} is gone and starts again",
        )


def _rebuilt(kind: type[LongformError], message: str) -> LongformError:
    """Make the error that the worker met, from what it says."""
    return kind(message)


def _has_number(stream: Any) -> bool:
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True
