"""What do two training processes save by segmenting a share each, and reading one copy of all?

Two processes on this machine hold a training set of synthetic documents, ready for steps that may
take any of them. Both ways are measured in turns, each time in processes of their own:

- apart: each segments every document and keeps the objects;
- shared: each segments every second one, and both map the files (`training/shared_segments.py`).

Seconds are those until both are ready. Private memory is what a process adds for itself alone (the
USS of psutil); mapped pages that both share, and the system may drop, are not in it.

    python benchmarks/shared_segments.py --json benchmarks/results/shared_segments.json
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import random
import socket
import statistics
import tempfile
import time
from pathlib import Path

import psutil
import torch.distributed as dist
from machine import describe_machine, print_machine

from longform.config import RunConfig
from longform.text.documents import segment_documents
from longform.text.segmenter import Segmenter
from longform.text.vocabulary import train_tokenizer
from longform.training.processes import everyone, join_processes
from longform.training.shared_segments import share_shards, write_shard
from longform.types import Document

PROCESSES = 2
WAYS = ("apart", "shared")


def make_documents(count: int, characters: int) -> list[Document]:
    """Make documents of Chinese characters, common ones more often, in sentences of 30."""
    generator = random.Random(0)
    alphabet = [chr(0x4E00 + number) for number in range(3_000)]
    weights = [1 / (rank + 10) for rank in range(len(alphabet))]
    documents = []
    for number in range(count):
        drawn = generator.choices(alphabet, weights, k=characters)
        drawn[29::30] = "。" * len(drawn[29::30])
        documents.append(Document(str(number), "".join(drawn), "a"))
    return documents


def measure(rank: int, way: str, size: tuple[int, int], folder: Path, port: int) -> None:
    """Measure one process of two; it leaves its figures in a file."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(PROCESSES),
        "LOCAL_WORLD_SIZE": str(PROCESSES),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        # As on a node whose cores are all taken by processes.
        "RAYON_NUM_THREADS": "1",
    }
    join_processes("cpu", 600)
    documents = make_documents(*size)
    tokenizer = train_tokenizer((document.text for document in documents[:100]), 4_000)
    segmenter = Segmenter(tokenizer, RunConfig().segment_settings())
    gc.collect()
    everyone(None)
    before, started = psutil.Process().memory_full_info().uss, time.perf_counter()
    if way == "apart":
        ready = list(segment_documents(segmenter, documents, pairs=False))
    else:
        share = documents[rank::PROCESSES]
        write_shard(segment_documents(segmenter, share, pairs=False), folder / str(rank))
        ready = share_shards(folder)
    everyone(None)
    seconds = time.perf_counter() - started
    tokens = sum(ready[number].tokens for number in range(len(ready)))
    gc.collect()
    added = (psutil.Process().memory_full_info().uss - before) / 2**20
    told = {"seconds": seconds, "private_mb": added, "tokens": tokens}
    (folder / f"{rank}.json").write_text(json.dumps(told), encoding="utf-8")
    dist.destroy_process_group()


def run(way: str, size: tuple[int, int]) -> list[dict[str, float]]:
    """Run the two processes; return the figures of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processes = [
            context.Process(target=measure, args=(rank, way, size, folder, port))
            for rank in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        files = [folder / f"{rank}.json" for rank in range(PROCESSES)]
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def main() -> None:
    """Measure both ways in turns and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=4_000)
    parser.add_argument("--characters", type=int, default=3_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    machine = describe_machine()
    print_machine(machine)
    size = (arguments.documents, arguments.characters)
    figures: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(arguments.repeats):
        for way in WAYS:
            both = run(way, size)
            assert len({one["tokens"] for one in both}) == 1
            figures[way].append(
                {
                    "seconds": max(one["seconds"] for one in both),
                    "private_mb": max(one["private_mb"] for one in both),
                    "tokens": both[0]["tokens"],
                }
            )
            last = figures[way][-1]
            print(f"  {way:7} {last['seconds']:7.2f} s  {last['private_mb']:8.1f} MB", flush=True)
    ratios = {
        name: [
            round(shared[name] / apart[name], 3)
            for apart, shared in zip(figures["apart"], figures["shared"], strict=True)
        ]
        for name in ("seconds", "private_mb")
    }
    medians = {name: statistics.median(values) for name, values in ratios.items()}
    print(f"shared over apart, medians: {medians}")
    if arguments.json:
        content = {
            "machine": machine,
            "processes": PROCESSES,
            "documents": arguments.documents,
            "characters": arguments.characters,
            "figures": figures,
            "shared_over_apart": ratios,
            "medians": medians,
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
