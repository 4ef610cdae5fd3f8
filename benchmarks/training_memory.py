"""How much memory does a training step of one document add, by the document's length?

Each figure is of a process of its own: encoder, head and optimiser are loaded and one step of a
short document is taken, so that weights, gradients and AdamW's state are there; then one step of a
document of the given length, and the highest resident memory during it above what was there before.

    python benchmarks/training_memory.py                       # a small encoder, a minute
    python benchmarks/training_memory.py --encoder FOLDER --json FILE
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from machine import describe_machine, print_machine
from transformers import AutoModel, BertConfig, BertModel

from longform.config import RunConfig
from longform.models import LongTextClassifier, LongTextConfig
from longform.training.arguments import learning_rates
from longform.training.gradient_cache import KEEP_ALL, PiecewiseEncoding
from longform.training.optimizer import build_optimizer, parameter_groups

_SEGMENT = 128
_MOST_GROWTH = 0.6
"""Share of the machine's memory that a step of one pass may be expected to take."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One document in one process.

    Attributes:
        way: `one pass` or `two passes`.
        tokens: Of the document.
        added_mb: Highest resident memory of the step above that before it; None where it would not
            fit this machine.
        seconds: Of the step.
    """

    way: str
    tokens: int
    added_mb: float | None
    seconds: float | None


def build(encoder: Path | None) -> LongTextClassifier:
    """Build a classifier over the encoder of a folder, or over a small one with random weights."""
    if encoder is not None:
        inner = AutoModel.from_pretrained(encoder, dtype="float32", add_pooling_layer=False)
    else:
        inner = BertModel(
            BertConfig(
                vocab_size=2_000,
                hidden_size=128,
                num_hidden_layers=4,
                num_attention_heads=4,
                intermediate_size=512,
            ),
            add_pooling_layer=False,
        )
    config = LongTextConfig(
        encoder=inner.config.model_type,
        encoder_config=inner.config.to_dict(),
        aggregator="lstm",
        num_labels=20,
    )
    return LongTextClassifier(config, inner).train()


def resident(name: str) -> float:
    """Return `VmRSS` or `VmHWM` of this process in MB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise LookupError(name)


def take_step(model: LongTextClassifier, optimizer: torch.optim.Optimizer, tokens: int) -> float:
    """Train on one document of random tokens; return the seconds."""
    segments = max(tokens // _SEGMENT, 1)
    ids = torch.randint(5, 1_000, (1, segments, _SEGMENT))
    started = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=BF16):
        loss = model(ids, torch.ones_like(ids), labels=torch.tensor([3])).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    return time.perf_counter() - started


BF16 = False


def measure(
    pipe: Connection, encoder: Path | None, tokens: int, two_pass: bool, bf16: bool
) -> None:
    """Measure one step, in a process of its own."""
    global BF16
    BF16 = bf16
    torch.manual_seed(0)
    model = build(encoder)
    settings = RunConfig(encoder="a folder")
    model.encode_segments = PiecewiseEncoding(
        settings.micro_batch_tokens, 0 if two_pass else KEEP_ALL
    )
    groups = parameter_groups(model, learning_rates(settings), settings.weight_decay)
    optimizer = build_optimizer(groups, settings)
    take_step(model, optimizer, _SEGMENT)
    before = resident("VmRSS")
    # Lets the highest mark begin anew (proc(5)).
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    seconds = take_step(model, optimizer, tokens)
    pipe.send((resident("VmHWM") - before, seconds))


def in_a_process(
    encoder: Path | None, tokens: int, two_pass: bool, bf16: bool
) -> tuple[float, float]:
    """Return added MB and seconds of one step."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(sender, encoder, tokens, two_pass, bf16))
    process.start()
    sender.close()
    added, seconds = receiver.recv()
    process.join()
    return float(added), float(seconds)


def machine_mb() -> float:
    """Return the memory of this machine in MB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def main() -> None:
    """Measure every length both ways and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--encoder", type=Path, help="folder of a pretrained encoder")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2_000, 8_000, 32_000, 100_000])
    parser.add_argument("--bf16", action="store_true", help="compute in bf16")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    machine = describe_machine()
    print_machine(machine)
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        # Allocated blocks go back to the system, so that the highest mark is that of the step.
        os.environ["MALLOC_TRIM_THRESHOLD_"] = "100000"
        os.chdir(folder)
        for way in ("two passes", "one pass"):
            each = 0.0
            for tokens in arguments.tokens:
                added = seconds = None
                if each * tokens < _MOST_GROWTH * machine_mb():
                    added, seconds = in_a_process(
                        arguments.encoder, tokens, way == "two passes", arguments.bf16
                    )
                    each = added / tokens if way == "one pass" else 0.0
                figures.append(Figure(way, tokens, added, seconds))
                shown = "does not fit" if added is None else f"{added:8,.0f} MB  {seconds:7.1f} s"
                print(f"  {way:10} {tokens:7,} tokens  {shown}", flush=True)
    twice = [figure.added_mb for figure in figures if figure.way == "two passes"]
    ratio = round((twice[-1] or 0) / (twice[0] or 1), 3)
    print(f"two passes, {arguments.tokens[-1]:,} tokens over {arguments.tokens[0]:,}: {ratio}")
    if arguments.json:
        content = {
            "machine": machine,
            "precision": "bf16" if arguments.bf16 else "fp32",
            "segment_length": _SEGMENT,
            "micro_batch_tokens": RunConfig().micro_batch_tokens,
            "longest_over_shortest_two_pass": ratio,
            "figures": [asdict(figure) for figure in figures],
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
