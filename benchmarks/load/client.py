"""A load generator for the serving benchmarks: closed loop, keep-alive, one process of its own.

Run by `benchmarks/serving.py`; speaks just enough HTTP/1.1 to cost the machine little, since it
shares the processors with the server that it measures. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import time
from pathlib import Path
from typing import Any


class Client:
    """One keep-alive connection."""

    def __init__(self, host: str, port: int) -> None:
        self.address = (host, port)
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send one request and read its answer."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(*self.address)
        assert self.reader is not None
        head = (
            f"POST {path} HTTP/1.1\r\nHost: longform\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        await self.writer.drain()
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        content = await self.reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.close()
        return status, headers, content

    def close(self) -> None:
        """Close the connection."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keep the clients busy for a time, or for a number of requests."""
    lines = Path(arguments.bodies).read_bytes().splitlines()
    turns = itertools.cycle(range(len(lines)))
    seconds: list[float] = []
    codes: dict[str, int] = {}
    faults: list[str] = []
    ends = time.monotonic() + arguments.seconds
    left = arguments.requests or 2**62

    async def work() -> None:
        nonlocal left
        client = Client(arguments.host, arguments.port)
        while left > 0 and time.monotonic() < ends:
            left -= 1
            began = time.monotonic()
            try:
                status, headers, _ = await client.post(arguments.path, lines[next(turns)])
            except (OSError, asyncio.IncompleteReadError) as error:
                client.close()
                codes[type(error).__name__] = codes.get(type(error).__name__, 0) + 1
                faults.append(repr(error)[:200])
                continue
            took = time.monotonic() - began
            codes[str(status)] = codes.get(str(status), 0) + 1
            if status == 200:
                seconds.append(took)
            elif status in {429, 503} and "retry-after" not in headers:
                faults.append(f"{status} without Retry-After")
            if status in {429, 503}:
                await asyncio.sleep(arguments.pause)
        client.close()

    def stop() -> None:
        nonlocal left
        left = 0

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop)
    began = time.monotonic()
    await asyncio.gather(*(work() for _ in range(arguments.clients)))
    took = time.monotonic() - began
    seconds.sort()

    def quantile(share: float) -> float | None:
        return (
            round(1000 * seconds[min(int(share * len(seconds)), len(seconds) - 1)], 2)
            if (seconds)
            else None
        )

    return {
        "clients": arguments.clients,
        "answered": len(seconds),
        "per_second": round(len(seconds) / took, 2),
        "seconds": round(took, 2),
        "p50_ms": quantile(0.5),
        "p95_ms": quantile(0.95),
        "p99_ms": quantile(0.99),
        "codes": codes,
        "faults": faults[:5],
    }


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/predict")
    parser.add_argument("--bodies", required=True, help="a file with one JSON body a line")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--requests", type=int, default=0, help="stop after so many; 0 for time")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds after a 429 or 503")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
