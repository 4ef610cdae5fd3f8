"""A server as users start it, in a process of its own, and ways to ask it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

START_SECONDS = 60


def free_port() -> int:
    """A port that nobody listens on, for servers that must be told one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class RunningServer:
    """`longform serve` with free ports; a context manager that ends it.

    Args:
        arguments: Bundles and flags.
        environment: Added to the one of the tests.
    """

    def __init__(self, *arguments: object, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "longform", "serve", *map(str, arguments)]
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--host", "127.0.0.1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | (environment or {}),
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)

    def __enter__(self) -> RunningServer:
        ends = time.monotonic() + START_SECONDS
        while time.monotonic() < ends and self.process.poll() is None:
            if self._found() is not None and self.status("/health/ready") == 200:
                return self
            time.sleep(0.05)
        self.process.kill()
        raise AssertionError("the server did not become ready:\n" + "".join(self.lines))

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
        # A worker that outlives a killed front still holds the other end for a moment.
        self._reader.join(10)
        self.process.stdout.close()

    def _found(self, mark: str = "Serving") -> str | None:
        said = "".join(self.lines)
        match = re.search(rf"{mark}[^\n]*? on (?P<address>https?://\S+)", said)
        return None if match is None else match["address"]

    @property
    def address(self) -> str:
        return self._found() or ""

    def beside(self, kind: str) -> str:
        """The address of another port: `gRPC` or `administration`."""
        said = "".join(self.lines)
        return re.search(rf"Also on (?P<address>\S+) +\({kind}\)", said)["address"]

    def ask(self, path: str, body: object = None, headers: dict[str, str] | None = None):
        """Return status, headers and content of a request."""
        url = path if "://" in path else self.address + path
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            url, data, {"Content-Type": "application/json", **(headers or {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.headers, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def status(self, path: str, body: object = None) -> int:
        """Return the status of a request; 0 where there is no answer."""
        try:
            return self.ask(path, body)[0]
        except OSError:
            return 0

    def metric(self, name: str) -> float:
        """Return the sum over the labels of a metric."""
        text = self.ask("/metrics")[2].decode()
        lines = [line for line in text.splitlines() if re.match(rf"{name}(\{{| )", line)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def workers(self) -> list[int]:
        """The numbers of its worker processes."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rpartition(")")[2].split()
                command = (status.parent / "cmdline").read_bytes()
            except OSError:
                continue
            if fields[1] == str(self.process.pid) and b"workers.process" in command:
                found.append(int(status.parent.name))
        return found

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(30)
