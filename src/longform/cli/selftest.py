"""`longform selftest`: what a machine with accelerators can really do, in one report to send."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from longform.cli.arguments import AsJson, print_json

if TYPE_CHECKING:
    from longform.backends.ascend.gears import Gear
    from longform.backends.ascend.selftest import Step
    from longform.bundle import Bundle

_ENCODES = 30
_CHECK_SECONDS = 300


def selftest(
    device: Annotated[Literal["ascend"], typer.Argument(help="What to test.")],
    bundle: Annotated[
        Path | None,
        typer.Option(help="A bundle with an encoder for the cards (longform export)."),
    ] = None,
    cards: Annotated[str, typer.Option(help="Numbers of the cards.")] = "0,1",
    output: Annotated[Path, typer.Option(help="The report.")] = Path("selftest-ascend.json"),
    as_json: AsJson = False,
) -> None:
    """Test the cards of this machine: versions, numerics, every gear, two cards together.

    Exit status 3 where a test failed; one that cannot be made here is skipped and says why.
    """
    import json

    from longform import __version__
    from longform.backends.ascend.selftest import ask, ask_card, ask_cards, ask_gears, ask_versions
    from longform.backends.ascend.selftest import summarize as verdict_of
    from longform.backends.choice import machine_name
    from longform.bundle import load_bundle

    numbers = _numbers(cards)
    opened = None if bundle is None else load_bundle(bundle)
    steps: list[Step] = []

    def note(step: Step) -> None:
        steps.append(step)
        typer.echo(f"{step.verdict:<8} {step.name}: {step.detail}", err=True)

    note(ask("versions", ask_versions))
    note(ask("cards by npu-smi", ask_cards))
    for number in numbers:
        note(ask(f"card {number} by pyACL", partial(ask_card, number)))
        note(ask(f"gears on card {number}", partial(_gears, ask_gears, opened, number)))
    note(ask("all cards together", partial(_scaling, opened, numbers)))
    note(ask("numerics in training", partial(_training, 1)))
    note(ask("sum over the cards", partial(_training, len(numbers))))
    verdict = verdict_of(steps)
    report = {
        "longform": __version__,
        "machine": machine_name(),
        "verdict": verdict,
        "steps": [step.as_json() for step in steps],
    }
    output.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    typer.echo(f"{verdict}: {output}", err=True)
    if as_json:
        print_json(report)
    raise typer.Exit(3 if verdict == "failed" else 0)


def _gears(ask_gears: Any, bundle: Bundle | None, number: int) -> tuple[str, dict[str, Any]]:
    from longform.backends.ascend.selftest import Skipped

    if bundle is None:
        raise Skipped("no --bundle was named")
    found: tuple[str, dict[str, Any]] = ask_gears(bundle, number)
    return found


def _scaling(bundle: Bundle | None, numbers: list[int]) -> tuple[str, dict[str, Any]]:
    """Measure one card and all of them in worker processes, as they serve."""
    from longform.backends.ascend.selftest import Skipped, require_compiled

    if bundle is None or len(numbers) < 2:
        raise Skipped("no --bundle was named" if bundle is None else "one card was named")
    gear = max(require_compiled(bundle).gears, key=lambda one: one.rows * one.length)
    rates = {count: _rate(bundle, numbers[:count], gear) for count in (1, len(numbers))}
    power = rates[len(numbers)] / rates[1]
    figures = {"tokens_per_second": rates, "power_of_scaling": round(power, 3)}
    return f"{len(numbers)} cards encode {power:.2f} x as much as one", figures


def _rate(bundle: Bundle, numbers: list[int], gear: Gear) -> float:
    import time
    from concurrent.futures import ThreadPoolExecutor

    from longform.backends.ascend.selftest import random_batch
    from longform.serving.workers.backend import WorkerBackend
    from longform.serving.workers.devices import parse_devices

    devices = parse_devices(f"ascend:{','.join(map(str, numbers))}")
    backend, batch = WorkerBackend(bundle, "ascend", devices), random_batch(gear)
    try:
        with ThreadPoolExecutor(len(numbers)) as threads:
            list(threads.map(backend.encode, [batch] * len(numbers)))
            began = time.perf_counter()
            list(threads.map(backend.encode, [batch] * _ENCODES * len(numbers)))
            seconds = time.perf_counter() - began
    finally:
        backend.close()
    tokens = _ENCODES * len(numbers) * gear.rows * gear.length
    return round(tokens / seconds, 1)


def _training(processes: int) -> tuple[str, dict[str, Any]]:
    """Run the numerics of training in processes of their own."""
    import json
    import subprocess
    import sys

    from longform.backends.ascend.selftest import Skipped
    from longform.errors import LongformError
    from longform.extras import is_available

    if not is_available("torch_npu"):
        raise Skipped("torch_npu is not installed")
    command = [sys.executable, "-m", "longform.training.npu_checks"]
    if processes > 1:
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, "-m", *launcher, "-m", "longform.training.npu_checks"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_CHECK_SECONDS, check=False
    )
    if done.returncode:
        last = " / ".join(done.stderr.strip().splitlines()[-3:])
        raise LongformError("The checks must run.", found=f"status {done.returncode}: {last}")
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    if not figures["passed"]:
        raise LongformError("The numbers must be those of the CPU.", found=str(figures))
    return "attention, LSTM and sum are those of the CPU", figures


def _numbers(written: str) -> list[int]:
    from longform.errors import InputError

    parts = written.split(",")
    if not all(part.strip().isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise InputError("--cards must be numbers, each once.", found=repr(written), fix="0,1")
    return [int(part) for part in parts]
