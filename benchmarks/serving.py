"""What a server does under load: throughput, fairness, overload, memory, reloads, killed workers.

    python benchmarks/serving.py --bundle e5 --bag bag --data dev.jsonl

Each part starts `longform serve` as users do and loads it from a second process on loopback. Writes
`benchmarks/results/serving.json`. Both processes share the machine's processors.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longform.backends.choice import machine_name
from longform.bundle import load_bundle
from longform.data.readers import read_documents

RESULTS = Path(__file__).parent / "results" / "serving.json"
CLIENT = Path(__file__).parent / "load" / "client.py"
LONG_CHARACTERS = 150_000
SHORT_CHARACTERS = 460
"""About 300 tokens of e5-small."""


class Server:
    """A running `longform serve`."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "longform", "serve", *arguments, "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--log-level", "WARNING"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        ends = time.monotonic() + 120
        while self.get("/health/ready")[0] != 200:
            if time.monotonic() > ends or self.process.poll() is not None:
                raise SystemExit("the server did not start: " + "".join(self.said))
            time.sleep(0.1)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)

    @property
    def port(self) -> int:
        """Of the server; 0 before it says it."""
        match = re.search(r"http://127\.0\.0\.1:(\d+)", "".join(self.said))
        return int(match[1]) if match else 0

    @property
    def admin(self) -> str:
        """Address of its administration."""
        match = re.search(r"Also on (\S+) \(administration\)", "".join(self.said))
        assert match is not None
        return match[1]

    def get(self, path: str, body: object = None) -> tuple[int, str]:
        """Ask; status 0 where there is no answer."""
        url = path if "://" in path else f"http://127.0.0.1:{self.port}{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """Return a metric, summed over its labels."""
        lines = self.get("/metrics")[1].splitlines()
        found = [line for line in lines if re.match(rf"{name}(\{{| )", line)]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def worker(self) -> int | None:
        """Return the number of its worker process."""
        listed = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", "workers.process"],
            capture_output=True,
            text=True,
            check=False,
        )
        numbers = listed.stdout.split()
        return int(numbers[0]) if numbers else None

    def stop(self) -> int:
        """End it by SIGTERM; return its status."""
        self.process.terminate()
        return self.process.wait(60)


@contextlib.contextmanager
def serving(*arguments: str, engine: tuple[str, ...] = ("--no-grpc",)) -> Iterator[Server]:
    """Run a server for a while; `engine` are its flags of the engine."""
    server = Server(*arguments, *engine)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


class Bodies:
    """Files of request bodies, one JSON a line."""

    def __init__(self, data: Path, folder: Path) -> None:
        texts = [document.text for document in read_documents(data).documents][:300]
        dense = ["".join(text.split()) for text in texts]
        whole = "".join(dense)
        self.folder, self.texts = folder, texts
        self.documents = self.write("documents", texts)
        middles = [text[500 : 500 + SHORT_CHARACTERS] for text in dense if len(text) > 1_000]
        self.short = self.write("short", middles)
        self.long = self.write(
            "long", [whole[n * 997 : n * 997 + LONG_CHARACTERS] for n in range(8)]
        )
        mixed = [text for row in zip(middles, texts, strict=False) for text in (*row, row[0][:40])]
        self.mixed = self.write("mixed", mixed)

    def write(self, name: str, texts: list[str]) -> Path:
        """Write one file."""
        path = self.folder / f"{name}.jsonl"
        lines = [json.dumps({"inputs": text}, ensure_ascii=False) for text in texts]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


def load(server: Server, bodies: Path, **flags: object) -> dict[str, Any]:
    """Run the load generator and return what it saw."""
    process = start_load(server, bodies, **flags)
    said, _ = process.communicate()
    return dict(json.loads(said))


def start_load(server: Server, bodies: Path, **flags: object) -> subprocess.Popen[str]:
    """Start the load generator."""
    command = [sys.executable, str(CLIENT), "--port", str(server.port), "--bodies", str(bodies)]
    for name, value in flags.items():
        command += [f"--{name}", str(value)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def bench(bundle: str, bodies: Bodies, backend: str) -> float:
    """Return the documents/s of `longform bench` for the same documents."""
    data = bodies.folder / "bench.jsonl"
    label = load_bundle(Path(bundle)).description.labels[0]
    rows = [json.dumps({"text": text, "label": label}) for text in bodies.texts]
    data.write_text("\n".join(rows[:120]) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "longform", "bench", bundle, "--data", str(data)]
    command += ["--backend", backend, "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(result.stdout)["contenders"][0]["documents_per_second"])


def backend_of(server: Server) -> str:
    """Return `name:precision` of what a server runs on."""
    backend = json.loads(server.get("/health/ready")[1])["backend"]
    return f"{backend['name']}:{backend['precision']}"


def throughput(bundle: str, bodies: Bodies, seconds: float) -> dict[str, Any]:
    """32 clients in a closed loop against `longform bench`, twice in turns."""
    served, offline = [], []
    with serving(bundle, "--cache-memory", "0") as server:
        backend = backend_of(server)
    for _ in range(2):
        offline.append(bench(bundle, bodies, backend))
        with serving(bundle, "--cache-memory", "0") as server:
            load(server, bodies.documents, clients=32, seconds=3)
            served.append(load(server, bodies.documents, clients=32, seconds=seconds))
    best = max(run["per_second"] for run in served)
    return {
        "backend": backend,
        "offline_documents_per_second": [round(value, 2) for value in offline],
        "served": served,
        "share_of_offline": round(best / max(offline), 3),
    }


def short_requests(bundle: str, bodies: Bodies) -> dict[str, Any]:
    """Short requests a second over HTTP."""
    with serving(bundle) as server:
        load(server, bodies.short, clients=32, seconds=2)
        return load(server, bodies.short, clients=32, seconds=10)


def fairness(bundle: str, bodies: Bodies) -> dict[str, Any]:
    """Short requests with and without a client that sends long documents without pause."""
    found: dict[str, Any] = {}
    with serving(bundle, "--cache-memory", "0") as server:
        load(server, bodies.short, clients=1, seconds=3)
        for clients in (1, 4):
            alone = load(server, bodies.short, clients=clients, seconds=15)
            busy = start_load(server, bodies.long, clients=1, seconds=22)
            time.sleep(2)
            beside = load(server, bodies.short, clients=clients, seconds=15)
            said, _ = busy.communicate()
            found[f"{clients} clients"] = {
                "alone": alone,
                "beside a long document": beside,
                "the long ones": json.loads(said),
                "p99_ratio": round(beside["p99_ms"] / alone["p99_ms"], 2),
            }
    return found


def overload(bundle: str, bodies: Bodies) -> dict[str, Any]:
    """1,000 connections, then how soon a new request is answered."""
    with serving(bundle, "--cache-memory", "0") as server:
        load(server, bodies.short, clients=8, seconds=3)
        before = server.metric("process_resident_memory_bytes")
        flood = load(server, bodies.documents, clients=1_000, seconds=10, pause=0.2)
        ended = time.monotonic()
        status = server.get("/predict", {"inputs": bodies.texts[0][:SHORT_CHARACTERS]})[0]
        recovered = time.monotonic() - ended
        after = server.metric("process_resident_memory_bytes")
    return {
        "load": flood,
        "status_after": status,
        "seconds_to_recover": round(recovered, 2),
        "memory_before_mb": round(before / 1e6, 1),
        "memory_after_mb": round(after / 1e6, 1),
    }


def memory(bundle: str, bodies: Bodies, requests: int) -> dict[str, Any]:
    """Resident memory over many requests of mixed lengths."""
    readings = []
    with serving(bundle, "--cache-memory", "32MB") as server:
        step = requests // 10
        answered = 0
        while answered < requests:
            run = load(server, bodies.mixed, clients=16, seconds=600, requests=step)
            answered += run["answered"]
            reading = server.metric("process_resident_memory_bytes") / 1e6
            readings.append({"requests": answered, "memory_mb": round(reading, 1)})
            print(f"  {answered:,} requests, {reading:.0f} MB", flush=True)
    first, last = readings[0]["memory_mb"], readings[-1]["memory_mb"]
    return {"readings": readings, "growth_after_first": round(last / first - 1, 4)}


def markers(bundle: str, bodies: Bodies, requests: int) -> dict[str, Any]:
    """Whether every answer belongs to its request: each document is answered as it is alone."""
    texts = [text[: 50 + 37 * n] for n, text in enumerate(bodies.texts[:200])]
    wrong, asked = 0, 0
    lock = threading.Lock()
    with serving(bundle, "--cache-memory", "0") as server:

        def tokens(text: str) -> int:
            answer = json.loads(server.get("/predict", {"inputs": text})[1])
            return int(answer["predictions"][0]["coverage"]["tokens_total"])

        expected = [tokens(text) for text in texts]

        def work(start: int) -> None:
            nonlocal wrong, asked
            for step in range(requests // 16):
                index = (start * 31 + step * 7) % len(texts)
                is_right = tokens(texts[index]) == expected[index]
                with lock:
                    asked += 1
                    wrong += not is_right

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {"requests": asked, "distinct": len(set(expected)), "wrong": wrong}


def reloads(bundle: str, bodies: Bodies, count: int) -> dict[str, Any]:
    """Reloads under load, every second one of a broken bundle."""
    roots = bodies.folder / "roots"
    good = Path(shutil.copytree(bundle, roots / "good"))
    broken = Path(shutil.copytree(bundle, roots / "broken"))
    weights = next(broken.rglob("*.onnx"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    refused = loaded = 0
    with serving(str(good), "--admin-port", "0") as server:
        running = start_load(server, bodies.short, clients=8, seconds=600, requests=10**9)
        began = time.monotonic()
        for number in range(count):
            folder = broken if number % 2 else good
            status = server.get(f"{server.admin}/models/default/load", {"bundle": str(folder)})[0]
            loaded += status == 200
            refused += status == 422
        seconds = time.monotonic() - began
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate()
        version = json.loads(server.get("/health/ready")[1])["model"]["version"]
        failed = {
            line.split()[0]: float(line.split()[1])
            for line in server.get("/metrics")[1].splitlines()
            if line.startswith('longform_requests_total{endpoint="/predict"')
            or line.startswith("longform_requests_total{code=")
        }
    return {
        "reloads": count,
        "loaded": loaded,
        "refused": refused,
        "seconds": round(seconds, 1),
        "version_at_the_end": version,
        "load": json.loads(said) if said.strip() else None,
        "requests_by_code": failed,
    }


def killed_worker(bundle: str, bodies: Bodies) -> dict[str, Any]:
    """`kill -9` of the worker under load, three times."""
    times = []
    with serving(bundle, "--isolate", "--cache-memory", "0") as server:
        running = start_load(server, bodies.short, clients=8, seconds=30, pause=0.05)
        time.sleep(3)
        for _ in range(3):
            worker = server.worker()
            assert worker is not None
            os.kill(worker, signal.SIGKILL)
            began = time.monotonic()
            while server.get("/health/ready")[0] == 200 and time.monotonic() - began < 1:
                time.sleep(0.01)
            while server.get("/health/ready")[0] != 200:
                time.sleep(0.05)
            times.append(round(time.monotonic() - began, 2))
            time.sleep(1)
        said, _ = running.communicate()
    return {"seconds_until_ready": times, "load": json.loads(said)}


def drained(bundle: str, bodies: Bodies) -> dict[str, Any]:
    """SIGTERM under load."""
    with serving(bundle, "--cache-memory", "0") as server:
        running = start_load(server, bodies.documents, clients=8, seconds=8)
        time.sleep(3)
        began = time.monotonic()
        status = server.stop()
        seconds = time.monotonic() - began
        running.kill()
        running.communicate()
    return {"status": status, "seconds": round(seconds, 2)}


def main() -> None:
    """Measure all parts, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="e5", help="an encoder's bundle")
    parser.add_argument("--bag", default="runs/demo", help="a bag's bundle")
    parser.add_argument("--data", default="data/test.csv")
    parser.add_argument("--requests", type=int, default=100_000, help="of the memory part")
    parser.add_argument("--reloads", type=int, default=200)
    parser.add_argument("--parts", nargs="*", help="only these")
    given = parser.parse_args()
    if not Path(given.bundle).exists():
        print(f"No bundle in {given.bundle}: name one with --bundle. Nothing was measured.")
        return
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        bodies = Bodies(Path(given.data), Path(folder))
        parts: dict[str, Any] = {
            "encoder throughput": lambda: throughput(given.bundle, bodies, 40),
            "bag throughput": lambda: throughput(given.bag, bodies, 10),
            "bag short requests": lambda: short_requests(given.bag, bodies),
            "fairness": lambda: fairness(given.bundle, bodies),
            "overload, encoder": lambda: overload(given.bundle, bodies),
            "overload, bag": lambda: overload(given.bag, bodies),
            "markers": lambda: markers(given.bag, bodies, 4_000),
            "killed worker": lambda: killed_worker(given.bundle, bodies),
            "sigterm": lambda: drained(given.bundle, bodies),
            "reloads": lambda: reloads(given.bag, bodies, given.reloads),
            "memory": lambda: memory(given.bag, bodies, given.requests),
        }
        for name, measure in parts.items():
            if given.parts and name not in given.parts:
                continue
            print(f"{name} ...", flush=True)
            began = time.monotonic()
            found[name] = measure()
            found[name]["measuring_seconds"] = round(time.monotonic() - began)
            found["machine"] = machine_name()
            RESULTS.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
            print(json.dumps(found[name], indent=1, ensure_ascii=False)[:1500], flush=True)


if __name__ == "__main__":
    main()
